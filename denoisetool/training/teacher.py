"""What a net for cameras' noise learns beside the clean patch: what two nets agree on.

A net trained on simulated camera noise is timid on real photos, whose noise is never quite what was
simulated. A net for white noise that looks at every second or third pixel (see `experts`) goes by
what pictures look like instead. It errs elsewhere: the mean of both is better than either, and a
net that learns to give this mean from one look keeps most of it (distillation, Hinton et al. 2015).
Every second photo of `nam`, every eighth of `polyu`: the net for cameras alone 42.04 and 37.90 dB,
the other 42.31 and 37.76, their mean 42.68 and 38.12, the net after 1500 steps with this for its
target 42.47 and 38.12.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from denoisetool.nets.experts import APART, Experts, found_apart
from denoisetool.training.batches import Batch

QUIET, STRONG = 1.5 / 255, 14 / 255
"""Below the one the clean patch counts more and more, since the nets would smooth what has no
noise; above the other it counts half, since there the simulation is as good as they are."""
MILD = 6 / 255
"""Up to here the nets alone count."""


class Teacher:
    """The two experts of a net as it is now; what becomes of it later does not matter.

    Args:
        net: an `Experts`, on its device.

    Raises:
        TypeError: another net.
    """

    def __init__(self, net: nn.Module) -> None:
        if not isinstance(net, Experts):
            raise TypeError("only a net with experts can teach")
        own = copy.deepcopy(net).eval()
        self.camera, self.white = own.camera, own.white

    def target(self, batch: Batch, step: int) -> Tensor:
        """What the net is to give for a batch: between the clean patches and what both find.

        Args:
            batch: (N, C, H, W), with clean patches as its target.
            step: of the training; what the net for white noise is told, and how far apart the
                pixels are that it sees, differ from step to step.

        Returns:
            (N, C, H, W).
        """
        noisy = batch.noisy
        by = 3 if step % 3 == 0 and noisy.shape[-1] % (3 * self.white.stride) == 0 else 2
        with torch.no_grad(), torch.autocast(noisy.device.type, torch.bfloat16):
            level = self.camera.level(noisy).float()
            usual = level.mean((1, 2, 3), keepdim=True)
            told = 2 * level if step % 2 else level / 2 + (1.5 * usual).clamp(max=APART)
            found = self.camera(noisy, level) + found_apart(self.white, noisy, told, by)
        noise = (noisy - batch.target).square().mean((1, 2, 3), keepdim=True).sqrt()
        mild = ((STRONG - noise) / (STRONG - MILD)).clamp(0, 1)
        share = (noise / QUIET).clamp(max=1) * (0.5 + 0.5 * mild)
        return torch.lerp(batch.target, noisy - found.float() / 2, share)
