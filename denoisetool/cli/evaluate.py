"""`denoisetool evaluate`: how close photos are to their truth, before and after a model."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from denoisetool import files, formats, metrics
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line
from denoisetool.denoiser import Denoiser
from denoisetool.errors import DenoiseError, NoInputError, UnreadablePhoto, UsageError
from denoisetool.formats.base import Limits
from denoisetool.photo import Photo
from denoisetool.session import Session
from denoisetool.settings import resolve


@dataclass(frozen=True, slots=True)
class Score:
    """One photo against its truth; `_in` is the photo as it came, the rest after the model.

    PSNR in dB over all RGB samples, SSIM with an 11-tap Gaussian window, `coarse` the mean
    CIEDE2000 of the pictures boxed by 16.
    """

    name: str
    psnr_in: float
    psnr: float
    ssim_in: float
    ssim: float
    coarse_in: float
    coarse: float


def evaluate(
    noisy: Annotated[Path, typer.Argument(metavar="NOISY", show_default=False)],
    truth: Annotated[Path, typer.Argument(metavar="GT", show_default=False)],
    model: options.Model = None,
    device: options.Device = None,
    precision: options.Precision = None,
    strength: options.Strength = None,
    no_model: Annotated[
        bool, typer.Option("--as-is", help="Score the photos as they are; run no model.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Score a model on noisy photos and their clean versions: PSNR, SSIM, coarse CIEDE2000.

    NOISY and GT are two photos, or two folders with the same number of photos: those of the same
    name belong together, and where no names agree, the n-th with the n-th in sorted order.
    """
    settings = resolve(
        {"model": model, "device": device, "precision": precision, "strength": strength}
    ).settings
    pairs = _pairs(noisy, truth)
    denoiser = None if no_model else Session(settings).denoiser()
    scores, failed = [], 0
    if not json:
        print_line(f"{'photo':32} {'PSNR':>15} {'SSIM':>17} {'coarse dE00':>15}")
    for first, second in pairs:
        try:
            score = _score(first, second, denoiser)
        except DenoiseError as error:
            failed += 1
            print_error(f"FAILED {error}")
            continue
        scores.append(score)
        print_line(_line(score, json, "score"))
    if not scores:
        raise NoInputError("no pair could be scored", path=noisy)
    mean = Score(
        f"mean of {len(scores)}",
        *(float(np.mean([getattr(s, key) for s in scores])) for key in _NUMBERS),
    )
    print_line(_line(mean, json, "mean"))
    raise typer.Exit(1 if failed else 0)


_NUMBERS = ("psnr_in", "psnr", "ssim_in", "ssim", "coarse_in", "coarse")


def _line(score: Score, json: bool, event: str) -> str:
    if json:
        return jsonlib.dumps({"v": 1, "event": event, **asdict(score)})
    return (
        f"{score.name[-32:]:32} {score.psnr_in:6.2f} -> {score.psnr:5.2f}"
        f" {score.ssim_in:7.4f} -> {score.ssim:.4f} {score.coarse_in:6.3f} -> {score.coarse:.3f}"
    )


def _pairs(noisy: Path, truth: Path) -> list[tuple[Path, Path]]:
    if noisy.is_file() and truth.is_file():
        return [(noisy, truth)]
    if not (noisy.is_dir() and truth.is_dir()):
        raise UsageError("give two photos, or two folders", path=noisy)
    left, right = _photos(noisy), _photos(truth)
    common = sorted(left.keys() & right.keys())
    if common:
        return [(left[name], right[name]) for name in common]
    if len(left) != len(right):
        raise UsageError(
            f"{len(left)} photos against {len(right)}, and no names agree", path=noisy,
            hint="give folders of the same number of photos, or with the same names",
        )  # fmt: skip
    if not left:
        raise NoInputError("no photo here", path=noisy)
    return list(zip(left.values(), right.values(), strict=True))


def _photos(folder: Path) -> dict[str, Path]:
    """Photos of a folder by their place without suffix, in natural order."""

    def sniff(head: bytes) -> str | None:
        found = formats.sniff(head)
        return None if found is None else found.name

    found = files.walk([folder], sniff=sniff, unsupported=formats.unsupported_kind)
    sources = [s for s in found if isinstance(s, files.Source)]
    return {str(s.relative.with_suffix("")): s.path for s in sources}


def _score(noisy: Path, truth: Path, denoiser: Denoiser | None) -> Score:
    limits = Limits()
    photo, target = _read(noisy, limits), _read(truth, limits)
    if photo.pixels.shape != target.pixels.shape:
        sizes = f"{photo.width} x {photo.height} against {target.width} x {target.height}"
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


def _coarse(picture: metrics.Array, clean: metrics.Array) -> float:
    return metrics.coarse_ciede2000(picture, clean)[0]


def _read(path: Path, limits: Limits) -> Photo:
    try:
        return formats.decode(path.read_bytes(), limits)
    except OSError as error:
        raise UnreadablePhoto(f"cannot be read: {error.strerror}", path=path) from error
    except DenoiseError as error:
        error.path = path
        raise
