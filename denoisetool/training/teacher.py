"""What a net for cameras' noise learns beside the clean patch: what two nets agree on.

A net trained on simulated camera noise is timid on real photos, whose noise is never quite what was
simulated. A net for white noise that looks at every second or third pixel, where neighbours are
further apart and the noise is nearly white (pixel-shuffle down-sampling, Zhou et al. 2020, "When
AWGN-based denoiser meets real noises"), goes by what pictures look like instead. It errs elsewhere:
the mean of both is better than either, and a net that learns to give this mean from one look keeps
most of it (distillation, Hinton et al. 2015). Every second photo of `nam`, every eighth of
`polyu`: the net for cameras alone 42.04 and 37.90 dB, the other 42.31 and 37.76, their mean 42.68
and 38.12, the net after 1500 steps with this for its target 42.47 and 38.12.

The same net at all pixels, told of more noise than there is, finds what is left of fine noise; the
third of it that counts in soft photos is part of what is taught, see `experts.THIRD`.

It must go by the level that it is told. That of `fast` goes by what it sees: a net for cameras'
noise that it had taught had 40.1 dB on every third photo of `nam`, and 42.4 after 1200 steps with
`balanced` as the teacher, which has another net for such looks.

All that holds for photos in a camera's own size, which are soft. On photos that were made smaller
the mean is far too much: taught by it there too, the net left 41.6 dB of Kodak's clean pictures,
34.5 of the worst. So the sharper a patch is, the more its clean self counts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoisetool.errors import UsageError
from denoisetool.nets.experts import (
    APART,
    THIRD,
    Experts,
    evened,
    fine,
    found_apart,
    taken_apart,
    told_apart,
    told_firmly,
)
from denoisetool.training.batches import Batch
from denoisetool.training.precision import mixed

QUIET, STRONG = 1.5 / 255, 14 / 255
"""Below the one the clean patch counts more and more, since the nets would smooth what has no
noise; above the other it counts half, since there the simulation is as good as they are."""
MILD = 6 / 255
"""Up to here the nets alone count."""
SOFT, SHARP = 0.10, 0.16
"""Clean patches above the second `sharpness` alone count, those below the first not at all. The
truths of `nam` and `polyu` have 0.02 to 0.14 (5 % are outside on each side), Kodak's 0.08 to 0.51.
"""
FIRMNESS = (0.85, 1.0, 1.15)
"""How many times as much as usual the net for white noise is told when it looks at all pixels, from
step to step."""
REACH = 6
"""Pixels on each side of the boxes that tell coarse colour, see `coarse_chroma`."""


class Teacher:
    """Two experts of a net as it is now; what becomes of it later does not matter.

    A smaller net that takes the place of the one for white noise in soft photos learns from that
    one alone, see `lesson`: what a camera's noise is like it must not learn.

    Args:
        net: an `Experts`.
        device: where the batches are.
        channels: that they have.
        sides: of their patches, in pixels.
        itself: whether a small net for soft photos learns from the net that it is a part of, and so
            from that for white noise. Else what looks at soft photos beside the first net teaches.

    Raises:
        UsageError: another net, or one that such patches cannot go through.
    """

    def __init__(
        self, net: nn.Module, device: torch.device, channels: int, sides: Iterable[int],
        *, itself: bool = False,
    ) -> None:  # fmt: skip
        if not isinstance(net, Experts):
            what = "the model that teaches has no experts for cameras' and for white noise"
            raise UsageError(what, hint="take balanced, or another of that net")
        if net.camera.head.in_channels != channels:
            raise UsageError("the model that teaches is for another number of channels")
        white = net.white if itself else net.apart or net.white
        step = 2 * white.stride  # it looks at every other pixel
        if any(side % step for side in sides):
            raise UsageError(f"the model that teaches needs patches that are multiples of {step}")
        self.camera, self.white = (
            copy.deepcopy(each).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for each in (net.camera, white)
        )

    def target(self, batch: Batch, step: int) -> Tensor:
        """What the net is to give for a batch: between the clean patches and what both find.

        Args:
            batch: (N, C, H, W), with clean patches as its target.
            step: of the training; what the net for white noise is told, and how far apart the
                pixels are that it sees, differ from step to step.

        Returns:
            (N, C, H, W).
        """
        noise = (batch.noisy - batch.target).square().mean((1, 2, 3)).sqrt()
        mild = ((STRONG - noise) / (STRONG - MILD)).clamp(0, 1)
        soft = ((SHARP - sharpness(batch.target).flatten()) / (SHARP - SOFT)).clamp(0, 1)
        share = soft * (noise / QUIET).clamp(max=1) * mild
        taught = share.nonzero().flatten()
        target = batch.target.clone()
        if len(taught):
            agreed = self._agreed(batch.noisy[taught], step)
            agreed = agreed + coarse_chroma(batch.target[taught] - agreed)
            target[taught] = target[taught].lerp(agreed, share[taught][:, None, None, None])
        return target

    def lesson(self, batch: Batch, step: int) -> Batch:
        """What the net for white noise finds in what it is shown of a camera's noise.

        Args:
            batch: (N, C, H, W), sides multiples of twice the net's stride.
            step: of the training; even ones show all pixels, odd ones every second of each row
                and column.

        Returns:
            What it saw, as it was told the level, and that without what it found; of all pixels
            without what was fine of that, since the rest does not count.
        """
        noisy = batch.noisy
        jitter = torch.empty(len(noisy), 1, 1, 1).uniform_(
            0.8, 1.25, generator=torch.Generator().manual_seed(step)
        )
        with torch.no_grad(), mixed(noisy.device):
            level = evened(self.camera.level(noisy).float()) * jitter.to(noisy.device)
            if step % 2:
                noisy, told = taken_apart(noisy, told_apart(level), 2)
                found: Tensor = self.white(noisy, told).float()
            else:
                told = told_firmly(level)
                found = fine(self.white(noisy, told).float())
        return Batch(noisy, noisy - found, told=told)

    def _agreed(self, noisy: Tensor, step: int) -> Tensor:
        """Patches without what both nets find in them, on average."""
        by = 3 if step % 3 == 0 and noisy.shape[-1] % (3 * self.white.stride) == 0 else 2
        with torch.no_grad(), mixed(noisy.device):
            level = self.camera.level(noisy).float()
            usual = level.mean((1, 2, 3), keepdim=True)
            told = 2 * level if step % 2 else level / 2 + (1.5 * usual).clamp(max=APART)
            both = self.camera(noisy, level).float()
            both = (both + found_apart(self.white, noisy, told, by).float()) / 2
            firm = told_firmly(FIRMNESS[step % len(FIRMNESS)] * level)
            found: Tensor = both + THIRD * fine(self.white(noisy, firm).float() - both)
        return noisy - found


def coarse_chroma(picture: Tensor) -> Tensor:
    """What of a picture's colour is left when it is averaged over about 18 pixels, (N, C, H, W)."""
    return smooth(picture - picture.mean(1, keepdim=True), REACH)


def smooth(field: Tensor, reach: int) -> Tensor:
    """(N, C, H, W) without what is finer than about twice `reach` pixels: two box means."""
    for _ in range(2):
        field = F.avg_pool2d(field, 2 * reach + 1, 1, reach, count_include_pad=False)
    return field


def sharpness(clean: Tensor) -> Tensor:
    """How much of what differs between distant pixels differs between neighbours.

    `noise.sharpness`, by which whole photos are told apart, compares with pixels two apart; `SOFT`
    and `SHARP` here were chosen with eight.

    Args:
        clean: (N, C, H, W) in [0, 1], at least 9 pixels on each side.

    Returns:
        (N, 1, 1, 1): mean square of the differences of neighbours, across and down, as a share of
        that of pixels eight apart; to this two levels squared are added, for flat patches.
    """
    inner = clean[..., :-8, :-8]
    near, far = (
        (clean[..., lag:, :][..., : inner.shape[-2], : inner.shape[-1]] - inner).square()
        + (clean[..., lag:][..., : inner.shape[-2], : inner.shape[-1]] - inner).square()
        for lag in (1, 8)
    )
    means = [d.mean((1, 2, 3), keepdim=True) for d in (near, far)]
    return means[0] / (means[1] + 2 / 255**2)
