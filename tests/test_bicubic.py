from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from denoisetool import bicubic
from denoisetool.lanes import Lanes
from denoisetool.nets import parts
from denoisetool.photo import Pixels

Array = npt.NDArray[Any]
SHAPES = [(1, 1), (1, 7), (5, 2), (33, 50), (67, 3)]


def _picture(shape: tuple[int, int], channels: int = 3) -> Pixels:
    return np.random.default_rng(0).random((*shape, channels)).astype(np.float32)


def _pillow(channel: Array, scale: int) -> Array:
    height, width = channel.shape
    size = (scale * width, scale * height)
    return np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_pillows_and_the_one_that_nets_are_trained_with(
    shape: tuple[int, int], scale: int
) -> None:
    picture = _picture(shape)
    found = bicubic.rows(picture, scale, 0, scale * shape[0])
    for channel in range(3):
        np.testing.assert_allclose(
            found[..., channel], _pillow(picture[..., channel], scale), atol=1e-6
        )
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None]
    theirs = parts.enlarged(tensor, scale)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, theirs, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
def test_bands_are_parts_of_the_whole(scale: int) -> None:
    picture = _picture((41, 9), 1)
    whole = bicubic.rows(picture, scale, 0, scale * 41)
    for top, bottom in ((0, 1), (5, 31), (scale * 41 - 3, scale * 41)):
        np.testing.assert_array_equal(bicubic.rows(picture, scale, top, bottom), whole[top:bottom])


@pytest.mark.parametrize("scale", [2, 4])
def test_so_are_windows(scale: int) -> None:
    picture = _picture((23, 31))
    whole = bicubic.rows(picture, scale, 0, scale * 23)
    right, bottom = scale * 31, scale * 23
    for top, left, height, width in (
        (0, 0, 3, 3), (5, 17, 20, 22), (bottom - 3, right - 5, 3, 5), (0, 0, bottom, right),
    ):  # fmt: skip
        part = bicubic.window(picture, scale, top, left, height, width)
        np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("scale", [2, 4])
def test_each_depth_is_rounded_and_clipped_once(scale: int) -> None:
    edges = np.random.default_rng(1).choice([0.0, 1.0, 0.3], (70, 45, 1)).astype(np.float32)
    exact = bicubic.enlarged(edges, scale, 1.0)
    assert exact.dtype == np.float32
    assert exact.min() < 0  # what lies beyond black is kept where it can be
    assert exact.max() > 1
    for dtype in (np.uint8, np.uint16):
        peak = int(np.iinfo(dtype).max)
        stored: Any = np.rint(edges * peak).astype(dtype)
        found = bicubic.enlarged(stored, scale, peak, Lanes(2))
        theirs = _pillow(stored[..., 0].astype(np.float32), scale)
        assert found.dtype == dtype
        assert np.abs(found[..., 0] - np.clip(theirs, 0, peak)).max() <= 0.52


@pytest.mark.parametrize("scale", [2, 4])
def test_pillow_rounds_8_bits_twice_and_is_a_level_away(scale: int) -> None:
    picture = np.random.default_rng(2).integers(60, 180, (37, 41), np.uint8)
    found = bicubic.enlarged(picture[..., None], scale, 255)[..., 0]
    assert np.abs(found.astype(int) - _pillow(picture, scale)).max() <= 1
