"""The colour lock: the coarse colour of a photo does not move further than its noise explains.

Noise has no mean, other than a camera's in the shadows, see `bias`. What a noise estimate has left
after averaging over a large area is therefore either chance, whose size follows from the noise
itself, or an error of the model: a tint. The lock takes the second part out of the estimate, at
three scales, and leaves the first in, so that coarse chroma blotches still go. It works on the
noise of the whole picture, never per tile, and through a smooth correction on a coarse grid, so
that it makes neither seams nor halos.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from denoisetool.lanes import CALLER, Lanes
from denoisetool.photo import Half, widened

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]

CELL = 16
"""Side in pixels of a cell of the fine grid; the coarse grid's is four times that. In an enlarged
photo cells are larger by its scale: as much of the noise that was in the photo averages out."""
FREE = 0.05 / 255
"""Shift that is always allowed: a twentieth of a level of 255."""
CELL_SHARE, BLOCK_SHARE, PHOTO_SHARE = 0.08, 0.024, 0.004
"""Largest mean over 16 x 16 pixels, 64 x 64 pixels and the photo that is let through, as a share of
the local noise: a little more than chance leaves of white noise (1/16, 1/64, next to nothing)."""
CORRELATED_SHARE = 0.35
"""The first of them for cameras' correlated noise, of which chance leaves four to six times as much
in 16 x 16 pixels. On `nam` it gains 0.13 dB, and the coarse colour comes out closer to the truth.
More for the larger scales gains nothing and only lets a model's own tint through."""


class CoarseField:
    """Something known per cell and wanted per pixel, smoothly.

    Args:
        grid: (h, w, C) float32, one value per cell.
        width: columns of the picture, or of the part of it that is wanted.
        top, left: where that part begins.
        cell: side in pixels of a cell.
    """

    def __init__(
        self, grid: Float, width: int, top: int = 0, left: int = 0, cell: int = CELL
    ) -> None:
        self._grid, self._width, self._top, self._left = grid, width, top, left
        self._cell = cell

    def part(self, top: int, left: int, width: int) -> CoarseField:
        """The same for a part of the picture, whose rows and columns then count from 0."""
        return CoarseField(self._grid, width, self._top + top, self._left + left, self._cell)

    def band(self, top: int, bottom: int) -> Float:
        """Rows `top` to `bottom` of it at full size, bilinear: float32 (bottom - top, width, C)."""
        cells, _, channels = self._grid.shape
        above, down = _taps(np.arange(top, bottom) + self._top, self._cell, cells)
        first, last = int(above[0]), min(int(above[-1]) + 1, cells - 1)
        near = _widen(self._grid[first : last + 1], self._cell, self._width, self._left)
        near = near.reshape(last - first + 1, -1)
        step = np.diff(near, axis=0, append=near[-1:])
        band = np.empty((bottom - top, near.shape[1]), np.float32)
        above -= first
        for index in range(len(near)):
            rows = slice(*np.searchsorted(above, (index, index + 1)))  # they lie together
            np.multiply(step[index], down[rows, None], out=band[rows])
            band[rows] += near[index]
        return band.reshape(bottom - top, self._width, channels)


