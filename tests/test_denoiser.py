from dataclasses import replace

import numpy as np
import pytest

from denoisetool.denoiser import Denoiser
from denoisetool.engine import OutOfMemoryError
from denoisetool.errors import ImplausibleResult, UnsupportedPhoto
from denoisetool.lanes import Lanes
from denoisetool.photo import Photo
from tests.fakes import (
    CARD,
    BlurEngine,
    ConstantEngine,
    ExpertEngine,
    NaNEngine,
    OutOfMemoryEngine,
)


def _photo(dtype: str = "uint8", channels: int = 3, shape: tuple[int, int] = (300, 410)) -> Photo:
    rng = np.random.default_rng(3)
    base = np.linspace(0.2, 0.8, shape[1])[None, :, None] + rng.normal(0, 0.03, (*shape, channels))
    if dtype == "float32":
        return Photo(base.astype(np.float32), "tiff", "RGB")
    peak = np.iinfo(dtype).max
    pixels = np.clip(base * peak, 0, peak).astype(dtype)
    return Photo(pixels, "png", "RGB")


DEPTHS = ("uint8", "uint16", "float32")


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_identity_model_returns_the_photo_exactly(dtype: str, channels: int) -> None:
    photo = _photo(dtype, channels)
    before = photo.pixels.copy()
    report = Denoiser(ConstantEngine(), tile=128).denoise(photo)
    np.testing.assert_array_equal(before, photo.pixels)
    assert not report.changed


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("wish", [{"strength": 0.0}, {"luma": 0.0, "chroma": 0.0}])
def test_strength_zero_returns_the_photo_exactly_without_running_the_model(
    dtype: str, wish: dict[str, float]
) -> None:
    photo, engine = _photo(dtype), BlurEngine()
    before = photo.pixels.copy()
    Denoiser(engine, **wish).denoise(photo)  # type: ignore[arg-type]
    np.testing.assert_array_equal(before, photo.pixels)
    assert not engine.calls


@pytest.mark.parametrize("strength", [0.5, 1.5])
def test_whoever_does_the_rest_does_the_same(strength: float) -> None:
    """Without the engine, which may be busy, or with all of its lanes."""
    engine = BlurEngine()
    engine.lanes = Lanes(2)
    photos = [_photo(), _photo()]
    denoiser = Denoiser(engine, strength=strength)
    rests = [denoiser.begin(photo) for photo in photos]
    calls = len(engine.calls)
    reports = [rest(alone) for rest, alone in zip(rests, (True, False), strict=True)]
    assert len(engine.calls) == calls
    assert reports[0] == reports[1]
    assert reports[0].changed
    np.testing.assert_array_equal(photos[0].pixels, photos[1].pixels)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_noise_goes_and_the_report_says_how_much(dtype: str) -> None:
    photo = _photo(dtype)
    report = Denoiser(BlurEngine()).denoise(photo)
    rough = np.diff(photo.pixels.astype(np.float64) / photo.peak, axis=0).std()
    assert rough < 0.02
    assert report.changed
    assert report.noise == pytest.approx(0.03 * 255, rel=0.1)
    assert 0 <= report.shift_mean <= report.shift_p95 < 1


def test_alpha_is_never_touched() -> None:
    photo = _photo()
    photo.alpha = np.arange(300 * 410, dtype=np.uint32).reshape(300, 410).astype(np.uint8)
    before = photo.alpha.copy()
    Denoiser(BlurEngine()).denoise(photo)
    np.testing.assert_array_equal(before, photo.alpha)


def test_more_strength_leaves_less_noise_up_to_two() -> None:
    left = []
    for strength in (0.0, 0.5, 1.0, 1.5, 2.0):
        photo = _photo("float32")
        Denoiser(BlurEngine(), strength=strength).denoise(photo)
        left.append(float(np.diff(photo.pixels, axis=0).std()))
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[2] < left[0]


def test_tiles_agree_with_the_whole_picture() -> None:
    whole, tiled = _photo("float32"), _photo("float32")
    Denoiser(BlurEngine(), tile=4096).denoise(whole)
    engine = BlurEngine()
    Denoiser(engine, tile=96).denoise(tiled)
    assert len(engine.calls) == 0 or len(engine.calls) > 4
    np.testing.assert_allclose(whole.pixels, tiled.pixels, atol=1e-3)


