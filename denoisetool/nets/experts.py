"""Two nets, each for one kind of noise; a photo goes through one of them.

A small net that must know white noise and a camera's correlated noise is good at neither: with half
of its training on white noise alone it lost 0.6 dB on it (sigma 25, 2000 steps), and still lost
0.3 dB when it was told which kind it had before it. Two nets cost the file twice the bytes and the
photo no time. Which of them a photo needs is seen from what both find in a few windows of it, see
`noise.kind_of`.

Photos in a camera's own size are soft, and on those nets for white noise can look too: what they
find there is wrong in different ways, and the mean is better than either, see `SoftLook`.

A model fine-tuned for a camera has a third net. It goes to that camera's photos alone: all others
are denoised as by the model it came from, so that nothing is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoisetool.modelcard import OWN, SOFT
from denoisetool.nets.ensemble import SelfEnsemble
from denoisetool.nets.ipt import IPT
from denoisetool.nets.parts import joined, phases
from denoisetool.nets.unet import Level, UNet
from denoisetool.noise import LUMA

APART, FIRMLY = 4.5 / 255, 0.3
"""What a net for white noise is told of mild noise when it looks at pixels that are apart: at most
so much more than half of its level, and by this share more than that. Cameras' noise is told too
low to it otherwise: what is left of its correlation looks like texture."""
FARTHER = 1 / 255
"""How much more than its level it is told of stronger noise, up to twice as much. With 3 there are
0.3 dB more on `nam` with 1.5 times its noise, but a photo of fur in `polyu` comes out worse."""
MILD, STRONG = 3 / 255, 5 / 255
"""Noise level up to which the first of these counts, and from which the second does."""
SECOND = 0.5
"""How much counts what such a net finds."""
LIGHT, HEAVY = 12 / 255, 20 / 255
"""Noise level up to which it counts what nets for white noise find in a soft photo, and from which
it does not. Of strong noise that for cameras' finds more: with a little of the second look and all
of the third one, every sixth dark scene loses 0.1 dB with the nets of `balanced`."""
FIRM, MOST = 4.5, 55 / 255
"""What a net for white noise is told of a camera's noise when it looks at all pixels: so many times
its level, at most this, the strongest that it knows. What it finds in more than a few pixels'
breadth is then a good part of the picture, see `fine`."""
BROAD, THIRD = 8, 0.36
"""How many pixels broad, about, is what does not count of what it finds, and how much the rest
counts. With the large net of `balanced` every second photo of `nam` gains 0.24 dB by this, every
sixth of `polyu` 0.05, with 1.5 times the noise of `nam` 0.4."""
COARSE, COARSE_STRONG, COARSE_MOST = 2.26, 1.13, 8.5 / 255
"""What a net for coarse colours is told of those of a photo that is made smaller, `by` times: of
the level in the large one, divided by the power 3/2 of `by`. Of strong noise the first look leaves
less. Divided by `by` there are 0.02 dB more at a quarter, but fur in `polyu` comes out worse."""
BEYOND = 8
"""Pixels, a multiple of four, by which a picture made smaller is continued for it beyond its
borders: it takes what ends there for a change of colour. (All other nets do as well or better
without, having learned from patches what a border is.)"""
AROUND = 8
"""How far is looked for the noise level of a place, in cells of the estimator's map."""
CALM, ROUGH = 4 / 255, 6 / 255
"""Noise level in soft photos up to which only the neighbourhood counts, and from which only the
place itself: it may be fur that looks like noise."""


