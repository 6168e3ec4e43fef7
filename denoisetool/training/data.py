"""Photos in memory as uint8, and random patches out of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denoisetool import formats
from denoisetool.errors import DenoiseError, NoInputError
from denoisetool.formats.base import Limits

Image = npt.NDArray[np.uint8]


def load_photos(
    folder: Path, smallest: int, report: Callable[[DenoiseError], None] | None = None
) -> list[Image]:
    """All 8-bit RGB photos under `folder` whose sides are at least `smallest` pixels.

    Photos stay uint8 (H, W, 3) in memory; 300 MP take 0.9 GB. A photo that cannot be read is
    reported and left out.

    Raises:
        NoInputError: none was usable.
    """
    images: list[Image] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if formats.sniff(data[:64]) is None:
            continue
        try:
            photo = formats.decode(data, Limits())
        except DenoiseError as error:
            error.path = path
            if report is not None:
                report(error)
            continue
        if photo.pixels.dtype == np.uint8 and photo.channels == 3:
            pixels = np.asarray(photo.pixels, dtype=np.uint8)
            if min(pixels.shape[:2]) >= smallest:
                images.append(pixels)
    if not images:
        raise NoInputError("no usable training photo here", path=folder)
    return images


class Patches:
    """Random patches: photos drawn by area, flips, quarter turns, channel gains, reduction.

    Args:
        images: uint8 (H, W, 3) photos.
        rng: the source of all choices.
        reduction: how many pixels on each side are averaged to one in a patch that is reduced.
        reduced: share of those.
    """

    def __init__(
        self, images: list[Image], rng: np.random.Generator, reduction: int = 2,
        reduced: float = 0.3,
    ) -> None:  # fmt: skip
        self.images = images
        self.rng = rng
        self.reduction, self.reduced = reduction, reduced
        # A very large photo is not drawn in proportion to its area: scenes matter, not pixels.
        weights = np.sqrt([float(i.shape[0] * i.shape[1]) for i in images])
        self.cumulative = np.cumsum(weights) / weights.sum()

    def batch(self, count: int, side: int) -> Tensor:
        """`count` patches: float32 (count, 3, side, side) in [0, 1], channels last in memory."""
        out = np.empty((count, side, side, 3), np.float32)
        for i in range(count):
            image = self.images[int(np.searchsorted(self.cumulative, self.rng.random()))]
            fits = min(image.shape[:2]) >= self.reduction * side
            reduce = self.rng.random() < self.reduced and fits
            out[i] = self._reduced(image, side) if reduce else self._crop(image, side)
        out *= 1 / 255
        gains = self.rng.uniform(0.85, 1.0, (count, 1, 1, 3)).astype(np.float32)
        gains[self.rng.random(count) < 0.5] = 1
        return torch.from_numpy(out * gains).permute(0, 3, 1, 2)

    def _crop(self, image: Image, side: int) -> Image:
        top = int(self.rng.integers(image.shape[0] - side + 1))
        left = int(self.rng.integers(image.shape[1] - side + 1))
        patch = image[top : top + side, left : left + side]
        turns, flip = int(self.rng.integers(4)), self.rng.random() < 0.5
        patch = np.rot90(patch, turns)
        return patch[:, ::-1] if flip else patch

    def _reduced(self, image: Image, side: int) -> npt.NDArray[np.float32]:
        by = self.reduction
        patch = self._crop(image, by * side)
        total = np.zeros((side, side, 3), np.float32)
        for row, column in np.ndindex(by, by):  # a tenth of the time of a mean over two axes
            total += patch[row::by, column::by]
        return np.asarray(total / by**2, np.float32)
