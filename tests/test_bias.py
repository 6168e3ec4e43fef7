import numpy as np
import numpy.typing as npt
import pytest

from denoisetool import bias
from denoisetool.color import Float

SIGMA = 0.05


def _cells(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values.reshape(values.shape[0] // 16, 16, -1, 16, 3)


def _explained(shown: npt.NDArray[np.float64], peak: int) -> tuple[Float, Float]:
    """What is said of a picture in [0, 1] whose cells have nothing in them but noise."""
    pixels = np.rint(shown * peak).astype("uint8" if peak == 255 else "uint16")
    coarse, spread = _cells(shown).mean((1, 3)) * peak, _cells(shown).std((1, 3))
    found = bias.explained(pixels, coarse.astype(np.float32), spread.astype(np.float32), peak)
    assert found is not None
    return found


@pytest.mark.parametrize("peak", [255, 65535])
def test_the_mean_that_clipping_gives_is_explained_and_no_more(peak: int) -> None:
    truth = np.repeat([-0.02, 0.0, 0.03, 0.08, 0.5, 0.97, 1.0], 128)[None, :, None]
    noise = np.random.default_rng(0).normal(0, SIGMA, (128, truth.shape[1], 3))
    shown = np.clip(truth + noise, 0, 1)
    lowest, highest = _explained(shown, peak)
    low, high = (field.reshape(8, 7, 8, 3).mean((0, 2, 3)) for field in (lowest, highest))
    true = (shown - truth).reshape(128, 7, 128, 3).mean((0, 2, 3))
    np.testing.assert_allclose(high[1:5], true[1:5], atol=0.1 * SIGMA)
    np.testing.assert_allclose(low[4:], true[4:], atol=0.15 * SIGMA)
    assert 0.5 * true[0] < high[0] < true[0]  # most samples are black: less is believed
    assert high[4:].max() < 1e-6


@pytest.mark.parametrize("peak", [255, 65535])
@pytest.mark.parametrize("sigma", [0.004, 0.01, 0.02])
def test_the_mean_that_a_tone_curve_gives_is_explained(peak: int, sigma: float) -> None:
    light = np.repeat([0.02, 0.05, 0.1, 0.3], 256)[None, :, None]
    noise = np.random.default_rng(1).normal(0, sigma, (256, light.shape[1], 3))
    shown = np.clip(light + noise, 0, 1) ** (1 / 2.2)
    lowest, highest = _explained(shown, peak)
    low = lowest.reshape(16, 4, 16, 3).mean((0, 2, 3))
    true = (shown - light ** (1 / 2.2)).reshape(256, 4, 256, 3).mean((0, 2, 3))
    assert (true < 0).all()
    mild = sigma < 0.5 * light[0, ::256, 0]
    np.testing.assert_allclose(low[mild], true[mild], rtol=0.25, atol=2e-4)
    assert (low < 0.5 * true).all()
    assert (low > -0.5 * _cells(shown).std((1, 3)).max()).all()
    assert np.abs(highest[:, 16:]).max() < 1e-3


def test_mild_noise_explains_next_to_nothing() -> None:
    noise = np.random.default_rng(2).normal(0, 3 / 255, (128, 128, 3))
    lowest, highest = _explained(0.5 + noise, 255)
    assert lowest.min() > -0.06 / 255
    assert highest.max() == 0


def test_what_is_dark_and_not_clipped_is_not_too_bright() -> None:
    dark, sigma = np.full((64, 64, 3), 9, np.uint8), np.full((4, 4, 3), 0.02, np.float32)
    found = bias.explained(dark, dark[::16, ::16].astype(np.float32), sigma, 255)
    assert found is not None
    assert found[1].max() < 1e-4


def test_float_pictures_have_no_ends_and_no_known_curve() -> None:
    zeros, sigma = np.zeros((64, 64, 3), np.float32), np.full((4, 4, 3), 0.02, np.float32)
    assert bias.explained(zeros, zeros[::16, ::16], sigma, 1) is None
