"""Times in which nothing can be begun: no room for outputs, no model, no worker."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

FIRST, LONGEST = 1.0, 30.0
"""Seconds between two tries."""


@dataclass(slots=True)
class Pause:
    """Whether there is such a time, and until when.

    Attributes:
        kind: a stable word; empty while there is none.
        folder: the folder that must take a file again first; None if only time must pass.
        size: of that file.
        seconds: how long it was the last time; 0 once a photo was done again.
        until: the end of the present one, by the monotonic clock.
    """

    kind: str = ""
    folder: Path | None = None
    size: int = 0
    seconds: float = 0.0
    until: float = 0.0

    def begin(self, kind: str, folder: Path | None = None, size: int = 0) -> None:
        """Pause, for twice as long as the last time."""
        self.kind, self.folder, self.size = kind, folder, size
        self._lengthen()

    def over(self) -> bool:
        """Whether work can go on; looks again when it is time to."""
        if self.kind:
            if time.monotonic() < self.until:
                return False
            if self.folder is not None and not takes(self.folder, self.size):
                self._lengthen()
                return False
            self.kind = ""
        return True

    def forget(self) -> None:
        """A photo was done: the next pause is a short one again."""
        self.seconds = 0.0

    def _lengthen(self) -> None:
        self.seconds = min(max(self.seconds * 2, FIRST), LONGEST)
        self.until = time.monotonic() + self.seconds


def takes(folder: Path, size: int) -> bool:
    """Whether a folder, or the nearest one that is there, takes a file about twice this size."""
    place = folder
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            left = 2 * size + 16_384
            while left > 0:
                left -= file.write(b"\1" * min(left, 1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    return True
