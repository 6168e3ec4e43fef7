"""What the end of the scale does to noise: dark parts of a photo come out too bright.

A file has nothing below black. There the downward half of the noise is cut off, the mean of what is
left is higher than the picture was, and taking the noise out gives that mean: black at white noise
of sigma 50 becomes 20 of 255. It follows from the noise alone by how much, for a clipped normal
distribution has a known mean. White likewise comes out too dark.

This holds for noise that came before the clipping, and whose level is known in the shadows too. So
it is only undone as far as there are samples at the end of the scale: as many as such noise would
leave there, or nothing is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from denoisetool.color import CELL, CoarseField, Float
from denoisetool.lanes import CALLER, Lanes
from denoisetool.photo import Half, Pixels, widened

STEPS = 4096
"""Entries of the tables over the whole scale: a sixteenth of a level of 255 each."""
LEAST_SHARE = 0.002
"""Share of samples at the ends of the scale below which a photo is taken for not clipped."""
NEGLIGIBLE = 0.01
"""Share of a cell's samples at the ends of the scale up to which nothing is undone: less than a
hundredth of the noise's standard deviation would be."""
CHANCE = 1 / CELL**2
"""Share of a cell's samples that is too little to tell."""
APART, ROUNDS = 3, 6
"""How far apart the samples are that tell how much a photo is clipped; and how often it is asked
how much noise must have been there: in the darkest photos the answer is within 2 % then."""


def unclipped(pixels: Pixels, noise: Half, level: float, peak: float) -> float:
    """How much noise a photo had before the ends of its scale cut some off.

    Args:
        pixels: (H, W, C), noisy, in their own depth; floats are not clipped.
        noise: (H, W, C) what was found, in units of `peak`.
        level: standard deviation of the noise as it is, in units of `peak`; before, it must have
            been the same everywhere, and white.
        peak: value of white.

    Returns:
        Its standard deviation then, at most 1.7 times as much; 0 for a photo that is not clipped.
    """
    if pixels.dtype.kind != "u" or level <= 0:
        return 0.0
    some = slice(None, None, APART)
    seen = pixels[some, some].copy()  # together, they are gone through in half of the time
    if np.count_nonzero(seen == 0) + np.count_nonzero(seen == peak) < LEAST_SHARE * seen.size:
        return 0.0
    entries = _entries(seen, noise[some, some].copy(), peak)
    counts = np.bincount(entries.ravel(), minlength=STEPS + 1)
    before = level
    for _ in range(ROUNDS):
        before = level / math.sqrt(float(np.average(tables(before).left, weights=counts)))
    return before


