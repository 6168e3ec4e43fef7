"""Losses: tensors in, one number out. (N, C, H, W) each, in [0, 1]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

FLOOR = 0.2 / 255


def rmse_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of each patch's root mean square error.

    Within a patch this is the squared error that PSNR rewards; between patches every one pulls
    equally hard, whether its noise is mild or strong. A plain MSE hears only the strong ones, and
    log(MSE), the mean PSNR itself, only the nearly clean ones: trained on it this net stayed 1 dB
    behind at sigma 25.
    """
    return ((output - target).square().mean((1, 2, 3)) + FLOOR**2).sqrt().mean()


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
