"""Two nets of one shape, each for one kind of noise; a photo goes through one of them.

A small net that must know white noise and a camera's correlated noise is good at neither: with half
of its training on white noise alone it lost 0.6 dB on it (sigma 25, 2000 steps), and still lost
0.3 dB when it was told which kind it had before it. Two nets cost the file twice the bytes and the
photo no time. Which of them a photo needs is seen from what both find in a few windows of it, see
`noise.kind_of`.

A model fine-tuned for a camera has a third one. It goes to that camera's photos alone: all others
are denoised as by the model it came from, so that nothing is forgotten.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from denoisetool.modelcard import OWN
from denoisetool.nets.ipt import IPT
from denoisetool.nets.unet import UNet


class Experts(nn.Module):
    """A `UNet` for each kind of noise.

    Args:
        level_lift: of the nets for cameras' noise; white noise is not read too low.
        own: whether there is a third one, for one camera's own noise.
        shape: all other arguments of `UNet`, the same for all.

    Attributes:
        kinds: names of the kinds; the first is for whatever is not clearly another.
        camera: for noise as cameras leave it, correlated, smoothed and compressed.
        white: for noise that is independent from pixel to pixel.
        own: for the noise of one camera, if there is one.
    """

    def __init__(self, level_lift: float = 0.0, own: bool = False, **shape: Any) -> None:
        super().__init__()
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
        return self.camera.stride

    @property
    def receptive_radius(self) -> int:
        """Pixels on each side that can influence an output pixel."""
        return self.camera.receptive_radius

    def forward(self, x: Tensor, kind: str = "camera") -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1], all of it of one kind."""
        found: Tensor = members(self)[kind](x)
        return found


def members(net: nn.Module) -> dict[str, nn.Module]:
    """The nets that are trained in turn, by kind of noise or by task; '' for the only one."""
    if isinstance(net, Experts):
        found: dict[str, nn.Module] = {"camera": net.camera, "white": net.white}
        return found if net.own is None else found | {OWN: net.own}
    if isinstance(net, IPT):
        return {name: net.for_task(name) for name in net.tasks}
    return {"": net}
