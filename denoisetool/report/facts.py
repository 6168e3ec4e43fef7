"""What changed between a photo before and after, and the parts of it worth looking at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from denoisetool import crops, metrics
from denoisetool.crops import Window
from denoisetool.errors import UsageError
from denoisetool.photo import Photo
from denoisetool.report.pictures import data_uri

BOX = 16
"""Side in pixels of the boxes over which colours are averaged before they are compared."""


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
        width, height: pixels.
        removed: root mean square of before - after, in levels of 255.
        shift_mean, shift_p95: CIEDE2000 between the two, boxed by 16 pixels.
        crops: the parts worth looking at, if pictures were wanted.
    """

    width: int
    height: int
    removed: float
    shift_mean: float
    shift_p95: float
    crops: tuple[Crop, ...] = ()


def compare(before: Photo, after: Photo, *, pictures: bool) -> Facts:
    """What changed from one version of a photo to the other, in whatever depths they are.

    Args:
        before: the noisy one.
        after: the denoised one, in which the crops are chosen.
        pictures: whether to make the crops.

    Raises:
        UsageError: the two differ in size.
    """
    sizes = [(photo.width, photo.height) for photo in (before, after)]
    if sizes[0] != sizes[1]:
        what = "the two differ in size: {} x {} before, {} x {} after".format(*sizes[0], *sizes[1])
        raise UsageError(what, hint="give the photo and its own result, in full size")
    removed = metrics.rms(before.pixels, after.pixels, before.peak, after.peak)
    mean, p95 = metrics.coarse_ciede2000(_boxed(before), _boxed(after), factor=1, peak=1.0)
    windows = crops.choose(after.pixels, after.peak) if pictures else ()
    return Facts(
        *sizes[0], removed, mean, p95,
        tuple(
            Crop(window, *(data_uri(photo, window.of(photo.pixels)) for photo in (before, after)))
            for window in windows
        ),
    )  # fmt: skip


def _boxed(photo: Photo) -> metrics.Float32:
    """(h, w, 3) means of boxes as shares of white; grey counts as R = G = B."""
    boxed = metrics.box_reduce(photo.pixels, BOX) / np.float32(photo.peak)
    return np.broadcast_to(boxed, (*boxed.shape[:2], 3))
