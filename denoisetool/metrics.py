"""How close two pictures are: PSNR, SSIM, and the colour difference that is left without the noise.

Pictures are (H, W, C) arrays of uint8, uint16 or float with C = 1 (grey) or 3 (sRGB-encoded RGB).
`peak` is the sample value that stands for white: 255, 65535 or 1.0. All functions work in bands of
rows, so that a 100-megapixel picture never has a full floating-point copy. Two pictures of
different shapes are a mistake of the caller: ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisetool.lanes import CALLER, Lanes

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_BAND_SAMPLES = 1 << 20

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5
SSIM_WINDOW = 2 * _SSIM_RADIUS + 1
"""Pixels that `ssim` needs on each side."""
_SSIM_K1 = 0.01
_SSIM_K2 = 0.03

_RGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
"""Linear sRGB to XYZ, D65 (IEC 61966-2-1)."""


def psnr(a: Array, b: Array, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio over all samples, in dB; infinite when `a` equals `b`.

    Args:
        a: any shape.
        b: same shape as `a`.
        peak: value of white.
    """
    _same_shape(a, b)
    total = 0.0
    for rows in _bands(a):
        difference = a[rows].astype(np.float64) - b[rows]
        total += float(np.vdot(difference, difference))
    return float("inf") if total == 0 else 10 * float(np.log10(peak**2 * a.size / total))


def rms(a: Array, b: Array, peak_a: float = 255.0, peak_b: float = 255.0) -> float:
    """Root mean square of the difference of two pictures, in levels of 255.

    Args:
        a: (H, W, C).
        b: (H, W, C) in any depth, or with one channel where `a` has three, or the other way round.
        peak_a: value of white in `a`.
        peak_b: value of white in `b`.
    """
    if a.shape[:2] != b.shape[:2]:
        raise ValueError(f"pictures of different sizes: {a.shape} and {b.shape}")
    total, count = 0.0, 0
    for rows in _bands(a):
        difference = a[rows].astype(np.float32) * np.float32(255 / peak_a)
        difference = difference - b[rows].astype(np.float32) * np.float32(255 / peak_b)
        total += float(np.square(difference, dtype=np.float64).sum())
        count += difference.size
    return float(np.sqrt(total / count))


def ssim(a: Array, b: Array, peak: float = 255.0) -> float:
    """Structural similarity, -1..1, 1 when equal (Wang et al., IEEE TIP 2004).

    An 11-tap Gaussian window of sigma 1.5 runs over each channel on its own; the mean is over all
    places where the window lies wholly inside the picture, and over channels.

    Args:
        a: (H, W, C), at least 11x11.
        b: same shape as `a`.
        peak: value of white.
    """
    _same_shape(a, b)
    height, width, channels = a.shape
    window = SSIM_WINDOW
    if min(height, width) < window:
        raise ValueError(f"SSIM needs at least {window}x{window} pixels, not {width}x{height}")
    step = max(window, _BAND_SAMPLES // width)
    total = 0.0
    for channel in range(channels):
        for top in range(0, height - window + 1, step):
            rows = slice(top, top + step + window - 1)
            total += _ssim_sum(a[rows, :, channel], b[rows, :, channel], peak)
    return float(total / ((height - window + 1) * (width - window + 1) * channels))


def srgb_to_lab(rgb: Array) -> Float64:
    """CIE L*a*b* (D65 white) of sRGB-encoded colours (IEC 61966-2-1).

    Args:
        rgb: (..., 3) with 0 black and 1 white; values a little outside are carried on smoothly.

    Returns:
        (..., 3): L* 0..100, a*, b*. Greys have a* = b* = 0.
    """
    encoded = np.asarray(rgb, dtype=np.float64)
    power = ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4
    linear = np.where(encoded > 0.04045, power, encoded / 12.92)
    xyz = linear @ (_RGB_TO_XYZ / _RGB_TO_XYZ.sum(axis=1, keepdims=True)).T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    fx, fy, fz = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], axis=-1)


