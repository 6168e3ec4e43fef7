"""What several nets are made of, and what can be asked of any of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def enlarged(picture: Tensor, scale: int) -> Tensor:
    """(N, C, H, W) to (N, C, scale H, scale W), bicubic (Keys 1981 with a = -1/2, as Pillow's)."""
    if scale == 1:
        return picture
    return F.interpolate(
        picture, scale_factor=float(scale), mode="bicubic", align_corners=False, antialias=True
    )


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that does what `conv` and, in evaluation, the batch norm after it do."""
    return torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())


def shuffled(x: Tensor, factor: int, plus: Tensor | None = None) -> Tensor:
    """(N, factor^2 C, H, W) to (N, C, factor H, factor W), and a tensor of that shape added.

    A pixel-shuffle for channels last: the channels of `x` are ordered by row and column within a
    cell first, colour last, so that what belongs together in memory stays together. PyTorch's own
    order takes longer. Where no gradients are wanted, the sum takes the place of `plus`.
    """
    count, channels, height, width = x.shape
    shape = (count, height, width, factor, channels // factor)
    rows = x.permute(0, 2, 3, 1).reshape(shape).transpose(2, 3)
    if plus is not None:
        plus = plus.permute(0, 2, 3, 1).reshape(rows.shape)  # the sum is in its order
        rows = plus + rows if torch.is_grad_enabled() else plus.add_(rows)
    out = rows.reshape(count, height * factor, width * factor, -1)
    return out.permute(0, 3, 1, 2)


def phases(x: Tensor, by: int) -> Tensor:
    """What every `by`th row and column of pictures shows, for each of the by^2 places to start.

    Args:
        x: (N, C, by H, by W).
        by: how far apart the pixels are.

    Returns:
        (by^2 N, C, H, W), one picture after the other.
    """
    count, channels, height, width = x.shape
    shape = (count, channels, by**2, height // by, width // by)
    return F.pixel_unshuffle(x, by).reshape(shape).transpose(1, 2).flatten(0, 1)


def joined(parts: Tensor, by: int) -> Tensor:
    """The reverse of `phases`."""
    cells = parts.reshape(-1, by**2, *parts.shape[1:]).transpose(1, 2)
    return F.pixel_shuffle(cells.flatten(1, 2), by)


def convolutions(net: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions of a net, in the order they were defined."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            yield module


def kmac_per_pixel(net: nn.Module, channels: int = 3, side: int = 64) -> float:
    """Thousands of multiply-accumulates per input pixel, counted by running the net.

    Those of convolutions, linear layers and attention; `side` is raised to a multiple of the net's
    stride.
    """
    macs = 0
    stride = int(getattr(net, "stride", 1))
    side = -(-side // stride) * stride

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += module.weight.numel() * output[:, 0].numel()
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel() * output[..., 0].numel()
        elif isinstance(module, nn.MultiheadAttention):
            asked, given = inputs[0][..., 0].numel(), inputs[1][..., 0].numel()
            dim = module.embed_dim
            macs += 2 * (asked + given) * dim**2 + 2 * asked * inputs[1].shape[1] * dim

    hooks = [module.register_forward_hook(count) for module in net.modules()]
    try:
        with torch.inference_mode():
            net(torch.zeros(1, channels, side, side, dtype=next(net.parameters()).dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return macs / side**2 / 1e3
