"""From the names on the command line to the photos behind them, one at a time.

The rules, in the order in which they are applied:

- Inputs are taken as given; inside a folder the photos come first, then its subfolders, both in
  natural order (`img2` before `img10`). Links to folders come last of all, so that a folder is
  known by its own name wherever it has one.
- The same file or folder is listed once, however often it is reached (`photos photos/sub`, a link
  back up): the first time wins. A link to a file is a name of its own and is listed.
- Excluded folders, which is where the output goes, are never entered, not even when named.
- Inside a folder, hidden files, system junk, our own temporary files, pipes and devices, and files
  that are no picture are skipped quietly; what a name says does not count, the content does.
- A file inside a folder is a problem, and is reported, if its name ends like a photo and its
  content is none, if it is a kind of picture we refuse, or if it cannot be read.
- A file that was named is never skipped quietly: it is a source or a problem.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from denoisetool.errors import DenoiseError, UnreadablePhoto, UnsupportedPhoto
from denoisetool.files.atomic import is_temporary
from denoisetool.files.names import PHOTO_SUFFIXES, fold, natural_key, split_suffix

HEAD_BYTES = 65_536
"""How much of a file is read to tell what it is."""

_JUNK = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r"),
        *("@eadir", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "lost+found"),
        "system volume information",
    }
)
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that took the file's place must not block us
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

Sniff = Callable[[bytes], str | None]
Known = Callable[[Path, os.stat_result], bool]
_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Source:
    """One photo to be done.

    Attributes:
        path: where it is, spelled as the user spelled it.
        relative: its place below the input folder; for a file that was named, the file's name.
        root: the input folder it was found in; None for a file that was named.
        format: what `sniff` called its content.
        size: bytes.
        mtime_ns: time of last modification in nanoseconds.
        device: number of the device the file is on; with `inode` it tells files apart.
        inode: number of the file on its device.
    """

    path: Path
    relative: Path
    root: Path | None
    format: str
    size: int
    mtime_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder passed over on purpose, and why in a few words."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or folder that should have been done and cannot be."""

    path: Path
    error: DenoiseError


