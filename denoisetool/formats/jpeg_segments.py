"""The marker structure of a JPEG file (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from denoisetool.errors import UnreadablePhoto

SOI, EOI, SOS, DQT, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xFE
APP0, APP1, APP2, APP11, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MAX_PAYLOAD = 65533

JFIF = b"JFIF\0"
EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
ICC = b"ICC_PROFILE\0"
PHOTOSHOP = b"Photoshop 3.0\0"
MPF = b"MPF\0"
GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
ADOBE = b"Adobe"

_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A pattern that begins with one fixed byte is searched for twenty times as fast as one that may
begin with several, and nothing else runs in Python meanwhile."""

Segment = tuple[int, bytes]
"""(marker without its 0xFF, payload without its length)."""


@dataclass(slots=True)
class Layout:
    """Where things are.

    Attributes:
        segments: everything before the first scan, in order.
        scan: offset of the first SOS marker, 0 if there is none.
        end: offset just after the picture's own EOI marker, 0 if there is none.
    """

    segments: list[Segment] = field(default_factory=list)
    scan: int = 0
    end: int = 0

    def frame(self) -> Segment:
        """The frame header (SOFn). Raises UnreadablePhoto where there is none."""
        for marker, payload in self.segments:
            if marker in FRAMES and len(payload) >= 6:
                return marker, payload
        raise UnreadablePhoto("the JPEG file has no frame header")


def parse(data: bytes, *, whole: bool = True) -> Layout:
    """Walk the markers.

    Args:
        data: the file.
        whole: walk the scans too, up to the end marker; else stop at the first scan.

    Raises:
        UnreadablePhoto: no markers where they must be, or the file is cut short.
    """
    layout = Layout()
    position = 2
    while True:
        if position + 4 > len(data) and data[position : position + 2] != b"\xff\xd9":
            raise UnreadablePhoto("the JPEG file is cut short")
        if data[position] != 0xFF:
            # Some writers pad between segments: find the next marker.
            position = data.find(b"\xff", position)
            if position < 0:
                raise UnreadablePhoto("the JPEG file is cut short")
            continue
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == EOI:
            layout.end = position + 2
            return layout
        if marker == SOI:
            raise UnreadablePhoto("the JPEG file is cut short: another picture starts inside it")
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < 2 or position + 2 + length > len(data):
            raise UnreadablePhoto("the JPEG file is cut short or damaged in its header")
        if marker == SOS:
            layout.scan = layout.scan or position
            if not whole:
                return layout
            match = _MARKER_IN_SCAN.search(data, position + 2 + length)
            if match is None:
                raise UnreadablePhoto("the JPEG file is cut short: its end marker is missing")
            position = match.start()
            continue
        if not layout.scan:
            layout.segments.append((marker, data[position + 4 : position + 2 + length]))
        position += 2 + length


def segment(marker: int, payload: bytes) -> bytes:
    """The bytes of one segment."""
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def split(marker: int, prefix: bytes, content: bytes) -> list[bytes]:
    """Segments that carry `content` in parts, each after `prefix`."""
    room = MAX_PAYLOAD - len(prefix)
    return [
        segment(marker, prefix + content[start : start + room])
        for start in range(0, len(content), room)
    ]


def split_icc(profile: bytes) -> list[bytes]:
    """The APP2 segments of an ICC profile (ICC.1:2022, annex B.4); [] if it is too large."""
    room = MAX_PAYLOAD - len(ICC) - 2
    parts = [profile[start : start + room] for start in range(0, len(profile), room)]
    if len(parts) > 255:
        return []
    return [
        segment(APP2, ICC + bytes((number, len(parts))) + part)
        for number, part in enumerate(parts, 1)
    ]


def join_icc(payloads: list[bytes]) -> bytes | None:
    """The profile from its APP2 payloads, in whatever order; None if a part is missing."""
    parts = {payload[12]: payload[14:] for payload in payloads if len(payload) > 14}
    expected = payloads[0][13] if payloads and len(payloads[0]) > 13 else 0
    if not parts or sorted(parts) != list(range(1, expected + 1)):
        return None
    return b"".join(parts[number] for number in sorted(parts))
