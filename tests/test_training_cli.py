"""`train` through the command line: which photos it takes, and how it stops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import Cli

ENLARGING = """
name = "tiny"
title = "Too small to be of use"
net = "srresnet"
net_args = { channels = 3, width = 4, blocks = 1, kernel = 3, scale = 2 }
scale = 2
steps = 2
batch = 1
patch = 16
tail_patch = 24
tail_batch = 1
tail = 0.5
reduced = 0.0
[mix]
clean = 1.0
"""


def _photo(folder: Path, name: str, side: int) -> None:
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(folder / name)


def test_photos_smaller_than_what_is_to_be_made_of_a_patch_are_left_out(
    cli: Cli, tmp_path: Path
) -> None:
    recipe, data = tmp_path / "recipe.toml", tmp_path / "data"
    recipe.write_text(ENLARGING)
    words = ["train", recipe, "--data", data, "--run", tmp_path / "run", "--device", "cpu"]
    _photo(data, "small.png", 47)
    ran = cli(*words)
    assert ran.code == 3
    assert "no usable training photo" in ran.err
    _photo(data, "just.png", 48)
    ran = cli(*words)
    assert ran.code == 0, ran.err
    assert "1 photos" in ran.err
