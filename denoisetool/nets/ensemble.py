"""Several looks at one picture, mirrored and turned, and the mean of what is found.

Geometric self-ensemble (Timofte, Rothe and Van Gool 2016, "Seven ways to improve example-based
single image super resolution"). What a net gets wrong about a picture it gets wrong otherwise about
the mirrored one, so the mean is better than any of them, at a cost that needs no training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOOKS = (
    (False, ()), (False, (2,)), (True, ()), (True, (2,)),
    (False, (3,)), (False, (2, 3)), (True, (3,)), (True, (2, 3)),
)  # fmt: skip
"""Whether rows and columns change places, and which axes of (N, C, H, W) are mirrored before; as
many of the first as there are looks."""


class SelfEnsemble(nn.Module):
    """A net that finds the mean of what another finds in several looks.

    One look after the other: no more memory is needed than for one and the sum.

    Args:
        net: (N, C, H, W) to the same shape; one with `levels` and `level` has them here, too, and
            they see the picture as it is.
        looks: how many, 1 to 8.

    Raises:
        ValueError: another number of looks.
    """

    def __init__(self, net: nn.Module, looks: int) -> None:
        super().__init__()
        if not 1 <= looks <= len(LOOKS):
            raise ValueError(f"there are 1 to {len(LOOKS)} looks at a picture, not {looks}")
        self.net, self.looks = net, looks
        self.levels = getattr(net, "levels", None)
        self.receptive_radius: int = net.receptive_radius  # type: ignore[assignment]
        self.stride: int = net.stride  # type: ignore[assignment]

    def level(self, x: Tensor) -> Tensor:
        """See `UNet.level`."""
        level: Tensor = self.net.level(x)  # type: ignore[operator]
        return level

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1]; float32."""
        total = torch.zeros_like(x, dtype=torch.float32)
        for across, mirrored in LOOKS[: self.looks]:
            seen = x.flip(mirrored)
            seen = seen.transpose(2, 3) if across else seen
            found = self.net(seen.contiguous(memory_format=torch.channels_last))
            found = found.transpose(2, 3) if across else found
            total += found.flip(mirrored)
        return total / self.looks