Found = Source | Skipped | Problem


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder waiting to be read: as spelled, below which root, and where it really is."""

    path: Path
    relative: Path
    root: Path
    real: str


@dataclass(slots=True)
class _Walker:
    """The state of one walk."""

    sniff: Sniff
    unsupported: Sniff
    exclude: frozenset[str]
    recursive: bool = True
    known: Known | None = None
    seen: set[_Key] = field(default_factory=set)
    links: deque[_Folder] = field(default_factory=deque)

    def named(self, path: Path) -> Iterator[Found]:
        """Everything behind one name on the command line."""
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            yield Problem(path, _unreadable(path, error))
            return
        if stat.S_ISDIR(status.st_mode):
            real = os.path.realpath(path)
            yield from self.tree(_Folder(path, Path(), path, real))
        else:
            real = os.path.realpath(path.parent)
            yield self.file(path, Path(path.name), None, real)

    def tree(self, top: _Folder) -> Iterator[Found]:
        """All files below a folder; links to folders are put off to the end of the walk."""
        stack = [top]
        while stack:
            folder = stack.pop()
            refusal = self.refuse(folder)
            if refusal is not None:
                yield refusal
                continue
            try:
                with os.scandir(folder.path) as entries:
                    listing = sorted(entries, key=lambda entry: natural_key(entry.name))
            except OSError as error:
                yield Problem(folder.path, _unreadable(folder.path, error, "folder"))
                continue
            below: list[_Folder] = []
            for entry in listing:
                yield from self.entry(entry, folder, below)
            stack.extend(reversed(below))

    def refuse(self, folder: _Folder) -> Found | None:
        """Why a folder is not entered; None, and it is marked as entered, if it is."""
        if os.path.normcase(folder.real) in self.exclude:
            return Skipped(folder.path, "the output goes there")
        try:
            status = folder.path.stat()
        except OSError as error:
            return Problem(folder.path, _unreadable(folder.path, error, "folder"))
        return None if self.first(folder.real, status) else Skipped(folder.path, "listed already")

    def first(self, real: str, status: os.stat_result) -> bool:
        """Whether this is the first time that a file or folder is met.

        Place and number together decide: the number makes two spellings one on a disk that ignores
        case, the place keeps hard links apart, and links of disks that number badly.
        """
        key = (fold(real), status.st_dev, status.st_ino)
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def entry(
        self, entry: os.DirEntry[str], folder: _Folder, below: list[_Folder]
    ) -> Iterator[Found]:
        """One name found inside a folder; subfolders go to `below`."""
        path = folder.path / entry.name
        reason = _quiet(entry.name)
        if reason is not None:
            yield Skipped(path, reason)
            return
        try:
            if not self.recursive and entry.is_dir():
                yield Skipped(path, "a folder")
                return
            if not entry.is_dir():
                yield self.file(path, folder.relative / entry.name, folder.root, folder.real)
                return
            link = _is_link(entry)
        except OSError as error:  # a loop of links, or a disk that went away
            yield Problem(path, _unreadable(path, error))
            return
        real = os.path.realpath(path) if link else _join(folder.real, entry.name)
        if link and self.leads_to_output(real, folder.root):
            yield Skipped(path, "the output goes there")
            return
        found = _Folder(path, folder.relative / entry.name, folder.root, real)
        (self.links if link else below).append(found)

    def leads_to_output(self, real: str, root: Path) -> bool:
        """Whether a link leads into an excluded folder that its own root is not in."""
        target, start = Path(real), Path(os.path.realpath(root))
        folders = (Path(folder) for folder in self.exclude)
        return any(target.is_relative_to(f) and not start.is_relative_to(f) for f in folders)

    def file(self, path: Path, relative: Path, root: Path | None, real_folder: str) -> Found:
        """One file, opened and looked at."""
        try:
            own = path.lstat()
            link = stat.S_ISLNK(own.st_mode)
            status = path.stat() if link else own
            mode = status.st_mode
            if not self.first(_join(real_folder, path.name), own):
                return Skipped(path, "listed already")
            if not stat.S_ISREG(mode):
                return _not_a_file(path, mode, named=root is None)
            if self.known is not None and self.known(path, status):
                return Skipped(path, "known")
            head, status = _read_head(path)
        except FileNotFoundError as error:
            if root is None or os.path.islink(path):  # noqa: PTH114
                return Problem(path, _unreadable(path, error))
            return Skipped(path, "gone meanwhile")
        except (OSError, ValueError) as error:
            return Problem(path, _unreadable(path, error))
        if not stat.S_ISREG(status.st_mode):
            return _not_a_file(path, status.st_mode, named=root is None)
        return self.judge(path, relative, root, head, status)

    def judge(
        self, path: Path, relative: Path, root: Path | None, head: bytes, status: os.stat_result
    ) -> Found:
        """Source, problem or nothing of ours, by content."""
        refused = self.unsupported(head) if head else None
        if refused is not None:
            return Problem(path, UnsupportedPhoto(f"not supported: {refused}", path=path))
        kind = self.sniff(head) if head else None
        if kind is not None:
            return Source(
                path=path,
                relative=relative,
                root=root,
                format=kind,
                size=status.st_size,
                mtime_ns=status.st_mtime_ns,
                device=status.st_dev,
                inode=status.st_ino,
            )
        expected = split_suffix(path.name)[1].lower() in PHOTO_SUFFIXES
        if root is not None and not expected:
            return Skipped(path, "not a picture" if head else "empty")
        if not head:
            return Problem(path, UnreadablePhoto("the file is empty", path=path))
        if expected:
            what = "the content is not an image, whatever the name says"
            return Problem(path, UnreadablePhoto(what, path=path))
        return Problem(path, UnsupportedPhoto("not a picture of a known kind", path=path))


def walk(
    inputs: Sequence[Path],
    *,
    sniff: Sniff,
    unsupported: Sniff,
    exclude: Sequence[Path] = (),
    recursive: bool = True,
    known: Known | None = None,
) -> Iterator[Found]:
    """Find the photos behind files and folders; the module's docstring has the rules.

    Nothing is raised for a file or folder, whatever is wrong with it. Memory grows with the number
    of files only by a key of each, and one folder's listing.

    Args:
        inputs: files and folders, in the user's order.
        sniff: the name of the format of a file that starts with these bytes (at most `HEAD_BYTES`,
            never empty), or None.
        unsupported: what kind of picture a file that starts with these bytes is, if it is one that
            we refuse (`GIF animation`, `camera raw`); asked before `sniff`, and wins.
        exclude: folders never to enter; they need not exist.
        recursive: whether subfolders are entered.
        known: files it says yes to, by path and state, are skipped without being opened.

    Yields:
        One `Source`, `Skipped` or `Problem` per file, and per folder that is not entered.
    """
    walker = _Walker(sniff, unsupported, _excluded(exclude), recursive, known)
    for path in inputs:
        yield from walker.named(path)
    while walker.links:
        yield from walker.tree(walker.links.popleft())


def look(
    path: Path,
    root: Path,
    *,
    sniff: Sniff,
    unsupported: Sniff,
    exclude: Sequence[Path] = (),
    known: Known | None = None,
) -> Found:
    """One file below an input folder, judged as `walk` would; the arguments are the same.

    Raises:
        ValueError: the file is not below the folder.
    """
    reason = passed_over(path, root, exclude)
    if reason is not None:
        return Skipped(path, reason)
    walker = _Walker(sniff, unsupported, _excluded(exclude), known=known)
    return walker.file(path, path.relative_to(root), root, os.path.realpath(path.parent))


def passed_over(path: Path, root: Path, exclude: Sequence[Path] = ()) -> str | None:
    """Why a walk through `root` would not come to this file or folder; None if it would.

    Raises:
        ValueError: the path is not below the folder.
    """
    for part in path.relative_to(root).parts:
        reason = _quiet(part)
        if reason is not None:
            return reason
    real = Path(os.path.normcase(os.path.realpath(path.parent))) / os.path.normcase(path.name)
    if any(real.is_relative_to(folder) for folder in _excluded(exclude)):
        return "the output goes there"
    return None


def _excluded(folders: Sequence[Path]) -> frozenset[str]:
    """Folders by their real names, so that any spelling finds them."""
    return frozenset(os.path.normcase(os.path.realpath(path)) for path in folders)


def _quiet(name: str) -> str | None:
    """Why a name inside a folder is passed over without a look; None if it is not."""
    if is_temporary(name):
        return "unfinished file of an earlier run"
    if name.lower() in _JUNK:
        return "system file"
    return "hidden" if name.startswith(".") else None


def _join(folder: str, name: str) -> str:
    """A path as text, quicker than by way of a `Path`."""
    return os.path.join(folder, name)  # noqa: PTH118


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Whether a folder is a link of any kind, a junction of Windows included."""
    if entry.is_symlink():
        return True
    if os.name != "nt":
        return False
    return bool(getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0))


