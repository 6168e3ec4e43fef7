"""Pillow between bytes and arrays. It is imported only when a photo is at hand."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[Any]

PLUGINS = {"jpeg": "JpegImagePlugin", "webp": "WebPImagePlugin", "bmp": "BmpImagePlugin"}
BAND_BYTES = 2 << 20


class Room(bytes):
    """No bytes that count as `size`: as `extra` of a JPEG they only make Pillow's buffer larger.

    A progressive file must fit into that buffer whole, and noise takes more than Pillow allows
    for. The buffer's other setting, `ImageFile.MAXBLOCK`, is one for all threads.
    """

    def __new__(cls, size: int) -> Self:
        """Room of `size` bytes."""
        made = super().__new__(cls)
        made.size = size
        return made

    size: int

    def __len__(self) -> int:
        """The bytes that Pillow adds."""
        return self.size


def open_image(name: str, data: bytes) -> Image:
    """Open `data` with the one plugin that belongs to `name`; pixels are not decoded yet."""
    from PIL import Image

    importlib.import_module(f"PIL.{PLUGINS[name]}")
    # Sizes are checked against Limits before this is called.
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(io.BytesIO(data), formats=[name.upper()])


def to_array(image: Image) -> Array:
    """Decode and copy out the pixels, (H, W) or (H, W, C) uint8, and free the image.

    Band by band: Pillow's own conversion makes two more whole copies on the way.
    """
    image.load()
    width, height = image.size
    channels = len(image.getbands())
    shape = (height, width) if channels == 1 else (height, width, channels)
    samples = np.empty(shape, np.uint8)
    rows = max(1, BAND_BYTES // (width * channels))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = image.crop((0, top, width, bottom)).tobytes()
        samples[top:bottom] = np.frombuffer(band, np.uint8).reshape(samples[top:bottom].shape)
    image.close()
    return samples


def from_array(samples: Array) -> Image:
    """An image of contiguous (H, W, 1..4) uint8 samples; grey ones are shared, not copied."""
    from PIL import Image

    height, width, channels = samples.shape
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    return Image.frombuffer(mode, (width, height), samples, "raw", mode, 0, 1)
