import numpy as np
import pytest
import torch
import torch.nn.functional as F

from denoisetool import color, noise
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


def test_even_noise_is_within_bounds() -> None:
    field = np.random.default_rng(0).normal(0, 0.05, (320, 320, 3)).astype(np.float16)
    _, power = color.cells(field)
    coarse = np.tile(np.linspace(0, 255, 20, dtype=np.float32)[:, None, None], (1, 20, 3))
    assert noise.bounded(power, coarse, 255, 320) is None


def test_noise_that_follows_the_brightness_is_within_bounds() -> None:
    ramp = np.linspace(0.01, 0.1, 320, dtype=np.float32)[:, None, None]
    field = (np.random.default_rng(0).normal(0, 1, (320, 320, 3)) * ramp).astype(np.float16)
    _, power = color.cells(field)
    coarse = np.tile(np.linspace(0, 255, 20, dtype=np.float32)[:, None, None], (1, 20, 3))
    bound = noise.bounded(power, coarse, 255, 320)
    assert bound is None or bound.band(0, 320).min() > 0.75


def test_a_texture_taken_for_noise_is_mostly_given_back() -> None:
    field = np.random.default_rng(0).normal(0, 0.01, (320, 320, 3)).astype(np.float32)
    field[100:160, 100:160] += 0.2 * (np.indices((60, 60)).sum(0) % 2)[..., None] - 0.1
    half = field.astype(np.float16)
    _, power = color.cells(half)
    coarse = np.full((20, 20, 3), 128, np.float32)
    bound = noise.bounded(power, coarse, 255, 320)
    assert bound is not None
    factors = bound.band(0, 320)
    assert factors[130, 130].max() < 0.2
    assert factors[20, 20].min() == 1
    pixels = np.full((320, 320, 3), 0.5, np.float32)
    noise.subtract(pixels, half, 1.0, bound=bound)
    assert np.abs(pixels[110:150, 110:150] - 0.5).std() < 0.02


@pytest.mark.parametrize(
    ("camera", "white", "kind"),
    [(9.1, 9.3, "white"), (4.3, 4.0, "white"), (2.8, 0.5, "camera"), (2.0, 1.2, "camera"),
     (1.0, 1.1, "camera"), (0.0, 0.0, "camera"), (float("nan"), 5.0, "camera")],
)  # fmt: skip
def test_noise_is_white_where_the_white_expert_finds_it_all(
    camera: float, white: float, kind: str
) -> None:
    power = {"camera": (camera / 255) ** 2, "white": (white / 255) ** 2}
    assert noise.kind_of(power) == kind


def test_a_photo_with_noise_in_its_shadows_is_not_clean() -> None:
    power = np.full((10, 10, 3), (0.4 / 255) ** 2, np.float32)
    assert noise.is_clean(power)
    power[:, :2] = (3 / 255) ** 2
    assert not noise.is_clean(power)


@pytest.mark.parametrize(
    ("told", "level"),
    [([], 2.0), ([3.0], 3.0), ([3.0, 1.0], 5**0.5), ([1.0], 1.0), ([9.0], 2 * noise.MOST_LEVEL)],
)
def test_a_photo_has_the_noise_that_is_told_but_not_much_more_than_is_found(
    told: list[float], level: float
) -> None:
    power = np.full((10, 10, 3), 4.0, np.float32)
    maps = [np.full((4, 4), value, np.float32) for value in told]
    assert noise.level(maps, power) == pytest.approx(level)


@pytest.mark.parametrize(("smooth", "share"), [(1, 1.0), (2, 0.5), (7, 0.5)])
def test_sharpness_is_what_neighbours_differ_of_what_pixels_two_apart_do(
    smooth: int, share: float
) -> None:
    picture = torch.rand(3, 3, 120, 130, generator=torch.Generator().manual_seed(0))
    parts = [np.asarray(p.permute(1, 2, 0)) for p in F.avg_pool2d(picture, smooth, 1)]
    assert noise.sharpness(parts) == pytest.approx(share, rel=0.03)
    slope = (np.arange(60)[:, None, None] / 60 * np.ones((60, 60, 3))).astype(np.float32)
    assert noise.sharpness([slope]) == pytest.approx(0.25, rel=0.01)
    assert noise.sharpness([np.full((20, 20, 3), 0.5, np.float32)]) == 0


def test_a_photo_is_soft_if_neighbours_hardly_differ_and_noise_is_found_everywhere() -> None:
    rows, columns = np.mgrid[:64, :64]
    soft = np.repeat(0.5 + 0.3 * np.sin((rows + columns) / 8)[..., None], 3, 2).astype(np.float32)
    sharp = np.random.default_rng(0).random((64, 64, 3), np.float32)
    noisy, some, none = (np.full((16, 16, 3), (n / 255) ** 2, np.float32) for n in (3, 0.4, 0))
    told, told_less = ([np.full((16, 16), n / 255, np.float32)] for n in (9, 0.7))
    assert noise.is_soft([soft], [noisy], told)
    assert not noise.is_soft([soft], [none], told)
    assert not noise.is_soft([soft, soft], [noisy, none], told)  # not everywhere
    assert not noise.is_soft([soft], [some], told)  # more is told than found, as of a texture
    assert noise.is_soft([soft], [some], told_less)
    assert not noise.is_soft([sharp], [noisy], told)
    assert not noise.is_soft([soft, sharp], [noisy, noisy], told)
