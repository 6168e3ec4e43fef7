"""What the loop trains on: noisy patches, what they should become, and what is known about both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from denoisetool.training.args import Recipe
from denoisetool.training.data import Image, Patches
from denoisetool.training.degrade import Degradation


@dataclass(frozen=True, slots=True)
class Batch:
    """Patches of one step, float32 (N, C, H, W); nominally in [0, 1], but not clipped.

    Attributes:
        noisy: what the net sees; in training to enlarge, smaller than the target.
        target: the clean patch, or another noisy one of the same scene (Noise2Noise, Lehtinen et
            al. 2018).
        share: (N,) what share of the mean square of noisy - target is noise of `noisy`: 1 for a
            clean target, 1/2 for another shot; None for clean targets throughout.
        weight: (N, 1 or C, H, W) 0..1, how much each pixel of the target counts; None for all.
        told: (N, 1, H/4, W/4) noise level that the net is told; None to go by the true one, and by
            what it estimates.
    """

    noisy: Tensor
    target: Tensor
    share: Tensor | None = None
    weight: Tensor | None = None
    told: Tensor | None = None

    def rows(self, part: slice | Tensor) -> Batch:
        """Some of its patches: a slice, or an order of them."""
        return Batch(*(None if t is None else t[part] for t in self.tensors()))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Batch:
        """The same on a device, channels last in memory."""
        return Batch(*(
            None if t is None
            else t.to(device, memory_format=torch.channels_last) if t.ndim == 4
            else t.to(device)
            for t in self.tensors()
        ))  # type: ignore[arg-type]  # fmt: skip

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them, in the order of the fields."""
        return self.noisy, self.target, self.share, self.weight, self.told


class Source(Protocol):
    """Where batches come from. A step's batch depends on the step alone, also after a restart.

    Attributes:
        turns: names of the nets that are trained in turn, step by step; ('',) for one net.
    """

    @property
    def turns(self) -> tuple[str, ...]:
        """See above."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step, on the CPU."""
        ...


def reduced(picture: Tensor, scale: int) -> Tensor:
    """(N, C, scale H, scale W) to (N, C, H, W): bicubic as Pillow does it, in [0, 1], in 8 bits."""
    if scale == 1:
        return picture
    small = F.interpolate(
        picture, scale_factor=1 / scale, mode="bicubic", align_corners=False, antialias=True
    )
    return small.clamp(0, 1).mul(255).round() / 255


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Clean photos, and noise from the recipe's mixes; for experts in turn, step by step.

    Attributes:
        recipe: sizes, seed and mix.
        images: uint8 (H, W, 3) photos.
    """

    recipe: Recipe
    images: list[Image]

    @property
    def turns(self) -> tuple[str, ...]:
        """The experts of the recipe's mix."""
        return self.recipe.experts

    def batch(self, step: int) -> Batch:
        """Drawn with the recipe's seed and the step."""
        recipe, scale = self.recipe, self.recipe.scale
        count, side = recipe.shape_at(step)
        rng = np.random.default_rng((recipe.seed, step))
        turn = self.turns[step % len(self.turns)]
        large = Patches(self.images, rng, *recipe.reduction_for(turn)).batch(count, side * scale)
        clean = reduced(large, scale)
        mix: dict[str, Any] = recipe.mix_for(turn)
        # A patch to be enlarged must show what its large target shows.
        degrade = Degradation(mix, seed=int(rng.integers(2**62)), soft=scale == 1)
        noisy, target = degrade(clean)
        if scale > 1:  # a dark scene is dark at either size, and a grey photo grey
            light = target.mean((1, 2, 3)) / clean.mean((1, 2, 3)).clamp(min=1e-4)
            made_grey = (_is_grey(target) & ~_is_grey(clean))[:, None, None, None]
            large = torch.where(made_grey, large.mean(1, keepdim=True), large)
            target = large * light[:, None, None, None]
        order = torch.from_numpy(rng.permutation(len(noisy)))  # kinds come in groups
        return Batch(noisy, target).rows(order)


def _is_grey(picture: Tensor) -> Tensor:
    """Which of (N, C, H, W) have the same value in all channels everywhere, (N,)."""
    return (picture == picture[:, :1]).flatten(1).all(1)