def test_memory_running_out_halves_the_tile_and_says_so() -> None:
    photo, engine = _photo(shape=(900, 900)), OutOfMemoryEngine(400)
    report = Denoiser(engine, tile=1024).denoise(photo)
    assert any("256" in note for note in report.notes)
    assert max(max(shape) for shape in engine.calls[-4:]) <= 400
    assert report.changed


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_what_memory_is_too_little_for_is_not_tried_again_and_told_once(strength: float) -> None:
    photo, engine = _photo(shape=(300, 300)), OutOfMemoryEngine(200)
    report = Denoiser(engine, tile=1472, strength=strength).denoise(photo)
    assert report.notes == ["memory ran out; tiles of 184 pixels were used"]
    assert report.changed
    tried = [shape for shape in engine.calls if max(shape) > 200]
    assert len(tried) == strength  # once in each pass


def test_a_small_tile_that_was_asked_for_is_halved_too() -> None:
    photo, engine = _photo(shape=(700, 700)), OutOfMemoryEngine(200)
    report = Denoiser(engine, tile=300).denoise(photo)
    assert report.notes == ["memory ran out; tiles of 150 pixels were used"]
    assert report.changed


def test_tiles_are_as_small_as_they_can_be_chosen_before_memory_is_said_to_be_too_little() -> None:
    photo, engine = _photo(shape=(700, 700)), OutOfMemoryEngine(0)
    with pytest.raises(ImplausibleResult, match="memory"):
        Denoiser(engine, tile=512).denoise(photo)
    areas = [shape[0] * shape[1] for shape in engine.calls]
    assert areas == sorted(set(areas), reverse=True)
    assert areas[-1] <= 128**2


def test_what_goes_first_runs_out_of_memory_as_well_and_it_is_told_once() -> None:
    photo = _photo(shape=(300, 300))
    card = replace(CARD, scale=2)
    first = Denoiser(OutOfMemoryEngine(200), tile=512)
    report = Denoiser(OutOfMemoryEngine(200, card), tile=512, first=first).denoise(photo)
    assert report.notes == ["memory ran out; tiles of 128 pixels were used"]


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_no_memory_on_the_device_at_all_goes_to_the_fallback(strength: float) -> None:
    fallback = BlurEngine()
    denoiser = Denoiser(OutOfMemoryEngine(0), strength, tile=512, fallback=lambda: fallback)
    report = denoiser.denoise(_photo())
    assert report.notes == ["the device's memory ran out; done on the CPU instead"]
    assert report.changed


def test_no_memory_to_see_the_level_on_costs_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tiles: object, kind: object) -> list[object]:
        raise OutOfMemoryError

    engine = BlurEngine()
    monkeypatch.setattr(engine, "levels", full)
    report = Denoiser(engine).denoise(_photo())
    assert report.changed
    assert report.noise == pytest.approx(0.03 * 255, rel=0.1)


def test_no_memory_anywhere_is_told() -> None:
    with pytest.raises(ImplausibleResult, match="memory"):
        Denoiser(OutOfMemoryEngine(0)).denoise(_photo())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 5.0])
def test_nonsense_is_redone_in_float32_and_then_refused(value: float) -> None:
    photo = _photo()
    report = Denoiser(NaNEngine(hopeless=False, value=value), color_lock=False).denoise(photo)
    assert any("fp32" in note for note in report.notes)
    assert np.isfinite(photo.pixels).all()
    photo = _photo()
    before = photo.pixels.copy()
    with pytest.raises(ImplausibleResult):
        Denoiser(NaNEngine(hopeless=True, value=value)).denoise(photo)
    np.testing.assert_array_equal(before, photo.pixels)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("values", [(np.nan,), (np.inf,), (-np.inf,), (np.inf, -np.inf)])
def test_a_photo_with_samples_that_are_not_finite_is_refused(
    values: tuple[float, ...], scale: int
) -> None:
    photo, engine = _photo("float32"), BlurEngine(card=replace(CARD, scale=scale))
    photo.pixels[299, 200 : 200 + len(values), 1] = values
    before = photo.pixels.copy()
    with pytest.raises(UnsupportedPhoto, match="NaN or infinite"):
        Denoiser(engine).denoise(photo)
    if scale == 1:
        Denoiser(engine, strength=0).denoise(photo)
    else:  # they would spread
        with pytest.raises(UnsupportedPhoto, match="NaN or infinite"):
            Denoiser(engine, strength=0).denoise(photo)
    np.testing.assert_array_equal(photo.pixels, before)
    assert not engine.calls


def test_alpha_that_is_not_finite_is_refused_where_it_is_enlarged() -> None:
    photo = _photo("float32")
    photo.alpha = np.full((300, 410), np.nan, np.float32)
    assert Denoiser(BlurEngine()).denoise(photo).changed
    with pytest.raises(UnsupportedPhoto, match="NaN or infinite"):
        Denoiser(BlurEngine(card=replace(CARD, scale=2))).denoise(photo)


