"""Looking through a watched folder, by the rules of every command, opening only what is new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from denoisetool import files, formats
from denoisetool.errors import DenoiseError
from denoisetool.watch.ledger import Stamp

UNFINISHED = frozenset(
    {
        *(".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload"),
        *(".tmp", ".temp", ".unfinished", ".incomplete", ".aria2", ".!qb", ".!ut", ".swp"),
    }
)
"""Endings that programs give to what they are still writing; the file counts once it is renamed."""

Known = Callable[[Path, Stamp], bool]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A photo, or what should be one, in a watched folder.

    Attributes:
        path: where it is.
        stamp: its state when it was looked at.
        source: for the plan of its output; None where `error` tells why it cannot be done.
    """

    path: Path
    stamp: Stamp
    source: files.Source | None = None
    error: DenoiseError | None = None


@dataclass(slots=True)
class Scanner:
    """Finds photos in one folder.

    Attributes:
        root: the watched folder.
        exclude: folders in it that outputs or originals go to.
        recursive: whether subfolders count.
        known: whether a file, in this state, needs no look.
        troubles: folders that could not be read at the last look, with the reason.
    """

    root: Path
    exclude: tuple[Path, ...]
    recursive: bool
    known: Known
    troubles: dict[Path, str] = field(default_factory=dict)
    _no_photos: dict[Path, Stamp] = field(default_factory=dict)
    _stamps: dict[Path, Stamp] = field(default_factory=dict)

    def everything(self) -> Iterator[Sighting]:
        """What the whole folder holds that is not known."""
        self.troubles.clear()
        yield from self._walk(self.root)

    def below(self, folder: Path) -> Iterator[Sighting]:
        """The same for one of its subfolders, where a walk would come to it."""
        if not self.recursive or files.passed_over(folder, self.root, self.exclude):
            return
        yield from self._walk(folder)

    def one(self, path: Path, *, again: bool = False) -> Sighting | None:
        """One file; None if it is no photo, gone, or known.

        Args:
            path: the file.
            again: look also at what is known.
        """
        if not self.recursive and path.parent != self.root:
            return None
        found = files.look(
            path, self.root, sniff=_sniff, unsupported=formats.unsupported_kind,
            exclude=self.exclude, known=self._note_stamp if again else self._pass_over,
        )  # fmt: skip
        return self._sighting(found)

    def _walk(self, top: Path) -> Iterator[Sighting]:
        for found in files.walk(
            [top], sniff=_sniff, unsupported=formats.unsupported_kind, exclude=self.exclude,
            recursive=self.recursive, known=self._pass_over,
        ):  # fmt: skip
            sighting = self._sighting(found)
            if sighting is not None:
                yield sighting

    def _sighting(self, found: files.Found) -> Sighting | None:
        # The stamp is from before the look: what is written meanwhile makes another one.
        path, stamp = found.path, self._stamps.pop(found.path, None)
        self._stamps.clear()
        if stamp is None:
            if isinstance(found, files.Problem) and os.path.isdir(path):  # noqa: PTH112
                self.troubles[path] = found.error.what
            return None
        if isinstance(found, files.Source):
            source = replace(found, root=self.root, relative=path.relative_to(self.root))
            return Sighting(path, stamp, source)
        if isinstance(found, files.Problem):
            return Sighting(path, stamp, error=found.error)
        if found.reason in ("not a picture", "empty"):
            self._no_photos[path] = stamp
        return None

    def _note_stamp(self, path: Path, status: os.stat_result) -> bool:
        """Called before a file is opened; no file is passed over."""
        self._stamps[path] = Stamp.of(status)
        return False

    def _pass_over(self, path: Path, status: os.stat_result) -> bool:
        """Whether a file needs no look."""
        if path.suffix.lower() in UNFINISHED or path.name.endswith("~"):
            return True
        stamp = Stamp.of(status)
        if self._no_photos.get(path) == stamp or self.known(path, stamp):
            return True
        return self._note_stamp(path, status)


def _sniff(head: bytes) -> str | None:
    found = formats.sniff(head)
    return None if found is None else found.name
