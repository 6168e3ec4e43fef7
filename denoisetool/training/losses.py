"""Losses: tensors in, one number out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

FLOOR = (0.5 / 255) ** 2


def psnr_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of log(MSE): minus the PSNR up to constants.

    Every patch counts the same in dB, whether its noise is mild or strong; plain MSE would hear
    only the strong. (N, C, H, W) each, in [0, 1]. Errors under half a level of 255 count as that.
    """
    return ((output - target).square().mean((1, 2, 3)) + FLOOR).log().mean()


def coarse_loss(output: Tensor, target: Tensor, side: int = 8) -> Tensor:
    """Mean absolute difference of the pictures boxed by `side`: holds the colour of areas."""
    return F.avg_pool2d(output - target, side).abs().mean()