def test_float_samples_far_beyond_the_scale_are_no_reason_to_refuse() -> None:
    photo = _photo("float32")
    photo.pixels[150, 200] = -40.0, 3.0, 60000.0
    assert Denoiser(BlurEngine()).denoise(photo).changed
    assert np.isfinite(photo.pixels).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2), (17, 16)])
def test_tiny_photos(shape: tuple[int, int]) -> None:
    photo = _photo(shape=shape)
    Denoiser(BlurEngine()).denoise(photo)
    assert photo.pixels.shape == (*shape, 3)


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    Denoiser(BlurEngine(), tile=96, strength=1.5).denoise(_photo(), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_tint_of_the_model_is_locked_out_unless_switched_off() -> None:
    locked, free = _photo(), _photo()
    before = locked.pixels.astype(float).mean()
    Denoiser(ConstantEngine(0.05)).denoise(locked)
    Denoiser(ConstantEngine(0.05), color_lock=False).denoise(free)
    assert abs(locked.pixels.mean() - before) < 0.3
    assert abs(free.pixels.mean() - before) > 10


@pytest.mark.parametrize("shape", [(5, 7), (300, 410), (900, 1300)])
@pytest.mark.parametrize(("white", "kind"), [(0.03, "white"), (0.01, "camera")])
def test_the_expert_for_the_kind_of_noise_does_the_whole_photo(
    shape: tuple[int, int], white: float, kind: str
) -> None:
    photo, engine = _photo(shape=shape), ExpertEngine(0.03, white)
    report = Denoiser(engine, color_lock=False).denoise(photo)
    assert report.kind == kind
    assert report.noise == pytest.approx(255 * engine.found[kind], rel=0.01)
    windows = [call for call in engine.calls if max(call) <= 128]
    assert len(windows) <= 2 * 4 + (max(shape) <= 128)  # a look at a few places, not at all of it


@pytest.mark.parametrize(("white", "side"), [(0.03, 304), (0.01, 320)])
def test_the_tiles_of_a_kind_of_noise_have_its_own_stride(white: float, side: int) -> None:
    engine = ExpertEngine(0.03, white)
    engine.card = replace(engine.card, stride=32, strides={"white": 8})
    Denoiser(engine).denoise(_photo(shape=(300, 300)))
    assert [call for call in engine.calls if max(call) > 128] == [(side, side, 3)]


@pytest.mark.parametrize(
    ("found", "told", "sharp", "twice"),
    [
        (0.03, 0.06, False, True), (0.0015, 0.006, False, False), (0.03, 0.06, True, False),
    ],
)  # fmt: skip
def test_two_look_at_a_soft_photo_with_a_cameras_noise(
    found: float, told: float, sharp: bool, twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = np.mgrid[:300, :410]
    grid = 128 + 60 * np.sin(rows / 9) * np.sin(columns / 9)
    if sharp:
        grid += 25 * np.sin(rows * 2.1) * np.sin(columns * 2.3)
    grid = np.rint(grid)
    photo = Photo(np.repeat(grid[..., None], 3, 2).astype(np.uint8), "png", "RGB")
    engine, level = ExpertEngine(found, 0.01, 0.02), np.full((8, 8), told, np.float32)
    monkeypatch.setattr(engine, "levels", lambda tiles, kind: [level] * len(tiles))
    report = Denoiser(engine, color_lock=False).denoise(photo)
    assert report.kind == "camera"
    taken = (grid - photo.pixels[..., 0])[50:250, 50:350].mean() / 255
    assert taken == pytest.approx(0.02 if twice else found, abs=0.003)


def test_a_model_with_one_net_for_all_noise_is_asked_once() -> None:
    photo, engine = _photo(), ConstantEngine()
    assert Denoiser(engine).denoise(photo).kind is None
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("found", "strength", "clean"), [(0.5, 1.0, True), (1.2, 1.0, False), (0.5, 1.5, False)]
)
def test_a_clean_photo_is_left_alone_unless_more_is_asked_for(
    found: float, strength: float, clean: bool
) -> None:
    photo = _photo("uint16")
    before = photo.pixels.copy()
    engine = ConstantEngine(found / 255)
    report = Denoiser(engine, strength=strength, color_lock=False).denoise(photo)
    assert report.clean == clean
    assert report.changed != clean
    assert np.array_equal(photo.pixels, before) == clean
    assert report.noise == pytest.approx(found, rel=0.01)
