from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest

from denoisetool.color import CoarseField
from denoisetool.denoiser import Report
from denoisetool.engine import Float
from denoisetool.finder import Finder, plausible
from denoisetool.lanes import CALLER, Lanes
from denoisetool.metrics import box_reduce
from denoisetool.photo import Half, Photo
from tests.fakes import BlurEngine

T = TypeVar("T")


class Backwards(Lanes):
    """Lanes of which the last is always the fastest."""

    def each(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        for item in reversed(items):
            work(item)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_order_in_which_tiles_are_done_changes_no_bit(batch: int) -> None:
    engine, rng = BlurEngine(), np.random.default_rng(4)
    engine.batch = batch
    photo = Photo(rng.random((300, 310, 3), np.float32), "tiff", "RGB")
    shares: list[float] = []
    found: list[Half] = []
    for lanes in (CALLER, Backwards(), Lanes(3)):
        engine.lanes = lanes
        found.append(Finder(engine, tile=128).find(photo, Report(None), shares.append))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert shares.count(1) == 3
    assert all(0 < share <= 1 for share in shares)


@pytest.mark.parametrize("shape", [(320, 288, 3), (64, 32, 3), (64, 96, 1), (2, 1, 3)])
def test_colours_left_of_a_cameras_noise_are_looked_for_in_a_smaller_picture(
    shape: tuple[int, int, int],
) -> None:
    engine, rng = BlurEngine(), np.random.default_rng(5)
    engine.kinds = ("camera", "white")
    pixels = rng.random(shape, np.float32)
    photo = Photo(pixels, "tiff", "RGB" if shape[2] == 3 else "L")
    shares: list[float] = []
    found = Finder(engine, tile=128).find(photo, Report(kind="camera"), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    once = Finder(engine, tile=128).find(photo, Report(kind="white"))
    if shape[2] == 1:
        np.testing.assert_array_equal(found, once)
        return
    small = box_reduce(pixels - once.astype(np.float32), 4)
    more = engine.noise([small])[0].astype(np.float32)
    more -= (more @ np.array([0.2126, 0.7152, 0.0722], np.float32))[..., None]
    wanted = once + CoarseField(more, shape[1], cell=4).band(0, shape[0])
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert (np.abs(found - once).max() > 0.05) == (shape[0] > 4)
    np.testing.assert_array_equal(photo.pixels, pixels)


def test_levels_are_in_the_order_of_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, rng = BlurEngine(), np.random.default_rng(3)
    photo = Photo(rng.random((300, 410, 3), np.float32), "tiff", "RGB")
    monkeypatch.setattr(engine, "levels", lambda tiles, kind: [tile[::4, ::4, 0] for tile in tiles])
    seen: list[list[Float]] = []
    for lanes in (CALLER, Backwards()):
        engine.lanes = lanes
        seen.append(Finder(engine).told(photo, None))
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)


def test_plausible() -> None:
    assert plausible(np.full((8, 8, 3), 0.1, np.float16))
    for bad in (np.nan, np.inf, -np.inf, 0.9, -0.9):
        assert not plausible(np.full((8, 8, 3), bad, np.float16))
    one = np.zeros((8, 8, 3), np.float16)
    one[3, 4, 1] = np.nan
    assert not plausible(one)
    rng = np.random.default_rng(0)
    for sigma, good in ((60 / 255, True), (110 / 255, False)):
        assert plausible(rng.normal(0, sigma, (99, 99, 3)).astype(np.float16)) == good
