"""What EXIF blocks and XMP packets say of a picture's size, corrected where it was enlarged.

Everything else stays where it is, byte for byte: makers' notes hold offsets into the whole block.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from denoisetool.formats import ifd

WIDTHS, HEIGHTS = (256, 40962), (257, 40963)
"""ImageWidth and PixelXDimension; ImageLength and PixelYDimension (Exif 2.32)."""
SHORT, LONG, RATIONAL = 3, 4, 5
IN_PIXELS = {37396: SHORT, 41492: SHORT, 41486: RATIONAL, 41487: RATIONAL}
"""SubjectArea and SubjectLocation; FocalPlaneXResolution and FocalPlaneYResolution, which are
pixels per unit of the sensor."""
THUMBNAIL = (513, 514)
"""Where it begins, and its length."""
VALUE = 8
"""Where in a field its value stands, if that has at most four bytes, else the offset of it."""
_WIDTH = re.compile(rb"""((?:tiff:ImageWidth|exif:PixelXDimension)(?:\s*=\s*["']|>))\d+""")
_HEIGHT = re.compile(rb"""((?:tiff:ImageLength|exif:PixelYDimension)(?:\s*=\s*["']|>))\d+""")
_PANORAMA = re.compile(rb"""(GPano:\w+Pixels(?:\s*=\s*["']|>))(\d+)""")


@dataclass(frozen=True, slots=True)
class Size:
    """What a picture has become.

    Attributes:
        width, height: pixels, as the file stores them.
        scale: how many times larger on each side it is than it was.
    """

    width: int
    height: int
    scale: int


def exif(block: bytes | None, size: Size) -> bytes | None:
    """A TIFF-structured EXIF block that tells the new size, without a thumbnail.

    The thumbnail shows the picture as it was. A block that is damaged stays as it is.
    """
    if not block:
        return block
    changed = bytearray(block)
    try:
        reader = ifd.Reader(block)
        if reader.big:
            return block
        main, places = reader.directory(reader.first), reader.places(reader.first)
        _resize(changed, reader.order, main, places, size)
        inner = main.children.get(ifd.EXIF_IFD)
        if inner is not None:
            (where,) = struct.unpack_from(reader.order + "I", block, places[ifd.EXIF_IFD] + VALUE)
            _resize(changed, reader.order, inner, reader.places(where), size)
        if main.following:
            changed[places[ifd.END] : places[ifd.END] + 4] = bytes(4)
            _forget(changed, reader, main.following)
    except ValueError:
        return block
    return bytes(changed)


def xmp(packet: bytes | None, size: Size) -> bytes | None:
    """An XMP packet that tells the new size."""
    if not packet:
        return packet
    packet = _WIDTH.sub(rb"\g<1>%d" % size.width, packet)
    packet = _HEIGHT.sub(rb"\g<1>%d" % size.height, packet)
    return _PANORAMA.sub(lambda found: found[1] + b"%d" % (int(found[2]) * size.scale), packet)


def _resize(
    block: bytearray, order: str, found: ifd.Directory, places: dict[int, int], size: Size
) -> None:
    """Correct the fields of one directory, each where it stands."""
    for tags, side in ((WIDTHS, size.width), (HEIGHTS, size.height)):
        for tag in tags:
            entry = found.entries.get(tag)
            if entry is not None and entry.type in (SHORT, LONG) and entry.count == 1:
                struct.pack_into(order + "HII", block, places[tag] + 2, LONG, 1, side)
    for tag, kind in IN_PIXELS.items():
        entry = found.entries.get(tag)
        if entry is None or entry.type != kind:
            continue
        code = f"{entry.count}H" if kind == SHORT else f"{2 * entry.count}I"
        numbers = list(struct.unpack(order + code, entry.value))
        step = 1 if kind == SHORT else 2  # of a fraction only what is above the line
        numbers[::step] = [number * size.scale for number in numbers[::step]]
        if max(numbers, default=0) >= 1 << (16 if kind == SHORT else 32):
            continue
        place = places[tag] + VALUE
        if len(entry.value) > 4:
            (place,) = struct.unpack_from(order + "I", block, place)
        struct.pack_into(order + code, block, place, *numbers)


def _forget(block: bytearray, reader: ifd.Reader, offset: int) -> None:
    """Take a thumbnail's data out: cut off where they end the block, else blackened."""
    entries = reader.directory(offset).entries
    start, length = (reader.numbers(entries.get(tag)) for tag in THUMBNAIL)
    if not start or not length or not offset < start[0] <= len(block) - length[0]:
        return
    end = start[0] + length[0]
    if end == len(block):
        del block[start[0] :]
    else:
        block[start[0] : end] = bytes(length[0])
