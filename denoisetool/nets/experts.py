"""Two nets of one shape, each for one kind of noise; a photo goes through one of them.

A small net that must know white noise and a camera's correlated noise is good at neither: with half
of its training on white noise alone it lost 0.6 dB on it (sigma 25, 2000 steps), and still lost
0.3 dB when it was told which kind it had before it. Two nets cost the file twice the bytes and the
photo no time. Which of them a photo needs is seen from what both find in a few windows of it, see
`noise.kind_of`.

Photos in a camera's own size are soft, and on those both nets can look: what they find there is
wrong in different ways, and the mean is better than either, see `TwoLooks`.

A model fine-tuned for a camera has a third net. It goes to that camera's photos alone: all others
are denoised as by the model it came from, so that nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoisetool.modelcard import OWN, SOFT
from denoisetool.nets.ipt import IPT
from denoisetool.nets.parts import joined, phases
from denoisetool.nets.unet import UNet

APART = 4.5 / 255
"""How much more than half of the noise level a net for white noise is told at most, when it looks
at pixels that are apart. Cameras' noise is told too low to it otherwise: what is left of its
correlation looks like texture."""


class Experts(nn.Module):
    """A `UNet` for each kind of noise.

    Args:
        level_lift: of the nets for cameras' noise; white noise is not read too low.
        own: whether there is a third one, for one camera's own noise.
        soft: whether two look where a camera's noise is in a soft photo.
        camera: arguments of `UNet` that are others for cameras' noise, the third one's too.
        shape: all other arguments of `UNet`, the same for all.

    Attributes:
        kinds: names of the kinds; the first is for whatever is not clearly another.
        camera: for noise as cameras leave it, correlated, smoothed and compressed.
        white: for noise that is independent from pixel to pixel.
        own: for the noise of one camera, if there is one.
    """

    def __init__(
        self, level_lift: float = 0.0, own: bool = False, soft: bool = False,
        camera: Mapping[str, Any] | None = None, **shape: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        for_cameras = {**shape, **(camera or {}), "level_lift": level_lift}
        self.camera = UNet(**for_cameras)
        self.white = UNet(**shape)
        self.own = UNet(**for_cameras) if own else None
        self.soft = soft

    @property
    def kinds(self) -> tuple[str, ...]:
        """See above."""
        more = ((SOFT, self.soft), (OWN, self.own is not None))
        return ("camera", "white", *(name for name, there in more if there))

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this."""
        strides = (self.camera.stride, self.white.stride * (2 if self.soft else 1))
        return max(strides)  # powers of two

    @property
    def receptive_radius(self) -> int:
        """Pixels on each side that can influence an output pixel."""
        return max(self.for_kind(kind).receptive_radius for kind in self.kinds)

    def for_kind(self, kind: str) -> UNet | TwoLooks:
        """The net for a kind of noise."""
        if kind == SOFT:
            return TwoLooks(self.camera, self.white)
        net = members(self)[kind]
        assert isinstance(net, UNet)
        return net

    def forward(self, x: Tensor, kind: str = "camera") -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1], all of it of one kind."""
        found: Tensor = self.for_kind(kind)(x)
        return found


class TwoLooks(nn.Module):
    """The mean of what a net for cameras' noise finds, and one for white noise in distant pixels.

    On every second pixel a camera's noise is nearly white. `nam` and `polyu` as the command writes
    them, with `fast` and a white net of four times its cost: 42.07 and 38.10 dB with the first
    alone, 42.39 and 38.27 with both. In sharp photos, such as ones made smaller, distant pixels
    have too little in common: of clean ones (Kodak's) 44.8 dB are left, against 50.4.

    Args:
        camera: for cameras' noise, with an estimator of its level.
        white: for white noise.

    Attributes:
        levels: the first net's estimator.
    """

    def __init__(self, camera: UNet, white: UNet) -> None:
        super().__init__()
        self.camera, self.white, self.levels = camera, white, camera.levels
        self.receptive_radius = max(camera.receptive_radius, 2 * white.receptive_radius)

    def level(self, x: Tensor) -> Tensor:
        """See `UNet.level`."""
        return self.camera.level(x)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1]."""
        level = self.level(x)
        told = torch.minimum(2 * level, level / 2 + APART)
        found: Tensor = self.camera(x) + found_apart(self.white, x, told, 2)
        return found / 2


def found_apart(net: UNet, x: Tensor, level: Tensor, by: int) -> Tensor:
    """The noise that a net finds in every `by`th pixel of each row and column of a picture.

    There noise that is correlated between neighbours is nearly white (pixel-shuffle down-sampling,
    Zhou et al. 2020, "When AWGN-based denoiser meets real noises").

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
