"""One watched folder: its ledger, what waits in it, and whether it is there at all."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from denoisetool import files
from denoisetool.errors import UsageError
from denoisetool.watch.ledger import Ledger, Stamp
from denoisetool.watch.observe import Observer, identity
from denoisetool.watch.scan import Scanner


@dataclass(frozen=True, slots=True)
class Options:
    """How to watch.

    Attributes:
        recursive: whether subfolders count.
        once: look once, do what is there, and end.
        settle: seconds for which a file must not change before it is taken for complete.
        poll: seconds between scans where no events come; None decides by the file system.
        archive: folder that originals are moved to once their output was verified.
        trash: whether they are put into the trash then.
        on_done: command to run for every finished photo.
        format: name of the format to write, None for each photo's own.
        suffixes: the endings of that format; () for none.
        name: template for names.
        scale: how many times larger results are on each side.
        overwrite: replace files of others that are in the way of an output.
        skip_existing: take them for the output.
        idle: seconds without work after which the model is unloaded.
    """

    recursive: bool = True
    once: bool = False
    settle: float = 2.0
    poll: float | None = None
    archive: Path | None = None
    trash: bool = False
    on_done: tuple[str, ...] = ()
    format: str | None = None
    suffixes: tuple[str, ...] = ()
    name: str | None = None
    scale: int = 1
    overwrite: bool = False
    skip_existing: bool = False
    idle: float = 300.0

    @property
    def steps(self) -> frozenset[str]:
        """What is to be done once a photo is."""
        steps = {"move"} if self.archive or self.trash else set()
        return frozenset(steps | ({"tell"} if self.on_done else set()))


@dataclass(slots=True)
class Pending:
    """A file that is not known to be complete yet.

    Attributes:
        stamp: its state at the last look; since: when it got it, by our own clock.
        closed: whether its writer is known to have closed it since.
    """

    stamp: Stamp
    since: float = field(default_factory=time.monotonic)
    closed: bool = False


class Folder:
    """A watched folder.

    Args:
        root: the folder, absolute.
        output: what `-o` says, or None.
        options: how to watch.
        ledger: its ledger.

    Attributes:
        where: where outputs go.
        scanner: finds photos in it.
        pending: files that are not known to be complete; the scout's alone.
        active: files that wait for the worker or are with it.
        observer: gives hints, if it can.
        present: whether the folder is there.
        polling: why it is scanned often instead of observed; empty if it is observed.
        due: when it is to be scanned next, by the monotonic clock.
    """

    def __init__(self, root: Path, output: str | None, options: Options, ledger: Ledger) -> None:
        self.root, self.options, self.ledger = root, options, ledger
        self.where = destination(root, output, options)
        exclude = self.where.exclude
        if options.archive is not None:
            exclude = (*exclude, options.archive)
        self.scanner = Scanner(root, exclude, options.recursive, self._known)
        self.pending: dict[Path, Pending] = {}
        self.active: set[Path] = set()
        self.observer: Observer | None = None
        self.present = identity(root) is not None
        self.polling = ""
        self.due = 0.0
        self.checked = 0.0
        self.scans = 0

    @property
    def output(self) -> Path:
        """The folder that outputs go to."""
        return output_folder(self.where)

    def relative(self, path: Path) -> Path:
        """A file's place below the folder: its name in the ledger."""
        return path.relative_to(self.root)

    def _known(self, path: Path, stamp: Stamp) -> bool:
        """Whether a file needs no look in this state."""
        if path in self.active:
            return True  # looked at once more when its outcome is there
        pending = self.pending.get(path)
        if pending is not None:
            return pending.stamp == stamp
        row = self.ledger.get(self.relative(path))
        return row is not None and row.stamp == stamp and row.state in ("done", "failed")


def output_folder(where: files.Destination) -> Path:
    """The folder that the outputs of a watched folder go to, named or its neighbour."""
    return where.folder or where.exclude[0]


def destination(root: Path, output: str | None, options: Options) -> files.Destination:
    """Where the outputs of a watched folder go.

    Raises:
        UsageError: no folder, or a place from which outputs would be watched again.
    """
    where = files.destination([root], output)
    hint = "give another folder with -o"
    if where.file is not None:
        raise UsageError("the results of a watch go to a folder", path=where.file, hint=hint)
    folder = output_folder(where).absolute()
    real, inside = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
    if inside.is_relative_to(real):
        what = "the results would land in the watched folder and be watched again"
        raise UsageError(what, path=folder, hint=hint)
    archive = options.archive
    if archive is not None:
        kept = Path(os.path.realpath(archive))
        if inside.is_relative_to(kept) or real.is_relative_to(kept) or kept.is_relative_to(real):
            what = (
                "the archive must not hold the watched folder, nor share a place with the results"
            )
            raise UsageError(what, path=archive, hint="give another folder with --archive")
    if where.folder is not None:
        return files.Destination(folder=folder, exclude=(folder,))
    return where
