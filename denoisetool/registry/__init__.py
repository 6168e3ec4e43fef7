"""Find, verify, install and remove models.

A model is a folder: `model.toml` (its card), `weights.safetensors`, `recipe.toml`. Its name in the
registry is the name of its folder. Nothing here loads weights into memory, imports torch, or uses
the network unless an install from a URL was asked for.
"""

from __future__ import annotations

from denoisetool.registry.entry import Entry, check_name
from denoisetool.registry.places import Origin, Places
from denoisetool.registry.store import Registry

__all__ = ["Entry", "Origin", "Places", "Registry", "check_name"]
