"""Runs: photos planned and done as the command does them, with a pause and a stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from denoisetool import events, files
from denoisetool.batch import Batch, Tally, prepare, preview, run
from denoisetool.errors import UsageError
from denoisetool.events import Notice, Summary
from denoisetool.pipeline import Job
from denoisetool.program import give_way
from denoisetool.server.engines import Engines, session_for
from denoisetool.server.turns import RUN, Aborted, Turns, User
from denoisetool.session import Session

Say = Callable[..., None]
TELL_EVERY = 0.1
"""Seconds between two words about how far a photo is."""


class Runs:
    """Does one run at a time, in a thread.

    Args:
        say: tells an event, with the keys given to it by name.
        engines: whence the model comes.
        turns: for it.

    Attributes:
        busy: whether a run is under way.
    """

    def __init__(self, say: Say, engines: Engines, turns: Turns) -> None:
        self.busy = False
        self._say, self._engines, self._turns = say, engines, turns
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._user = User(turns, RUN)
        self._humble = False

    def start(self, request: dict[str, Any]) -> None:
        """Begin a run.

        Raises:
            UsageError: another one is under way.
        """
        if self.busy:
            raise UsageError("a run is under way already")
        self.busy = True
        self._stop, self._user = threading.Event(), User(self._turns, RUN)
        self._thread = threading.Thread(target=self._run, args=(request,), name="run", daemon=True)
        self._thread.start()

    def pause(self, on: bool) -> None:
        """Pause before the next tile, or go on."""
        self._user.hold(on)

    def stop(self) -> None:
        """Finish the photo in hand and end."""
        self._stop.set()
        self._user.hold(False)

    def abort(self) -> None:
        """End at once; what is half done was never there."""
        self._stop.set()
        self._user.abort()

    def join(self, seconds: float) -> None:
        """Wait for the end of a run."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, request: dict[str, Any]) -> None:
        number = request.get("id")
        last: events.Event
        more: dict[str, str]
        try:
            last, more = self._whole(request, number), {}
        except Exception as error:  # noqa: BLE001 - the window is told, whatever it is
            last, more = events.problem(error), {"about": "run"}
        self.busy = False  # whoever hears the end may begin the next one
        self._say(last, request=number, **more)

    def _whole(self, request: dict[str, Any], number: object) -> Summary:
        """Plan and do a run; its sum. Raises DenoiseError for what ends it as a whole."""
        session = session_for(request.get("settings", {}))
        if session.settings.low_priority and not self._humble:
            self._humble = True
            give_way()
        session.verify()
        with files.Index.open() as index:
            batch = _prepared(request, session, index)
            if index.warning:
                self._say(Notice("index", index.warning), request=number)
            for note in batch.notes:
                self._say(Notice("renamed", note), request=number)
            for planned in preview(batch):
                self._say(planned, request=number)
            summary = self._done(batch, session, index, number)
            index.prune()
        return summary

    def _done(self, batch: Batch, session: Session, index: files.Index, number: object) -> Summary:
        """Run a batch and tell about it; its sum."""
        pipeline = session.pipeline(index)
        pipeline.load = lambda: self._engines.chooser(session, self._user)
        tally, told = Tally(batch), (0.0, "")

        def progress(job: Job, share: float) -> None:
            nonlocal told
            now, name = time.monotonic(), str(job.source)
            if share >= 1 or name != told[1] or now - told[0] >= TELL_EVERY:
                told = (now, name)
                self._say("progress", source=job.source, share=round(share, 4), request=number)

        try:
            for event in run(batch, pipeline, self._stop, progress, tally):
                if not isinstance(event, Summary):
                    self._say(event, request=number)
        except Aborted:
            pass
        return tally.summary()


def _prepared(request: dict[str, Any], session: Session, index: files.Index) -> Batch:
    """The plan of a run.

    Raises:
        DenoiseError: it cannot be made, or there is no photo.
    """
    inputs = [Path(photo) for photo in request["photos"]]
    settings = session.settings
    batch = prepare(
        inputs, request.get("output"), fingerprint=session.fingerprint, index=index,
        format=settings.format, name=settings.name, scale=session.scale,
        overwrite=bool(request.get("overwrite")), skip_existing=bool(request.get("skip_existing")),
        without={Path(photo) for photo in request.get("without", ())},
    )  # fmt: skip
    batch.require_photos(inputs)
    return batch
