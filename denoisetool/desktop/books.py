"""Writing an entry, taking it away, and the list of what was written.

The list holds a checksum for every file, and the folders that were made for them. What is not on
it, or was changed since, is somebody else's: it is neither replaced nor removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from denoisetool import settings
from denoisetool.desktop.entries import Entry
from denoisetool.errors import OutputError, OutputExists
from denoisetool.files import atomic_write, errors_told

State = Literal["installed", "outdated", "changed", "missing", "foreign", "none"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of an entry, and how it stands.

    Attributes:
        path: the file.
        state: ours as it would be written now; ours, of another place or version; ours, but
            changed by somebody; ours, but gone; not ours; not there.
    """

    path: Path
    state: State


@dataclass(slots=True)
class _Books:
    """The list on the disk.

    Attributes:
        files: checksum by file; folders: those that were made for them, outermost first.
        command: what the entry starts.
    """

    path: Path
    files: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @classmethod
    def open(cls) -> _Books:
        path = settings.folder("data") / "desktop.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(data["files"]), list(data["folders"]), list(data["command"]))
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"the list of what was installed cannot be read: {error}"
            raise OutputError(what, path=path, hint="remove it, and the entry by hand") from error

    def save(self) -> None:
        if not self.files and not self.folders:
            with errors_told(self.path):
                self.path.unlink(missing_ok=True)
            return
        data = {"files": self.files, "folders": self.folders, "command": self.command}
        with atomic_write(self.path, overwrite=True) as out:
            out.write(json.dumps(data, indent=1).encode())

    def state(self, path: Path) -> State:
        """How a file stands, as far as the list knows."""
        known = self.files.get(str(path))
        if not path.is_symlink() and not path.exists():
            return "missing" if known else "none"
        if known is None:
            return "foreign"
        return "installed" if _digest(path) == known else "changed"


def install(entry: Entry) -> list[Path]:
    """Write an entry's files; those of an earlier install are brought up to date.

    Returns:
        The files that are there now.

    Raises:
        OutputExists: a file of that name is somebody else's; then nothing is written at all.
        OutputError: a file cannot be made or written.
    """
    books = _Books.open()
    made = [(path, make()) for path, make in entry.files]
    for path, content in made:
        ours = books.state(path) in ("none", "missing", "installed")
        if not ours and _digest(path) != _hash(content):
            raise OutputExists(
                "a file that this program did not write is in the way", path=path,
                hint="look at it, and move it away or remove it",
            )  # fmt: skip
    books.command = list(entry.command)
    for path, content in made:
        missing = [str(p) for p in reversed(path.parents) if not p.exists()]
        books.folders += [folder for folder in missing if folder not in books.folders]
        if books.state(path) != "installed":  # a kill must not leave a file that is not listed
            books.files[str(path)] = _hash(content)
            books.save()
        with atomic_write(path, overwrite=True) as out:
            out.write(content)
        books.files[str(path)] = _hash(content)
        books.save()
    _refresh(entry)
    return [path for path, _ in made]


def remove(entry: Entry) -> list[Piece]:
    """Remove what `install` wrote, and the folders it made where they are empty.

    Returns:
        What was removed, as `installed`, and what was left because somebody changed it.
    """
    books = _Books.open()
    found = [Piece(Path(name), books.state(Path(name))) for name in books.files]
    for piece in found:
        if piece.state == "installed":
            with errors_told(piece.path):
                piece.path.unlink()
        del books.files[str(piece.path)]
    for folder in map(Path, reversed(books.folders)):
        with contextlib.suppress(OSError):  # in use by others
            if set(folder.iterdir()) <= set(entry.caches):  # of nothing any more
                for cache in folder.iterdir():
                    cache.unlink()
            folder.rmdir()
    books.folders = []
    books.save()
    if found:
        _refresh(entry)
    return [piece for piece in found if piece.state in ("installed", "changed")]


def status(entry: Entry) -> list[Piece]:
    """How the files stand: those on the list, and those that an install would write."""
    books = _Books.open()
    wanted = dict(entry.files)
    pieces = []
    for path in dict.fromkeys([*map(Path, books.files), *wanted]):
        state = books.state(path)
        if state == "installed" and not _is_current(path, entry, books):
            state = "outdated"
        pieces.append(Piece(path, state))
    return pieces


def _is_current(path: Path, entry: Entry, books: _Books) -> bool:
    """Whether a file of ours is what would be written now."""
    make = dict(entry.files).get(path)
    if make is None or books.command != list(entry.command):
        return False
    return path.suffix == ".lnk" or _digest(path) == _hash(make())  # no two shortcuts are alike


def _refresh(entry: Entry) -> None:
    """Have the desktop look again; it does so by itself too, only later."""
    for command in entry.refresh:
        if shutil.which(command[0]):
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(command, capture_output=True, check=False, timeout=30)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(path: Path) -> str | None:
    """The checksum of a file; None of what is no file, or cannot be read."""
    try:
        return None if path.is_symlink() else _hash(path.read_bytes())
    except OSError:
        return None
