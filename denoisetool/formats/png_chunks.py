"""The chunk structure of a PNG file (W3C PNG, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from denoisetool.errors import UnreadablePhoto
from denoisetool.formats import cicp

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
MAX_INFLATED = 64 << 20
"""Bytes a compressed profile or text may grow to; what is larger is a bomb, not metadata."""

SRGB_GAMMA = 45455
SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
"""White, red, green and blue as a cHRM chunk has them."""

Chunk = tuple[bytes, bytes]


def walk(data: bytes, *, checked: bool = True) -> Iterator[Chunk]:
    """(type, payload) of each chunk up to IEND; the payloads of IDAT are left empty.

    Chunks that do not shape pixels are skipped when their checksum is wrong.

    Raises:
        UnreadablePhoto: cut short, or a critical chunk's checksum is wrong (with `checked`).
    """
    position = len(SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise UnreadablePhoto("the PNG file is cut short")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise UnreadablePhoto("the PNG file is cut short")
        body = memoryview(data)[position + 4 : end - 4]
        good = zlib.crc32(body).to_bytes(4, "big") == data[end - 4 : end] if checked else True
        if not good and not kind[0] & 0x20:
            raise UnreadablePhoto("the PNG file is damaged: a checksum is wrong")
        if good:
            yield kind, b"" if kind == b"IDAT" else bytes(body[4:])
        if kind == b"IEND":
            return
        position = end


def pixels_only(data: bytes, kept: frozenset[bytes]) -> list[bytes | memoryview]:
    """The parts of a PNG file with only the chunks in `kept`, in order and uncopied."""
    view = memoryview(data)
    parts: list[bytes | memoryview] = [SIGNATURE]
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in kept:
            parts.append(view[position : position + 12 + length])
        position += 12 + length
        if kind == b"IEND":
            break
    return parts


def chunk(kind: bytes, payload: bytes) -> bytes:
    """The bytes of one chunk."""
    checksum = zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", checksum)


def inflate(packed: bytes) -> bytes | None:
    """Decompress metadata; None if it is damaged or grows beyond `MAX_INFLATED`."""
    machine = zlib.decompressobj()
    try:
        content = machine.decompress(packed, MAX_INFLATED)
    except zlib.error:
        return None
    return None if machine.unconsumed_tail or not machine.eof else content


def read_icc(payload: bytes) -> bytes | None:
    """The profile in an iCCP chunk; None if it is damaged."""
    _, found, rest = payload.partition(b"\0")
    return inflate(rest[1:]) if found and rest[:1] == b"\0" else None


def icc(profile: bytes) -> bytes:
    """An iCCP chunk."""
    return chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))


def read_colour(chunks: list[Chunk]) -> tuple[dict[str, int], str]:
    """(numbers of H.273, name) of the colour space, as far as iCCP does not tell; "" for sRGB.

    cICP counts before sRGB, and sRGB before gAMA and cHRM. A gamma within 5 per cent of sRGB's and
    primaries that are nearly its own are taken for it.
    """
    found = dict(reversed(chunks))
    named, gamma, primaries = (found.get(kind, b"") for kind in (b"cICP", b"gAMA", b"cHRM"))
    if len(named) == 4:
        space = cicp.name(named[0], named[1])
        if named[3]:
            return {"primaries": named[0], "transfer": named[1]}, space
        return {}, f"{space or 'BT.709'} in narrow range"
    if b"sRGB" in found:
        return {}, ""
    words = []
    if len(primaries) == 32:
        pairs = zip(struct.unpack(">8I", primaries), SRGB_PRIMARIES, strict=True)
        words += ["its own primaries"] if max(abs(a - b) for a, b in pairs) >= 1000 else []
    value = int.from_bytes(gamma, "big")
    if value and abs(value / SRGB_GAMMA - 1) > 0.05:
        words.append(f"gamma {100_000 / value:.2g}")
    return {}, " ".join(words)


def read_xmp(payload: bytes) -> bytes | None:
    """The packet in an iTXt chunk; None if the chunk is not XMP or is damaged."""
    keyword, _, rest = payload.partition(b"\0")
    if keyword != XMP_KEYWORD or len(rest) < 4:
        return None
    packed, fields = rest[0], rest[2:].split(b"\0", 2)
    if len(fields) != 3:
        return None
    return inflate(fields[2]) if packed else fields[2]


def xmp(packet: bytes) -> bytes:
    """An iTXt chunk with an XMP packet, as the XMP specification part 3 asks for."""
    return chunk(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + packet)
