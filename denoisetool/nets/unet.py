"""A residual U-Net of plain 3x3 convolutions behind a pixel-unshuffle.

The working resolution is half of the photo's (sub-pixel folding as in FFDNet, Zhang, Zuo and Zhang
2018), the blocks are those of DRUNet (Zhang et al. 2021): two 3x3 convolutions around one ReLU, no
normalisation and no global pooling, so that a tile gives what the whole picture would give. There
are no biases: such nets generalise to noise levels outside the trained range (Mohan et al. 2020).
The net estimates the noise, not the picture (DnCNN, Zhang et al. 2017).

What to take for noise is told to it by a map of the local noise level, as in FFDNet, and that map
comes from a small estimator in front, as in CBDNet (Guo et al. 2019), unless the caller has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), all of `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        change: Tensor = self.second(self.relu(self.first(x)))
        return change.add_(x)


class LevelEstimator(nn.Module):
    """Local noise level of a picture: its standard deviation over all channels.

    Args:
        channels: colour channels of the photo.
        width: feature channels.
        depth: 3x3 convolutions after the first, at a quarter of the photo's resolution.
    """

    def __init__(self, channels: int, width: int, depth: int = 3) -> None:
        super().__init__()
        self.fold = nn.PixelUnshuffle(4)
        self.first = nn.Conv2d(channels * 16, width, 3, padding=1, bias=False)
        self.body = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(depth)
        )
        self.last = nn.Conv2d(width, 1, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) centred on 0 to levels (N, 1, H/4, W/4), in the same unit, at least 0."""
        if self.training:
            features = self.relu(self.first(self.fold(x)))
        else:  # the same sums without the folding, as one strided convolution: half the time
            kernel = _unfolded(self.first.weight, 4)
            features = self.relu(nn.functional.conv2d(x, kernel, stride=4, padding=4))
        for conv in self.body:
            features = self.relu(conv(features))
        level: Tensor = self.last(features).abs()
        return level


class UNet(nn.Module):
    """Noise estimator.

    Args:
        channels: colour channels of the photo, 3 or 1.
        widths: feature channels per scale, finest first.
        blocks: residual blocks per scale, on the way down and again on the way up; the coarsest
            scale has its count once.
        unshuffle: folding factor before the first convolution.
        level_width: feature channels of the noise level estimator; 0 for a net without one.

    Attributes:
        stride: height and width of an input must be multiples of this.
        receptive_radius: pixels on each side that can influence an output pixel.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (24, 48, 96),
        blocks: Sequence[int] = (1, 1, 2),
        unshuffle: int = 2,
        level_width: int = 0,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError("widths and blocks must have the same length, at least 1")
        folded = channels * unshuffle**2
        scales = range(len(widths) - 1)
        self.blocks = tuple(blocks)
        self.unshuffle = unshuffle
        self.stride = max(4 if level_width else 1, unshuffle * 2 ** (len(widths) - 1))
        self.fold = nn.PixelUnshuffle(unshuffle)
        self.levels = LevelEstimator(channels, level_width) if level_width else None
        told = 1 if level_width else 0
        self.head = nn.Conv2d(folded + told, widths[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(_stage(widths[i], blocks[i]) for i in scales)
        self.down = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 2, stride=2, bias=False) for i in scales
        )
        self.middle = _stage(widths[-1], blocks[-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[i + 1], widths[i], 2, stride=2, bias=False) for i in scales
        )
        self.decoder = nn.ModuleList(_stage(widths[i], blocks[i]) for i in scales)
        self.tail = nn.Conv2d(widths[0], folded, 3, padding=1, bias=False)
        self.unfold = nn.PixelShuffle(unshuffle)
        nn.init.zeros_(self.tail.weight)  # an untrained net leaves the picture as it is

    @property
    def receptive_radius(self) -> int:
        """Pixels on each side that can influence an output pixel (exact upper bound)."""
        radius, scale = self.unshuffle, self.unshuffle  # head
        for i, count in enumerate(self.blocks):
            visits = 1 if i == len(self.blocks) - 1 else 2
            radius += visits * 2 * count * scale
            if visits == 2:
                radius += scale  # the strided step down and back up, at worst one cell
                scale *= 2
        if self.levels is not None:
            radius += 4 * (len(self.levels.body) + 2) + 4  # the levels that the head is told
        return radius + 2 * self.unshuffle  # tail, and the folding itself

    def level(self, x: Tensor) -> Tensor:
        """Estimated noise level of `x`: (N, C, H, W) in [0, 1] to (N, 1, H/4, W/4), same unit.

        Raises:
            ValueError: the net has no estimator.
        """
        if self.levels is None:
            raise ValueError("this net has no noise level estimator")
        level: Tensor = self.levels((x - 0.5).to(self.head.weight.dtype))
        return level

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Estimate the noise in `x`.

        The input is centred in its own precision before it is rounded to the weights' precision,
        which halves the rounding error of bfloat16.

        Args:
            x: (N, C, H, W) in [0, 1], sides multiples of `stride`.
            level: (N, 1, H/4, W/4) noise level in the unit of `x`; None has it estimated.

        Returns:
            The noise, of the shape of `x`.
        """
        centred = (x - 0.5).to(self.head.weight.dtype)
        folded = self.fold(centred)
        if self.levels is not None:
            level = self.levels(centred) if level is None else level.to(centred.dtype)
            told = nn.functional.interpolate(level, folded.shape[-2:], mode="nearest")
            folded = torch.cat([folded, told], 1)
        features = self.head(folded)
        skips = []
        for encoder, down in zip(self.encoder, self.down, strict=True):
            features = encoder(features)
            skips.append(features)
            features = down(features)
        features = self.middle(features)
        for i in reversed(range(len(skips))):
            features = self.decoder[i](self.up[i](features).add_(skips[i]))
        noise: Tensor = self.unfold(self.tail(features))
        return noise


def _stage(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


def _unfolded(weight: Tensor, factor: int) -> Tensor:
    """The weights of a convolution behind a pixel-unshuffle, for the picture that was folded.

    (O, C factor^2, k, k) to (O, C, k factor, k factor), to be used with stride `factor`.
    """
    out, folded, size, _ = weight.shape
    channels = folded // factor**2
    parts = weight.view(out, channels, factor, factor, size, size).permute(0, 1, 4, 2, 5, 3)
    whole = parts.reshape(out, channels, size * factor, size * factor)
    return whole.contiguous(memory_format=torch.channels_last)


def convolutions(net: nn.Module) -> Iterator[nn.Conv2d | nn.ConvTranspose2d]:
    """The convolutions of a net, in the order they were defined."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            yield module


def kmac_per_pixel(net: nn.Module, channels: int = 3, side: int = 64) -> float:
    """Thousands of multiply-accumulates per input pixel, counted by running the convolutions."""
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        grid = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        macs += module.weight.numel() * grid.shape[-1] * grid.shape[-2]

    hooks = [conv.register_forward_hook(count) for conv in convolutions(net)]
    was_training = net.training
    net.train()  # for inference the net calls some of them by another name
    try:
        with torch.inference_mode():
            net(torch.zeros(1, channels, side, side, dtype=next(net.parameters()).dtype))
    finally:
        for hook in hooks:
            hook.remove()
        net.train(was_training)
    return macs / side**2 / 1e3
