"""Which parts of a photo tell most about its noise: the flattest one and the most detailed one."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisetool.metrics import box_reduce

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Kind = Literal["whole", "flattest", "most detailed"]

WIDTH, HEIGHT = 480, 360
"""Sides of a crop in pixels."""
WHOLE_SIDE, WHOLE_AREA = 720, 2 * WIDTH * HEIGHT
"""A photo within both is shown whole: two crops of it would be mostly one."""
DARK, BRIGHT = 0.04, 0.97
"""Shares of white outside which a pixel counts as black or blown out: noise is cut off there."""
SHADE = 0.15
"""Share of white that a part's brightness is raised by before its gradients are weighed with it."""

_CELL = 8
_BAND_CELLS = 16
_PRICE = 10.0
"""What a window all black or blown out costs, where the one with most detail costs 1."""


class Window(NamedTuple):
    """A part of a picture, in pixels from its upper left corner."""

    kind: Kind
    left: int
    top: int
    width: int
    height: int

    def of(self, picture: Array) -> Array:
        """A view of this part of (H, W, ...)."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


def choose(picture: Array, peak: float) -> tuple[Window, ...]:
    """The whole picture if it is small, else its flattest and its most detailed part.

    Both are told from the strength of the gradients: in a picture without noise they are detail.
    For the flattest part they are weighed with the brightness, since everything looks flat in deep
    shade, noise too. What is black or blown out says nothing about noise at all, so it is taken
    only where there is nothing else.

    Args:
        picture: (H, W, C), C = 1 or 3, with as little noise as there is one of; any number type.
        peak: value of white: 255, 65535 or 1.0.

    Returns:
        One or two windows, each within the picture; two are never the same.
    """
    height, width = picture.shape[:2]
    if max(height, width) <= WHOLE_SIDE and height * width <= WHOLE_AREA:
        return (Window("whole", 0, 0, width, height),)
    detail, light, cut_off = _cells(picture, peak)
    shape = min(HEIGHT // _CELL, len(detail)), min(WIDTH // _CELL, detail.shape[1])
    details = _window_means(detail, shape)
    costs = details / (_window_means(light, shape) + SHADE)
    costs = costs / max(float(costs.max()), 1e-9) + _PRICE * _window_means(cut_off, shape)
    flattest = _window("flattest", int(costs.argmin()), costs.shape[1], height, width)
    busiest = _window("most detailed", int(details.argmax()), costs.shape[1], height, width)
    return (flattest,) if flattest[1:] == busiest[1:] else (flattest, busiest)


def _cells(picture: Array, peak: float) -> list[Float32]:
    """Strength of the gradients, brightness, and share of pixels cut off, in boxes of `_CELL`.

    The strength is the root of a box's mean gradient energy: a texture all over a window counts
    more than one hard edge through it. Works in bands of rows, so that no whole copy is made.
    """
    parts: list[tuple[Float32, ...]] = []
    rows = _CELL * _BAND_CELLS
    for top in range(0, len(picture), rows):
        band = picture[top : top + rows + 1].astype(np.float32).mean(axis=2) / np.float32(peak)
        np.clip(np.nan_to_num(band, copy=False), 0, 1, out=band)
        below = band[1:] if len(band) > rows else np.concatenate([band[1:], band[-1:]])
        band = band[:rows]
        energy = np.square(below - band)
        energy[:, :-1] += np.square(np.diff(band, axis=1))
        outside = (band < DARK) | (band > BRIGHT)
        strength, light, share = (
            box_reduce(values[..., None], _CELL)[..., 0]
            for values in (energy, band, outside.astype(np.uint8))
        )
        parts.append((np.sqrt(strength), light, share))
    return [np.concatenate(maps) for maps in zip(*parts, strict=True)]


def _window_means(values: Float32, shape: tuple[int, int]) -> Float64:
    """Means over all windows of `shape` within (h, w): (h - rows + 1, w - columns + 1)."""
    rows, columns = shape
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    total[1:, 1:] = values.cumsum(0, dtype=np.float64).cumsum(1)
    right = total[:, columns:] - total[:, :-columns]
    return np.asarray((right[rows:] - right[:-rows]) / (rows * columns))


def _window(kind: Kind, index: int, columns: int, height: int, width: int) -> Window:
    """The window that a position among all windows of cells stands for."""
    row, column = divmod(index, columns)
    tall, wide = min(HEIGHT, height), min(WIDTH, width)
    left, top = min(column * _CELL, width - wide), min(row * _CELL, height - tall)
    return Window(kind, left, top, wide, tall)
