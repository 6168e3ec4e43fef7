"""Bicubic enlargement (Keys 1981 with a = -1/2), the same as Pillow's and as `nets.parts.enlarged`.

It is what an enlarging model adds to. Rows are made in bands, as floats that are neither rounded
nor clipped, as the model was trained: what it finds is taken from those, and only then all is
brought to the photo's depth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from denoisetool.lanes import CALLER, Lanes
from denoisetool.photo import Pixels, in_depth

Float = npt.NDArray[np.float32]
TAPS = 4
BAND = 64
"""Rows worked on at once."""


def rows(pixels: Pixels, scale: int, top: int, bottom: int) -> Float:
    """Rows `top` to `bottom` of the enlargement of a picture.

    Args:
        pixels: (H, W, C).
        scale: how many times larger on each side.
        top: first row, in the enlargement.
        bottom: the row after the last.

    Returns:
        float32 (bottom - top, scale W, C) in the unit of `pixels`.
    """
    above, down = _taps(len(pixels), scale, top, bottom)
    first, last = int(above.min()), int(above.max()) + 1
    wide = _widened(pixels[first:last].astype(np.float32), scale)
    out = np.zeros((bottom - top, *wide.shape[1:]), np.float32)
    for row, (places, weights) in enumerate(zip(above - first, down, strict=True)):
        for place, weight in zip(places, weights, strict=True):
            out[row] += weight * wide[place]
    return out


def window(pixels: Pixels, scale: int, top: int, left: int, height: int, width: int) -> Float:
    """Part of the enlargement, as `rows` gives it, of which no more than that is made.

    Args:
        pixels: (H, W, C), all of the picture.
        scale: how many times larger on each side.
        top: where the part begins, in the enlargement.
        left: the same.
        height: rows of the part, in the enlargement.
        width: columns of it.
    """
    first, last = max(0, left // scale - TAPS), (left + width) // scale + TAPS
    wide = rows(pixels[:, first:last], scale, top, top + height)
    return wide[:, left - scale * first :][:, :width]


def enlarged(pixels: Pixels, scale: int, peak: float, lanes: Lanes = CALLER) -> Pixels:
    """All of the enlargement, (scale H, scale W, C), rounded and clipped to its own depth."""
    height, width, channels = pixels.shape
    out: Pixels = np.empty((scale * height, scale * width, channels), pixels.dtype)

    def work(top: int) -> None:
        band = rows(pixels, scale, top, min(top + BAND, len(out)))
        out[top : top + BAND] = in_depth(band, out.dtype, peak)

    lanes.each(work, range(0, len(out), BAND))
    return out


def _widened(near: Float, scale: int) -> Float:
    """(n, W, C) to (n, scale W, C): the columns that are as far from their samples at once."""
    count, width, channels = near.shape
    _, across = _taps(width, scale, 0, scale * width)
    padded = np.pad(near, ((0, 0), (TAPS // 2, TAPS // 2), (0, 0)))
    wide = np.empty((count, width, scale, channels), np.float32)
    for phase in range(scale):
        start = TAPS // 2 + int(_first(phase, scale))
        wide[:, :, phase] = sum(
            padded[:, start + k : start + k + width] * across[phase::scale, k, None]
            for k in range(TAPS)
        )
    return wide.reshape(count, scale * width, channels)


def _first(place: npt.ArrayLike, scale: int) -> npt.NDArray[np.intp]:
    """The first sample that an enlarged one is made of; it may lie beyond the border."""
    centre = (np.asarray(place) + 0.5) / scale
    return np.asarray(np.floor(centre - (TAPS - 1) / 2), np.intp)


def _taps(
    length: int, scale: int, start: int, stop: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Which samples of an axis make the enlarged ones `start` to `stop`, with which weights.

    What is beyond the border has no weight, and the others then have more.
    """
    place = np.arange(start, stop)[:, None]
    index = _first(place, scale) + np.arange(TAPS)
    x = np.abs(index + 0.5 - (place + 0.5) / scale)
    weights = np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)
    weights[(x >= 2) | (index < 0) | (index >= length)] = 0
    weights /= weights.sum(1, keepdims=True)
    return np.clip(index, 0, length - 1), weights.astype(np.float32)
