"""The metrics against scikit-image, against published values, and on awkward sizes."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from denoisetool import metrics

Array = npt.NDArray[Any]

# Sharma, Wu & Dalal, "The CIEDE2000 color-difference formula", Table 1.
SHARMA = """
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def pair(seed: int, shape: tuple[int, ...], dtype: str = "uint8") -> tuple[Array, Array]:
    """A smooth random picture and a noisy copy of it, in the given depth."""
    rng = np.random.default_rng(seed)
    peak = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    waves = [np.sin(np.linspace(0, rng.uniform(1, 9), n)) for n in shape]
    clean = 0.5 + 0.4 * waves[0][:, None, None] * waves[1][None, :, None] * waves[2]
    noisy = np.clip(clean + 0.05 * rng.standard_normal(shape), 0, 1)
    if dtype == "float32":
        return clean.astype(np.float32), noisy.astype(np.float32)
    return np.round(clean * peak).astype(dtype), np.round(noisy * peak).astype(dtype)


@pytest.mark.parametrize(("dtype", "peak"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_equal_scikit_image(dtype: str, peak: float, channels: int) -> None:
    a, b = pair(1, (67, 45, channels), dtype)
    oracle = peak_signal_noise_ratio(a, b, data_range=peak)
    assert metrics.psnr(a, b, peak) == pytest.approx(oracle, abs=1e-5)
    oracle = structural_similarity(
        a, b, data_range=peak, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, win_size=11,
    )  # fmt: skip
    assert metrics.ssim(a, b, peak) == pytest.approx(oracle, abs=1e-5)


def test_bands_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair(2, (90, 40, 3))
    whole = metrics.psnr(a, b), metrics.ssim(a, b)
    monkeypatch.setattr(metrics, "_BAND_SAMPLES", 500)
    assert (metrics.psnr(a, b), metrics.ssim(a, b)) == pytest.approx(whole, abs=1e-12)


def test_equal_pictures() -> None:
    a, _ = pair(3, (20, 30, 3))
    assert metrics.psnr(a, a) == math.inf
    assert metrics.ssim(a, a) == pytest.approx(1)
    assert metrics.coarse_ciede2000(a, a) == (0, 0)


def test_psnr_of_a_known_error() -> None:
    zero = np.zeros((4, 5, 3), np.uint8)
    assert metrics.psnr(zero, zero + np.uint8(255)) == 0
    assert metrics.psnr(zero + np.uint8(1), zero) == pytest.approx(48.1308, abs=1e-4)


def test_mistakes_of_the_caller_are_told() -> None:
    a, b = pair(4, (20, 30, 3))
    for function in (metrics.psnr, metrics.ssim, metrics.coarse_difference):
        with pytest.raises(ValueError, match="shapes"):
            function(a, b[:-1])
        with pytest.raises(ValueError, match="without pixels"):
            function(a[:0], b[:0])
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(a[:10], b[:10])
    with pytest.raises(ValueError, match="box"):
        metrics.box_reduce(a, 0)


def test_lab_equals_scikit_image() -> None:
    rgb = np.random.default_rng(5).random((500, 3))
    np.testing.assert_allclose(metrics.srgb_to_lab(rgb), rgb2lab(rgb), atol=0.05)


def test_lab_of_greys_and_of_values_outside_the_range() -> None:
    grey = np.linspace(0, 1, 50)[:, None].repeat(3, axis=1)
    lab = metrics.srgb_to_lab(grey)
    assert np.abs(lab[:, 1:]).max() < 1e-9
    assert lab[0, 0] == pytest.approx(0, abs=1e-9)
    assert lab[-1, 0] == pytest.approx(100)
    assert np.isfinite(metrics.srgb_to_lab(np.array([[-0.2, 1.3, 0.5]]))).all()


def test_ciede2000_equals_the_published_table() -> None:
    table = np.array([[float(v) for v in row.split()] for row in SHARMA.strip().splitlines()])
    assert len(table) == 34
    np.testing.assert_allclose(
        metrics.ciede2000(table[:, :3], table[:, 3:6]), table[:, 6], atol=6e-5
    )
    np.testing.assert_allclose(
        metrics.ciede2000(table[:, 3:6], table[:, :3]), table[:, 6], atol=6e-5
    )


def test_ciede2000_equals_scikit_image() -> None:
    rng = np.random.default_rng(6)
    one, two = (rng.uniform([0, -90, -90], [100, 90, 90], (40, 50, 3)) for _ in range(2))
    one[0, :9, 1:] = 0  # greys have no hue
    two[0, 5:12, 1:] = 0
    np.testing.assert_allclose(metrics.ciede2000(one, two), deltaE_ciede2000(one, two), atol=1e-9)


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(1, 50),
    st.sampled_from(["uint8", "uint16", "float32"]),
)  # fmt: skip
@settings(max_examples=60)
def test_box_reduce_is_the_mean_of_each_box(
    height: int, width: int, channels: int, factor: int, dtype: str
) -> None:
    img = pair(height * 41 + width, (height, width, channels), dtype)[1]
    out = metrics.box_reduce(img, factor)
    assert out.dtype == np.float32
    assert out.shape == (math.ceil(height / factor), math.ceil(width / factor), channels)
    for y, x in np.ndindex(*out.shape[:2]):
        box = img[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        np.testing.assert_allclose(out[y, x], box.mean(axis=(0, 1), dtype=np.float64), rtol=1e-6)


def test_large_pictures_cost_no_float_copy() -> None:
    a = np.full((2000, 3000, 3), 100, np.uint8)
    tracemalloc.start()
    metrics.coarse_ciede2000(a, a)
    metrics.psnr(a, a)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < a.nbytes * 1.5  # a float32 copy would be 4 times the picture


def test_coarse_difference_ignores_noise_and_sees_a_tint() -> None:
    rng = np.random.default_rng(7)
    clean = np.full((200, 300, 3), 110.0)
    noisy = clean + 20 * rng.standard_normal(clean.shape)
    tinted = clean + np.array([4, 0, -4])
    assert metrics.coarse_difference(clean, noisy).shape == (13, 19)
    assert metrics.coarse_ciede2000(clean, noisy)[0] < 1.5
    mean, p95 = metrics.coarse_ciede2000(clean, tinted)
    assert mean > 2
    assert p95 >= mean - 1e-9


def test_coarse_difference_does_not_depend_on_depth_or_grey() -> None:
    a, b = pair(8, (50, 70, 1))
    grey = metrics.coarse_difference(a, b, factor=8)
    as_rgb = metrics.coarse_difference(a.repeat(3, axis=2), b.repeat(3, axis=2), factor=8)
    deep = metrics.coarse_difference(
        a.astype(np.uint16) * 257, b.astype(np.uint16) * 257, factor=8, peak=65535
    )
    np.testing.assert_allclose(as_rgb, grey, atol=1e-9)
    np.testing.assert_allclose(deep, grey, atol=1e-3)


@pytest.mark.parametrize("shape", [(700, 900, 3), (33, 17, 1)])
def test_rms_is_what_psnr_says(shape: tuple[int, ...]) -> None:
    a, b = pair(3, shape)
    expected = 255 / 10 ** (metrics.psnr(a, b) / 20)
    assert metrics.rms(a, b) == pytest.approx(expected, rel=1e-5)
    wide = b.astype(np.uint16) * 257
    assert metrics.rms(a, wide, 255, 65535) == pytest.approx(expected, rel=1e-4)
    assert metrics.rms(a, a) == 0


def test_rms_of_grey_against_colour() -> None:
    colour = np.zeros((40, 40, 3), np.uint8)
    colour[..., 0] = 9
    grey = np.zeros((40, 40, 1), np.uint8)
    assert metrics.rms(colour, grey) == metrics.rms(grey, colour) == pytest.approx(27**0.5)
    with pytest.raises(ValueError, match="different sizes"):
        metrics.rms(colour, grey[:, :20])
