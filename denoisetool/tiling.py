"""Cutting a picture into overlapping tiles, and blending what comes back without a seam.

Tiles start on multiples of the net's stride and carry a margin of real context on every side, so
that a net whose influence ends within the margin gives exactly what the whole picture would give.
Only the inner part of a tile counts; neighbours share a short ramp there, with weights that sum to
one. At the picture's borders there is no ramp and no context: nets learn from patches what a border
is. Shown the picture reflected there, they took noise and its mirror image for a texture: 0.1 dB
less on CIFAR-10, 0.005 on Kodak. Only what a side lacks to a multiple of the stride is reflected.

What is blended is the *noise*, never the picture: an identity model returns its input exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisetool.photo import Half, Pixels

Float = npt.NDArray[np.float32]
RAMP = 16
"""Pixels over which two neighbouring tiles are cross-faded."""
GOLDEN = 0.618
"""Multiples of the golden section spread evenly over [0, 1), however many there are."""
OVERSHOOT = 1.0
"""How far below black and above white the net is shown what a float picture has there. Noise that
was never clipped needs it: without, 0.1 to 0.3 dB are lost at sigma 25."""


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis, in picture coordinates.

    Attributes:
        start, stop: the window the net sees; it may end beyond the picture (reflected there).
        inner_start, inner_stop: the part that counts, inside the picture.
        fade_in, fade_out: length in pixels of the ramp at either end of the inner part.
    """

    start: int
    stop: int
    inner_start: int
    inner_stop: int
    fade_in: int
    fade_out: int

    def enlarged(self, scale: int) -> Span:
        """The same span of a picture that is `scale` times larger."""
        return Span(*(scale * getattr(self, each) for each in self.__slots__))

    def weights(self) -> Float:
        """Weight of each inner pixel, float32 (inner_stop - inner_start,), in (0, 1]."""
        weights = np.ones(self.inner_stop - self.inner_start, np.float32)
        if self.fade_in:
            weights[: self.fade_in] = ramp(self.fade_in)
        if self.fade_out:
            weights[-self.fade_out :] = 1 - ramp(self.fade_out)
        return weights


def ramp(length: int) -> Float:
    """`length` values rising linearly inside (0, 1); 1 - ramp is the neighbour's, exactly."""
    return ((np.arange(length, dtype=np.float32) + 0.5) / length).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the picture: a span of rows and one of columns."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window, multiples of the stride."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def enlarged(self, scale: int) -> Tile:
        """Where the tile is in a picture that is `scale` times larger, with ramps as long."""
        return Tile(self.rows.enlarged(scale), self.columns.enlarged(scale))


