"""Pairs of a noisy and a clean photo, and how far apart the two are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from denoisetool import files, formats, metrics
from denoisetool.denoiser import Denoiser
from denoisetool.errors import DenoiseError, NoInputError, UnreadablePhoto, UsageError
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


@dataclass(slots=True)
class Pairs:
    """What belongs together.

    Attributes:
        pairs: noisy photo and clean photo.
        notes: sentences for the user about what was left out.
        problems: photos that cannot be read at all.
    """

    pairs: list[tuple[Path, Path]]
    notes: list[str] = field(default_factory=list)
    problems: list[DenoiseError] = field(default_factory=list)


def find_pairs(noisy: Path, truth: Path) -> Pairs:
    """The pairs of two photos or two folders.

    Raises:
        NoInputError: one of them is not there, or holds no photo.
        UsageError: a photo and a folder, or folders that do not fit together.
    """
    for path in (noisy, truth):
        if not path.exists():
            raise NoInputError("no such file or folder", path=path)
    if noisy.is_file() and truth.is_file():
        return Pairs([(noisy, truth)])
    if not (noisy.is_dir() and truth.is_dir()):
        what = "a photo and a folder cannot be compared"
        raise UsageError(what, path=noisy, hint="give two photos, or two folders")
    result = Pairs([])
    left, right = _photos(noisy, result), _photos(truth, result)
    for path, found in ((noisy, left), (truth, right)):
        if not found:
            raise NoInputError("no photo here", path=path)
    for key in (_full_name, _stem):
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


def _full_name(source: files.Source) -> str:
    return str(source.relative)


def _stem(source: files.Source) -> str:
    return str(source.relative.parent / files.split_suffix(source.relative.name)[0])


def _photos(folder: Path, result: Pairs) -> list[files.Source]:
    """Photos of a folder in natural order; what is wrong with others goes to `result`."""

    def sniff(head: bytes) -> str | None:
        found = formats.sniff(head)
        return None if found is None else found.name

    sources = []
    for found in files.walk([folder], sniff=sniff, unsupported=formats.unsupported_kind):
        if isinstance(found, files.Source):
            sources.append(found)
        elif isinstance(found, files.Problem):
            result.problems.append(found.error)
    return sources


def score(noisy: Path, truth: Path, denoiser: Denoiser | None) -> Score:
    """Score one pair, before and after the model.

    Raises:
        PhotoError: one of the two cannot be read, they differ in size, or the model fails.
    """
    limits = Limits()
    photo, target = _read(noisy, limits), _read(truth, limits)
    if photo.pixels.shape != target.pixels.shape:
        sizes = f"{_size(photo)} against {_size(target)}"
        raise UnreadablePhoto(f"the pair differs in size or channels: {sizes}", path=noisy)
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


def _read(path: Path, limits: Limits) -> Photo:
    try:
        return formats.decode(path.read_bytes(), limits)
    except OSError as error:
        raise UnreadablePhoto(f"cannot be read: {error.strerror}", path=path) from error
    except DenoiseError as error:
        error.path = path
        raise
