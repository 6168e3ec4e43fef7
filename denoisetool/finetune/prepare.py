"""From two photos of one scene to a noisy picture and its target, or a reason why not.

The second photo is moved onto the first and brought to its exposure and colour. A mask says which
of its samples count: not those that moved, and not those where noise was cut off at black or white,
since the mean of clipped noise is not the clean value. The first photo stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from denoisetool import color, formats, metrics
from denoisetool.denoiser import Report
from denoisetool.errors import PhotoError
from denoisetool.finetune import align, pairs
from denoisetool.finetune.align import Float
from denoisetool.formats.base import Limits
from denoisetool.formats.exif import Shot, shot
from denoisetool.photo import Half, Photo, Pixels, widened

Mask = npt.NDArray[np.bool_]

MOST_PIXELS = 12e6
"""Of larger photos only the middle is used, for the sake of memory."""
SMALLEST = 256
"""Least side of a photo, in pixels."""
LEAST_OVERLAP, LEAST_WEIGHT = 0.6, 0.4
"""Least share of the picture that both photos show, and that counts in the end."""
SAME_SCENE = 0.7
"""Least correlation of the coarse pictures once they are aligned."""
MOST_STOPS = 0.75
"""Largest difference of two exposures: noise depends on the exposure too."""
GAMMA = 2.2
"""Power that sRGB's curve is nearest to."""
SHARPNESS = 1.6
"""Largest ratio of the finest detail of two photos, aligned and denoised."""
CLEAN = 0.5 / 255
"""Less noise than this is none: rounding to 8 bits alone makes 0.3 of 255."""
CELL = 8
LIGHT_CELL = color.CELL
SMOOTH = 6
"""Radius in cells over which light that changed between the photos is followed."""


@dataclass(slots=True)
class Frame:
    """One photo in memory, or the middle of a large one.

    Attributes:
        size: width and height of the whole photo, in words.
        shot: how it was taken.
        pixels: (H, W, 3) in their own depth; peak: value of white.
        half: (H, W, 3) float16 in [0, 1], without noise, as the start model sees it.
        kind: kind of its noise, as the model calls it.
        noise: rms of its noise, in levels of 255.
    """

    size: str
    shot: Shot
    pixels: Pixels
    peak: float
    half: Half
    kind: str | None = None
    noise: float = 0.0

    @property
    def picture(self) -> Float:
        """(H, W, 3) float32 in [0, 1]."""
        return np.asarray(self.pixels.astype(np.float32) / np.float32(self.peak))

    @property
    def clean(self) -> Float:
        """The same without noise."""
        return widened(self.half)


@dataclass(slots=True)
class Prepared:
    """A noisy picture and its target, aligned.

    Attributes:
        noisy: (H, W, 3) in [0, 1], the first photo as it is.
        target: (H, W, 3), the second as the first would have seen it; not clipped.
        counts: (H, W, 3), which samples of the target count.
        shift: (dy, dx) in pixels, the mean shift of the second photo.
        exposure: how many stops brighter the first photo is.
        noise: rms of the noise of one of the photos, in levels of 255.
        weight: share of the samples that count.
        shifts: (h, w, 2) of the second photo's tiles, see `align`.
    """

    noisy: Float
    target: Float
    counts: Mask
    shift: tuple[float, float] = (0.0, 0.0)
    exposure: float = 0.0
    noise: float = 0.0
    weight: float = 1.0
    shifts: Float | None = None


class Rejected(Exception):
    """Two photos do not make a pair; the message says why, without a full stop."""


Clean = Callable[[Photo], Report]
"""Takes the noise out of a photo, in place."""


def read(path: Path, clean: Clean) -> Frame:
    """Decode a photo and denoise a copy of it.

    Raises:
        Rejected: it cannot be read, is too small, or is grey.
    """
    try:
        photo = formats.read(path, Limits())
    except PhotoError as error:
        raise Rejected(f"{path.name} cannot be read: {error.what}") from error
    if min(photo.height, photo.width) < SMALLEST:
        size = f"{photo.width} x {photo.height}"
        raise Rejected(f"{path.name} is too small: {size}, at least {SMALLEST} pixels are needed")
    if photo.channels != 3:
        raise Rejected(f"{path.name} is grey; colour photos are needed")
    size, pixels = f"{photo.width} x {photo.height}", _middle(photo.pixels)
    photo.pixels = pixels.copy()
    report = clean(photo)
    assert report.noise is not None  # models that enlarge are not fine-tuned
    half = (photo.pixels.astype(np.float32) / np.float32(photo.peak)).astype(np.float16)
    how = shot(photo.metadata.exif)
    return Frame(size, how, pixels, photo.peak, half, report.kind, report.noise)


