"""Two nets of one shape, each for one kind of noise; a photo goes through one of them.

A small net that must know white noise and a camera's correlated noise is good at neither: with half
of its training on white noise alone it lost 0.6 dB on it (sigma 25, 2000 steps), and still lost
0.3 dB when it was told which kind it had before it. Two nets cost the file twice the bytes and the
photo no time. Which of them a photo needs is seen from what both find in a few windows of it, see
`noise.kind_of`.

A second look costs as much time again. For white noise it is the mirrored picture, whose result is
turned back. For cameras' noise the net for white noise looks at every second pixel in each
direction, four pictures in all: neighbours are further apart there and the noise is nearly white
(pixel-shuffle down-sampling, Zhou et al. 2020, "When AWGN-based denoiser meets real noises"). The
mean of both looks is better than either.

A model fine-tuned for a camera has a third one. It goes to that camera's photos alone: all others
are denoised as by the model it came from, so that nothing is forgotten.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoisetool.modelcard import OWN
from denoisetool.nets.ipt import IPT
from denoisetool.nets.parts import joined, phases
from denoisetool.nets.unet import UNet

APART = 4.5 / 255
"""How much more than half of the level a net for white noise is told for pixels apart, at most: in
a photo with mild noise twice the level, in one with strong noise little more than the half."""


class Experts(nn.Module):
    """A `UNet` for each kind of noise.

    Args:
        level_lift: of the nets for cameras' noise; white noise is not read too low.
        own: whether there is a third one, for one camera's own noise.
        second_look: whether every photo is looked at twice.
        shape: all other arguments of `UNet`, the same for all.

    Attributes:
        kinds: names of the kinds; the first is for whatever is not clearly another.
        camera: for noise as cameras leave it, correlated, smoothed and compressed.
        white: for noise that is independent from pixel to pixel.
        own: for the noise of one camera, if there is one.
    """

    def __init__(
        self, level_lift: float = 0.0, own: bool = False, second_look: bool = False, **shape: Any
    ) -> None:  # fmt: skip
        super().__init__()
        self.second_look = second_look
        self.camera = UNet(level_lift=level_lift, **shape)
        self.white = UNet(**shape)
        self.own = UNet(level_lift=level_lift, **shape) if own else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """See above."""
        return ("camera", "white") if self.own is None else ("camera", "white", OWN)

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this."""
        return self.camera.stride * (2 if self.second_look else 1)

    @property
    def receptive_radius(self) -> int:
        """Pixels on each side that can influence an output pixel."""
        return self.camera.receptive_radius * (2 if self.second_look else 1)

    def forward(self, x: Tensor, kind: str = "camera") -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1], all of it of one kind."""
        net = members(self)[kind]
        assert isinstance(net, UNet)
        if not self.second_look:
            found: Tensor = net(x)
        elif kind == "white":
            found = (net(x) + net(x.flip(3)).flip(3)) / 2
        else:
            level = net.told(x)
            apart = level / 2 + (1.5 * level).clamp(max=APART)
            found = (net(x, level) + found_apart(self.white, x, apart, 2)) / 2
        return found


def found_apart(net: UNet, x: Tensor, level: Tensor, by: int) -> Tensor:
    """The noise that a net finds in every `by`th pixel of each row and column of a picture.

    Args:
        net: for white noise.
        x: (N, C, H, W) in [0, 1], sides multiples of `by` times the net's stride.
        level: (N, 1, H/4, W/4), what it is told, in the unit of `x`.
        by: how far apart the pixels are that it sees at once.

    Returns:
        (N, C, H, W), all pixels' noise.
    """
    parts = phases(x, by).contiguous(memory_format=torch.channels_last)
    told = F.avg_pool2d(level, by).repeat_interleave(by**2, 0)
    return joined(net(parts, told), by)


def members(net: nn.Module) -> dict[str, nn.Module]:
    """The nets that are trained in turn, by kind of noise or by task; '' for the only one."""
    if isinstance(net, Experts):
        found: dict[str, nn.Module] = {"camera": net.camera, "white": net.white}
        return found if net.own is None else found | {OWN: net.own}
    if isinstance(net, IPT):
        return {name: net.for_task(name) for name in net.tasks}
    return {"": net}
