"""Take a model out of a folder, a .zip or a .tar.gz, and nothing else with it."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from denoisetool.errors import ModelError
from denoisetool.modelcard import CARD_FILE, RECIPE_FILE, WEIGHTS_FILE
from denoisetool.registry import disk

MAX_WEIGHTS = 2 << 30
MAX_OTHER = 32 << 20
MAX_MEMBERS = 1000
LIMITS = {CARD_FILE: 1 << 20, WEIGHTS_FILE: MAX_WEIGHTS} | dict.fromkeys(
    (
        RECIPE_FILE,
        *("README", "README.md", "README.txt", "LICENSE", "LICENSE.md", "LICENSE.txt"),
        *("report.html", "log.jsonl", "train.log"),
    ),
    MAX_OTHER,
)
"""The files of a model that are taken, and how many bytes each may have."""

PRIVATE = ("report.html", "log.jsonl", "train.log")
"""Files that are not passed on in a pack made here."""

_CHUNK = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError,
    ValueError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of a pack: its path in it, its announced size in bytes, and how to open it."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def copy_model(source: Path, into: Path) -> None:
    """Copy the known files of a model folder or pack into the existing empty folder `into`.

    Raises:
        ModelError: no model in it, a damaged pack, or one with links, paths that lead out of it,
            or files beyond `LIMITS`. Nothing outside `into` is ever written.
        OutputError: `into` cannot be written.
    """
    try:
        if source.is_dir():
            _take(list(_folder_members(source)), into, source)
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                _take(list(_zip_members(archive, source)), into, source)
        elif tarfile.is_tarfile(source):
            with tarfile.open(source, "r:*") as tar:
                _take(list(_tar_members(tar, source)), into, source)
        else:
            raise ModelError("neither a model folder nor a .zip or .tar.gz pack", path=source)
    except _DAMAGED as error:
        raise ModelError(f"the model pack is damaged: {error}", path=source) from error
    except OSError as error:
        raise ModelError(f"the model cannot be read: {error}", path=source) from error


def write(folder: Path, name: str, out: IO[bytes]) -> None:
    """Write the known files of a model folder as a .zip, in a folder called `name`.

    The same model gives the same bytes: members carry no times. Logs and reports stay at home:
    they may show the user's photos.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for known in LIMITS:
            if known in PRIVATE or not (folder / known).is_file():
                continue
            member = zipfile.ZipInfo(f"{name}/{known}")
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, (folder / known).read_bytes())


def _folder_members(folder: Path) -> Iterator[_Member]:
    for name in LIMITS:
        path = folder / name
        if path.is_file():

            def reader(path: Path = path) -> IO[bytes]:
                return path.open("rb")

            yield _Member(PurePosixPath(name), path.stat().st_size, reader)


def _zip_members(archive: zipfile.ZipFile, source: Path) -> Iterator[_Member]:
    for info in archive.infolist():
        path = _safe_path(info.filename, source)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(f"{info.filename!r} is a link or a device", source)
        if not info.is_dir():

            def reader(info: zipfile.ZipInfo = info) -> IO[bytes]:
                return archive.open(info)

            yield _Member(path, info.file_size, reader)


def _tar_members(tar: tarfile.TarFile, source: Path) -> Iterator[_Member]:
    total = 0
    for count, info in enumerate(tar):
        if count >= MAX_MEMBERS:
            raise _refused("it has too many files", source)
        path = _safe_path(info.name, source)
        if not (info.isreg() or info.isdir()):
            raise _refused(f"{info.name!r} is a link or a device", source)
        total += info.size
        if total > 2 * MAX_WEIGHTS:  # before reading on: even skipping a member unpacks it
            raise _refused("it is too large", source)
        if info.isreg():

            def reader(info: tarfile.TarInfo = info) -> IO[bytes]:
                file = tar.extractfile(info)
                assert file is not None  # it is a regular file
                return file

            yield _Member(path, info.size, reader)


def _safe_path(name: str, source: Path) -> PurePosixPath:
    """The member's path. Raises ModelError unless it stays inside the pack on every system."""
    path = PurePosixPath(name)
    bad = path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0")
    if bad:
        raise _refused(f"{name!r} leads out of it", source)
    return path


def _refused(why: str, source: Path) -> ModelError:
    return ModelError(f"the model pack is refused: {why}", path=source)


def _take(members: list[_Member], into: Path, source: Path) -> None:
    """Write the files that lie beside the one model card."""
    if len(members) > MAX_MEMBERS:
        raise _refused("it has too many files", source)
    homes = [m.path.parent for m in members if m.path.name == CARD_FILE and len(m.path.parts) <= 2]
    if len(homes) != 1:
        found = "no model" if not homes else "more than one model"
        raise ModelError(f"{found} in it ({CARD_FILE} tells a model)", path=source)
    taken = [m for m in members if m.path.parent == homes[0] and m.path.name in LIMITS]
    if len({m.path.name for m in taken}) < len(taken):
        raise _refused("it has a file twice", source)
    for member in taken:
        if member.size > LIMITS[member.path.name]:
            raise _refused(f"{member.path.name} is too large ({member.size} bytes)", source)
        with member.open() as file:
            _write(file, into / member.path.name, member.size, source)


def _write(file: IO[bytes], target: Path, size: int, source: Path) -> None:
    """Copy exactly `size` bytes: a member that unpacks to more than announced is refused."""
    left = size
    with target.open("xb", buffering=0) as out:
        while chunk := file.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise _refused(f"{target.name} is larger than announced", source)
            with disk.writing(target):
                disk.write_all(out, chunk)
    if left:
        raise ModelError(f"the model pack is damaged: {target.name} is cut short", path=source)
