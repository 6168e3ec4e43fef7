"""Is the new model better than the one it came from, on pairs that it never saw?

The comparison is with another noisy photo of the scene, so that both models carry that photo's
noise in their error: their difference is what counts (Noise2Noise PSNR). The confidence interval
comes from resampling 128-pixel tiles (bootstrap, Efron 1979).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from denoisetool import metrics
from denoisetool.denoiser import Denoiser
from denoisetool.finetune.align import Float
from denoisetool.finetune.dataset import Views, in_16_bits
from denoisetool.photo import Photo

TILE = 128
RESAMPLES = 2000
SYNTHETIC_LOSS = 0.05
"""dB of the score on synthetic noise that may be lost."""
COLOUR = 0.02
"""CIEDE2000 by which the coarse colour may be further from the other photo than the input's."""
SEAM = 1 / 255
"""Largest difference between small tiles and large ones."""


@dataclass(slots=True)
class Verdict:
    """What the held-out pairs say; all PSNR in dB.

    Attributes:
        gain: of the new model over the start model, by Noise2Noise PSNR; low, high: its 95 %
            confidence interval.
        psnr_noisy, psnr_start, psnr_new: Noise2Noise PSNR of the photo as it is and after both.
        truth_gain: the gain against the clean picture, estimated by taking the other photo's noise
            out of both errors; None where that leaves nothing.
        synthetic: change of the score on synthetic noise.
        colour_noisy, colour_new: coarse CIEDE2000 against the other photo.
        seam: largest difference between small and large tiles, in levels of 255.
        pairs: how many pairs were compared; tiles: how many tiles they have.
        reasons: why it is refused; empty if it is better.
    """

    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    psnr_noisy: float = 0.0
    psnr_start: float = 0.0
    psnr_new: float = 0.0
    truth_gain: float | None = None
    synthetic: float = 0.0
    colour_noisy: float = 0.0
    colour_new: float = 0.0
    seam: float = 0.0
    pairs: int = 0
    tiles: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def better(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def compare(
    views: Views, start: Denoiser, new: Denoiser, exact: Denoiser, *, supervised: bool,
    synthetic: float, seed: int = 0,
) -> Verdict:  # fmt: skip
    """Try both models on the held-out pairs.

    Args:
        views: the pairs.
        start: the model that training started from; it is told the kind of noise that it does best
            with, see `best_kind`.
        new: the one it made.
        exact: the same in float32, for the seams.
        supervised: whether the targets are clean.
        synthetic: change of the synthetic score in dB.
        seed: of the resampling.
    """
    verdict = Verdict(synthetic=synthetic, pairs=len(views))
    start = replace(start, only=best_kind(views, start))
    errors: list[npt.NDArray[np.float64]] = []
    colours = []
    for index in range(len(views)):
        noisy, target, counts = views.one(index)
        results = [noisy, denoised(noisy, start), denoised(noisy, new)]
        errors.append(_tiles(results, target, noisy, counts))
        fill = np.where(counts, target, noisy)
        colours.append([_coarse(np.where(counts, r, noisy), fill) for r in (noisy, results[2])])
    stack = np.concatenate(errors)  # tiles x (weight, noisy, start, new, between the photos)
    verdict.tiles = len(stack)
    total = stack.sum(0)
    mean = total[1:] / total[0]
    verdict.psnr_noisy, verdict.psnr_start, verdict.psnr_new = (
        round(-10 * float(np.log10(max(m, 1e-9))), 3) for m in mean[:3]
    )
    verdict.gain = round(10 * float(np.log10(mean[1] / mean[2])), 4)
    verdict.low, verdict.high = _interval(stack, seed)
    others = 0.0 if supervised else mean[3] / 2
    if mean[1] > 1.02 * others and mean[2] > 1.02 * others:
        verdict.truth_gain = round(10 * float(np.log10((mean[1] - others) / (mean[2] - others))), 3)
    verdict.colour_noisy, verdict.colour_new = (
        round(float(v), 4) for v in np.mean(colours, axis=0)
    )
    verdict.seam = round(seam(views.one(0)[0], exact) * 255, 3)
    verdict.reasons = list(_reasons(verdict))
    return verdict


def best_kind(views: Views, start: Denoiser) -> str | None:
    """The kind of noise that a model is told where it does best on pairs; None if it never asks.

    A part of a photo can be taken for another kind than the whole: white noise in the middle of a
    JPEG was taken for a camera's, and a new model 2.5 dB better than what was made of that, while
    of whole photos it made 0.4 dB less.
    """

    def error(kind: str | None) -> float:
        told, total = replace(start, only=kind), 0.0
        for noisy, target, counts in map(views.one, range(len(views))):
            total += float((np.square(denoised(noisy, told) - target) * counts).sum())
        return total

    return min(start.engine.kinds, key=error, default=None)


def seam(noisy: Float, exact: Denoiser) -> float:
    """Largest difference that small tiles make, as a share of white."""
    small, large = (denoised(noisy, exact, tile=side) for side in (256, 4096))
    return float(np.abs(small - large).max())


def _reasons(v: Verdict) -> list[str]:
    found = []
    if v.low <= 0:
        found.append(
            f"it is not clearly better on the pairs held out: {v.gain:+.3f} dB, 95 % confidence"
            f" {v.low:+.3f} to {v.high:+.3f}"
        )
    if v.synthetic < -SYNTHETIC_LOSS:
        found.append(f"it forgets other noise: {v.synthetic:+.2f} dB on synthetic noise")
    if v.colour_new > v.colour_noisy + COLOUR:
        found.append(
            f"it moves colours: CIEDE2000 {v.colour_new:.2f}, {v.colour_noisy:.2f} without it"
        )
    if v.seam > SEAM * 255 + 1e-3:
        found.append(f"its tiles would show: up to {v.seam:.1f} levels between them")
    return found


def denoised(noisy: Float, denoiser: Denoiser, tile: int | None = None) -> Float:
    """A picture (H, W, 3) in [0, 1] through the whole chain, at 16 bits."""
    photo = Photo(in_16_bits(noisy), "png", "RGB")
    before, denoiser.tile = denoiser.tile, tile
    try:
        denoiser.denoise(photo)
    finally:
        denoiser.tile = before
    return np.asarray(photo.pixels.astype(np.float32) / np.float32(65535))


def _tiles(
    results: list[Float], target: Float, noisy: Float, counts: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """For each tile: samples that count, and sums of squared errors of all results; and noise."""
    planes = [counts.astype(np.float32)]
    planes += [np.square(result - target) * counts for result in results]
    planes.append(np.square(noisy - target) * counts)
    rows, columns = (max(1, n // TILE) for n in target.shape[:2])
    found = np.zeros((rows, columns, len(planes)))
    for index, plane in enumerate(planes):
        for row, band in enumerate(np.array_split(plane.sum(2, dtype=np.float64), rows, 0)):
            for column, cell in enumerate(np.array_split(band, columns, 1)):
                found[row, column, index] = cell.sum()
    flat = found.reshape(-1, len(planes))
    return np.asarray(flat[flat[:, 0] > 0.2 * flat[:, 0].max(initial=1)])


def _interval(stack: npt.NDArray[np.float64], seed: int) -> tuple[float, float]:
    """95 % of the gains that other draws of the same number of tiles would have given."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(stack), size=(RESAMPLES, len(stack)))
    sums = stack[:, 2:4][draws].sum(1)
    gains = 10 * np.log10(sums[:, 0] / sums[:, 1])
    low, high = np.percentile(gains, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _coarse(picture: Float, target: Float) -> float:
    first, second = (np.clip(p, 0, 1) for p in (picture, target))
    return metrics.coarse_ciede2000(first, second, peak=1.0)[0]
