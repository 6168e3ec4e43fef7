"""The engine that is loaded, for all who want the same one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from denoisetool.denoiser import Denoiser, Denoises
from denoisetool.engine import Engine
from denoisetool.events import Start
from denoisetool.server.turns import SharedEngine, User
from denoisetool.session import ByCamera, Session, start_event
from denoisetool.settings import resolve


class Engines:
    """Keeps the last session's engines: memory for one model, or two where one enlarges after it.

    Args:
        say: told when another one is loaded.
    """

    def __init__(self, say: Callable[[Start], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._kept: dict[tuple[object, ...], Engine] = {}

    def denoiser(self, session: Session, user: User) -> Denoiser:
        """A denoiser with a session's settings for one user; loads the models if need be.

        Raises:
            DeviceError, ModelError: as `Session.denoiser`.
        """
        parts = {_key(part): part for part in (session, session.first) if part is not None}
        with self._lock:
            # The memory of the others goes before there are new ones.
            self._kept = {key: engine for key, engine in self._kept.items() if key in parts}
            for key, part in parts.items():
                part.engine = self._kept.get(key)
            if session.engine is None:
                session.announce = lambda choice, entry: self._say(start_event(choice, entry, 0))
            made = session.denoiser()
            self._kept = {key: part.engine for key, part in parts.items() if part.engine}
        if session.first is not None:  # its engine is there by now
            made.first = _for_cameras(session.first, _shared(session.first.denoiser(), user), user)
        return _shared(made, user)

    def chooser(self, session: Session, user: User) -> Denoises:
        """The same for a run, where photos of some cameras have models of their own."""
        return _for_cameras(session, self.denoiser(session, user), user)


def _for_cameras(session: Session, usual: Denoiser, user: User) -> Denoises:
    """A denoiser, or where there are models for some cameras one that takes those for them."""
    if not session.tuned:
        return usual
    return ByCamera(usual, session.tuned, lambda entry: _shared(session.denoiser_with(entry), user))


def _shared(made: Denoiser, user: User) -> Denoiser:
    """The same denoiser, whose engine waits for the user's turns."""
    return replace(made, engine=SharedEngine(made.engine, user))


def _key(session: Session) -> tuple[object, ...]:
    """Sessions with one key can have one engine."""
    settings, card = session.settings, session.entry.card
    return card.weights_sha256, session.entry.folder, settings.device, settings.precision


def session_for(settings: Mapping[str, Any]) -> Session:
    """A session with the settings of a request; those it does not name are as for the command.

    Raises:
        UsageError: a bad value. ModelError: no such model.
    """
    return Session(resolve(settings).settings)
