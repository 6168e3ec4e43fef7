import numpy as np
import pytest

from denoisetool import noise
from denoisetool.photo import Pixels


def _picture(dtype: str) -> Pixels:
    rng = np.random.default_rng(1)
    if dtype == "float32":
        return rng.uniform(-0.5, 2.0, (300, 20, 3)).astype(np.float32)
    return rng.integers(0, np.iinfo(dtype).max + 1, (300, 20, 3), dtype)


FIELD = np.random.default_rng(2).normal(0, 0.05, (300, 20, 3)).astype(np.float16)
PEAK = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


@pytest.mark.parametrize("dtype", PEAK)
def test_strength_zero_and_empty_noise_change_nothing(dtype: str) -> None:
    pixels = _picture(dtype)
    before = pixels.copy()
    peak = PEAK[dtype]
    assert not noise.subtract(pixels, FIELD, peak, strength=0, luma=1, chroma=1)
    assert not noise.subtract(pixels, FIELD, peak, strength=1, luma=0, chroma=0)
    assert not noise.subtract(pixels, FIELD * 0, peak, strength=1, luma=1, chroma=1)
    np.testing.assert_array_equal(before, pixels)


@pytest.mark.parametrize("dtype", PEAK)
def test_the_noise_is_what_is_taken_away(dtype: str) -> None:
    pixels = _picture(dtype)
    before, peak = pixels.astype(np.float64), PEAK[dtype]
    assert noise.subtract(pixels, FIELD, peak, strength=0.5, luma=1, chroma=1)
    expected = before - 0.5 * peak * FIELD.astype(np.float64)
    if dtype != "float32":
        expected = np.clip(np.rint(expected), 0, peak)
    np.testing.assert_allclose(pixels, expected, atol=1 if dtype == "uint16" else 1e-5)


def test_luma_zero_keeps_the_brightness_and_chroma_zero_the_colour_difference() -> None:
    before = _picture("float32")
    pixels = before.copy()
    noise.subtract(pixels, FIELD, 1.0, strength=1, luma=0, chroma=1)
    np.testing.assert_allclose(pixels @ noise.LUMA, before @ noise.LUMA, atol=1e-5)
    pixels = before.copy()
    noise.subtract(pixels, FIELD, 1.0, strength=1, luma=1, chroma=0)
    difference = pixels - before
    np.testing.assert_allclose(difference[..., 0], difference[..., 2], atol=1e-5)
    assert np.abs(difference).max() > 0.01


def test_rms() -> None:
    assert noise.rms(FIELD) == pytest.approx(0.05, rel=0.05)
