"""The picture formats: bytes to `Photo` and back.

What a file is, its first bytes decide, never its name. The codec libraries are imported when a
photo is at hand, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from denoisetool.errors import DenoiseError, UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import _common
from denoisetool.formats.avif import Avif
from denoisetool.formats.base import EncodeOptions, Format, Limits
from denoisetool.formats.bmp import Bmp
from denoisetool.formats.jpeg import Jpeg
from denoisetool.formats.png import Png
from denoisetool.formats.signatures import advice, unsupported_kind
from denoisetool.formats.tiff import Tiff
from denoisetool.formats.webp import Webp
from denoisetool.photo import Photo

__all__ = [
    "FORMATS",
    "EncodeOptions",
    "Format",
    "Limits",
    "by_name",
    "by_suffix",
    "check",
    "decode",
    "encode",
    "read",
    "size",
    "sniff",
    "unsupported_kind",
]

FORMATS: tuple[Format, ...] = (Jpeg(), Png(), Tiff(), Webp(), Avif(), Bmp())
"""One instance of each family."""


def by_name(name: str) -> Format:
    """The format called `name` (`jpeg`, `png`, `tiff`, `webp`, `avif`, `bmp`).

    Raises:
        KeyError: there is none.
    """
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    raise KeyError(name)


def by_suffix(suffix: str) -> Format | None:
    """The format whose files end in `suffix` (with its dot, in any case), or None."""
    for candidate in FORMATS:
        if suffix.lower() in candidate.suffixes:
            return candidate
    return None


def sniff(head: bytes) -> Format | None:
    """The format of a file that starts with `head` (64 bytes or more), or None."""
    if unsupported_kind(head) is not None:
        return None
    for candidate in FORMATS:
        if candidate.sniff(head):
            return candidate
    return None


def decode(data: bytes, limits: Limits | None = None) -> Photo:
    """Decode a whole file of any supported format.

    Raises:
        UnreadablePhoto: empty, truncated, damaged, or not a picture.
        UnsupportedPhoto: a kind that is refused rather than mangled.
        PhotoTooLarge: more pixels than `limits` allows.
    """
    if not data:
        raise UnreadablePhoto("the file is empty")
    kind = unsupported_kind(data[:512])
    if kind is not None:
        raise UnsupportedPhoto(f"{kind} is not supported", hint=advice(kind))
    found = sniff(data[:512])
    if found is None:
        if not data[:4096].strip(b"\0"):
            raise UnreadablePhoto("the file holds only zeros")
        raise UnreadablePhoto("not a picture of a known kind")
    return found.decode(data, limits or Limits())


def read(path: Path, limits: Limits | None = None) -> Photo:
    """Decode the photo in a file.

    Raises:
        UnreadablePhoto, UnsupportedPhoto, PhotoTooLarge: as `decode`, with the path, and
            UnreadablePhoto where the file cannot be read at all.
    """
    try:
        return decode(path.read_bytes(), limits)
    except OSError as error:
        raise UnreadablePhoto(f"cannot be read: {error.strerror or error}", path=path) from error
    except DenoiseError as error:
        error.path = path
        raise


def size(data: bytes) -> tuple[int, int]:
    """(width, height) as stored, from the header at the start of `data`.

    Raises:
        UnreadablePhoto: not a picture of a known kind, or the header is not all there.
    """
    found = sniff(data[:512])
    if found is None:
        raise UnreadablePhoto("not a picture of a known kind")
    return found.size(data)


def check(photo: Photo, format_name: str, scale: int = 1) -> None:
    """Make sure, before any work is done, that a format can hold a photo.

    Args:
        photo: the photo.
        format_name: name of the format.
        scale: how many times larger on each side it will be by then.

    Raises:
        UnsupportedPhoto: it cannot hold this depth, alpha or size; the hint names one that can.
    """
    _common.check_holds(photo, by_name(format_name), scale)


def encode(
    photo: Photo, format_name: str, out: BinaryIO, options: EncodeOptions | None = None
) -> None:
    """Write `photo` in the format called `format_name` to `out`, an open, empty binary file.

    What the format cannot hold of the metadata is added to `photo.notes`.

    Raises:
        KeyError: no such format.
        UnsupportedPhoto: the format cannot hold this depth or alpha; the hint names one that can.
    """
    by_name(format_name).encode(photo, out, options or EncodeOptions())
