"""DnCNN: a plain stack of 3x3 convolutions that finds the noise (Zhang et al. 2017).

"Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising": a convolution and
ReLU, then convolutions with batch norm and ReLU, then one convolution to the noise. The norms are
there for the training; at export they are folded into their convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from denoisetool.nets.parts import folded

DEEPEST = 200
"""Layers beyond which a card is nonsense."""


class DnCNN(nn.Module):
    """Noise estimator at the photo's own resolution.

    Args:
        channels: colour channels of the photo, 3 or 1.
        depth: convolutions in all; 17 for one noise level and 20 for a range of them, as published.
        width: feature channels.
        batch_norm: whether all but the first and the last have a batch norm, and no bias. A net
            without takes what `fold` makes of one with.

    Attributes:
        stride: 1, any size of photo will do.
        receptive_radius: pixels on each side that can influence an output pixel.
    """

    stride = 1

    def __init__(
        self, channels: int = 3, depth: int = 17, width: int = 64, batch_norm: bool = True
    ) -> None:
        super().__init__()
        if not 3 <= depth <= DEEPEST:
            raise ValueError(f"depth must be from 3 to {DEEPEST}, not {depth}")
        self.receptive_radius = depth
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
        last = nn.Conv2d(width, channels, 3, padding=1, bias=False)
        nn.init.zeros_(last.weight)  # an untrained net leaves the picture as it is
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        """The noise in `x`, (N, C, H, W) in [0, 1], of the same shape."""
        noise: Tensor = self.layers((x - 0.5).to(next(self.parameters()).dtype))
        return noise

    def fold(self) -> dict[str, Tensor]:
        """The weights of the same net without batch norms: its state for `batch_norm` False."""
        layers: list[nn.Module] = []
        for layer in self.layers:
            if isinstance(layer, nn.BatchNorm2d):
                conv = layers[-1]
                assert isinstance(conv, nn.Conv2d)
                layers[-1] = folded(conv, layer)
            else:
                layers.append(layer)
        with torch.no_grad():
            state = nn.Sequential(*layers).state_dict()
        return {f"layers.{key}": value for key, value in state.items()}
