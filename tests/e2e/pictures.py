"""Small noisy pictures in all kinds of files, made without the code under test."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

Array = npt.NDArray[Any]


def noisy(height: int = 48, width: int = 64, seed: int = 0, channels: int = 3) -> Array:
    """A smooth scene with noise, uint8 (H, W, C)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    scene = np.stack([rows, columns, (rows + columns) / 2], 2)[:, :, :channels] * 180 + 35
    return np.clip(scene + rng.normal(0, 12, scene.shape), 0, 255).astype(np.uint8)


def jpeg(height: int = 48, width: int = 64, seed: int = 0, **options: Any) -> bytes:
    """A JPEG file."""
    return saved(Image.fromarray(noisy(height, width, seed)), "JPEG", **{"quality": 92, **options})


def png(height: int = 48, width: int = 64, seed: int = 0) -> bytes:
    """A PNG file."""
    return saved(Image.fromarray(noisy(height, width, seed)), "PNG")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """What Pillow makes of an image."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png16(seed: int = 0) -> bytes:
    """A 16-bit RGB PNG, chunk by chunk."""
    pixels = noisy(seed=seed).astype(">u2") * 257 + 3
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 3600 megapixels."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b""))
    )


def tiff(path: Path, pixels: Array, pages: int = 1, **options: Any) -> None:
    """A TIFF file, or one of several pages."""
    with tifffile.TiffWriter(path) as writer:
        for _ in range(pages):
            writer.write(pixels, photometric="rgb", metadata=None, **options)


def animation(kind: str) -> bytes:
    """Three frames."""
    frames = [Image.fromarray(noisy(seed=seed)) for seed in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def upright(path: Path) -> Array:
    """The pixels of a file as Pillow reads them; raises if it is not whole."""
    with Image.open(path) as image:
        image.load()
        return np.asarray(image)
