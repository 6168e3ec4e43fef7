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

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from denoisetool.nets.parts import shuffled

Level = Tensor | Callable[[Tensor], Tensor] | None
"""What a net can be told of the noise, see `UNet.forward`."""
LARGEST = 4096
"""Channels or blocks per scale beyond which a card is nonsense."""


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), all of `width` channels.

    Args:
        width: feature channels.
        second_kernel: side of the second convolution, 1 or 3; that of the first is 3.
    """

    def __init__(self, width: int, second_kernel: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        pad = second_kernel // 2
        self.second = nn.Conv2d(width, width, second_kernel, padding=pad, bias=False)
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
        dilations: of the 3x3 convolutions after the first, at a quarter of the photo's resolution.
            Wide ones see whether a texture is everywhere, as noise is, or belongs to a thing.
    """

    def __init__(self, channels: int, width: int, dilations: Sequence[int] = (1, 2, 3)) -> None:
        super().__init__()
        self.dilations = tuple(dilations)
        self.first = nn.Conv2d(channels, width, 12, stride=4, padding=4, bias=False)
        self.body = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=d, dilation=d, bias=False) for d in dilations
        )
        self.last = nn.Conv2d(width, 1, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) centred on 0 to levels (N, 1, H/4, W/4), in the same unit, at least 0."""
        features = self.relu(self.first(x))
        for conv in self.body:
            features = self.relu(conv(features))
        level: Tensor = self.last(features).abs()
        return level


class UNet(nn.Module):
    """Noise estimator.

    The first convolution is a 3x3 one behind a pixel-unshuffle, written as the strided
    convolution of the same sums, and the steps up are 1x1 convolutions before a pixel-shuffle:
    on a CPU both take a fraction of the time of their other forms.

    Args:
        channels: colour channels of the photo, 3 or 1.
        widths: feature channels per scale, finest first.
        blocks: residual blocks per scale on the way up; the coarsest scale has its count once.
        down_blocks: residual blocks per scale on the way down, one scale less; None for as many
            as on the way up.
        second_kernel: side of the second convolution of each block, 3 or 1. With 1 a block has
            five ninths of the cost. After four minutes of one core each, at 19 to 20 kMAC and the
            same speed, half of Kodak24 at sigma 25: with 3, one block at each scale on the way up,
            none and one on the way down, two at the coarsest, 31.18 dB; with 1 and one or two more
            at each, 31.30; with two at each and one and two on the way down, 31.42.
        unshuffle: folding factor of the first convolution.
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
        down_blocks: Sequence[int] | None = None,
        unshuffle: int = 2,
        level_width: int = 0,
        second_kernel: int = 3,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or len(widths) < 2:
            raise ValueError("widths and blocks must have the same length, at least 2")
        if max(*widths, *blocks, *(down_blocks or [0])) > LARGEST:
            raise ValueError(f"no scale can have more than {LARGEST} channels or blocks")
        if second_kernel not in (1, 3):
            raise ValueError("second_kernel is 1 or 3")
        if level_width and unshuffle != 2:
            raise ValueError("the levels are told at a quarter of the resolution: unshuffle 2")
        scales = range(len(widths) - 1)
        self.blocks = tuple(blocks)
        self.down_blocks = tuple(blocks[:-1] if down_blocks is None else down_blocks)
        if len(self.down_blocks) != len(scales):
            raise ValueError("down_blocks must have one entry less than widths")
        self.unshuffle, self.second_kernel = unshuffle, second_kernel
        self.stride: int = unshuffle * 2 ** len(scales)
        self.levels = LevelEstimator(channels, level_width) if level_width else None
        self.tell = nn.Conv2d(1, widths[1], 3, padding=1, bias=False) if level_width else None
        self.head = nn.Conv2d(
            channels, widths[0], 3 * unshuffle, stride=unshuffle, padding=unshuffle, bias=False
        )
        self.encoder = nn.ModuleList(
            _stage(widths[i], self.down_blocks[i], second_kernel) for i in scales
        )
        self.down = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 2, stride=2, bias=False) for i in scales
        )
        self.middle = _stage(widths[-1], blocks[-1], second_kernel)
        self.up = nn.ModuleList(
            nn.Conv2d(widths[i + 1], 4 * widths[i], 1, bias=False) for i in scales
        )
        self.decoder = nn.ModuleList(_stage(widths[i], blocks[i], second_kernel) for i in scales)
        self.tail = nn.Conv2d(widths[0], channels * unshuffle**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)  # an untrained net leaves the picture as it is

    @property
    def receptive_radius(self) -> int:
        """Pixels on each side that can influence an output pixel (exact upper bound)."""
        radius, scale = self.unshuffle, self.unshuffle  # head
        for i, count in enumerate(self.blocks):
            last = i == len(self.blocks) - 1
            each = scale * (1 + self.second_kernel // 2)
            radius += each * (count + (0 if last else self.down_blocks[i]))
            if not last:
                radius += scale  # the strided step down and back up, at worst one cell
                scale *= 2
        if self.levels is not None:
            radius += 4 * (sum(self.levels.dilations) + 3) + 4  # the levels that are told
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

    def forward(self, x: Tensor, level: Level = None) -> Tensor:
        """Estimate the noise in `x`.

        The input is centred in its own precision before it is rounded to the weights' precision,
        which halves the rounding error of bfloat16.

        Args:
            x: (N, C, H, W) in [0, 1], sides multiples of `stride`.
            level: (N, 1, H/4, W/4) noise level in the unit of `x`, or what makes it of the
                estimated one; None takes that as it is.

        Returns:
            The noise, of the shape of `x`.
        """
        centred = (x - 0.5).to(self.head.weight.dtype)
        features = self.head(centred)
        skips = []
        for i, (encoder, down) in enumerate(zip(self.encoder, self.down, strict=True)):
            features = encoder(features)
            skips.append(features)
            features = down(features)
            if i == 0 and self.levels is not None and self.tell is not None:
                if not isinstance(level, Tensor):
                    estimate: Tensor = self.levels(centred)
                    level = estimate if level is None else level(estimate)
                features = features.add_(self.tell(level.to(centred.dtype)))
        del centred  # what nobody needs any more is let go of: tiles are large
        features = self.middle(features)
        for i in reversed(range(len(skips))):
            features = self.decoder[i](shuffled(self.up[i](features), 2, skips.pop()))
        return shuffled(self.tail(features), self.unshuffle)


def _stage(width: int, count: int, second_kernel: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width, second_kernel) for _ in range(count)))
