"""The engine that is loaded, for all who want the same one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from denoisetool.denoiser import Denoiser, Denoises
from denoisetool.engine import Engine
from denoisetool.events import Start
from denoisetool.registry import Entry
from denoisetool.server.turns import SharedEngine, User
from denoisetool.session import ByCamera, Session, start_event
from denoisetool.settings import resolve


class Engines:
    """Keeps the last engine: memory for one model, whoever uses it.

    Args:
        say: told when another one is loaded.
    """

    def __init__(self, say: Callable[[Start], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._key: tuple[object, ...] = ()
        self._engine: Engine | None = None

    def denoiser(self, session: Session, user: User) -> Denoiser:
        """A denoiser with a session's settings for one user; loads the model if need be.

        Raises:
            DeviceError, ModelError: as `Session.denoiser`.
        """
        settings, card = session.settings, session.entry.card
        key = (card.weights_sha256, session.entry.folder, settings.device, settings.precision)
        with self._lock:
            if key == self._key:
                session.engine, session.announce = self._engine, None
            else:
                self._engine = None  # its memory, before the next one's
                session.announce = lambda choice, entry: self._say(start_event(choice, entry, 0))
            made = session.denoiser()
            self._key, self._engine = key, session.engine
        return replace(made, engine=SharedEngine(made.engine, user))

    def chooser(self, session: Session, user: User) -> Denoises:
        """The same for a run, where photos of some cameras have models of their own."""
        usual = self.denoiser(session, user)
        if not session.tuned:
            return usual

        def make(entry: Entry) -> Denoiser:
            made = session.denoiser_with(entry)
            return replace(made, engine=SharedEngine(made.engine, user))

        return ByCamera(usual, session.tuned, make)


def session_for(settings: Mapping[str, Any]) -> Session:
    """A session with the settings of a request; those it does not name are as for the command.

    Raises:
        UsageError: a bad value. ModelError: no such model.
    """
    return Session(resolve(settings).settings)