def spans(length: int, tile: int, margin: int, stride: int) -> list[Span]:
    """Cut an axis of `length` pixels into windows of at most `tile` pixels.

    Args:
        length: pixels, at least 1.
        tile: largest window in pixels; raised to the least that `margin` and `stride` allow.
        margin: context on each inner side of a window that does not count.
        stride: windows start on multiples of it and have multiples of it as lengths.

    Returns:
        Spans in order; their weights sum to one at every pixel.
    """
    margin = -(-margin // stride) * stride
    total = -(-length // stride) * stride
    shared = 2 * margin + -(-RAMP // stride) * stride
    tile = max(tile // stride * stride, shared + 2 * (-(-RAMP // stride) + 1) * stride)
    if total <= tile:
        return [Span(0, total, 0, length, 0, 0)]
    count = -(-(total - shared) // (tile - shared))
    even = -(-(total + (count - 1) * shared) // count)
    tile = -(-even // stride) * stride  # equal windows: one shape for the engine to prepare
    steps = (total - tile) // stride
    starts = [i * steps // (count - 1) * stride for i in range(count)]
    result = []
    for i, start in enumerate(starts):
        stop = start + tile
        inner_start, inner_stop, fade_in, fade_out = 0, length, 0, 0
        if i:
            inner_start, fade_in = _meeting(starts[i - 1] + tile, start)
        if i + 1 < count:
            following, fade_out = _meeting(stop, starts[i + 1])
            inner_stop = following + fade_out
        result.append(Span(start, stop, inner_start, inner_stop, fade_in, fade_out))
    return result


def _meeting(stop: int, start: int) -> tuple[int, int]:
    """Where the ramp between a window ending at `stop` and one starting at `start` lies."""
    return (stop + start - RAMP) // 2, RAMP


def plan(height: int, width: int, tile: int, margin: int, stride: int) -> list[Tile]:
    """Tiles of a picture, row by row, all of one shape.

    Of the shapes that are no larger in area than a square of side `tile`, the one is taken that
    computes the least context twice.

    Args:
        height: rows of the picture.
        width: columns of the picture.
        tile: side in pixels of the square that says how large a window may be.
        margin: context in pixels on every inner side, from the model card's overlap.
        stride: the model card's stride.
    """
    best: list[Tile] = []
    least = (True, float("inf"))
    for count in range(1, 1 + -(-height // (2 * margin + RAMP + stride))):
        rows = spans(height, -(-height // count) + 2 * (margin + RAMP + stride), margin, stride)
        high = rows[0].stop - rows[0].start
        columns = spans(width, tile * tile // high, margin, stride)
        wide = columns[0].stop - columns[0].start
        cost = (high * wide > tile * tile, high * wide * len(rows) * len(columns))
        if cost < least:
            least = cost
            best = [Tile(row, column) for row in rows for column in columns]
        if not least[0] and len(rows) > 2 * -(-height // tile):
            break  # flatter still only adds context
    return best


def samples(height: int, width: int, side: int, count: int, stride: int) -> list[Tile]:
    """A few windows spread over a picture, for a look at it; no two in one row or column of them.

    Args:
        height: of the picture, in pixels.
        width: of the picture.
        side: of the windows; they are smaller where the picture is.
        count: how many.
        stride: windows start on multiples of it and have multiples of it as sides.
    """

    def span(length: int, share: float) -> Span:
        size = min(side // stride, -(-length // stride)) * stride
        start = int(share * max(0, length - size)) // stride * stride
        return Span(start, start + size, start, min(start + size, length), 0, 0)

    return [
        Tile(span(height, (i + 0.5) / count), span(width, (i * GOLDEN + 0.5) % 1))
        for i in range(count)
    ]


def extract(pixels: Pixels, tile: Tile, peak: float) -> Float:
    """The tile's window as float32 (h, w, C), `pixels` divided by `peak`.

    Values of float pictures beyond 0 and 1 are kept as far as `OVERSHOOT` goes. What reaches
    beyond the picture is reflected (without repeating the border pixel).
    """
    height, width = pixels.shape[:2]
    rows, columns = tile.rows, tile.columns
    window: npt.NDArray[Any] = pixels[rows.start : rows.stop, columns.start : columns.stop]
    below, right = max(0, rows.stop - height), max(0, columns.stop - width)
    if below or right:
        window = np.pad(window, ((0, below), (0, right), (0, 0)), mode="reflect")
    out = window.astype(np.float32)
    out *= np.float32(1 / peak)
    return out if window.dtype.kind == "u" else np.clip(out, -OVERSHOOT, 1 + OVERSHOOT, out=out)


def blend(total: Half, noise: Half, tile: Tile) -> None:
    """Add a tile's noise to the picture's, weighted so that overlapping tiles sum to one.

    Args:
        total: float16 (H, W, C) that starts as zeros; changed in place. Half precision keeps a
            100 MP photo at 0.6 GB and is exact to a 2000th of the noise itself.
        noise: float16 (h, w, C) for the tile's whole window.
        tile: where it belongs.
    """
    rows, columns = tile.rows, tile.columns
    part = noise[
        rows.inner_start - rows.start : rows.inner_stop - rows.start,
        columns.inner_start - columns.start : columns.inner_stop - columns.start,
    ]
    target = total[rows.inner_start : rows.inner_stop, columns.inner_start : columns.inner_stop]
    down, across = rows.weights()[:, None, None], columns.weights()[None, :, None]
    height, width = part.shape[:2]
    top, bottom = rows.fade_in, height - rows.fade_out
    left, right = columns.fade_in, width - columns.fade_out
    target[top:bottom, left:right] = part[top:bottom, left:right]
    for y, x in (  # the ramps: above, below, and beside what only this tile covers
        (slice(0, top), slice(0, width)),
        (slice(bottom, height), slice(0, width)),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, width)),
    ):
        target[y, x] += (part[y, x] * down[y] * across[:, x]).astype(np.float16)  # in float32
