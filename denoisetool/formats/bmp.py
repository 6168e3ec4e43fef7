"""BMP: Pillow reads it, thirty lines of our own write it."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import _common, _pillow
from denoisetool.formats.base import MAX_SIDE, EncodeOptions, Format, Limits
from denoisetool.photo import Metadata, Photo

FILE_HEADER, OLD_HEADER, INFO_HEADER, V4_HEADER, V5_HEADER = 14, 12, 40, 108, 124
EMBEDDED_PROFILE = 0x4D424544
"""`MBED`: a version 5 header that carries an ICC profile."""
BAND_ROWS = 256


class Bmp(Format):
    """BMP, 8-bit grey or RGB with or without alpha; the only metadata are density and profile."""

    name = "bmp"
    suffixes = (".bmp", ".dib")
    depths = (8,)
    alpha = True
    longest = MAX_SIDE

    def sniff(self, head: bytes) -> bool:
        """Whether `head` starts as a BMP file."""
        return head.startswith(b"BM") and _header_size(head) in (12, 40, 52, 56, 64, 108, 124)

    def size(self, data: bytes) -> tuple[int, int]:
        """(width, height) from the header. Raises UnreadablePhoto."""
        if len(data) < FILE_HEADER + _header_size(data):
            raise UnreadablePhoto("the BMP file is cut short")
        if _header_size(data) == OLD_HEADER:
            width, height = struct.unpack_from("<HH", data, 18)
        else:
            width, height = struct.unpack_from("<ii", data, 18)
        return width, abs(height)

    def decode(self, data: bytes, limits: Limits) -> Photo:
        """Decode a BMP file; see `Format.decode`."""
        _common.check_size(*self.size(data), limits)
        depth = struct.unpack_from("<H", data, 24 if _header_size(data) == OLD_HEADER else 28)[0]
        if depth == 1:
            raise UnsupportedPhoto(
                "a black-and-white (1 bit) picture has no tones to denoise",
                hint="leave it as it is",
            )
        notes: list[str] = []
        with _common.reading("bmp"):
            image: Any = _pillow.open_image("bmp", data)
            mode = image.mode
            if mode == "P":
                image = image.convert("RGB")
                notes.append("The palette picture is written as full colour.")
            elif depth == 16:
                notes.append("The 16-bit colour is written with 8 bits per channel.")
            samples = _pillow.to_array(image)
        return _common.build(
            samples,
            name="bmp",
            mode=mode,
            turned=1,
            metadata=_read_metadata(data),
            extras={},
            notes=notes,
        )

    def encode(self, photo: Photo, out: BinaryIO, options: EncodeOptions) -> None:
        """Write a BMP file; see `Format.encode`. The picture is always stored upright."""
        _common.check_holds(photo, self)
        _common.note_space(photo, "bmp")
        metadata = _common.kept_metadata(photo, options)
        kinds = ("exif", "xmp", "iptc", "comment")
        _common.note_dropped(photo, metadata, "bmp", *kinds, strip=options.strip)
        samples = _common.stored_samples(photo, 1)
        if samples.shape[2] == 2:
            samples = samples[:, :, [0, 0, 0, 1]]
        palette = b""
        if samples.shape[2] == 1:
            palette = bytes(np.arange(256, dtype=np.uint8).repeat(4).reshape(256, 4) * _OPAQUE)
        out.write(_headers(samples.shape, metadata, len(palette)) + palette)
        order = [2, 1, 0, 3][: samples.shape[2]] if samples.shape[2] > 1 else [0]
        row_bytes = photo.width * samples.shape[2]
        for bottom in range(photo.height, 0, -BAND_ROWS):
            band = samples[max(bottom - BAND_ROWS, 0) : bottom][::-1, :, order]
            rows = band.reshape(len(band), row_bytes)
            out.write(np.pad(rows, ((0, 0), (0, -row_bytes % 4))).tobytes())
        out.write(metadata.icc or b"")


_OPAQUE = np.array([1, 1, 1, 0], np.uint8)


def _header_size(data: bytes) -> int:
    return int.from_bytes(data[14:18], "little")


def _read_metadata(data: bytes) -> Metadata:
    """Density, and the profile a version 5 header may carry."""
    metadata = Metadata()
    size = _header_size(data)
    if size < INFO_HEADER:
        return metadata
    across, down = struct.unpack_from("<ii", data, 38)
    if across > 0 and down > 0:
        metadata.dpi = (across * 0.0254, down * 0.0254)
    if size == V5_HEADER and struct.unpack_from("<I", data, 70)[0] == EMBEDDED_PROFILE:
        offset, length = struct.unpack_from("<II", data, 126)
        profile = data[FILE_HEADER + offset : FILE_HEADER + offset + length]
        metadata.icc = profile if length and len(profile) == length else None
    return metadata


def _headers(shape: tuple[int, ...], metadata: Metadata, palette: int) -> bytes:
    """File header and the oldest information header that can say what must be said."""
    height, width, channels = shape
    pixels = (width * channels + -(width * channels) % 4) * height
    size = INFO_HEADER
    if channels == 4:
        size = V4_HEADER
    if metadata.icc:
        size = V5_HEADER
    offset = FILE_HEADER + size + palette
    total = offset + pixels + len(metadata.icc or b"")
    if total >= 1 << 32:
        raise UnsupportedPhoto("BMP holds up to 4 GB", hint="write it as TIFF or PNG")
    density = _common.per_metre(metadata.dpi or (72, 72))
    header = struct.pack("<2sIHHI", b"BM", total, 0, 0, offset)
    compression = 3 if channels == 4 else 0
    header += struct.pack("<IiiHHII", size, width, height, 1, channels * 8, compression, pixels)
    header += struct.pack("<iiII", *density, palette // 4, 0)
    if size == INFO_HEADER:
        return header
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if channels == 4 else (0, 0, 0, 0)
    space = EMBEDDED_PROFILE if metadata.icc else 0x73524742
    header += struct.pack("<5I36x3I", *masks, space, 0, 0, 0)
    if size == V5_HEADER:
        start = size + palette + pixels
        header += struct.pack("<4I", 4, start, len(metadata.icc or b""), 0)
    return header
