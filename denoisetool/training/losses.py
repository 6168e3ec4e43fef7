"""Losses: tensors in, one number out. (N, C, H, W) each, in [0, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from denoisetool.training.batches import Batch

FLOOR = 0.2 / 255
SOFT = 1e-3
"""Errors far below this count squared in the Charbonnier loss (Charbonnier et al. 1994)."""
CALM = 25 / 255
"""Noise at which patches weigh 1; without any they weigh 2.

A plain MSE hears only the strongly noisy patches, and log(MSE), the mean PSNR itself, only the
nearly clean ones: trained on that the net stayed 1 dB behind at sigma 25."""


EXPECTED = 0.4
"""Share of the noise that a denoiser leaves, roughly: it sets the scale of `squared_loss`."""


def picture_loss(kind: str, output: Tensor, batch: Batch, progress: float = 0.0) -> Tensor:
    """What the recipe's `loss` stands for, averaged over the patches of a batch.

    `relative` is the root of each patch's mean squared error where the target is clean, and for
    noisy targets the squared error itself: only that has the clean patch as its minimum (the mean;
    L1 has the median, L0 the mode, of all that the target could be; Noise2Noise, section 3).

    Args:
        kind: one of `args.LOSSES`.
        output: (N, C, H, W), the denoised patches.
        batch: what they came from and should be.
        progress: 0..1, how much of the training is done; `l0` is annealed by it.
    """
    error, weight = output - batch.target, batch.weight
    if kind == "charbonnier":
        return _mean((error.square() + SOFT**2).sqrt(), weight).mean()
    if kind == "l1":
        return _mean(error.abs(), weight).mean()
    if kind == "l0":  # |error|^gamma, gamma falling from 2 to 0, made finite by a small constant
        return _mean((error.abs() + 1e-4).pow(2 - 2 * progress), weight).mean()
    squared = _mean(error.square(), weight)
    power = _mean((batch.noisy - batch.target).square(), weight)
    noise = (power if batch.share is None else power * batch.share).sqrt()
    calm = 2 * CALM / (noise + CALM)
    scaled = squared / (2 * (EXPECTED * noise + FLOOR))
    if kind == "l2":
        return (scaled * calm).mean()
    relative = (squared + FLOOR**2).sqrt()
    if batch.share is not None:
        relative = torch.where(batch.share == 1, relative, scaled)
    return (relative * calm).mean()


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """(N, C, H, W) to (N,): weighted means; 0 for a patch without any weight."""
    if weight is None:
        return values.mean((1, 2, 3))
    weight = weight.expand_as(values)
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)


def coarse_loss(
    output: Tensor, target: Tensor, side: int = 8, weight: Tensor | None = None
) -> Tensor:
    """Mean absolute difference of the pictures boxed by `side`: holds the colour of areas."""
    error = output - target
    return F.avg_pool2d(error if weight is None else error * weight, side).abs().mean()


def variation_loss(output: Tensor) -> Tensor:
    """Total variation (Rudin, Osher and Fatemi 1992), its anisotropic form, per sample."""
    across = (output[..., 1:] - output[..., :-1]).abs().mean()
    down = (output[..., 1:, :] - output[..., :-1, :]).abs().mean()
    return across + down


def critic_loss(verdict: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of a critic's logits, (N,), with what they should say."""
    return F.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, float(real)))


def true_level(noise: Tensor, radius: int = 2, weight: Tensor | None = None) -> Tensor:
    """Local rms of a known noise: (N, C, H, W) to (N, 1, H/4, W/4), over about 20 pixels."""
    size = 2 * radius + 1

    def local(values: Tensor) -> Tensor:
        cells = F.avg_pool2d(values.mean(1, keepdim=True), 4)
        return F.avg_pool2d(cells, size, 1, radius, count_include_pad=False)

    power = noise.square()
    if weight is None:
        return local(power).sqrt()
    weight = weight.expand_as(noise)
    return (local(power * weight) / local(weight).clamp(min=1e-3)).sqrt()


def level_loss(level: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute error of a noise level, three times as dear where it is too low.

    A denoiser told too little leaves noise and blotches; told a little too much it loses little
    (the asymmetric loss of CBDNet, Guo et al. 2019). `weight` has the levels' shape.
    """
    error = level - truth
    dear = error.abs() + 2 * F.relu(-error)
    return (dear if weight is None else dear * weight).mean()


def mean_psnr(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of the PSNR in dB, for the log."""
    return -10 * ((output - target).square().mean((1, 2, 3)) + 1e-7).log10().mean()
