"""The little that has to be known about EXIF blocks: they travel as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from denoisetool.formats import ifd

PREFIX = b"Exif\0\0"
"""What JPEG (and some WebP and AVIF writers) put before the TIFF-structured block."""

_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def without_prefix(exif: bytes | None) -> bytes | None:
    """The TIFF-structured block itself; None for an empty one."""
    if exif is not None and exif.startswith(PREFIX):
        exif = exif[len(PREFIX) :]
    return exif or None


def orientation_of(exif: bytes | None, xmp: bytes | None = None) -> int:
    """The orientation (1..8) a viewer applies: EXIF's, else the one in XMP, else 1.

    A block that cannot be read, or an orientation out of range, counts as upright: a metadata
    problem never costs the picture.
    """
    if exif:
        try:
            reader = ifd.Reader(exif)
            found = reader.numbers(reader.directory(reader.first).entries.get(ifd.ORIENTATION))
        except ValueError:
            found = ()
        if found:
            return found[0] if 1 <= found[0] <= 8 else 1
    match = _XMP_ORIENTATION.search(xmp) if xmp else None
    return int(match[1]) if match else 1


_MAKE, _MODEL = 271, 272
_EXPOSURE, _ISO, _TAKEN, _TAKEN_FRACTION = 33434, 34855, 36867, 37521


@dataclass(frozen=True, slots=True)
class Shot:
    """How a photo was taken, as far as its EXIF block tells; None where it does not.

    Attributes:
        camera: maker and model in one text, such as `Canon EOS 5D`.
        iso: sensitivity.
        seconds: exposure time.
        taken: local time by the camera's clock.
    """

    camera: str | None = None
    iso: int | None = None
    seconds: float | None = None
    taken: datetime | None = None


def shot(exif: bytes | None) -> Shot:
    """How a photo was taken. Tags as in EXIF 2.32; a damaged block tells nothing."""
    try:
        reader = ifd.Reader(exif or b"")
        main = reader.directory(reader.first)
    except ValueError:
        return Shot()
    how = main.children.get(ifd.EXIF_IFD, ifd.Directory())
    iso, seconds = reader.numbers(how.entries.get(_ISO)), reader.ratios(how.entries.get(_EXPOSURE))
    return Shot(
        camera=_camera(_text(main.entries.get(_MAKE)), _text(main.entries.get(_MODEL))),
        iso=iso[0] if iso and iso[0] else None,
        seconds=seconds[0] if seconds and seconds[0] > 0 else None,
        taken=_time(_text(how.entries.get(_TAKEN)), _text(how.entries.get(_TAKEN_FRACTION))),
    )


def _text(entry: ifd.Entry | None) -> str:
    if entry is None or entry.type != 2:
        return ""
    text = entry.value.split(b"\0")[0].decode("utf-8", "replace")
    return " ".join(text.split())


def _camera(make: str, model: str) -> str | None:
    """Both in one; the maker is not said twice where the model's name begins with it."""
    first = make.split(" ")[0].lower()
    name = model if first and model.lower().startswith(first) else f"{make} {model}".strip()
    return name or None


def _time(text: str, fraction: str) -> datetime | None:
    try:
        taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    digits = fraction if fraction.isdecimal() and fraction.isascii() else "0"
    return taken + timedelta(seconds=float(f"0.{digits}"))
