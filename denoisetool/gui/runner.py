"""A run of the queue: what is asked of the worker, and what becomes of the photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, Signal

from denoisetool.gui.child import Worker
from denoisetool.gui.photo_list import Item, PhotoModel
from denoisetool.gui.preferences import Preferences

Phase = Literal["idle", "running", "paused", "stopping"]
CRASHES = 2
"""How often the worker may end over a photo before the photo is left out."""


class Runner(QObject):
    """Runs the queue, and survives the worker.

    Signals:
        changed: another phase.
        moved: the share done, and the seconds left (-1 if that cannot be said yet).
        finished: the run is over; its summary.
        failed: it could not be done as a whole, or the worker died; a sentence, and whether
            trying again makes sense.
    """

    changed = Signal()
    moved = Signal(float, float)
    finished = Signal(dict)
    failed = Signal(str, bool)

    def __init__(
        self, worker: Worker, model: PhotoModel, preferences: Preferences, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._worker, self._model, self._preferences = worker, model, preferences
        self.phase: Phase = "idle"
        self._number = 0
        self._request: dict[str, Any] = {}
        self._clock = _Clock()
        self._humble = False
        worker.heard.connect(self._hear)
        worker.died.connect(self._died)

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self.phase != "idle"

    def start(self, inputs: Sequence[Path], without: set[Path], output: str, existing: str) -> None:
        """Begin.

        Args:
            inputs: files and folders, as they were opened.
            without: photos in them that are left out.
            output: the folder for results; empty for beside the originals.
            existing: what happens to results that exist: `refuse`, `skip` or `overwrite`.
        """
        self._request = {
            "photos": [str(path) for path in inputs],
            "without": [str(path) for path in without],
            "output": output.rstrip("/\\") + "/" if output else None,
            "overwrite": existing == "overwrite", "skip_existing": existing == "skip",
        }  # fmt: skip
        self._begin()

    def again(self) -> None:
        """The same run once more: what is done is recognised, the rest is done."""
        hopeless = [str(i.path) for i in self._model.items if i.crashes >= CRASHES]
        known = set(self._request["without"])
        self._request["without"] = [*known, *(path for path in hopeless if path not in known)]
        self._begin()

    def pause(self, on: bool) -> None:
        """Wait before the next tile, or go on."""
        self._worker.tell("pause", on=on)
        self._clock.pause(on)
        self._enter("paused" if on else "running")

    def stop(self) -> None:
        """End after the photo in hand; the second time at once."""
        at_once = self.phase in ("stopping", "paused")
        self._worker.tell("abort" if at_once else "stop")
        self._enter("stopping")

    def _begin(self) -> None:
        humble = bool(self._preferences.get("low_priority"))
        if self._humble and not humble:
            self._worker.restart()  # what gave way once does so for good
        self._humble = humble
        left_out = set(self._request["without"])
        for item in self._model.items:
            if item.state != "done" and str(item.path) not in left_out:
                item.state, item.reason, item.share = "waiting", "", 0.0
        self._model.all_touched()
        self._clock = _Clock()
        settings = self._preferences.request()
        self._number = self._worker.ask("run", settings=settings, **self._request)
        self._enter("running")

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.changed.emit()

    # -- what the worker says -------------------------------------------------------------------

    def _hear(self, event: dict[str, Any]) -> None:
        if not self.busy or event.get("request") != self._number:
            return
        kind = event["event"]
        if kind == "planned":
            self._planned(event)
        elif kind == "progress":
            self._progress(event)
        elif kind == "photo":
            self._photo(event)
        elif kind == "summary":
            self._settle()
            self._enter("idle")
            self.finished.emit(event)
        elif kind == "error":
            self._settle()
            self._enter("idle")
            self.failed.emit(sentence(event), False)

    def _item(self, source: str) -> Item:
        """The item of a photo, which a run may find before the window does."""
        item = self._model.find(source)
        if item is None:
            item = Item(Path(source))
            self._model.add([item])
        return item

    def _planned(self, event: dict[str, Any]) -> None:
        item = self._item(event["source"])
        item.target = Path(event["target"]) if event.get("target") else None
        item.megapixels = event.get("megapixels") or item.megapixels
        if event["action"] == "denoise":
            self._clock.expect(event.get("megapixels") or 0.0)
            item.state = "waiting"
            self._model.touched(item)

    def _progress(self, event: dict[str, Any]) -> None:
        item = self._item(event["source"])
        share = float(event["share"])
        self._clock.add((share - item.share) * item.megapixels)
        item.state, item.share = "working", share
        self._model.touched(item)
        self._tell()

    def _photo(self, event: dict[str, Any]) -> None:
        item = self._item(event["source"])
        status = event["status"]
        if item.state in ("waiting", "working"):
            self._clock.add((1 - item.share) * item.megapixels)
        item.share = 1.0
        item.target = Path(event["target"]) if event.get("target") else item.target
        item.notes = [str(note) for note in event.get("notes") or ()]
        already = status == "skipped" and event.get("reason", "").startswith("already done")
        item.state = "done" if already else status
        item.reason = event.get("reason", "")
        if status == "done":
            item.reason = self.tr("Done, it was clean already") if event.get("clean") else ""
        elif already:
            item.reason = self.tr("Done already")
        self._model.touched(item)
        self._tell()

    def _settle(self) -> None:
        """What has no outcome when a run ends was not begun, or was no photo to do."""
        for item in self._model.items:
            if item.state in ("waiting", "working"):
                item.state, item.share = "new", 0.0
        self._model.all_touched()

    def _died(self, why: str) -> None:
        if not self.busy:
            return
        begun = [item for item in self._model.items if item.state == "working"]
        for item in [item for item in begun if item.share < 1] or begun:  # or being written
            item.crashes += 1
            item.state = "failed"
            item.reason = self.tr("the worker ended while this photo was in hand")
        self._settle()
        self._enter("idle")
        text = self.tr("The work was interrupted: the worker ended unexpectedly. %s") % why
        if any(item.crashes >= CRASHES for item in self._model.items):
            text += " " + self.tr("A photo that ended it twice is left out from now on.")
        self.failed.emit(text, True)

    def _tell(self) -> None:
        self.moved.emit(self._clock.share, self._clock.left)


class _Clock:
    """How far a run is, in megapixels, and how long it will take."""

    def __init__(self) -> None:
        self._total = self._done = 0.0
        self._active = 0.0
        self._since: float | None = None
        self._paused = False

    def expect(self, megapixels: float) -> None:
        """There is so much to do."""
        self._total += megapixels

    def add(self, megapixels: float) -> None:
        """So much was done; time counts from the first of it on, when the model is loaded."""
        if self._since is None and not self._paused:
            self._since = time.monotonic()
        self._done += megapixels

    def pause(self, on: bool) -> None:
        """Time does not count, or counts again."""
        if on and self._since is not None:
            self._active += time.monotonic() - self._since
            self._since = None
        elif not on and self._done:
            self._since = time.monotonic()
        self._paused = on

    @property
    def share(self) -> float:
        """Share done."""
        return min(1.0, max(0.0, self._done / self._total)) if self._total else 0.0

    @property
    def left(self) -> float:
        """Seconds left; -1 if that cannot be said yet."""
        active = self._active + (time.monotonic() - self._since if self._since else 0.0)
        if active < 1.0 or self._done <= 0:
            return -1.0
        return max(0.0, (self._total - self._done) * active / self._done)


def sentence(event: dict[str, Any]) -> str:
    """What an error event says, for people."""
    where = f"{event['path']}: " if event.get("path") else ""
    hint = f" ({event['hint']})" if event.get("hint") else ""
    return f"{where}{event.get('what', '')}{hint}"
