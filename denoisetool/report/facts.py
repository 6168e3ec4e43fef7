"""What changed between a photo before and after, and the parts of it worth looking at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from denoisetool import bicubic, crops, metrics
from denoisetool.crops import Window
from denoisetool.errors import UsageError
from denoisetool.modelcard import SCALES
from denoisetool.photo import Photo, Pixels, in_depth
from denoisetool.report.pictures import data_uri

BOX = 16
"""Side, in pixels of the photo before, of the boxes over which colours are averaged before they are
compared."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One part of a photo, before and after, as data URIs."""

    window: Window
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What changed between two versions of a photo.

    Attributes:
        width, height: pixels, after.
        scale: how many times larger that is on each side than before.
        removed: root mean square of before - after, in levels of 255; None where the photo was
            enlarged, since that adds detail.
        shift_mean, shift_p95: CIEDE2000 between the two, boxed by 16 pixels.
        crops: the parts worth looking at, if pictures were wanted.
    """

    width: int
    height: int
    removed: float | None
    shift_mean: float
    shift_p95: float
    crops: tuple[Crop, ...] = ()
    scale: int = 1

    @property
    def megapixels(self) -> float:
        """Size in millions of pixels, after."""
        return self.width * self.height / 1e6


def compare(before: Photo, after: Photo, *, pictures: bool) -> Facts:
    """What changed from one version of a photo to the other, in whatever depths they are.

    Where the second is two or four times larger, the first one's bicubic enlargement counts.

    Args:
        before: the noisy one.
        after: the denoised one, in which the crops are chosen.
        pictures: whether to make the crops.

    Raises:
        UsageError: the two differ in size otherwise.
    """
    sizes = [(photo.width, photo.height) for photo in (before, after)]
    scale = next((s for s in SCALES if sizes[1] == (s * before.width, s * before.height)), 0)
    if not scale:
        what = "the two differ in size: {} x {} before, {} x {} after".format(*sizes[0], *sizes[1])
        raise UsageError(what, hint="give the photo and its own result, in full size")
    removed = None
    if scale == 1:
        removed = metrics.rms(before.pixels, after.pixels, before.peak, after.peak)
    boxed = _boxes(before, scale, scale * BOX), _boxes(after, 1, scale * BOX)
    mean, p95 = metrics.coarse_ciede2000(*boxed, factor=1, peak=1.0)
    windows = crops.choose(after.pixels, after.peak) if pictures else ()
    return Facts(
        *sizes[1], removed, mean, p95,
        tuple(
            Crop(
                window, data_uri(before, _part(before, window, scale)),
                data_uri(after, window.of(after.pixels)),
            )
            for window in windows
        ),
        scale,
    )  # fmt: skip


def _part(photo: Photo, window: Window, scale: int) -> Pixels:
    """A window of a photo's enlargement, of which no more than that is made."""
    if scale == 1:
        return window.of(photo.pixels)
    place = (window.top, window.left, window.height, window.width)
    part = bicubic.window(photo.pixels, scale, *place)
    return in_depth(part, photo.pixels.dtype, photo.peak)


def _boxes(photo: Photo, scale: int, size: int) -> metrics.Float32:
    """(h, w, 3) means of boxes of a photo's enlargement as shares of white; grey: R = G = B."""
    if scale == 1:
        boxed = metrics.box_reduce(photo.pixels, size)
    else:
        height = scale * photo.height
        bands = (
            bicubic.rows(photo.pixels, scale, top, min(top + size, height))
            for top in range(0, height, size)
        )
        boxed = np.concatenate(
            [metrics.box_reduce(band.clip(0, photo.peak), size) for band in bands]
        )
    boxed /= np.float32(photo.peak)
    return np.broadcast_to(boxed, (*boxed.shape[:2], 3))
