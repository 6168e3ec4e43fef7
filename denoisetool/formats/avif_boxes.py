"""The box structure of AVIF files (ISO/IEC 14496-12, 23008-12; AVIF 1.1), as far as we need it.

What the primary picture is, and where its EXIF, XMP, profile and orientation are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from denoisetool.formats import orientation

XMP_TYPE = b"application/rdf+xml"


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, body start, body end) of each box between two offsets.

    Raises:
        ValueError: a box reaches beyond its container: the file is cut short.
    """
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            raise ValueError("the file is cut short")
        yield kind, start + head, start + size
        start += size


def box(kind: bytes, body: bytes) -> bytes:
    """The bytes of one box."""
    return struct.pack(">I4s", len(body) + 8, kind) + body


@dataclass(slots=True)
class Item:
    """One item: its type, for `mime` items the content type, and where its bytes are."""

    kind: bytes = b""
    content: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    in_idat: bool = False


@dataclass(slots=True)
class Contents:
    """What the `meta` box says.

    Attributes:
        primary: number of the primary item.
        items: number -> item.
        properties: (type, body) in the order of `ipco`.
        used: item number -> indices (from 0) into `properties`.
        references: (type, from, to).
        idat: offset of the body of the `idat` box, 0 if there is none.
        is_sequence: there is a track, that is, an animation.
    """

    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    used: dict[int, list[int]] = field(default_factory=dict)
    references: list[tuple[bytes, int, int]] = field(default_factory=list)
    idat: int = 0
    is_sequence: bool = False

    def of(self, item: int, kind: bytes) -> list[bytes]:
        """The bodies of an item's properties of one type."""
        found = [self.properties[at] for at in self.used.get(item, []) if at < len(self.properties)]
        return [body for name, body in found if name == kind]

    def coding(self) -> bytes:
        """The `av1C` of the primary item or of its first tile; ValueError where there is none."""
        tiles = [
            to for kind, start, to in self.references if (kind, start) == (b"dimg", self.primary)
        ]
        for item in dict.fromkeys((self.primary, *tiles)):
            for body in self.of(item, b"av1C"):
                if len(body) >= 4:
                    return body
        raise ValueError("no AV1 picture in the file")

    def size(self) -> tuple[int, int]:
        """(width, height) of the primary item as stored."""
        for body in self.of(self.primary, b"ispe"):
            if len(body) >= 12:
                width, height = struct.unpack_from(">II", body, 4)
                return width, height
        raise ValueError("the picture's size is missing")

    def orientation(self) -> int:
        """The EXIF orientation equal to the primary item's `irot` and `imir`."""
        turns = [body[0] & 3 for body in self.of(self.primary, b"irot") if body]
        mirrors = [body[0] & 1 for body in self.of(self.primary, b"imir") if body]
        return orientation.compose(turns[0] if turns else 0, mirrors[0] if mirrors else None)

    def payload(self, data: bytes, item: Item) -> bytes:
        """The bytes of an item; b"" where they are outside the file."""
        base = self.idat if item.in_idat else 0
        whole = sum(size for _, size in item.extents)
        if whole > len(data):
            return b""
        parts = [data[base + start : base + start + size] for start, size in item.extents]
        joined = b"".join(parts)
        return joined if len(joined) == whole else b""


def parse(data: bytes) -> Contents:
    """Read the `meta` box.

    Raises:
        ValueError, struct.error, IndexError: the file is damaged or cut short.
    """
    contents = Contents()
    for kind, start, end in walk(data):
        if kind == b"moov":
            contents.is_sequence = True
        elif kind == b"meta":
            _parse_meta(data, start + 4, end, contents)
    if not contents.primary:
        raise ValueError("no primary picture")
    return contents


class _Cursor:
    """Big-endian numbers one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> int:
        """The next number of `size` bytes (0 for none)."""
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError("a box is cut short")
        self.at += size
        return int.from_bytes(part, "big")


def _parse_meta(data: bytes, start: int, end: int, contents: Contents) -> None:
    for kind, a, b in walk(data, start, end):
        cursor = _Cursor(data[a:b])
        if kind == b"pitm":
            cursor.take(4)
            contents.primary = cursor.take(4 if data[a] else 2)
        elif kind == b"idat":
            contents.idat = a
        elif kind == b"iinf":
            for name, c, d in walk(data, a + (8 if data[a] else 6), b):
                if name == b"infe":
                    _parse_item(data[c:d], contents)
        elif kind == b"iloc":
            _parse_locations(cursor, contents)
        elif kind == b"iref":
            for name, c, d in walk(data, a + 4, b):
                _parse_reference(name, _Cursor(data[c:d]), 4 if data[a] else 2, contents)
        elif kind == b"iprp":
            for name, c, d in walk(data, a, b):
                if name == b"ipco":
                    contents.properties = [(k, data[e:f]) for k, e, f in walk(data, c, d)]
                elif name == b"ipma":
                    _parse_associations(_Cursor(data[c:d]), contents)


def _parse_item(body: bytes, contents: Contents) -> None:
    """An `infe` box of version 2 or 3 (older ones do not occur in AVIF)."""
    cursor = _Cursor(body)
    version = cursor.take(4) >> 24
    if version < 2:
        return
    number = cursor.take(4 if version == 3 else 2)
    cursor.take(2)
    kind = body[cursor.at : cursor.at + 4]
    strings = body[cursor.at + 4 :].split(b"\0")
    item = contents.items.setdefault(number, Item())
    item.kind = kind
    item.content = strings[1] if kind == b"mime" and len(strings) > 1 else b""


def _parse_locations(cursor: _Cursor, contents: Contents) -> None:
    """An `iloc` box of version 0 to 2."""
    version = cursor.take(4) >> 24
    sizes = cursor.take(2)
    offset_size, length_size = sizes >> 12, sizes >> 8 & 15
    base_size, index_size = sizes >> 4 & 15, sizes & 15 if version else 0
    for _ in range(cursor.take(4 if version == 2 else 2)):
        item = contents.items.setdefault(cursor.take(4 if version == 2 else 2), Item())
        item.in_idat = bool(version) and cursor.take(2) & 15 == 1
        cursor.take(2)
        base = cursor.take(base_size)
        count = cursor.take(2)
        if count > 1 and not index_size + offset_size + length_size:
            raise ValueError(f"{count} extents of an item in no bytes")
        for _ in range(count):
            cursor.take(index_size)
            start = base + cursor.take(offset_size)
            item.extents.append((start, cursor.take(length_size)))


def _parse_reference(name: bytes, cursor: _Cursor, size: int, contents: Contents) -> None:
    start = cursor.take(size)
    for _ in range(cursor.take(2)):
        contents.references.append((name, start, cursor.take(size)))


def _parse_associations(cursor: _Cursor, contents: Contents) -> None:
    head = cursor.take(4)
    for _ in range(cursor.take(4)):
        item = cursor.take(4 if head >> 24 else 2)
        wide = bool(head & 1)
        used = contents.used.setdefault(item, [])
        for _ in range(cursor.take(1)):
            index = cursor.take(2) & 0x7FFF if wide else cursor.take(1) & 0x7F
            if index:
                used.append(index - 1)


def read_block(contents: Contents, data: bytes, kind: bytes, content: bytes = b"") -> bytes | None:
    """The bytes of the first item of a type (`Exif`, or `mime` of a content type), or None."""
    for item in contents.items.values():
        if item.kind == kind and item.content == content:
            return contents.payload(data, item) or None
    return None