def _read_head(path: Path) -> tuple[bytes, os.stat_result]:
    """The first bytes of a file and its state; empty if it is no regular file (any more)."""
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        status = os.fstat(descriptor)
        head = os.read(descriptor, HEAD_BYTES) if stat.S_ISREG(status.st_mode) else b""
        return head, status
    finally:
        os.close(descriptor)


def _not_a_file(path: Path, mode: int, *, named: bool) -> Found:
    """A pipe, socket or device: never opened."""
    if stat.S_ISDIR(mode):
        return Skipped(path, "gone meanwhile")
    kinds = ((stat.S_ISFIFO, "named pipe"), (stat.S_ISSOCK, "socket"))
    what = next((word for test, word in kinds if test(mode)), "device")
    if named:
        return Problem(path, UnsupportedPhoto(f"a {what}, not a file", path=path))
    return Skipped(path, what)


def _unreadable(path: Path, error: OSError | ValueError, noun: str = "file") -> UnreadablePhoto:
    """The reason a path cannot be read, in the user's words."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT and os.path.islink(path):  # noqa: PTH114
        return UnreadablePhoto("a link to something that is not there", path=path)
    if code == errno.ELOOP:
        return UnreadablePhoto("a link that leads back to itself", path=path)
    if code in (errno.ENOENT, errno.ENOTDIR):
        return UnreadablePhoto("no such file or folder", path=path)
    if code in (errno.EACCES, errno.EPERM):
        return UnreadablePhoto(f"no permission to read this {noun}", path=path)
    if code == errno.ENAMETOOLONG:
        return UnreadablePhoto("the path is too long for this system", path=path)
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UnreadablePhoto(f"cannot be read: {detail}", path=path)
