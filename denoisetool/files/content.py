"""What a file holds, in a form that can be remembered and compared."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from denoisetool.errors import UnreadablePhoto

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """The content of a file: bytes, modification time in nanoseconds, and hash."""

    size: int
    mtime_ns: int
    digest: bytes


def digest(data: bytes) -> bytes:
    """The hash that the index uses (BLAKE2b, 256 bits)."""
    return hashlib.blake2b(data, digest_size=32).digest()


def digest_file(file: BinaryIO) -> tuple[int, bytes]:
    """Size and hash of an open file from its start; leaves it at its end."""
    file.seek(0)
    size, found = 0, hashlib.blake2b(digest_size=32)
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        found.update(chunk)
    return size, found.digest()


def identify(path: Path) -> Identity:
    """Read a photo's identity from the file.

    Raises:
        UnreadablePhoto: it cannot be read, or changes while it is read.
    """
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            size, found = digest_file(file)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise UnreadablePhoto(f"cannot be read: {error.strerror or error}", path=path) from error
    if (size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnreadablePhoto("the file is still being written", path=path, hint="try again later")
    return Identity(size, before.st_mtime_ns, found)
