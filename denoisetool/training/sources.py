"""Which source of batches a recipe asks for."""

from __future__ import annotations

from denoisetool.training.args import Recipe
from denoisetool.training.batches import Source, Synthetic
from denoisetool.training.corrupt import Corrupted
from denoisetool.training.data import Image


def source_for(recipe: Recipe, images: list[Image]) -> Source:
    """Batches made of clean photos as the recipe says.

    Args:
        recipe: its corruption, or else its mix, decides.
        images: uint8 (H, W, 3) photos.
    """
    if recipe.corruption:
        return Corrupted(recipe, images)
    return Synthetic(recipe, images)
