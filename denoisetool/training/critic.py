"""The critic that an adversarial training plays against; never shipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """Tells clean photos from a net's results: SRGAN's discriminator (Ledig et al. 2017).

    Eight 3x3 convolutions, every other one with a stride of 2, of `width` to 8 `width` features,
    leaky ReLUs, batch norm after all but the first, and two dense layers. Between them the features
    are averaged over the patch, so that patches of any size will do; the published one is bound to
    96 x 96.

    Args:
        channels: colour channels.
        width: features of the first layers; 64 as published.
    """

    def __init__(self, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for index in range(8):
            after = width * 2 ** (index // 2)
            first = index == 0
            layers.append(nn.Conv2d(before, after, 3, 1 + index % 2, padding=1, bias=first))
            if not first:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            before = after
        self.features = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Linear(before, 2 * before), nn.LeakyReLU(0.2), nn.Linear(2 * before, 1)
        )

    def forward(self, picture: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1], sides of at least 16, to logits (N,): above 0 is a photo."""
        features = self.features(picture - 0.5).mean((2, 3))
        logits: Tensor = self.dense(features)[:, 0]
        return logits.to(torch.float32)