def ciede2000(lab1: Array, lab2: Array) -> Float64:
    """CIEDE2000 colour difference; about 1 is just noticeable (Sharma, Wu & Dalal, 2005).

    Args:
        lab1: (..., 3) L*, a*, b*.
        lab2: the same, or of a shape that broadcasts.

    Returns:
        (...) differences, 0 and up. All parametric factors are 1.
    """
    l1, a1, b1 = np.moveaxis(np.asarray(lab1, dtype=np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(lab2, dtype=np.float64), -1, 0)
    chroma7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(chroma7 / (chroma7 + 25.0**7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1 = np.degrees(np.arctan2(b1, stretch * a1)) % 360
    h2 = np.degrees(np.arctan2(b2, stretch * a2)) % 360

    grey = c1 * c2 == 0  # hue means nothing there
    dh = np.where(grey, 0.0, (h2 - h1 + 180) % 360 - 180)
    dh = np.where(~grey & (h2 - h1 == 180), 180.0, dh)
    delta_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    far = np.abs(h1 - h2) > 180
    mean_hue = (h1 + h2 + np.where(far, np.where(h1 + h2 < 360, 360.0, -360.0), 0.0)) / 2
    mean_hue = np.where(grey, h1 + h2, mean_hue)

    def cos_deg(angle: Float64) -> Float64:
        return np.asarray(np.cos(np.radians(angle)))

    t = (
        1
        - 0.17 * cos_deg(mean_hue - 30)
        + 0.24 * cos_deg(2 * mean_hue)
        + 0.32 * cos_deg(3 * mean_hue + 6)
        - 0.20 * cos_deg(4 * mean_hue - 63)
    )
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    scale_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    scale_c = 1 + 0.045 * mean_c
    scale_h = 1 + 0.015 * mean_c * t
    mean_c7 = mean_c**7
    rotation = np.sin(np.radians(60 * np.exp(-(((mean_hue - 275) / 25) ** 2))))
    rotation *= -2 * np.sqrt(mean_c7 / (mean_c7 + 25.0**7))
    dl, dc, dh = (l2 - l1) / scale_l, (c2 - c1) / scale_c, delta_hue / scale_h
    return np.asarray(np.sqrt(np.maximum(dl**2 + dc**2 + dh**2 + rotation * dc * dh, 0)))


def box_reduce(img: Array, factor: int, lanes: Lanes = CALLER) -> Float32:
    """The picture made of the means of `factor` x `factor` boxes.

    Boxes cut by the right or bottom border are averaged over what is there.

    Args:
        img: (H, W, C), any number type.
        factor: side of a box in pixels, at least 1.
        lanes: what works on rows of boxes side by side.

    Returns:
        (ceil(H / factor), ceil(W / factor), C), float32, in the units of `img`.
    """
    if factor < 1:
        raise ValueError(f"a box of {factor} pixels")
    height, width, channels = img.shape
    lefts = np.arange(0, width, factor)
    columns = np.minimum(lefts + factor, width) - lefts
    out = np.empty((-(-height // factor), len(lefts), channels), np.float32)
    exact = img.dtype.kind == "u" and factor**2 * np.iinfo(img.dtype).max < 2**32
    total = np.uint32 if exact else np.float64

    def measure(index: int) -> None:
        band = img[index * factor : (index + 1) * factor]
        sums = np.add.reduceat(band.sum(axis=0, dtype=total), lefts, axis=0)
        out[index] = sums / (columns * len(band))[:, None]

    lanes.each(measure, range(len(out)))
    return out


def coarse_difference(a: Array, b: Array, factor: int = 16, peak: float = 255.0) -> Float64:
    """Map of the colour difference between two pictures once noise is averaged away.

    Boxes are averaged on the sRGB-encoded values, as they lie in the file, and not on linear light:
    noise that is symmetric in the file then averages to nothing in the shadows too.

    Args:
        a: (H, W, C), C = 1 or 3.
        b: same shape as `a`.
        factor: side of a box in pixels.
        peak: value of white.

    Returns:
        (ceil(H / factor), ceil(W / factor)) CIEDE2000 differences.
    """
    _same_shape(a, b)
    return ciede2000(_coarse_lab(a, factor, peak), _coarse_lab(b, factor, peak))


def coarse_ciede2000(
    a: Array, b: Array, factor: int = 16, peak: float = 255.0
) -> tuple[float, float]:
    """Mean and 95th percentile of `coarse_difference` (same arguments), in CIEDE2000 units."""
    difference = coarse_difference(a, b, factor, peak)
    return float(difference.mean()), float(np.percentile(difference, 95))


def _coarse_lab(img: Array, factor: int, peak: float) -> Float64:
    """L*a*b* of the boxed picture; grey counts as R = G = B."""
    coarse = box_reduce(img, factor) / np.float32(peak)
    return srgb_to_lab(np.broadcast_to(coarse, (*coarse.shape[:2], 3)))


def _same_shape(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ValueError(f"pictures of different shapes: {a.shape} and {b.shape}")
    if a.size == 0:
        raise ValueError("pictures without pixels")


def _bands(a: Array) -> Iterator[slice]:
    """Slices of the first axis of about `_BAND_SAMPLES` samples each."""
    step = max(1, _BAND_SAMPLES * len(a) // a.size)
    for top in range(0, len(a), step):
        yield slice(top, top + step)


def _ssim_sum(a: Array, b: Array, peak: float) -> float:
    """Sum of the SSIM map of one band (H, W) over the places where the window fits."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _gaussian(x), _gaussian(y)
    var_x = _gaussian(x * x) - mean_x**2
    var_y = _gaussian(y * y) - mean_y**2
    cov = _gaussian(x * y) - mean_x * mean_y
    c1, c2 = (_SSIM_K1 * peak) ** 2, (_SSIM_K2 * peak) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    return float((top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).sum())


def _gaussian(x: Float64) -> Float64:
    """Gaussian window means of (H, W), valid region: (H - 10, W - 10)."""
    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    taps = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    height, width = x.shape[0] - 2 * _SSIM_RADIUS, x.shape[1] - 2 * _SSIM_RADIUS
    down = np.zeros((height, x.shape[1]))
    for i, tap in enumerate(taps):
        down += tap * x[i : i + height]
    across = np.zeros((height, width))
    for i, tap in enumerate(taps):
        across += tap * down[:, i : i + width]
    return across
