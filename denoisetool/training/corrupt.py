"""The corruptions that Noise2Noise was shown on (Lehtinen et al. 2018, sections 3.1 to 3.4).

Each can be drawn twice for one patch, so that a net learns from corrupted targets what it would
learn from clean ones: the mean (`gaussian`, `poisson`, `bernoulli`), the median (`text`) or the
mode (`impulse`) of what a target could be. Tensors are float32 (N, 3, H, W), not clipped unless
that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from denoisetool.training.args import CORRUPTIONS, Recipe
from denoisetool.training.batches import Batch
from denoisetool.training.data import Image as Photo
from denoisetool.training.data import Patches

PEAK = 30.0
"""Photons that white stands for in `poisson`."""
KEPT = 0.5
"""Share of the pixels that `bernoulli` leaves; the others are black."""
COVERED = 0.25
"""Share of a patch that `text` covers, about."""
REPLACED = 0.3
"""Share of the pixels that `impulse` replaces by random colours."""
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def corrupt(
    kind: str, clean: Tensor, rng: np.random.Generator, sigma: float = 25.0, clipped: bool = False
) -> tuple[Tensor, Tensor | None]:
    """One corrupted version of clean patches.

    Args:
        kind: one of `args.CORRUPTIONS`.
        clean: (N, 3, H, W) in [0, 1].
        rng: the source of all choices.
        sigma: of `gaussian`, in levels of 255.
        clipped: whether `gaussian` is clipped and rounded as in an 8-bit file.

    Returns:
        The corrupted patches, and where they are known, (N, 1, H, W) of 0 and 1; None for
        everywhere.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    shape = (len(clean), 1, *clean.shape[2:])
    if kind == "gaussian":
        noisy = clean + sigma / 255 * torch.randn(clean.shape, generator=generator)
        return (noisy.clamp(0, 1).mul(255).round() / 255 if clipped else noisy), None
    if kind == "poisson":
        return torch.poisson(clean * PEAK, generator=generator) / PEAK, None
    if kind == "bernoulli":
        known = (torch.rand(shape, generator=generator) < KEPT).float()
        return clean * known, known
    if kind == "impulse":
        hit = torch.rand(shape, generator=generator) < REPLACED
        return torch.where(hit, torch.rand(clean.shape, generator=generator), clean), None
    if kind == "text":
        return torch.stack([_with_text(patch, rng) for patch in clean]), None
    raise ValueError(f"a corruption must be one of {', '.join(CORRUPTIONS)}, not {kind!r}")


def _with_text(patch: Tensor, rng: np.random.Generator) -> Tensor:
    """Random words in random sizes and colours."""
    levels = patch.permute(1, 2, 0).mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
    image = Image.fromarray(levels)
    draw, mask = ImageDraw.Draw(image), Image.new("1", image.size)
    on_mask = ImageDraw.Draw(mask)
    while np.asarray(mask).mean() < COVERED:
        font = ImageFont.load_default(int(rng.integers(8, 24)))
        word = "".join(rng.choice(list(LETTERS), int(rng.integers(2, 9))))
        place = (int(rng.integers(-10, image.width)), int(rng.integers(-10, image.height)))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        draw.text(place, word, fill=colour, font=font)
        on_mask.text(place, word, fill=1, font=font)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Clean photos, and a corruption of the recipe's kind in the input, or in the target too.

    Attributes:
        recipe: sizes, seed, corruption and targets.
        images: uint8 (H, W, 3) photos.
    """

    recipe: Recipe
    images: list[Photo]

    @property
    def turns(self) -> tuple[str, ...]:
        """The one net."""
        return ("",)

    def batch(self, step: int) -> Batch:
        """Drawn with the recipe's seed and the step; the same inputs for both kinds of targets."""
        count, side = self.recipe.shape_at(step)
        rng = np.random.default_rng((self.recipe.seed, step))
        recipe = self.recipe
        clean = Patches(self.images, rng, recipe.reduction, recipe.reduced).batch(count, side)
        how = (recipe.sigma, recipe.clipped)
        noisy, _ = corrupt(recipe.corruption, clean, rng, *how)
        if recipe.targets == "clean":
            return Batch(noisy, clean)
        target, known = corrupt(recipe.corruption, clean, rng, *how)
        return Batch(noisy, target, torch.full((count,), 0.5), known)
