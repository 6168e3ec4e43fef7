"""`train` through the command line: which photos it takes, and how it stops."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoisetool.training.loop import CHECKPOINT
from denoisetool.training.optim import MatrixOptimizer
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


@pytest.fixture
def words(tmp_path: Path) -> list[str | Path]:
    """The command, bar its --run, for a recipe whose checkpoint is only written at the end."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(ENLARGING.replace("steps = 2", "steps = 6"))
    _photo(tmp_path / "data", "photo.png", 64)
    return ["train", recipe, "--data", tmp_path / "data", "--device", "cpu"]


def _signalled(monkeypatch: pytest.MonkeyPatch, *numbers: signal.Signals) -> None:
    """Signals come in the third step, just after the weights have changed."""
    taken, steps = MatrixOptimizer.step, 0

    def step(self: MatrixOptimizer, rate: float) -> None:
        nonlocal steps
        steps += 1
        taken(self, rate)
        if steps == 3:
            for number in numbers:
                signal.raise_signal(number)

    monkeypatch.setattr(MatrixOptimizer, "step", step)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_the_first_signal_stops_after_the_step_in_hand(
    number: signal.Signals, code: int, cli: Cli, words: list[str | Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert cli(*words, "--run", tmp_path / "whole").code == 0
    with monkeypatch.context() as patch:
        _signalled(patch, number)
        ran = cli(*words, "--run", tmp_path / "parts")
    assert ran.code == code, ran.err
    assert "stopped at step 3; the same command goes on from there" in ran.err
    assert not (tmp_path / "parts" / "model").exists()
    again = cli(*words, "--run", tmp_path / "parts")
    assert again.code == 0, again.err
    assert "continuing at step 3 of 6" in again.err
    whole, parts = (
        torch.load(tmp_path / run / CHECKPOINT, weights_only=True)["net"]
        for run in ("whole", "parts")
    )
    for key, weight in whole.items():
        torch.testing.assert_close(weight, parts[key], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("first", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_the_second_signal_aborts_and_nothing_is_saved(
    first: signal.Signals, code: int, cli: Cli, words: list[str | Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _signalled(monkeypatch, first, signal.SIGINT)
    ran = cli(*words, "--run", tmp_path / "run")
    assert ran.code == code, ran.err
    assert "aborted" in ran.err
    assert list((tmp_path / "run").iterdir()) == []