def undo(pixels: Pixels, noise: Half, level: float, peak: float, lanes: Lanes = CALLER) -> None:
    """Add to the noise of a photo what clipping has hidden of it.

    In a part of a photo the result is that of the whole except in the outermost two cells.

    Args:
        pixels: (H, W, C), noisy, in their own depth, which has an end.
        noise: (H, W, C) what was found, in units of `peak`; changed in place.
        level: standard deviation of the noise before it was clipped, see `unclipped`.
        peak: value of white.
        lanes: what works on rows of cells side by side.
    """
    height, width = pixels.shape[:2]
    lefts = np.arange(0, width, CELL)
    areas = (np.minimum(lefts + CELL, width) - lefts)[:, None].astype(np.float32)
    observed = shares(pixels, (0, peak), range(-(-height // CELL)), lanes)
    expected = tables(level)
    foreseen = np.ones_like(observed)
    spans = _spans(observed.max(2) > NEGLIGIBLE)

    def foresee(index: int) -> None:
        row, first, last = spans[index]
        part = _part(row, first, last)
        found = expected.share[_entries(pixels[part], noise[part], peak)].sum(0)
        area = areas[first:last] * min(CELL, height - row * CELL)
        foreseen[row, first:last] = np.add.reduceat(found, lefts[: last - first]) / area

    def add(index: int) -> None:
        row, first, last = spans[index]
        part = _part(row, first, last)
        more = expected.added[_entries(pixels[part], noise[part], peak)]
        trusted = trust.part(row * CELL, first * CELL, more.shape[1])
        noise[part] += (more * trusted.band(0, len(more))).astype(np.float16)

    lanes.each(foresee, range(len(spans)))
    trust = CoarseField(np.minimum(1, (observed + CHANCE) / (foreseen + CHANCE)), width)
    lanes.each(add, range(len(spans)))


def shares(
    pixels: Pixels, ends: Sequence[float], rows: Sequence[int] | npt.NDArray[np.intp], lanes: Lanes
) -> Float:
    """Share of the samples of each cell that have one of some values.

    Args:
        pixels: (H, W, C), in their own depth.
        ends: the values.
        rows: which rows of cells, those of `color.cells`.
        lanes: what works on them side by side.

    Returns:
        Float32 (rows, w, C).
    """
    width, channels = pixels.shape[1:]
    lefts = np.arange(0, width, CELL)
    areas = (np.minimum(lefts + CELL, width) - lefts)[:, None].astype(np.float32)
    result = np.empty((len(rows), len(lefts), channels), np.float32)

    def count(index: int) -> None:
        top = int(rows[index]) * CELL
        band = pixels[top : top + CELL]
        there = band == ends[0]
        for end in ends[1:]:
            there |= band == end
        found = np.add.reduceat(there.sum(0, dtype=np.uint8), lefts, dtype=np.float32)
        result[index] = found / (areas * len(band))

    lanes.each(count, range(len(rows)))
    return result


def _spans(some: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """(row, first column, column after the last) of the cells with something in or beside them."""
    near = np.pad(some, 1)
    near = near[:-2] | near[1:-1] | near[2:]
    near = near[:, :-2] | near[:, 1:-1] | near[:, 2:]
    edges = np.diff(np.pad(near, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    begins, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return [
        (int(row), int(first), int(last))
        for (row, first), last in zip(begins, ends[:, 1], strict=True)
    ]


def _part(row: int, first: int, last: int) -> tuple[slice, slice]:
    """The pixels of some cells of a row."""
    return slice(row * CELL, (row + 1) * CELL), slice(first * CELL, last * CELL)


class Tables(NamedTuple):
    """What follows from the mean that noise has after clipping; (STEPS + 1,) float32 from 0 to 1.

    Attributes:
        added: how far the mean lies above what it was before.
        share: of samples at the ends of the scale.
        left: share of the noise's variance that is left.
    """

    added: Float
    share: Float
    left: Float


class Cut(NamedTuple):
    """Normal noise over the whole scale, and what clipping does to it; (STEPS + 1,) float64.

    Attributes:
        scale: means before, from 0 to 1.
        black: the lower end, in standard deviations from them.
        white: the upper end.
        under: share of samples at the lower end.
        over: share at the upper end.
        low: density of the standard normal distribution at the lower end.
        high: at the upper end.
        mean: means after.
    """

    scale: npt.NDArray[np.float64]
    black: npt.NDArray[np.float64]
    white: npt.NDArray[np.float64]
    under: npt.NDArray[np.float64]
    over: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]


def cut(level: float) -> Cut:
    """Normal noise with a standard deviation of `level`, above 0, clipped to 0..1."""
    scale = np.linspace(0, 1, STEPS + 1)
    black, white = (-scale) / level, (1 - scale) / level
    under, over = normal(black), normal(-white)
    low, high = np.exp(-np.square(np.stack([black, white])) / 2) / math.sqrt(2 * math.pi)
    mean = scale * (1 - under - over) + level * (low - high) + over
    return Cut(scale, black, white, under, over, low, high, mean)


def tables(level: float) -> Tables:
    """What clipping to 0..1 does to normal noise with a standard deviation of `level`."""
    scale, black, white, under, over, low, high, after = cut(level)
    power = (scale**2 + level**2) * (1 - under - over) + 2 * scale * level * (low - high) + over
    power += level**2 * (black * low - white * high)
    found = (scale - np.interp(scale, after, scale), np.interp(scale, after, under + over))
    left = np.interp(scale, after, power - np.square(after)) / level**2
    return Tables(*(table.astype(np.float32) for table in (*found, left)))


def normal(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distribution function of the standard normal distribution."""
    return np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in values])


def _entries(pixels: Pixels, noise: Half, peak: float) -> npt.NDArray[np.intp]:
    """Which entry of the tables the denoised samples have."""
    clean = pixels / np.float32(peak)
    clean -= widened(noise)
    np.clip(clean, 0, 1, out=clean)
    return np.asarray(clean * STEPS + np.float32(0.5), np.intp)
