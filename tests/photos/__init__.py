"""Sample photos: `render(name)` gives a noise-free and a noisy picture, the files lie here."""

from __future__ import annotations

from tests.photos.make import FILES, NAMES, render, write

__all__ = ["FILES", "NAMES", "render", "write"]