def _middle(pixels: Pixels) -> Pixels:
    """The middle of a picture, `MOST_PIXELS` of it; whole cells are left out."""
    height, width = pixels.shape[:2]
    scale = min(1.0, (MOST_PIXELS / (height * width)) ** 0.5)
    top, left = (int(n * (1 - scale) / 2) // 16 * 16 for n in (height, width))
    return pixels[top : height - top, left : width - left].copy()


def prepare(
    first: Frame, second: Frame, *, supervised: bool, raw: bool = False,
    shifts: Float | None = None,
) -> Prepared:  # fmt: skip
    """Make the second photo the target of the first.

    Args:
        first: the noisy photo.
        second: another one of the scene.
        supervised: whether the second one has no noise.
        raw: leave the second one as it is, for comparison.
        shifts: of the second one's tiles, where they are known.

    Raises:
        Rejected: the two are no pair.
    """
    _compare(first, second)
    if raw:
        counts = np.ones(first.picture.shape, bool)
        return Prepared(first.picture, second.picture, counts)
    base = second.picture if supervised else second.clean
    grey, other = first.clean.mean(2), base.mean(2)
    if shifts is None:
        shifts = align.field(grey, other, align.whole_shift(grey, other))
    target, there = align.move(second.picture, shifts)
    if there.mean() < LEAST_OVERLAP:
        raise Rejected(f"only {there.mean():.0%} of the picture is on both photos")
    moved = target if supervised else align.move(second.clean, shifts)[0]
    target, moved, stops = _same_light(first, target, moved, there)
    _same_scene(first.clean, moved, there)
    noise = _noise(first.picture, target, there, supervised=supervised)
    if noise.mean() < CLEAN:
        found = f"{255 * float(noise.mean()):.2f} levels of noise"
        raise Rejected(f"already clean: {found} between the two photos")
    still = _still(first.clean, moved, there)
    counts = still[..., None] & _unclipped(first.clean, moved, noise)
    weight = float(counts.mean())
    if weight < LEAST_WEIGHT:
        why = "moved" if still.mean() < LEAST_WEIGHT else "is too dark or too bright"
        raise Rejected(f"only {weight:.0%} of the picture counts: the rest {why}")
    dy, dx = (float(v) for v in shifts.mean((0, 1)))
    level = float(np.sqrt(np.square(noise).mean())) * 255
    return Prepared(first.picture, target, counts, (dy, dx), stops, level, weight, shifts)


def _compare(first: Frame, second: Frame) -> None:
    """Raise Rejected for what can be seen without aligning."""
    if first.size != second.size:
        raise Rejected(f"the photos differ in size: {first.size} and {second.size}")
    difference = metrics.rms(first.picture, second.picture, 1.0, 1.0)
    if difference < 0.05:
        raise Rejected("the photos are identical: a copy has the same noise, not a second one")


def _same_light(
    first: Frame, target: Float, moved: Float, there: Mask
) -> tuple[Float, Float, float]:
    """Bring the target to the first photo's exposure and colour, per channel and area.

    Raises:
        Rejected: the exposures are too far apart.
    """
    share = metrics.box_reduce(there[..., None].astype(np.float32), LIGHT_CELL)
    coarse, other = (metrics.box_reduce(p, LIGHT_CELL) for p in (first.clean, moved))
    usable = (share[..., 0] > 0.99) & (other.min(2) > 0.02) & (other.max(2) < 0.97)
    if usable.sum() < 50:
        raise Rejected("too little of the picture is neither black nor white")
    ratio = float(np.median(coarse[usable])) / max(float(np.median(other[usable])), 1e-4)
    stops = GAMMA * float(np.log2(max(ratio, 1e-4)))
    if abs(stops) > MOST_STOPS:
        raise Rejected(f"the exposures differ by {abs(stops):.1f} stops")
    gain, offset = np.ones(3, np.float32), np.zeros(3, np.float32)
    for channel in range(3):
        gain[channel], offset[channel] = _line(
            other[usable][:, channel], coarse[usable][:, channel]
        )
    left = coarse - (other * gain + offset)
    left[np.abs(left).max(2) > 0.06] = np.nan  # something moved there
    left[~usable] = np.nan
    height, width = target.shape[:2]
    area = color.CoarseField(_local_mean(left), width).band(0, height)
    return target * gain + offset + area, moved * gain + offset + area, stops


def _line(x: Float, y: Float) -> tuple[float, float]:
    """Slope and offset of y over x, little moved by what does not fit."""
    weight = np.ones(len(x))
    slope, offset = 1.0, 0.0
    for _ in range(6):
        mx, my = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = np.average((x - mx) ** 2, weights=weight)
        slope = np.average((x - mx) * (y - my), weights=weight) / spread if spread > 1e-6 else 1.0
        slope = float(np.clip(slope, 0.5, 2.0))
        offset = float(my - slope * mx)
        error = (y - slope * x - offset) / 0.01
        weight = 1 / (1 + error**2)
    return slope, offset


def _local_mean(values: Float) -> Float:
    """Means of the cells around that are not NaN; 0 where there are none."""
    known = np.isfinite(values)
    parts = [np.where(known, values, 0), known.astype(np.float32)]
    sums = [_boxed(_boxed(part, 0), 1) for part in parts]
    return np.asarray(sums[0] / np.maximum(sums[1], 0.5), np.float32)


def _boxed(values: Float, axis: int) -> Float:
    """Sums over 2 x `SMOOTH` + 1 cells along an axis."""
    pad = [(0, 0)] * 3
    pad[axis] = (SMOOTH + 1, SMOOTH)
    total = np.pad(values, pad).cumsum(axis, dtype=np.float64)
    size = 2 * SMOOTH + 1
    high, low = np.arange(size, total.shape[axis]), np.arange(total.shape[axis] - size)
    return np.asarray(total.take(high, axis) - total.take(low, axis), np.float32)


def _same_scene(clean: Float, moved: Float, there: Mask) -> None:
    """Raise Rejected where the aligned photos show different things, or one is blurred."""
    a, b = (p.mean(2) for p in (clean, moved))
    fill = float(a[there].mean())
    coarse = [metrics.box_reduce(np.where(there, p, fill)[..., None], 16)[..., 0] for p in (a, b)]
    alike = pairs.correlation(*coarse)
    if alike < SAME_SCENE:
        raise Rejected(f"they show different scenes (correlation {alike:.2f})")
    sharp = [_sharpness(p, there) for p in (a, b)]
    if max(sharp) > SHARPNESS * min(sharp):
        which = "second" if sharp[1] < sharp[0] else "first"
        raise Rejected(f"the {which} photo is blurred: {min(sharp) / max(sharp):.0%} as sharp")


def _sharpness(grey: Float, there: Mask) -> float:
    """Rms of the finest detail: what each pixel has that its four neighbours have not."""
    around = grey[2:, 1:-1] + grey[:-2, 1:-1] + grey[1:-1, 2:] + grey[1:-1, :-2]
    fine = grey[1:-1, 1:-1] - around / 4
    return float(np.sqrt(np.square(fine[there[1:-1, 1:-1]]).mean())) + 1e-4


def _noise(first: Float, target: Float, there: Mask, *, supervised: bool) -> Float:
    """(H, W, 3) noise of one photo around each pixel, from what is between the two."""
    difference = np.where(there[..., None], first - target, 0)
    power = np.square(difference) * np.float32(1 if supervised else 0.5)
    cells = metrics.box_reduce(power, 2 * CELL)
    share = metrics.box_reduce(there[..., None].astype(np.float32), 2 * CELL)
    level = np.sqrt(cells / np.maximum(share, 1e-3))
    grown = np.repeat(np.repeat(level, 2 * CELL, 0), 2 * CELL, 1)
    return np.asarray(grown[: first.shape[0], : first.shape[1]], np.float32)


def _still(clean: Float, moved: Float, there: Mask) -> Mask:
    """(H, W) where the clean pictures agree as well as they do elsewhere."""
    difference = metrics.box_reduce(np.where(there[..., None], clean - moved, 0), CELL)
    error = np.abs(difference).max(2)
    limit = max(5 * float(np.median(error)) * 1.4826, 2.0 / 255)
    bad = error > limit
    for _ in range(2):
        grown = np.pad(bad, 1)
        bad = np.logical_or.reduce(
            [grown[y : y + bad.shape[0], x : x + bad.shape[1]] for y in range(3) for x in range(3)]
        )
    still = ~np.repeat(np.repeat(bad, CELL, 0), CELL, 1)
    return np.asarray(still[: clean.shape[0], : clean.shape[1]] & there)


def _unclipped(clean: Float, moved: Float, noise: Float) -> Mask:
    """(H, W, 3) where noise has room on both sides."""
    middle = 0.5 * (clean + moved)
    room = 2.5 * noise
    return np.asarray((middle - room > 0.5 / 255) & (middle + room < 254.5 / 255))
