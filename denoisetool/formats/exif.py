"""The little that has to be known about EXIF blocks: they travel as they are."""

from __future__ import annotations

import re

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
