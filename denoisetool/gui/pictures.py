"""Photos as the screen takes them: 8 bits, sRGB, and smaller copies for when they are far away."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QSize, Qt
from PySide6.QtGui import QColorSpace, QImage

SMALLEST = 512
"""Longer side in pixels below which no smaller copy is made."""


@dataclass(slots=True)
class Picture:
    """A photo on its way to the screen.

    Attributes:
        levels: the photo, then copies of half the sides each.
        profile: what its samples mean, if that is not sRGB.
        memory: the samples that the first level is made of, which must live as long.
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
    image, profile, memory = _decoded(path, megapixels)
    levels = [image]
    while max(levels[-1].width(), levels[-1].height()) > 2 * SMALLEST:
        levels.append(_half(levels[-1]))
    return Picture(levels, profile, memory)


def thumbnail(path: Path, side: int, megapixels: float) -> QImage:
    """A photo in a square of `side` pixels; for a thread. Raises PhotoError."""
    image = _decoded(path, megapixels)[0]
    while min(image.width(), image.height()) > 4 * side:
        image = _half(image)
    keep, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    if max(image.width(), image.height()) <= side:
        return image.copy()
    return image.scaled(QSize(side, side), keep, smooth)


def from_reply(reply: dict[str, Any], profile: QColorSpace | None) -> QImage:
    """The picture in a preview of the worker."""
    width, height, channels = (int(reply[key]) for key in ("width", "height", "channels"))
    return _srgb(_image(base64.b64decode(reply["data"]), width, height, channels).copy(), profile)


def _decoded(path: Path, megapixels: float) -> tuple[QImage, QColorSpace | None, Any]:
    import numpy as np

    from denoisetool import formats
    from denoisetool.formats.base import Limits
    from denoisetool.photo import in_8_bits

    photo = formats.read(path, Limits(megapixels))
    pixels = np.ascontiguousarray(in_8_bits(photo.pixels, photo.peak))
    profile = _profile(photo.metadata.icc)
    image = _image(pixels.data, photo.width, photo.height, photo.channels)
    return _srgb(image, profile), profile, pixels


def _image(samples: Any, width: int, height: int, channels: int) -> QImage:
    kind = QImage.Format.Format_RGB888 if channels == 3 else QImage.Format.Format_Grayscale8
    return QImage(samples, width, height, width * channels, kind)


def _half(image: QImage) -> QImage:
    size = QSize(max(1, image.width() // 2), max(1, image.height() // 2))
    ignore = Qt.AspectRatioMode.IgnoreAspectRatio
    return image.scaled(size, ignore, Qt.TransformationMode.SmoothTransformation)


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
