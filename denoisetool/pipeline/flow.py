"""What the stages of the pipeline share: jobs, items on their way, room for them, and the blame."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from denoisetool import files
from denoisetool.denoiser import Report, Rest
from denoisetool.errors import UnreadablePhoto
from denoisetool.events import Outcome
from denoisetool.photo import Photo


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to be done.

    Attributes:
        source: the photo.
        target: the file to write.
        format: name of the format to write, None for the photo's own.
        overwrite: whether an existing target may be replaced.
        megapixels: its size as far as it is known beforehand, for progress.
        scale: how many times larger its result will be on each side, for those who plan.
        skip_existing: whether a target that appears meanwhile is left, which is no failure then.
    """

    source: Path
    target: Path
    format: str | None = None
    overwrite: bool = False
    megapixels: float = 0.0
    scale: int = 1
    skip_existing: bool = False


Progress = Callable[[Job, float], None]
"""Called with a job and the share of it that the model has done, 0..1."""


class StoppedError(Exception):
    """The run is over; whoever waits gives up."""


class Budget:
    """Admits photos in order while their megapixels fit; a larger one waits to be alone.

    Whoever has the turn finds out how large its photo is, takes room for it, and passes the turn
    on. So the first in order gets the room, and at most one photo of unknown size is in memory.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._used = 0.0
        self._next = 0
        self._closed = False
        self._change = threading.Condition()

    @contextmanager
    def turn(self, ticket: int) -> Iterator[None]:
        """Wait for this ticket's turn; pass it on at the end. Raises StoppedError."""
        self._wait(lambda: ticket == self._next)
        try:
            yield
        finally:
            with self._change:
                self._next += 1
                self._change.notify_all()

    def take(self, megapixels: float) -> float:
        """Wait for room and take it; only who has the turn may. Raises StoppedError.

        Returns:
            Seconds waited.
        """
        started = time.perf_counter()
        self._wait(lambda: self._used <= 1e-9 or self._used + megapixels <= self._limit)
        with self._change:
            self._used += megapixels
        return time.perf_counter() - started

    def entered(self) -> bool:
        """Wait for the end of the first turn; whether any photo has room then. Raises StoppedError.

        What was refused at its header, or is there already, takes none.
        """
        self._wait(lambda: self._next > 0)
        return self._used > 0

    def release(self, megapixels: float) -> None:
        """Give room back."""
        with self._change:
            self._used -= megapixels
            self._change.notify_all()

    def close(self) -> None:
        """End all waiting."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _wait(self, until: Callable[[], bool]) -> None:
        with self._change:
            self._change.wait_for(lambda: self._closed or until())
            if self._closed:
                raise StoppedError


@dataclass(slots=True)
class Item:
    """A photo on its way through."""

    job: Job
    outcome: Outcome
    photo: Photo | None = None
    rest: Rest | None = None
    report: Report | None = None
    identity: files.Identity | None = None
    admitted: float = 0.0

    @property
    def begun(self) -> bool:
        """Whether nothing has spoken against doing it so far."""
        return self.outcome.status == "done"

    def finish(self, alone: bool) -> None:
        """What is left of denoising once the model has done its part, see `Denoises.begin`."""
        rest, self.rest = self.rest, None
        if rest is not None:
            self.report = rest(alone)


def note(outcome: Outcome, report: Report, photo: Photo) -> None:
    """Put down in an outcome what denoising did to its photo."""
    outcome.scale, outcome.width, outcome.height = report.scale, photo.width, photo.height
    outcome.noise = None if report.noise is None else round(report.noise, 3)
    outcome.noise_kind = report.kind
    outcome.model = report.model
    outcome.changed, outcome.clean = report.changed, report.clean
    outcome.shift_mean = round(report.shift_mean, 4)
    outcome.shift_p95 = round(report.shift_p95, 4)


@contextmanager
def stage(item: Item) -> Iterator[None]:
    """Take the time; whatever goes wrong inside belongs to this photo and ends up in its outcome.

    Only what is no Exception at all, such as KeyboardInterrupt, goes through.
    """
    started = time.perf_counter()
    try:
        yield
    except Exception as error:  # noqa: BLE001 - one bad photo costs one photo
        item.photo = item.rest = item.report = None
        item.outcome.fail(error)
    finally:
        item.outcome.seconds += time.perf_counter() - started


@contextmanager
def open_photo(path: Path) -> Iterator[BinaryIO]:
    """Open a photo, and tell what is wrong with reading it in the user's words."""
    try:
        with open(path, "rb", opener=_without_blocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadablePhoto("this is no file any more", hint="run again")
            yield file
    except FileNotFoundError as error:
        raise UnreadablePhoto("the file is gone; it was there when the run began") from error
    except OSError as error:
        hint = "check the disk and the permissions, then run again"
        raise UnreadablePhoto(f"cannot be read: {error.strerror or error}", hint=hint) from error


def _without_blocking(path: str, flags: int) -> int:
    """A pipe that took a photo's place meanwhile must not block us."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
