"""Photos as the screen takes them: 8 bits, sRGB, and smaller copies for when they are far away."""

from __future__ import annotations

import base64
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QByteArray, QSize, Qt
from PySide6.QtGui import QColorSpace, QImage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.uint8]
BAND = 128
"""Rows of a smaller copy that are made at once."""
LARGE = 15e6
"""Bytes of a file above which only one is decoded at a time."""
_LARGE = threading.Lock()
SMALLEST = 512
"""Longer side in pixels below which no smaller copy is made."""


@dataclass(slots=True)
class Picture:
    """A photo on its way to the screen.

    Attributes:
        levels: the photo, then copies of half the sides each.
        profile: what its samples mean, if that is not sRGB.
        memory: the samples that they are made of, which must live as long.
    """

    levels: list[QImage]
    profile: QColorSpace | None = None
    memory: Any = field(default=None, repr=False)

    @property
    def width(self) -> int:
        """In pixels of the photo."""
        return self.levels[0].width()

    @property
    def height(self) -> int:
        """In pixels of the photo."""
        return self.levels[0].height()


def load(path: Path, megapixels: float) -> Picture:
    """Decode a photo; for a thread.

    Args:
        path: the photo.
        megapixels: the size beyond which it is refused.

    Raises:
        PhotoError: it cannot be read.
    """
    pixels, profile = _decoded(path, megapixels)
    sizes = [pixels]
    while max(sizes[-1].shape[:2]) > 2 * SMALLEST:
        sizes.append(_half(sizes[-1]))
    return Picture([_srgb(_image(each), profile) for each in sizes], profile, sizes)


def thumbnail(path: Path, side: int, megapixels: float) -> QImage:
    """A photo in a square of `side` pixels; for a thread. Raises PhotoError."""
    pixels, profile = _decoded(path, megapixels)
    while min(pixels.shape[:2]) > 4 * side:
        pixels = _half(pixels)
    image = _srgb(_image(pixels), profile)
    keep, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    if max(image.width(), image.height()) <= side:
        return image.copy()
    return image.scaled(QSize(side, side), keep, smooth)


def from_reply(reply: dict[str, Any], profile: QColorSpace | None) -> QImage:
    """The picture in a preview of the worker."""
    width, height, channels = (int(reply[key]) for key in ("width", "height", "channels"))
    samples = base64.b64decode(reply["data"])
    return _srgb(_from_samples(samples, width, height, channels).copy(), profile)


def _decoded(path: Path, megapixels: float) -> tuple[Samples, QColorSpace | None]:
    import numpy as np

    from denoisetool import formats
    from denoisetool.formats.base import Limits
    from denoisetool.photo import in_8_bits

    with _LARGE if path.is_file() and path.stat().st_size > LARGE else nullcontext():
        photo = formats.read(path, Limits(megapixels))
        pixels = np.ascontiguousarray(in_8_bits(photo.pixels, photo.peak))
    return pixels, _profile(photo.metadata.icc)


def _half(pixels: Samples) -> Samples:
    """A copy of half the sides, from means of 2 x 2; a last odd row or column is left out.

    Done in bands, and by NumPy, which lets the window go on meanwhile as Qt's own would not.
    """
    import numpy as np

    height, width = (max(2, side) // 2 for side in pixels.shape[:2])
    half = np.empty((height, width, pixels.shape[2]), np.uint8)
    for top in range(0, height, BAND):
        band = pixels[2 * top : 2 * min(height, top + BAND), : 2 * width]
        total = band[0::2].astype(np.uint16)
        total += band[1::2]
        mean = total[:, 0::2] + total[:, 1::2]
        mean += 2
        mean >>= 2
        half[top : top + BAND] = mean
    return half


def _image(pixels: Samples) -> QImage:
    """A view of (H, W, C) samples, which must live as long."""
    height, width, channels = pixels.shape
    return _from_samples(pixels.data, width, height, channels)


def _from_samples(samples: Any, width: int, height: int, channels: int) -> QImage:
    kind = QImage.Format.Format_RGB888 if channels == 3 else QImage.Format.Format_Grayscale8
    return QImage(samples, width, height, width * channels, kind)


def _profile(icc: bytes | None) -> QColorSpace | None:
    """A profile that has to be seen to; None for sRGB and for what cannot be understood."""
    if icc is None:
        return None
    found = QColorSpace.fromIccProfile(QByteArray(icc))
    if not found.isValid() or found == QColorSpace(QColorSpace.NamedColorSpace.SRgb):
        return None
    return found


def _srgb(image: QImage, profile: QColorSpace | None) -> QImage:
    if profile is None:
        return image
    image.setColorSpace(profile)
    converted = image.convertedToColorSpace(QColorSpace(QColorSpace.NamedColorSpace.SRgb))
    return image if converted.isNull() else converted
