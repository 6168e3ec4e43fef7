"""SRResNet: residual blocks at the photo's own resolution, for denoising and enlarging.

Ledig et al. 2017, "Photo-realistic single image super-resolution using a generative adversarial
network": a 9x9 convolution of 64 features, residual blocks of two 3x3 convolutions around a PReLU,
a skip around all of them, sub-pixel convolutions that enlarge (Shi et al. 2016), a 9x9 convolution
out. Without the sub-pixel convolutions it is a denoiser. Its batch norms are optional and off by
default: a picture's contrast is not to be normalised away (Lim et al. 2017, EDSR).

Unlike the published net this one gives what is to be taken away from the photo's bicubic
enlargement, or from the photo itself, and not the picture. So an untrained one changes nothing.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from denoisetool.nets.parts import folded, shuffled

MOST = 256
"""Blocks beyond which a card is nonsense."""
SCALES = (1, 2, 4)


class Block(nn.Module):
    """x + conv(PReLU(conv(x))), with a batch norm after each convolution if wanted."""

    def __init__(self, width: int, batch_norm: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=not batch_norm)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=not batch_norm)
        self.slope = nn.PReLU(width)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2 * batch_norm))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        change = self.first(x)
        if self.norms:
            change = self.norms[0](change)
        change = self.second(self.slope(change))
        if self.norms:
            change = self.norms[1](change)
        moved: Tensor = x + change
        return moved

    def fold(self) -> None:
        """Make the norms, as they are in evaluation, part of the convolutions."""
        for name, norm in zip(("first", "second"), self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm2d)
            setattr(self, name, folded(getattr(self, name), norm))
        self.norms = nn.ModuleList()


class SRResNet(nn.Module):
    """What to take from a photo, or from its enlargement, to have a clean one.

    Args:
        channels: colour channels of the photo, 3 or 1.
        width: feature channels; 64 as published.
        blocks: residual blocks; 16 as published, 5 in the first SRGAN denoisers.
        scale: 1, 2 or 4: how many times larger the result is on each side.
        kernel: side of the first and the last convolution; 9 as published.
        upsampling: `stages` doubles the size of the features once or twice, as published; `direct`
            has the last convolution at the photo's resolution, with all the pixels of a cell as
            its outputs, and costs 40 % at scale 4.
        batch_norm: whether each block's convolutions, and the one after all blocks, have one.

    Attributes:
        stride: 1, any size of photo will do.
        scale: as given.
        receptive_radius: pixels of the photo on each side that can influence an output pixel.

    Raises:
        ValueError: no such scale or upsampling, or absurdly many blocks.
    """

    stride = 1

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        blocks: int = 16,
        scale: int = 1,
        kernel: int = 9,
        upsampling: Literal["stages", "direct"] = "stages",
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, not {scale}")
        if upsampling not in ("stages", "direct"):
            raise ValueError(f"upsampling must be stages or direct, not {upsampling!r}")
        if not 1 <= blocks <= MOST or kernel % 2 == 0:
            raise ValueError(f"blocks must be from 1 to {MOST} and the kernel odd")
        self.scale = scale
        steps = {1: 0, 2: 1, 4: 2}[scale] if upsampling == "stages" else 0
        self.receptive_radius = kernel // 2 * 2 + 2 * blocks + 1 + steps
        self.head = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.head_slope = nn.PReLU(width)
        self.blocks = nn.Sequential(*(Block(width, batch_norm) for _ in range(blocks)))
        self.after = nn.Conv2d(width, width, 3, padding=1, bias=not batch_norm)
        self.after_norm = nn.BatchNorm2d(width) if batch_norm else None
        self.up = nn.ModuleList(nn.Conv2d(width, 4 * width, 3, padding=1) for _ in range(steps))
        self.up_slopes = nn.ModuleList(nn.PReLU(width) for _ in range(steps))
        self.left = scale // 2**steps
        self.tail = nn.Conv2d(
            width, channels * self.left**2, kernel, padding=kernel // 2, bias=False
        )
        nn.init.zeros_(self.tail.weight)  # an untrained net leaves the picture as it is

    def forward(self, x: Tensor) -> Tensor:
        """What to take from the bicubic enlargement of `x`.

        Args:
            x: (N, C, H, W) in [0, 1]; centred on 0 before it is rounded to the weights' precision.

        Returns:
            (N, C, scale H, scale W).
        """
        first = self.head_slope(self.head((x - 0.5).to(self.head.weight.dtype)))
        features = self.after(self.blocks(first))
        if self.after_norm is not None:
            features = self.after_norm(features)
        features = features + first
        for conv, slope in zip(self.up, self.up_slopes, strict=True):
            features = slope(shuffled(conv(features), 2))
        found: Tensor = self.tail(features)
        return found if self.left == 1 else shuffled(found, self.left)

    def fold(self) -> dict[str, Tensor]:
        """The weights of the same net without batch norms; this one has none any more."""
        if self.after_norm is not None:
            for block in self.blocks:
                assert isinstance(block, Block)
                block.fold()
            self.after = folded(self.after, self.after_norm)
            self.after_norm = None
        return self.state_dict()