class Experts(nn.Module):
    """A `UNet` for each kind of noise.

    Args:
        own: of which kind the shape of a third one is, for one camera's own noise, `camera` (or
            true) or `white`; false for none.
        soft: how many looks at a camera's noise in a soft photo, up to 3, see `SoftLook`; 0 for no
            other than elsewhere.
        apart: arguments of `UNet` that are others for a net that takes the second and third of
            these looks; None has that for white noise take them.
        coarse: arguments of `UNet` that are others for a net that then looks at the colours of a
            soft photo, made smaller; None for no such look.
        coarse_by: how many times smaller on each side, one look after the other; powers of two.
        camera: arguments of `UNet` that are others for cameras' noise.
        ensemble: how many looks at every picture, mirrored and turned; see `SelfEnsemble`.
        shape: all other arguments of `UNet`, the same for all, and for that for white noise.

    Attributes:
        kinds: names of the kinds; the first is for whatever is not clearly another.
        camera: for noise as cameras leave it, correlated, smoothed and compressed.
        white: for noise that is independent from pixel to pixel.
        own: for the noise of one camera, if there is one.
        apart: for white noise in soft photos, if there is one.
        coarse: for colours in smaller pictures, if there is one.
    """

    def __init__(
        self, own: bool | str = False, soft: int = 0,
        apart: Mapping[str, Any] | None = None, coarse: Mapping[str, Any] | None = None,
        coarse_by: Sequence[int] = (), camera: Mapping[str, Any] | None = None, ensemble: int = 1,
        **shape: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if soft not in range(4):
            raise ValueError("soft is 0 to 3 looks")
        if (apart is not None and soft < 2) or (coarse is not None and not soft):
            raise ValueError("apart and coarse are looks at soft photos, which soft has")
        if coarse is not None and shape.get("channels", 3) != 3:
            raise ValueError("only a net for colour photos can have a coarse look at colours")
        if (coarse is not None) != bool(coarse_by) or set(coarse_by) - {2, 4, 8}:
            raise ValueError("coarse_by is 2, 4 or 8 for each look that coarse has")
        for_cameras = {**shape, **(camera or {})}
        self.camera = UNet(**for_cameras)
        self.white = UNet(**shape)
        if own not in (False, True, "camera", "white"):
            raise ValueError("own is camera, white, true or false")
        self.own = UNet(**(shape if own == "white" else for_cameras)) if own else None
        self.uniform = {"white", OWN} if own == "white" else {"white"}
        self.apart = None if apart is None else UNet(**{**shape, **apart})
        self.coarse = None if coarse is None else ColourUNet(**{**shape, **coarse})
        self.soft, self.coarse_by, self.ensemble = soft, tuple(coarse_by), ensemble
        self.for_kind(self.kinds[-1])  # tells of impossible arguments

    @property
    def kinds(self) -> tuple[str, ...]:
        """See above."""
        more = ((SOFT, self.soft > 0), (OWN, self.own is not None))
        return ("camera", "white", *(name for name, there in more if there))

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this."""
        return max(self.for_kind(kind).stride for kind in self.kinds)  # powers of two

    @property
    def receptive_radius(self) -> int:
        """Pixels on each side that can influence an output pixel."""
        return max(self.for_kind(kind).receptive_radius for kind in self.kinds)

    def for_kind(self, kind: str) -> UNet | Uniform | SoftLook | SelfEnsemble:
        """What finds a kind of noise: the net for it, told the right levels, in all its looks."""
        net: UNet | Uniform | SoftLook
        if kind == SOFT:
            white = (self.apart or self.white) if self.soft > 1 else None
            net = SoftLook(self.camera, white, self.soft == 3, self.coarse, self.coarse_by)
        else:
            expert = members(self)[kind]
            assert isinstance(expert, UNet)
            uniform = kind in self.uniform and expert.levels is not None
            net = Uniform(expert) if uniform else expert
        return net if self.ensemble == 1 else SelfEnsemble(net, self.ensemble)

    def forward(self, x: Tensor, kind: str = "camera") -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1], all of it of one kind."""
        found: Tensor = self.for_kind(kind)(x)
        return found


class ColourUNet(UNet):
    """A `UNet` that finds nothing in brightness, only in colours."""

    def forward(self, x: Tensor, level: Level = None) -> Tensor:
        """See `UNet.forward`; what is found has luma 0 (BT.709)."""
        found = super().forward(x, level)
        return found - (found * found.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


class Uniform(nn.Module):
    """A net for noise that is much the same in a neighbourhood, and is told of that, not the place.

    What an estimator says of a place of 4 x 4 pixels is mostly chance. Where nets see far they do
    not believe it; near a picture's borders they do: told this, they gain 0.2 dB on CIFAR-10, which
    is all border. Nets for cameras' noise gain 0.3 dB on photos of `polyu` that are not soft, but
    take 3 dB from clean sharp ones, whose textures pass for noise then.

    Args:
        net: with an estimator.

    Attributes:
        levels, stride: the net's.
    """

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net, self.levels, self.stride = net, net.levels, net.stride
        self.receptive_radius = net.receptive_radius + 4 * AROUND

    def level(self, x: Tensor) -> Tensor:
        """See `UNet.level`."""
        return self.net.level(x)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1]."""
        found: Tensor = self.net(x, around)
        return found


class SoftLook(nn.Module):
    """Nets for cameras' noise in soft photos, in which noise is easily told from the picture.

    There a net can be told more firmly how much there is. What its estimator says of a place is
    mostly chance where noise is mild, and noise is much the same in the neighbourhood. Where it is
    strong the estimate is better, or it is fur that looks like noise.

    A second look can be had by a net for white noise: on every second pixel a camera's noise is
    nearly white. What is found counts half, if noise is not strong. In sharp photos, such as ones
    made smaller, distant pixels have too little in common: clean ones (Kodak's) are left with 44.8
    dB instead of 50.4.

    A third look can be had by that net at all pixels, told of so much noise that it takes what is
    correlated for noise as well. Then it finds fine noise that the others leave, and takes broad
    parts of the picture for noise, which do not count.

    Both looks need a net that believes what it is told. Nets for white noise whose blocks end in a
    pointwise convolution are better at their own noise, and go by what they see: with that of
    `fast` every third photo of `nam` comes out 2 dB worse. So these looks are another net's there.

    What is left is blotches of colour. They are found in the cleaned photo, made smaller, by a net
    for colours whose noise is stronger than that of brightness, which shows the net where things
    end. (The net for white noise, which has four times the cost, finds as many at half of the size
    and fewer at a quarter. What it finds of brightness there is rather texture.)

    Args:
        camera: for cameras' noise, with an estimator of its level.
        white: for white noise, for the second look; None for one look.
        firm: whether it has the third one too.
        coarse: for colours in what is then left; None for no such look.
        coarse_by: how many times smaller it sees the photo, for each of its looks.

    Attributes:
        levels: the first net's estimator.
        stride: height and width of an input must be multiples of this.
    """

    def __init__(
        self, camera: UNet, white: UNet | None, firm: bool, coarse: ColourUNet | None,
        coarse_by: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.camera, self.white, self.firm = camera, white, firm
        self.coarse, self.coarse_by = coarse, coarse_by
        self.levels = camera.levels
        self.receptive_radius = camera.receptive_radius + 4 * AROUND
        self.stride = camera.stride
        if white is not None:
            self.receptive_radius = max(self.receptive_radius, 2 * white.receptive_radius)
            self.stride = max(self.stride, 2 * white.stride)
        if coarse is not None:
            self.stride = max(self.stride, max(coarse_by) * coarse.stride)
            reach = coarse.receptive_radius + 2  # and what is made smaller and larger again
            self.receptive_radius += sum(by * reach for by in self.coarse_by)

    def level(self, x: Tensor) -> Tensor:
        """See `UNet.level`."""
        return self.camera.level(x)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the noise in `x`, (N, C, H, W) in [0, 1]."""
        level = evened(self.level(x))
        found: Tensor = self.camera(x, level)
        if self.white is not None:
            second = found_apart(self.white, x, told_apart(level), 2)
            mild = mildness(level)
            found = torch.lerp(found, second, SECOND * mild)
            if self.firm:
                third = self.white(x, told_firmly(level))
                found = found + THIRD * mild * fine(third - found)
        if self.coarse is not None:
            for by in self.coarse_by:
                found = found + coarse_colour(self.coarse, x - found, told_coarse(level, by), by)
        return found


def evened(level: Tensor) -> Tensor:
    """What the net for cameras' noise is told of levels (N, 1, H, W) that were estimated."""
    near = around(level)
    return torch.lerp(level, near, ((ROUGH - near) / (ROUGH - CALM)).clamp(0, 1))


def told_apart(level: Tensor) -> Tensor:
    """What the net for white noise is told of a camera's noise when it looks at pixels apart."""
    mild = ((STRONG - level) / (STRONG - MILD)).clamp(0, 1)
    firm = (1 + FIRMLY) * torch.minimum(2 * level, level / 2 + APART)
    return torch.lerp(torch.minimum(2 * level, level + FARTHER), firm, mild)


def mildness(level: Tensor) -> Tensor:
    """How much nets for white noise count, in [0, 1]: (N, 1, H/4, W/4) to (N, 1, H, W)."""
    mild = ((HEAVY - level) / (HEAVY - LIGHT)).clamp(0, 1)
    return F.interpolate(mild, scale_factor=4.0, mode="bilinear", align_corners=False)


def told_coarse(level: Tensor, by: int) -> Tensor:
    """What is told of the colour left of a camera's noise, in a picture `by` times smaller."""
    told = torch.minimum(COARSE * level, COARSE_STRONG * level + COARSE_MOST)
    return told / math.pow(by, 1.5)


def around(level: Tensor) -> Tensor:
    """The mean of a map of levels (N, 1, H, W) over what is at most `AROUND` cells away."""
    side = 2 * AROUND + 1
    for kernel, pad in (((side, 1), (AROUND, 0)), ((1, side), (0, AROUND))):
        level = F.avg_pool2d(level, kernel, 1, pad, count_include_pad=False)
    return level


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
    return joined(net(*taken_apart(x, level, by)), by)


def taken_apart(x: Tensor, level: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """What a net sees of pixels that are apart, and is told of each part; see `found_apart`."""
    parts = phases(x, by).contiguous(memory_format=torch.channels_last)
    return parts, F.avg_pool2d(level, by).repeat_interleave(by**2, 0)


def told_firmly(level: Tensor) -> Tensor:
    """What the net for white noise is told of a camera's noise when it looks at all pixels."""
    return (FIRM * level).clamp(max=MOST)


def fine(field: Tensor) -> Tensor:
    """(N, C, H, W), sides multiples of `BROAD`, without what is broader than that."""
    broad = F.avg_pool2d(field, BROAD)
    return field - F.interpolate(broad, scale_factor=float(BROAD), mode="bilinear")


def coarse_colour(net: ColourUNet, x: Tensor, level: Tensor, by: int) -> Tensor:
    """The noise in the colours of a picture that a net finds in a smaller one.

    Args:
        net: for colours.
        x: (N, 3, H, W) in [0, 1], sides multiples of `by` times the net's stride.
        level: (N, 1, H/4, W/4), what it is told, in the unit of `x`.
        by: how many times smaller the picture is on each side.

    Returns:
        (N, 3, H, W).
    """
    small = F.pad(F.avg_pool2d(x, by), (BEYOND,) * 4, mode="replicate")
    told = F.pad(F.avg_pool2d(level, by), (BEYOND // 4,) * 4, mode="replicate")
    found = net(small.contiguous(memory_format=torch.channels_last), told)
    found = found[..., BEYOND:-BEYOND, BEYOND:-BEYOND]
    return F.interpolate(found, scale_factor=float(by), mode="bilinear", align_corners=False)


def members(net: nn.Module) -> dict[str, nn.Module]:
    """The nets that are trained in turn, by kind of noise or by task; '' for the only one."""
    if isinstance(net, Experts):
        found = {
            "camera": net.camera, "white": net.white, OWN: net.own, "apart": net.apart,
            "coarse": net.coarse,
        }  # fmt: skip
        return {name: expert for name, expert in found.items() if expert is not None}
    if isinstance(net, IPT):
        return {name: net.for_task(name) for name in net.tasks}
    return {"": net}
