"""Losses: tensors in, one number out. (N, C, H, W) each, in [0, 1]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

FLOOR = 0.2 / 255
CALM = 25 / 255


def relative_loss(output: Tensor, target: Tensor, noisy: Tensor) -> Tensor:
    """Mean over the batch of each patch's rms error, weighted by how little noise it had.

    Within a patch this is the squared error that PSNR rewards. Between patches a plain MSE hears
    only the strongly noisy ones, and log(MSE), the mean PSNR itself, only the nearly clean ones:
    trained on that this net stayed 1 dB behind at sigma 25. Here the weight falls with the noise,
    from 2 without any to 1 at `CALM`, so that patches without noise cannot shout.
    """
    error = ((output - target).square().mean((1, 2, 3)) + FLOOR**2).sqrt()
    noise = (noisy - target).square().mean((1, 2, 3)).sqrt()
    return (error * (2 * CALM / (noise + CALM))).mean()


def coarse_loss(output: Tensor, target: Tensor, side: int = 8) -> Tensor:
    """Mean absolute difference of the pictures boxed by `side`: holds the colour of areas."""
    return F.avg_pool2d(output - target, side).abs().mean()


def true_level(noise: Tensor, radius: int = 2) -> Tensor:
    """Local rms of a known noise: (N, C, H, W) to (N, 1, H/4, W/4), over about 20 pixels."""
    power = F.avg_pool2d(noise.square().mean(1, keepdim=True), 4)
    size = 2 * radius + 1
    return F.avg_pool2d(power, size, 1, radius, count_include_pad=False).sqrt()


def level_loss(level: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of a noise level, three times as dear where it is too low.

    A denoiser told too little leaves noise and blotches; told a little too much it loses little
    (the asymmetric loss of CBDNet, Guo et al. 2019).
    """
    error = level - truth
    return (error.abs() + 2 * F.relu(-error)).mean()


def mean_psnr(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of the PSNR in dB, for the log."""
    return -10 * ((output - target).square().mean((1, 2, 3)) + 1e-7).log10().mean()
