"""WebP: Pillow (libwebp) for pixels and metadata; lossless files stay lossless."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import _common, _pillow, exif
from denoisetool.formats.base import EncodeOptions, Format, Limits
from denoisetool.photo import Metadata, Photo

DEFAULT_QUALITY = 95


class Webp(Format):
    """WebP, 8-bit RGB with or without alpha. A grey photo comes back as RGB of equal channels."""

    name = "webp"
    suffixes = (".webp",)
    depths = (8,)
    alpha = True
    longest = 16383

    def sniff(self, head: bytes) -> bool:
        """Whether `head` starts as a WebP file."""
        return head.startswith(b"RIFF") and head[8:12] == b"WEBP"

    def size(self, data: bytes) -> tuple[int, int]:
        """(width, height) of the canvas from the first chunk. Raises UnreadablePhoto."""
        kind, body = data[12:16], data[20:30]
        if kind == b"VP8X" and len(body) == 10:
            across, down = body[4:7], body[7:10]
            return int.from_bytes(across, "little") + 1, int.from_bytes(down, "little") + 1
        if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
            bits = int.from_bytes(body[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if kind == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", body, 6)
            return width & 0x3FFF, height & 0x3FFF
        raise UnreadablePhoto("the WebP file has no header")

    def decode(self, data: bytes, limits: Limits) -> Photo:
        """Decode a WebP file; see `Format.decode`."""
        _common.check_size(*self.size(data), limits)
        chunks = list(_walk(data))
        if sum(kind == b"ANMF" for kind, _, _ in chunks) > 1:
            raise UnsupportedPhoto("an animation (WebP)", hint="export its frames as pictures")
        with _common.reading("webp"):
            image: Any = _pillow.open_image("webp", data)
            samples = _pillow.to_array(image)
        found = {k: bytes(data[start : start + size]) for k, start, size in reversed(chunks)}
        metadata = Metadata(
            exif=exif.without_prefix(found.get(b"EXIF")),
            icc=found.get(b"ICCP") or None,
            xmp=found.get(b"XMP ") or None,
        )
        return _common.build(
            samples,
            name="webp",
            mode="RGBA" if samples.shape[2] == 4 else "RGB",
            turned=exif.orientation_of(metadata.exif, metadata.xmp),
            metadata=metadata,
            extras={"lossless": b"VP8L" in found or b"VP8 " not in found},
            notes=[],
        )

    def encode(self, photo: Photo, out: BinaryIO, options: EncodeOptions) -> None:
        """Write a WebP file; see `Format.encode`."""
        _common.check_holds(photo, self)
        _common.note_space(photo, "webp")
        metadata = _common.kept_metadata(photo, options)
        lossless = photo.format == "webp" and photo.extras.get("lossless", False)
        lossless = lossless and options.quality is None
        _common.note_dropped(photo, metadata, "webp", "iptc", "comment", strip=options.strip)
        samples = _common.stored_samples(photo, _common.stored_orientation(metadata))
        buffer = io.BytesIO()
        with _common.writing("webp"):
            image = _pillow.from_array(samples)
            if image.mode == "LA":
                image = image.convert("RGBA")
            image.save(
                buffer,
                "WEBP",
                lossless=lossless,
                exact=True,
                quality=75 if lossless else options.quality or DEFAULT_QUALITY,
                exif=metadata.exif or b"",
                icc_profile=metadata.icc,
                xmp=metadata.xmp or b"",
            )
        out.write(buffer.getbuffer())


def _walk(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, size) of each chunk (RFC 9649). Raises UnreadablePhoto if cut short."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) + 1:
        raise UnreadablePhoto("the WebP file is cut short")
    position = 12
    while position + 8 <= min(end, len(data)):
        kind, size = struct.unpack_from("<4sI", data, position)
        if position + 8 + size > len(data):
            raise UnreadablePhoto("the WebP file is cut short")
        yield kind, position + 8, size
        position += 8 + size + size % 2