def drift(
    mean: Float, power: Float, width: int, cell: int = CELL, *,
    kind: str | None = None, explained: tuple[Float, Float] | None = None,
    locked: Float | None = None,
) -> CoarseField:  # fmt: skip
    """Find by what a noise estimate would shift colours beyond what noise explains.

    Args:
        mean: (h, w, C) means of the estimate over cells, from `cells`.
        power: their mean squares.
        width: columns of the picture.
        cell: side in pixels of a cell.
        kind: of the noise; taken for `white` if it is not known.
        explained: between which means (h, w, C) the noise of a camera may lie, see `bias`.
        locked: (h, w, C) part of the means that this was done with before, and that stays.

    Returns:
        What is to be taken out of the estimate, in its unit.
    """
    sigma: Float = np.sqrt(np.maximum(power - np.square(mean), 0))
    lowest, highest = explained or (np.zeros_like(mean), np.zeros_like(mean))
    if locked is not None:
        mean = mean - locked
    usual = PHOTO_SHARE * _overall(sigma)
    tint = _excess(_overall(mean), usual, _overall(lowest), _overall(highest))
    found = np.broadcast_to(tint, mean.shape).copy()
    rest = mean - found
    block_sigma: Float = np.sqrt(_shrink(np.square(sigma)))
    usual = BLOCK_SHARE * block_sigma
    coarse = _excess(_shrink(rest), usual, _shrink(lowest), _shrink(highest))
    spread = _widen(coarse, 4, mean.shape[1])
    rows, down = _taps(np.arange(mean.shape[0]), 4, coarse.shape[0])
    below = np.minimum(rows + 1, coarse.shape[0] - 1)
    spread = spread[rows] + down[:, None, None] * (spread[below] - spread[rows])
    found += spread
    rest -= spread
    share = CELL_SHARE if kind in (None, "white") else CORRELATED_SHARE
    found += _excess(rest, share * sigma, lowest, highest)
    return CoarseField(found, width, cell=cell)


def _excess(mean: Float, usual: Float, lowest: Float, highest: Float) -> Float:
    """What of `mean` lies more than `usual` below `lowest`, or above `highest`."""
    limit = usual + np.float32(FREE)
    return (mean - np.clip(mean, lowest - limit, highest + limit)).astype(np.float32)


def _overall(cells: Float) -> Float:
    return np.asarray(cells.mean((0, 1), dtype=np.float32)[None, None, :])


def cells(noise: Half, lanes: Lanes = CALLER, cell: int = CELL) -> tuple[Float, Float]:
    """Mean and mean square over cells; partial cells at the border count what they have."""
    height, width, channels = noise.shape
    rows, columns = -(-height // cell), -(-width // cell)
    mean = np.empty((rows, columns, channels), np.float32)
    power = np.empty_like(mean)
    starts = np.arange(0, width, cell)
    lengths = np.minimum(cell, width - starts).astype(np.float32)[:, None]

    def measure(row: int) -> None:
        band = widened(noise[row * cell : (row + 1) * cell])
        area = lengths * len(band)
        mean[row] = np.add.reduceat(band.sum(0), starts, axis=0) / area
        power[row] = np.add.reduceat(np.square(band, out=band).sum(0), starts, axis=0) / area

    lanes.each(measure, range(rows))
    return mean, power


def _shrink(cells: Float) -> Float:
    """Mean over 4 x 4 cells, the border ones repeated where they do not fill a block."""
    pad = ((0, -cells.shape[0] % 4), (0, -cells.shape[1] % 4), (0, 0))
    full = np.pad(cells, pad, mode="edge")
    shape = (full.shape[0] // 4, 4, full.shape[1] // 4, 4, full.shape[2])
    return np.asarray(full.reshape(shape).mean((1, 3), dtype=np.float32))


def _taps(pixels: Index, factor: int, cells: int) -> tuple[Index, Float]:
    """First cell, and share of the next one, for bilinear interpolation at `pixels`."""
    position = np.clip((pixels + 0.5) / factor - 0.5, 0, cells - 1)
    first = np.minimum(position.astype(np.intp), max(0, cells - 2))
    return first, (position - first).astype(np.float32)


def _widen(grid: Float, factor: int, width: int, start: int = 0) -> Float:
    """Bilinear enlargement of the columns by `factor`, of which `width` from `start` on."""
    left, across = _taps(np.arange(start, start + width), factor, grid.shape[1])
    wide = np.take(np.diff(grid, axis=1, append=grid[:, -1:]), left, axis=1)
    wide *= across[:, None]
    wide += np.take(grid, left, axis=1)
    return wide
