"""Batches of the user's pairs, and as many clean pictures with the start model's own noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from denoisetool.finetune.align import Float
from denoisetool.finetune.dataset import Views
from denoisetool.training.args import Recipe
from denoisetool.training.batches import Batch
from denoisetool.training.data import Image, Patches
from denoisetool.training.degrade import Degradation

REPLAY = 0.5
"""Share of each batch that is synthetic: a net that only sees one camera forgets the others."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Patches of pairs and, behind them, synthetic ones.

    Attributes:
        recipe: sizes, seed, and the mix of the synthetic noise.
        views: the pairs.
        images: clean uint8 (H, W, 3) pictures for the synthetic part.
        supervised: whether the targets are clean.
        kind: the net that is trained, of a model with experts; '' for the one net.
    """

    recipe: Recipe
    views: Views
    images: list[Image]
    supervised: bool = False
    kind: str = ""

    @property
    def turns(self) -> tuple[str, ...]:
        """The one net that is trained."""
        return (self.kind,)

    def batch(self, step: int) -> Batch:
        """Drawn with the recipe's seed and the step."""
        count, side = self.recipe.shape_at(step)
        rng = np.random.default_rng((self.recipe.seed, step))
        replayed = round(count * REPLAY) if self.images else 0
        drawn = [self._patch(rng, side) for _ in range(count - replayed)]
        noisy, target, counts = (
            torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2)
            for part in zip(*drawn, strict=True)
        )
        share = torch.full((len(noisy),), 1.0 if self.supervised else 0.5)
        if replayed:
            clean = Patches(self.images, rng).batch(replayed, side)
            degrade = Degradation(self.recipe.mix, seed=int(rng.integers(2**62)))
            more, truth = degrade(clean)
            noisy, target = torch.cat([noisy, more]), torch.cat([target, truth])
            counts = torch.cat([counts, torch.ones_like(more)])
            share = torch.cat([share, torch.ones(replayed)])
        order = torch.from_numpy(rng.permutation(len(noisy)))
        return Batch(noisy, target, share, counts).rows(order)

    def _patch(self, rng: np.random.Generator, side: int) -> tuple[Float, ...]:
        """One patch, turned and mirrored: noisy, target and what counts, (side, side, 3)."""
        index = int(rng.integers(len(self.views)))
        top, left = (int(rng.integers(n - side + 1)) for n in self.views.noisy.shape[1:3])
        window = np.s_[index, top : top + side, left : left + side]
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        parts = (
            self.views.noisy[window].astype(np.float32) / np.float32(65535),
            self.views.target[window].astype(np.float32),
            self.views.counts[window].astype(np.float32),
        )
        turned = (np.rot90(part, turns) for part in parts)
        return tuple(np.ascontiguousarray(p[:, ::-1] if flip else p) for p in turned)
