"""The colour lock: the coarse colour of a photo does not move further than its noise explains.

Noise has no mean. What a noise estimate has left after averaging over a large area is therefore
either chance, whose size follows from the noise itself, or an error of the model: a tint. The lock
takes the second part out of the estimate, at three scales, and leaves the first in, so that coarse
chroma blotches still go. It works on the noise of the whole picture, never per tile, and through a
smooth correction on a coarse grid, so that it makes neither seams nor halos.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Half = npt.NDArray[np.float16]

CELL = 16
"""Side in pixels of a cell of the fine grid; the coarse grid's is four times that."""
FREE = 0.05 / 255
"""Shift that is always allowed: a twentieth of a level of 255."""
CELL_SHARE, BLOCK_SHARE, PHOTO_SHARE = 0.08, 0.024, 0.004
"""Largest mean over 16 x 16 pixels, 64 x 64 pixels and the photo that is let through, as a share of
the local noise: a little more than chance leaves of white noise (1/16, 1/64 and next to nothing).
Correlated camera noise leaves four to six times as much, but so much freedom also lets a model's
own tint through: 0.35, 0.12 and 0.02 gain 0.03 dB on real photos and move one in 25 away from its
true colour."""


def lock(noise: Half) -> float:
    """Take out of a noise estimate what would shift the colour of areas, in place.

    Args:
        noise: (H, W, C) float16, in units of white.

    Returns:
        The largest correction that was made, in units of white.
    """
    mean, power = _cells(noise)
    sigma: Float = np.sqrt(np.maximum(power - np.square(mean), 0))
    tint = _excess(_overall(mean), PHOTO_SHARE * _overall(sigma))
    correction = np.broadcast_to(tint, mean.shape).copy()
    rest = mean - correction
    block_sigma: Float = np.sqrt(_shrink(np.square(sigma)))
    coarse = _excess(_shrink(rest), BLOCK_SHARE * block_sigma)
    if coarse.any():
        spread = _grow(coarse, 4, mean.shape[0], mean.shape[1])
        correction += spread
        rest -= spread
    correction += _excess(rest, CELL_SHARE * sigma)
    largest = float(np.abs(correction).max(initial=0))
    if largest > 1e-6:
        _subtract(noise, correction)
    return largest


def _excess(mean: Float, allowed: Float) -> Float:
    """What of `mean` lies beyond `allowed` in either direction."""
    limit = allowed + np.float32(FREE)
    return (mean - np.clip(mean, -limit, limit)).astype(np.float32)


def _overall(cells: Float) -> Float:
    return np.asarray(cells.mean((0, 1), dtype=np.float32)[None, None, :])


def _cells(noise: Half) -> tuple[Float, Float]:
    """Mean and mean square over cells; partial cells at the border count what they have."""
    height, width, channels = noise.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    mean = np.empty((rows, columns, channels), np.float32)
    power = np.empty_like(mean)
    starts = np.arange(0, width, CELL)
    lengths = np.minimum(CELL, width - starts).astype(np.float32)[:, None]
    for row in range(rows):
        band = noise[row * CELL : (row + 1) * CELL].astype(np.float32)
        area = lengths * len(band)
        mean[row] = np.add.reduceat(band.sum(0), starts, axis=0) / area
        power[row] = np.add.reduceat(np.square(band, out=band).sum(0), starts, axis=0) / area
    return mean, power


def _shrink(cells: Float) -> Float:
    """Mean over 4 x 4 cells, the border ones repeated where they do not fill a block."""
    pad = ((0, -cells.shape[0] % 4), (0, -cells.shape[1] % 4), (0, 0))
    full = np.pad(cells, pad, mode="edge")
    shape = (full.shape[0] // 4, 4, full.shape[1] // 4, 4, full.shape[2])
    return np.asarray(full.reshape(shape).mean((1, 3), dtype=np.float32))


def _taps(length: int, factor: int, cells: int) -> tuple[npt.NDArray[np.intp], Float]:
    """Left cell and fraction of the right one for bilinear interpolation of `length` samples."""
    position = np.clip((np.arange(length) + 0.5) / factor - 0.5, 0, cells - 1)
    left = np.minimum(position.astype(np.intp), max(0, cells - 2))
    return left, (position - left).astype(np.float32)


def _grow(grid: Float, factor: int, height: int, width: int) -> Float:
    """Bilinear enlargement by `factor`, cut to `height` x `width`."""
    rows, down = _taps(height, factor, grid.shape[0])
    columns, across = _taps(width, factor, grid.shape[1])
    below = np.minimum(rows + 1, grid.shape[0] - 1)
    right = np.minimum(columns + 1, grid.shape[1] - 1)
    tall = grid[rows] + down[:, None, None] * (grid[below] - grid[rows])
    wide = tall[:, columns] + across[None, :, None] * (tall[:, right] - tall[:, columns])
    return np.asarray(wide, np.float32)


def _subtract(noise: Half, correction: Float) -> None:
    """Subtract the enlarged correction, a band at a time; bands without any are left alone."""
    height, width = noise.shape[:2]
    for row in range(correction.shape[0]):
        near = correction[max(0, row - 1) : row + 2]
        if not near.any():
            continue
        top, bottom = row * CELL, min(height, (row + 1) * CELL)
        first = max(0, row - 1)
        whole = _grow(near, CELL, len(near) * CELL, width)
        noise[top:bottom] -= whole[(row - first) * CELL :][: bottom - top].astype(np.float16)
