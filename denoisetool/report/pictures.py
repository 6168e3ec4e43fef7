"""Parts of photos as a browser shows them: 8 bits, sRGB, and the noise as it is."""

from __future__ import annotations

import base64
import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from denoisetool.photo import Photo, in_8_bits

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[Any]

_FAST = 2
"""WebP's `method`: 0 is quick, 6 is small, and past 2 little is won."""


def data_uri(photo: Photo, part: Array) -> str:
    """A part of a photo as a data URI of a lossless WebP file.

    Lossless, because JPEG or lossy WebP would smooth the very noise that is to be seen, also at
    high quality. 16-bit and float samples are rounded to 8 bits, alpha is left out, and an ICC
    profile that can be understood is converted to sRGB.

    Args:
        photo: the photo, for its depth and colour profile.
        part: (H, W, C) of its pixels.
    """
    image = to_srgb(_image(part, photo.peak), photo.metadata.icc)
    importlib.import_module("PIL.WebPImagePlugin")
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True, method=_FAST)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def to_srgb(image: Image, icc: bytes | None) -> Image:
    """The image with colours as sRGB means them; as it is where there is no usable profile.

    Args:
        image: 8-bit grey or RGB.
        icc: the profile its samples belong to, if any.
    """
    if icc is None:
        return image
    from PIL import ImageCms

    try:
        converted = ImageCms.profileToProfile(
            image, io.BytesIO(icc), ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
        )  # fmt: skip
    except (ImportError, OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return image
    return image if converted is None else converted


def _image(part: Array, peak: float) -> Image:
    """An 8-bit grey or RGB image of (H, W, C) samples."""
    from PIL import Image

    height, width, channels = part.shape
    mode = "L" if channels == 1 else "RGB"
    samples = np.ascontiguousarray(in_8_bits(part, peak))
    return Image.frombytes(mode, (width, height), samples.tobytes())
