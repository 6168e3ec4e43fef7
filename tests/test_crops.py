"""The parts of a photo that are shown: told from pictures of which the answer is known."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoisetool import crops
from denoisetool.crops import HEIGHT, WIDTH, Window

Array = npt.NDArray[Any]


def scene(height: int = 900, width: int = 1200) -> Array:
    """Grey with gentle slopes everywhere, float (H, W, 3) in 0..1."""
    rows, columns = np.mgrid[0:height, 0:width]
    slopes = 0.5 + 0.1 * np.sin(rows / 9) + 0.1 * np.sin(columns / 7)
    return np.repeat(slopes[..., None], 3, 2)


def chosen(picture: Array, peak: float = 255.0) -> dict[str, Window]:
    return {window.kind: window for window in crops.choose(picture, peak)}


def share(window: Window, rows: slice, columns: slice, picture: Array) -> float:
    """How much of a window lies in a part of the picture."""
    mask = np.zeros(picture.shape[:2])
    mask[rows, columns] = 1
    return float(window.of(mask).mean())


PLACES = [(0, 0), (536, 720), (0, 720), (536, 0)]


@pytest.mark.parametrize(("flat", "busy"), list(itertools.permutations(PLACES, 2)))
@pytest.mark.parametrize(("dtype", "peak"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_finds_the_flat_and_the_busy_part(
    flat: tuple[int, int], busy: tuple[int, int], dtype: str, peak: int
) -> None:
    picture = scene()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (HEIGHT, WIDTH, 1))
    parts = {}
    for name, (top, left), values in (("busy", busy, noise), ("flat", flat, 0.0)):
        parts[name] = slice(top, top + HEIGHT), slice(left, left + WIDTH)
        picture[parts[name]] = 0.5 + values
    found = chosen((picture * peak).astype(dtype), peak)
    assert share(found["flattest"], *parts["flat"], picture) > 0.95
    assert share(found["most detailed"], *parts["busy"], picture) > 0.95


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_blown_out_is_not_flat_but_empty(level: float) -> None:
    picture = scene()
    picture[:, :700] = level
    found = chosen((picture * 255).astype(np.uint8))["flattest"]
    assert share(found, slice(None), slice(700, None), picture) == 1


def test_black_is_shown_where_there_is_nothing_else() -> None:
    found = crops.choose(np.zeros((900, 1200, 1), np.uint8), 255)
    assert found == (Window("flattest", 0, 0, WIDTH, HEIGHT),)


def test_deep_shade_is_not_taken_for_flat() -> None:
    """A sixth of the light makes a sixth of the gradients: no reason to show it."""
    picture = scene()
    picture[:450] = picture[:450] * 0.16
    picture[450:] = 0.5 + (picture[450:] - 0.5) * 0.25
    found = chosen((picture * 65535).astype(np.uint16), 65535)["flattest"]
    assert found.top >= 440


def test_many_small_gradients_are_more_detail_than_one_hard_edge() -> None:
    picture = np.full((900, 1200, 1), 0.4)
    picture[:, 300:] = 0.9
    rows, columns = np.mgrid[0:900, 700:1200]
    picture[:, 700:, 0] = 0.5 + 0.02 * ((rows // 2 + columns // 2) % 2)
    found = chosen((picture * 255).astype(np.uint8))["most detailed"]
    assert found.left >= 650


def test_a_small_photo_is_shown_whole() -> None:
    picture = np.zeros((512, 512, 3), np.uint8)
    assert crops.choose(picture, 255) == (Window("whole", 0, 0, 512, 512),)
    assert [w.kind for w in crops.choose(np.zeros((20, 5000, 1), np.uint8), 255)] == ["flattest"]


def test_nonsense_in_a_float_picture_does_no_harm() -> None:
    picture = scene().astype(np.float32)
    picture[100:200, 100:200] = np.nan
    picture[300, 300] = np.inf
    for window in crops.choose(picture, 1.0):
        assert window.of(picture).shape == (HEIGHT, WIDTH, 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 1500), st.integers(0, 9))
def test_windows_lie_within_every_picture(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 255, (height, width, 1), np.uint8)
    found = crops.choose(picture, 255)
    assert 1 <= len(found) <= 2
    for window in found:
        assert window.of(picture).shape[:2] == (window.height, window.width)
        assert window.left >= 0
        assert window.top >= 0
        if window.kind != "whole":
            assert (window.height, window.width) == (min(height, HEIGHT), min(width, WIDTH))
    assert len({window[1:] for window in found}) == len(found)
