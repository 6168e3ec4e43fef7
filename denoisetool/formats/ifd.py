"""Reading and building TIFF image file directories, as in TIFF 6.0, BigTIFF and EXIF blocks.

Values stay raw bytes in the block's own byte order: a block is rebuilt in the order it was read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Literal

Order = Literal["<", ">"]

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
SIZES |= {17: 8, 18: 8}
"""Bytes of one value of each field type."""

CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""struct codes of the integer field types."""

EXIF_IFD, GPS_IFD, INTEROP_IFD, SUB_IFDS = 34665, 34853, 40965, 330
POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
ORIENTATION = 274
MAX_ENTRIES = 4096
END = -1


@dataclass(frozen=True, slots=True)
class Entry:
    """One field: its type (1..18), how many values, and the values as raw bytes."""

    type: int
    count: int
    value: bytes


@dataclass(slots=True)
class Directory:
    """One IFD.

    Attributes:
        entries: tag -> field, without the pointers to child directories.
        children: pointer tag (EXIF, GPS, interoperability) -> that directory.
        following: offset of the next directory, 0 at the end of the chain.
        lost: pointer tags whose directory could not be read.
    """

    entries: dict[int, Entry] = field(default_factory=dict)
    children: dict[int, Directory] = field(default_factory=dict)
    following: int = 0
    lost: list[int] = field(default_factory=list)


class Reader:
    """Directories of a TIFF-structured block.

    Raises:
        ValueError: on construction, when the block has no TIFF header.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data
        if data[:2] not in (b"II", b"MM"):
            raise ValueError("no TIFF byte-order mark")
        self.order: Order = "<" if data[:2] == b"II" else ">"
        version = int.from_bytes(data[2:4], "little" if self.order == "<" else "big")
        if version not in (42, 43):
            raise ValueError(f"TIFF version {version}")
        self.big = version == 43
        self.first = int(self._unpack("Q" if self.big else "I", 8 if self.big else 4))

    def _unpack(self, code: str, offset: int) -> int:
        try:
            return int(struct.unpack_from(self.order + code, self.data, offset)[0])
        except struct.error:
            raise ValueError("a directory reaches beyond the end of the file") from None

    def directory(self, offset: int, *, depth: int = 0) -> Directory:
        """The directory at `offset`, with its EXIF, GPS and interoperability children.

        Fields that are damaged are left out; damaged children are listed in `lost`. Of fields with
        the same tag the first one counts, and values that overlap are damaged once they are more
        than the block.

        Raises:
            ValueError: the directory itself is beyond the end of the block.
        """
        count = self._unpack("Q" if self.big else "H", offset)
        if count > MAX_ENTRIES:
            raise ValueError(f"a directory with {count} fields")
        start, width = offset + (8 if self.big else 2), 20 if self.big else 12
        found = Directory(following=self._unpack("Q" if self.big else "I", start + count * width))
        left = len(self.data)
        for position in range(start, start + count * width, width):
            tag, entry = self._entry(position)
            if entry is None or tag in found.children or tag in found.lost:
                continue
            if tag in POINTERS and depth < 3:
                try:
                    where = self.numbers(entry)[0]
                    found.children[tag] = self.directory(where, depth=depth + 1)
                except (ValueError, IndexError):
                    found.lost.append(tag)
            elif len(entry.value) <= left:
                left -= len(entry.value)
                found.entries.setdefault(tag, entry)
        return found

    def places(self, offset: int) -> dict[int, int]:
        """Where the fields of the directory at `offset` are: tag -> offset of its 12 bytes.

        The offset of the next directory stands at `END`. Not for BigTIFF.

        Raises:
            ValueError: the directory is beyond the end of the block.
        """
        count = self._unpack("H", offset)
        end = offset + 2 + 12 * count
        self._unpack("I", end)
        found = {self._unpack("H", place): place for place in range(offset + 2, end, 12)}
        return found | {END: end}

    def _entry(self, position: int) -> tuple[int, Entry | None]:
        tag, kind = self._unpack("H", position), self._unpack("H", position + 2)
        count = self._unpack("Q" if self.big else "I", position + 4)
        size = SIZES.get(kind, 0) * count
        room, where = (8, position + 12) if self.big else (4, position + 8)
        if size > room:
            where = self._unpack("Q" if self.big else "I", where)
        if kind not in SIZES or where + size > len(self.data):
            return tag, None
        return tag, Entry(kind, count, bytes(self.data[where : where + size]))

    def numbers(self, entry: Entry | None) -> tuple[int, ...]:
        """The integers of a field; () where it is absent or of another type."""
        if entry is None or entry.type not in CODES:
            return ()
        return struct.unpack(f"{self.order}{entry.count}{CODES[entry.type]}", entry.value)

    def ratios(self, entry: Entry | None) -> tuple[float, ...]:
        """The rationals of a field as floats; () where absent, of another type or divided by 0."""
        if entry is None or entry.type != 5:
            return ()
        parts = struct.unpack(f"{self.order}{2 * entry.count}I", entry.value)
        if not all(parts[1::2]):
            return ()
        return tuple(top / under for top, under in zip(parts[::2], parts[1::2], strict=True))


def serialise(directory: Directory, order: Order, base: int, *, big: bool = False) -> bytes:
    """Lay out a directory, its values and its children so that it can stand at offset `base`.

    Args:
        directory: what to write; `following` is written as given.
        order: byte order, the one the values are in.
        base: even offset in the block or file at which the result will stand.
        big: BigTIFF layout.

    Returns:
        The directory table followed by everything it points to.
    """
    count_code, offset_code, width, room = ("Q", "Q", 20, 8) if big else ("H", "I", 12, 4)
    tags = sorted({*directory.entries, *directory.children})
    table = bytearray(struct.pack(order + count_code, len(tags)))
    position = base + len(table) + width * len(tags) + room
    heap = bytearray()
    for tag in tags:
        if tag in directory.children:
            heap += b"\0" * ((position + len(heap)) % 2)
            where = position + len(heap)
            heap += serialise(directory.children[tag], order, where, big=big)
            entry = Entry(16 if big else 4, 1, struct.pack(order + offset_code, where))
        else:
            entry = directory.entries[tag]
        value = entry.value
        if len(value) > room:
            heap += b"\0" * ((position + len(heap)) % 2)
            where = position + len(heap)
            heap += value
            value = struct.pack(order + offset_code, where)
        table += struct.pack(order + "HH" + offset_code, tag, entry.type, entry.count)
        table += value.ljust(room, b"\0")
    table += struct.pack(order + offset_code, directory.following)
    return bytes(table + heap)


def block(directory: Directory, order: Order) -> bytes:
    """A whole TIFF-structured block (an EXIF payload) that holds one directory."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HI", 42, 8) + serialise(directory, order, 8)
