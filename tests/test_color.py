import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoisetool import color
from denoisetool.photo import Half


def _cell_means(noise: Half, side: int) -> color.Float:
    height, width = (s // side * side for s in noise.shape[:2])
    cut = noise[:height, :width].astype(np.float32)
    return np.asarray(cut.reshape(height // side, side, width // side, side, -1).mean((1, 3)))


def _lock(noise: Half, kind: str | None = None) -> None:
    """What the denoiser does with the drift."""
    drift = color.drift(*color.cells(noise), noise.shape[1], kind=kind)
    for top in range(0, len(noise), 50):
        part = noise[top : top + 50]
        part -= drift.band(top, top + len(part)).astype(np.float16)


def _white(shape: tuple[int, int, int], sigma: float) -> color.Float:
    return np.random.default_rng(0).normal(0, sigma, shape).astype(np.float32)


def test_honest_white_noise_passes_almost_untouched() -> None:
    noise = _white((256, 320, 3), 10 / 255).astype(np.float16)
    before = noise.astype(np.float32)
    _lock(noise)
    change = noise.astype(np.float32) - before
    assert change.std() < 0.03 * before.std()


@pytest.mark.parametrize(("kind", "most"), [("camera", 0.2), ("own", 0.2), (None, 0.7)])
def test_chance_of_correlated_noise_passes_where_noise_is_a_cameras(
    kind: str | None, most: float
) -> None:
    white = _white((256, 320, 3), 10 / 255)
    moved = [np.roll(white, (y, x), (0, 1)) for y in range(4) for x in range(4)]
    noise = (np.sum(moved, 0) / 4).astype(np.float16)
    before = _cell_means(noise, 16)
    _lock(noise, kind)
    lost = np.abs(_cell_means(noise, 16) - before).mean() / np.abs(before).mean()
    assert most - 0.3 < lost < most


@pytest.mark.parametrize("kind", ["camera", "white"])
@pytest.mark.parametrize("tint", [(2, 0, -2), (5, 5, 5), (0, -8, 0)])
def test_a_tint_of_the_whole_photo_is_taken_out(tint: tuple[int, int, int], kind: str) -> None:
    noise = (_white((256, 320, 3), 5 / 255) + np.array(tint) / 255).astype(np.float16)
    _lock(noise, kind)
    assert np.abs(noise.astype(np.float32).mean((0, 1)) * 255).max() < 0.3


def test_a_tint_of_one_area_is_taken_out() -> None:
    noise = _white((256, 320, 3), 3 / 255)
    noise[64:192, 64:192] += 6 / 255
    field = noise.astype(np.float16)
    _lock(field)
    assert np.abs(_cell_means(field, 64) * 255).max() < 1.2
    assert np.abs(_cell_means(noise.astype(np.float16), 64) * 255).max() > 5


def test_the_correction_makes_no_steps() -> None:
    """A ramp of tint, no noise: what is left must be smooth, or cells would show as a grid."""
    ramp = np.linspace(0, 20 / 255, 320, dtype=np.float32)
    field = np.broadcast_to(ramp[None, :, None], (256, 320, 3)).astype(np.float16)
    _lock(field)
    assert np.abs(np.diff(field.astype(np.float32), axis=1)).max() * 255 < 0.4


@settings(max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]))
def test_any_size_and_nothing_grows(height: int, width: int, channels: int) -> None:
    noise = _white((height, width, channels), 8 / 255).astype(np.float16)
    before = np.abs(noise.astype(np.float32).mean((0, 1)))
    _lock(noise)
    assert np.isfinite(noise).all()
    assert (np.abs(noise.astype(np.float32).mean((0, 1))) <= before + 0.01).all()


def test_a_part_of_a_field_is_what_the_whole_has_there() -> None:
    rng = np.random.default_rng(1)
    field = color.CoarseField(rng.normal(0, 1, (7, 9, 3)).astype(np.float32), 141)
    whole = field.band(0, 110)
    for top, left, height, width in ((0, 0, 110, 141), (13, 27, 40, 60), (100, 140, 10, 1)):
        part = field.part(top, left, width).band(0, height)
        np.testing.assert_allclose(part, whole[top : top + height, left : left + width], atol=1e-6)
    twice = field.part(10, 20, 100).part(3, 7, 60).band(0, 40)
    np.testing.assert_allclose(twice, whole[13:53, 27:87], atol=1e-6)


@pytest.mark.parametrize(("between", "left"), [
    (None, 0), ((0, 0.03), 0.03), ((-0.01, 0.06), 0.04), ((-0.03, 0), 0), ((-0.04, 0.01), 0.01),
])  # fmt: skip
@pytest.mark.parametrize("sign", [1, -1])
def test_a_mean_that_development_explains_is_let_through(
    between: tuple[float, float] | None, left: float, sign: int
) -> None:
    noise = np.random.default_rng(0).normal(0.04, 0.05, (256, 256, 3)).astype(np.float16) * sign
    mean, power = color.cells(noise)
    known = None
    if between is not None:
        low, high = sorted(sign * end for end in between)
        known = np.full_like(mean, low), np.full_like(mean, high)
    drift = color.drift(mean, power, 256, kind="camera", explained=known)
    kept = noise.astype(np.float32) - drift.band(0, 256)
    assert float(kept.mean()) == pytest.approx(sign * left, abs=2e-3)


@pytest.mark.parametrize("tint", [0.0, 0.03, -0.03])
def test_what_was_locked_before_stays_and_only_the_rest_is_held(tint: float) -> None:
    before = np.where(np.arange(320) < 128, 0.04, -0.01)[None, :, None]
    noise = (_white((256, 320, 3), 0.03) + before + tint).astype(np.float16)
    mean, power = color.cells(noise)
    locked = np.broadcast_to(before[:, ::16], mean.shape).astype(np.float32)
    drift = color.drift(mean, power, 320, locked=locked)
    kept = noise.astype(np.float32) - drift.band(0, 256)
    assert float(kept[:, :128].mean()) == pytest.approx(0.04, abs=1e-3)
    assert float(kept[:, 128:].mean()) == pytest.approx(-0.01, abs=1e-3)
