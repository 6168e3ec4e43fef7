import numpy as np
import numpy.typing as npt
import pytest

from denoisetool import clipping
from denoisetool.photo import Half, Pixels

SIGMA = 40 / 255
Float = npt.NDArray[np.float32]


def _photo(dtype: str, sigma: float = SIGMA) -> tuple[Pixels, Half, Float]:
    """A ramp over the whole scale in a noisy file, its noise as a net sees it, and the ramp."""
    ramp = np.broadcast_to(np.linspace(0, 1, 640, dtype=np.float32)[None, :, None], (320, 640, 3))
    noisy = ramp + np.random.default_rng(0).normal(0, sigma, ramp.shape)
    peak = np.iinfo(dtype).max
    pixels = np.clip(np.rint(noisy * peak), 0, peak).astype(dtype)
    mean = pixels.mean(0, keepdims=True) / peak
    return pixels, (pixels / peak - mean).astype(np.float16), ramp


def _clean(pixels: Pixels, noise: Half) -> npt.NDArray[np.float64]:
    peak = 255 if pixels.dtype == np.uint8 else 65535
    return np.asarray(pixels / peak - noise.astype(np.float64))


@pytest.mark.parametrize("level", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("value", [0.0, 0.03, 0.5, 0.9, 1.0])
def test_the_tables_are_what_chance_gives(level: float, value: float) -> None:
    noisy = np.clip(np.random.default_rng(0).normal(value, level, 400_000), 0, 1)
    tables = clipping.tables(level)
    entry = round(float(noisy.mean()) * clipping.STEPS)
    assert tables.added[entry] == pytest.approx(noisy.mean() - value, abs=2e-3)
    assert tables.share[entry] == pytest.approx(((noisy == 0) | (noisy == 1)).mean(), abs=0.02)
    assert tables.left[entry] == pytest.approx(noisy.var() / level**2, abs=0.02)


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("columns", [slice(None), slice(0, 160), slice(0, 32)])
def test_how_much_noise_there_was_follows_from_what_is_left(sigma: float, columns: slice) -> None:
    pixels, noise, _ = _photo("uint8", sigma)
    pixels, noise = pixels[:, columns], noise[:, columns]
    level = float(noise.astype(np.float32).std())
    assert level < 0.985 * sigma
    assert clipping.unclipped(pixels, noise, level, 255) == pytest.approx(sigma, rel=0.03)


def test_nothing_was_cut_off_where_nothing_is_at_the_end() -> None:
    pixels, noise, _ = _photo("uint8", 0.1)
    inner = slice(320, 330)
    assert clipping.unclipped(pixels[:, inner], noise[:, inner], 0.1, 255) == 0
    assert clipping.unclipped(pixels, noise, 0.0, 255) == 0
    one = np.full((128, 128, 3), 128, np.uint8)
    one[0, 0] = 0
    assert clipping.unclipped(one, np.zeros((128, 128, 3), np.float16), SIGMA, 255) == 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_black_becomes_black_again_and_white_white(dtype: str) -> None:
    pixels, noise, ramp = _photo(dtype)
    ends = ramp[:, [0, -1]].mean((0, 2))
    before = _clean(pixels, noise)[:, [0, -1]].mean((0, 2))
    assert np.abs(before - ends).min() > 0.3 * SIGMA
    clipping.undo(pixels, noise, SIGMA, np.iinfo(dtype).max)
    after = _clean(pixels, noise)
    assert np.abs(after[:, [0, -1]].mean((0, 2)) - ends).max() < 0.06 * SIGMA
    assert np.abs(after.mean(0) - ramp.mean(0)).max() < 0.3 * SIGMA
    assert np.abs(after.mean(0) - ramp.mean(0)).mean() < 0.07 * SIGMA


@pytest.mark.parametrize(("left", "right"), [(0, 160), (48, 208), (480, 640)])
def test_in_a_part_of_a_clipped_photo_it_is_as_in_the_whole(left: int, right: int) -> None:
    pixels, noise, _ = _photo("uint8")
    part = slice(64, 224), slice(left, right)
    own = noise[part].copy()
    clipping.undo(pixels, noise, SIGMA, 255)
    clipping.undo(pixels[part], own, SIGMA, 255)
    inner = slice(32, -32), slice(32 * (left > 0), 160 - 32 * (right < 640))
    np.testing.assert_array_equal(own[inner], noise[part][inner])


def test_dark_parts_that_are_not_clipped_stay() -> None:
    """Noise of that level would be, but there it is less: the ends of the scale tell."""
    pixels, noise, _ = _photo("uint8", 2 / 255)
    pixels[:, :40], pixels[:, -40:] = 8, 247
    noise[:, :40] = noise[:, -40:] = 0
    before = noise.copy()
    assert clipping.unclipped(pixels, noise, SIGMA, 255) == 0
    clipping.undo(pixels, noise, SIGMA, 255)
    np.testing.assert_array_equal(noise, before)
    pixels[200:, 500:] = 0  # something else is black
    clipping.undo(pixels, noise, SIGMA, 255)
    assert np.abs((noise - before)[:180]).max() < 0.06 * SIGMA


@pytest.mark.parametrize("shape", [(17, 33, 3), (16, 16, 1), (5, 7, 3), (100, 3, 3)])
def test_any_size_goes(shape: tuple[int, int, int]) -> None:
    pixels, noise = np.zeros(shape, np.uint8), np.zeros(shape, np.float16)
    assert 0 < clipping.unclipped(pixels, noise, SIGMA, 255) < 2 * SIGMA
    clipping.undo(pixels, noise, SIGMA, 255)
    assert np.isfinite(noise).all()


def test_floats_are_not_clipped() -> None:
    pixels, noise, _ = _photo("uint8")
    assert clipping.unclipped((pixels / 255).astype(np.float32), noise, SIGMA, 1.0) == 0
