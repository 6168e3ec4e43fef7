"""Which source of batches a recipe asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from denoisetool.errors import UsageError
from denoisetool.nets.ipt import TASK
from denoisetool.training.args import Recipe
from denoisetool.training.batches import Batch, Source, Synthetic, reduced
from denoisetool.training.corrupt import Corrupted, corrupt
from denoisetool.training.data import Image, Patches


def source_for(recipe: Recipe, images: list[Image]) -> Source:
    """Batches made of clean photos as the recipe says.

    Args:
        recipe: its net, if that has tasks, its corruption, or else its mix decides.
        images: uint8 (H, W, 3) photos.

    Raises:
        UsageError: a task that nothing is known of.
    """
    if recipe.net == "ipt":
        return Tasks(recipe, images)
    if recipe.corruption:
        return Corrupted(recipe, images)
    return Synthetic(recipe, images)


def largest_patch(recipe: Recipe) -> int:
    """Side in pixels of the largest patch that a run cuts out of its photos.

    In training to enlarge that is the target's, not the recipe's `patch`.
    """
    scales = [recipe.scale]
    if recipe.net == "ipt":
        found = (TASK.fullmatch(name) for name in recipe.net_args["tasks"])
        scales += [int(match["scale"]) for match in found if match and match["scale"]]
    return max(scales) * max(recipe.shape_at(step)[1] for step in (0, recipe.steps - 1))


@dataclass(frozen=True, slots=True)
class Tasks:
    """Clean photos, and the damage of each of a net's tasks in turn, step by step.

    `denoise30` is white noise of sigma 30, clipped if the recipe says so; `upscale4` a patch four
    times smaller.

    Attributes:
        recipe: sizes and seed; its net's arguments name the tasks.
        images: uint8 (H, W, 3) photos.
    """

    recipe: Recipe
    images: list[Image]

    def __post_init__(self) -> None:
        for name in self.turns:
            if re.fullmatch(r"denoise\d+|upscale[234]", name) is None:
                what = f"there is no training for task {name!r}"
                raise UsageError(what, hint="tasks are called like denoise30 or upscale4")

    @property
    def turns(self) -> tuple[str, ...]:
        """The net's tasks."""
        return tuple(self.recipe.net_args["tasks"])

    def batch(self, step: int) -> Batch:
        """Drawn with the recipe's seed and the step."""
        recipe, name = self.recipe, self.turns[step % len(self.turns)]
        count, side = recipe.shape_at(step)
        rng = np.random.default_rng((recipe.seed, step))
        patches = Patches(self.images, rng, recipe.reduction, recipe.reduced)
        number = int(name.removeprefix("denoise").removeprefix("upscale"))
        if name.startswith("upscale"):
            large = patches.batch(count, side * number)
            return Batch(reduced(large, number), large)
        clean = patches.batch(count, side)
        return Batch(corrupt("gaussian", clean, rng, number, recipe.clipped)[0], clean)
