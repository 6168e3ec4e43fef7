"""Pairs of a noisy and a clean photo, and how far apart the two are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoisetool import formats, metrics
from denoisetool.cli.pairs import Pairs, are_folders, full_name, photos_of, stem
from denoisetool.denoiser import Denoiser
from denoisetool.errors import UnreadablePhoto, UsageError
from denoisetool.formats.base import Limits
from denoisetool.photo import Photo


@dataclass(frozen=True, slots=True)
class Score:
    """One photo against its truth; `_in` is the photo as it came, the rest after the model.

    PSNR in dB over all samples (infinite if nothing differs), SSIM with an 11-tap Gaussian window,
    `coarse` the mean CIEDE2000 of the pictures boxed by 16.
    """

    name: str
    psnr_in: float
    psnr: float
    ssim_in: float
    ssim: float
    coarse_in: float
    coarse: float


_NUMBERS = ("psnr_in", "psnr", "ssim_in", "ssim", "coarse_in", "coarse")


def find_pairs(noisy: Path, truth: Path) -> Pairs:
    """The pairs of two photos or two folders.

    Raises:
        NoInputError: one of them is not there, or holds no photo.
        UsageError: a photo and a folder, or folders that do not fit together.
    """
    if not are_folders(noisy, truth):
        return Pairs([(noisy, truth)])
    result = Pairs([])
    left, right = photos_of(noisy, result), photos_of(truth, result)
    for key in (full_name, stem):
        first, second = {key(s): s for s in left}, {key(s): s for s in right}
        common = [name for name in first if name in second]
        if common and len(first) == len(left) and len(second) == len(right):
            result.pairs = [(first[name].path, second[name].path) for name in common]
            alone = len(left) + len(right) - 2 * len(common)
            if alone:
                result.notes.append(f"{alone} photos have no partner of their name; left out")
            return result
    if len(left) != len(right):
        raise UsageError(
            f"{len(left)} photos against {len(right)}, and no names agree", path=noisy,
            hint="give folders of the same number of photos, or with the same names",
        )  # fmt: skip
    result.notes.append("no names agree: the photos are paired in sorted order")
    result.pairs = [(a.path, b.path) for a, b in zip(left, right, strict=True)]
    return result


def score(noisy: Path, truth: Path, denoiser: Denoiser | None) -> Score:
    """Score one pair, before and after the model.

    Raises:
        PhotoError: one of the two cannot be read, they differ in size, or the model fails.
    """
    limits = Limits()
    photo, target = formats.read(noisy, limits), formats.read(truth, limits)
    if photo.pixels.shape != target.pixels.shape:
        sizes = f"{_size(photo)} against {_size(target)}"
        raise UnreadablePhoto(f"the pair differs in size or channels: {sizes}", path=noisy)
    if min(photo.height, photo.width) < metrics.SSIM_WINDOW:
        what = f"too small to be scored: {_size(photo)}"
        raise UnreadablePhoto(what, path=noisy, hint=f"{metrics.SSIM_WINDOW} pixels are needed")
    before = photo.pixels.astype(np.float32) / photo.peak * 255
    clean = target.pixels.astype(np.float32) / target.peak * 255
    if denoiser is not None:
        denoiser.denoise(photo)
    after = photo.pixels.astype(np.float32) / photo.peak * 255
    row = [
        metric(picture, clean)
        for metric in (metrics.psnr, metrics.ssim, _coarse)
        for picture in (before, after)
    ]
    return Score(noisy.name, *(round(value, 4) for value in row))


def mean(scores: list[Score]) -> Score:
    """The mean of each number."""
    numbers = (float(np.mean([getattr(s, key) for s in scores])) for key in _NUMBERS)
    return Score(f"mean of {len(scores)}", *(round(number, 4) for number in numbers))


def _coarse(picture: metrics.Array, clean: metrics.Array) -> float:
    return metrics.coarse_ciede2000(picture, clean)[0]


def _size(photo: Photo) -> str:
    return f"{photo.width} x {photo.height} x {photo.channels}"
