"""Putting metadata into an AVIF file that an encoder made without: copied, never re-encoded."""

from __future__ import annotations

import struct

from denoisetool.formats import avif_boxes as ab
from denoisetool.formats import orientation


def add_metadata(
    coded: bytes,
    *,
    exif: bytes | None,
    xmp: bytes | None,
    icc: bytes | None,
    turned: int,
) -> list[bytes | memoryview]:
    """The parts of an AVIF file with metadata put into one that has none.

    Args:
        coded: what libavif wrote: ftyp, meta (small item numbers, no idat), mdat.
        exif: TIFF-structured block.
        xmp: XMP packet.
        icc: ICC profile.
        turned: EXIF orientation that viewers are to apply (as `irot` and `imir`).
    """
    contents = ab.parse(coded)
    (start, end) = next((a, b) for kind, a, b in ab.walk(coded) if kind == b"meta")
    blobs: list[tuple[bytes, bytes]] = []
    if exif:
        blobs.append((b"Exif\0", b"\0\0\0\0" + exif))
    if xmp:
        blobs.append((b"mime\0" + ab.XMP_TYPE + b"\0", xmp))
    names = [name for name, _ in blobs]
    new = _properties(icc, turned)
    # The box's size does not depend on the offsets in it, so lay it out twice.
    draft = _meta(coded, start, end, contents, names, new, [(0, 0)] * len(blobs), 0)
    shift = len(draft) - (end - start)
    where = len(coded) + shift + 8
    extents = []
    for _, blob in blobs:
        extents.append((where, len(blob)))
        where += len(blob)
    meta = _meta(coded, start, end, contents, names, new, extents, shift)
    view = memoryview(coded)
    parts: list[bytes | memoryview] = [view[: start - 8], ab.box(b"meta", meta), view[end:]]
    if blobs:
        parts.append(ab.box(b"mdat", b"".join(blob for _, blob in blobs)))
    return parts


def _properties(icc: bytes | None, turned: int) -> list[tuple[bytes, bytes]]:
    """(type, body) of the properties to add."""
    turns, mirror = orientation.TO_HEIF[turned]
    found = [(b"colr", b"prof" + icc)] if icc else []
    if turns:
        found.append((b"irot", bytes((turns,))))
    if mirror is not None:
        found.append((b"imir", bytes((mirror,))))
    return found


def _meta(
    coded: bytes,
    start: int,
    end: int,
    contents: ab.Contents,
    names: list[bytes],
    new: list[tuple[bytes, bytes]],
    extents: list[tuple[int, int]],
    shift: int,
) -> bytes:
    """The body of a `meta` box with items and properties added and offsets shifted."""
    first = max(contents.items) + 1
    added = dict(enumerate(extents, first))
    body = bytearray(coded[start : start + 4])
    has_references = False
    links = b"".join(
        ab.box(b"cdsc", struct.pack(">HHH", item, 1, contents.primary)) for item in added
    )
    for kind, a, b in ab.walk(coded, start + 4, end):
        content = coded[a:b]
        if kind == b"iloc":
            content = _locations(contents, added, shift)
        elif kind == b"iinf":
            count = int.from_bytes(content[4:6], "big") + len(names)
            infos = b"".join(
                ab.box(b"infe", struct.pack(">IHH", 2 << 24, item, 0) + name)
                for item, name in zip(added, names, strict=True)
            )
            content = content[:4] + count.to_bytes(2, "big") + content[6:] + infos
        elif kind == b"iref":
            has_references = True
            content += links
        elif kind == b"iprp":
            content = _item_properties(contents, new)
        body += ab.box(kind, content)
    if links and not has_references:
        body += ab.box(b"iref", b"\0\0\0\0" + links)
    return bytes(body)


def _locations(contents: ab.Contents, added: dict[int, tuple[int, int]], shift: int) -> bytes:
    every = {
        number: [(at + shift, size) for at, size in item.extents]
        for number, item in contents.items.items()
    }
    every |= {number: [extent] for number, extent in added.items()}
    body = struct.pack(">IHH", 0, 0x4400, len(every))
    for number, extents in every.items():
        body += struct.pack(">HHH", number, 0, len(extents))
        body += b"".join(struct.pack(">II", at, size) for at, size in extents)
    return body


def _item_properties(contents: ab.Contents, new: list[tuple[bytes, bytes]]) -> bytes:
    known = {b"av1C", b"irot", b"imir", b"clap"}
    properties = contents.properties + new
    container = ab.box(b"ipco", b"".join(ab.box(kind, body) for kind, body in properties))
    links = struct.pack(">II", 0, len(contents.used))
    for item, used in contents.used.items():
        indices = list(used)
        if item == contents.primary:
            indices += range(len(contents.properties), len(properties))
        marks = [(at + 1) | (0x80 if properties[at][0] in known else 0) for at in indices]
        links += struct.pack(">HB", item, len(marks)) + bytes(marks)
    return container + ab.box(b"ipma", links)
