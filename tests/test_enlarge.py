"""Models that enlarge: from the engine to the photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisetool import bicubic
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine, check_model
from denoisetool.engine import core as engine_module
from denoisetool.errors import ImplausibleResult, ModelError
from denoisetool.photo import Photo
from tests import tiny
from tests.fakes import CARD, BlurEngine, ConstantEngine, NaNEngine, OutOfMemoryEngine

SCALES = (2, 4)
CARDS = {scale: replace(CARD, scale=scale) for scale in SCALES}


def _photo(dtype: str = "uint8", channels: int = 3, shape: tuple[int, int] = (61, 83)) -> Photo:
    rng = np.random.default_rng(3)
    base = np.linspace(0.0, 1.0, shape[1])[None, :, None] + rng.normal(0, 0.03, (*shape, channels))
    if dtype == "float32":
        return Photo(base.astype(np.float32), "tiff", "RGB")
    peak = np.iinfo(dtype).max
    return Photo(np.clip(np.rint(base * peak), 0, peak).astype(dtype), "png", "RGB")


def _plain(photo: Photo, scale: int) -> Any:
    return bicubic.enlarged(photo.pixels, scale, photo.peak)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_model_that_finds_nothing_enlarges_as_strength_zero_does(
    dtype: str, channels: int, scale: int
) -> None:
    photo, other = _photo(dtype, channels), _photo(dtype, channels)
    plain = _plain(photo, scale)
    report = Denoiser(ConstantEngine(card=CARDS[scale]), tile=96).denoise(photo)
    np.testing.assert_array_equal(photo.pixels, plain)
    assert photo.pixels.dtype == dtype
    assert photo.pixels.flags.c_contiguous
    assert (report.noise, report.scale, report.changed, report.clean) == (None, scale, True, False)
    assert (report.shift_mean, report.shift_p95) == pytest.approx((0, 0), abs=0.3)
    engine = ConstantEngine(0.1, CARDS[scale])
    report = Denoiser(engine, strength=0).denoise(other)
    np.testing.assert_array_equal(other.pixels, plain)
    assert (report.scale, report.changed, engine.calls) == (scale, True, [])
    assert (photo.scale, other.scale) == (scale, scale)


def test_the_noise_is_taken_from_what_was_not_rounded_yet() -> None:
    """Bright edges overshoot: what is above white before stays there until the end."""
    photo = Photo(np.zeros((16, 16, 3), np.uint8), "png", "RGB")
    photo.pixels[:, 8:] = 255
    wanted = bicubic.rows(photo.pixels, 2, 0, 32) - 0.3 * np.float32(255 * 0.125)
    assert wanted.max() > 255
    Denoiser(ConstantEngine(0.125, CARDS[2]), strength=0.3, color_lock=False).denoise(photo)
    np.testing.assert_allclose(photo.pixels, np.clip(np.rint(wanted), 0, 255), atol=1)
    assert (photo.pixels == np.clip(np.rint(wanted), 0, 255)).mean() > 0.99


@pytest.mark.parametrize("scale", SCALES)
def test_noise_goes_and_the_colour_stays(scale: int) -> None:
    photo = _photo("float32", shape=(200, 260))
    plain = _plain(photo, scale)
    report = Denoiser(BlurEngine(card=CARDS[scale])).denoise(photo)
    rough = [float(np.diff(each, axis=0).std()) for each in (plain, photo.pixels)]
    assert rough[1] < 0.7 * rough[0]
    assert report.shift_mean < 0.5
    tinted, free = _photo(shape=(200, 260)), _photo(shape=(200, 260))
    before = _plain(tinted, scale).astype(float).mean()
    locked = Denoiser(ConstantEngine(0.05, CARDS[scale])).denoise(tinted)
    loose = Denoiser(ConstantEngine(0.05, CARDS[scale]), color_lock=False).denoise(free)
    assert abs(tinted.pixels.mean() - before) < 0.3
    assert abs(free.pixels.mean() - before) > 10
    assert locked.shift_mean < 0.2 < 2 < loose.shift_mean


def test_the_lock_leaves_out_as_much_of_the_noise_as_without_enlarging() -> None:
    """White noise, enlarged: its means over 16 pixels of the photo are chance, not a tint."""

    class Perfect(ConstantEngine):
        def noise(self, tiles: Any, kind: str | None = None) -> Any:
            return [self.enlarged((tile - 0.5).astype(np.float16)) for tile in tiles]

    left = []
    for scale in (1, *SCALES):
        noisy = np.random.default_rng(0).normal(0.5, 0.05, (256, 256, 3))
        photo = Photo(noisy.astype(np.float32), "tiff", "RGB")
        Denoiser(Perfect(card=replace(CARD, scale=scale))).denoise(photo)
        left.append(float(photo.pixels.std()))
    assert max(left) < 0.05 * 0.05  # with cells of 16 pixels of the result: 0.06, 0.13


def test_no_photo_is_too_clean_and_no_texture_bounds_it() -> None:
    photo = _photo("float32", shape=(96, 96))
    wanted = _plain(photo, 2) - np.float32(0.5 / 255)
    engine = ConstantEngine(0.5 / 255, CARDS[2])
    report = Denoiser(engine, color_lock=False).denoise(photo)
    assert (report.clean, report.changed) == (False, True)
    np.testing.assert_allclose(photo.pixels, wanted, atol=1e-5)
    assert len(engine.calls) == 1


def test_luma_and_chroma_are_taken_out_apart() -> None:
    grey = ConstantEngine(0.1, CARDS[2])
    photo = _photo("float32")
    plain = _plain(photo, 2)
    Denoiser(grey, luma=0, color_lock=False).denoise(photo)
    np.testing.assert_allclose(photo.pixels, plain, atol=1e-4)
    photo = _photo("float32")
    Denoiser(grey, luma=0.5, chroma=0, color_lock=False).denoise(photo)
    np.testing.assert_allclose(photo.pixels, plain - 0.05, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_alpha_is_enlarged_and_stays_what_alpha_is(dtype: str) -> None:
    photo = _photo(dtype, shape=(20, 30))
    photo.alpha = np.where(photo.pixels[..., 0] > photo.peak / 2, photo.peak, 0).astype(dtype)
    assert photo.alpha is not None
    plain: Any = bicubic.enlarged(photo.alpha[..., None], 4, photo.peak)[..., 0]
    wanted = np.clip(plain, 0, photo.peak)
    Denoiser(ConstantEngine(0.1, CARDS[4])).denoise(photo)
    assert photo.alpha is not None
    assert photo.alpha.shape == (80, 120)
    assert photo.alpha.dtype == dtype
    np.testing.assert_array_equal(photo.alpha, wanted)
    assert photo.alpha.max() <= photo.peak


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (17, 16), (130, 1)])
def test_tiny_photos(shape: tuple[int, int], scale: int, tmp_path: Path) -> None:
    card = tiny.upscaler(tmp_path, scale)
    photo = _photo(shape=shape)
    Denoiser(Engine(card, tmp_path, "cpu", "fp32"), tile=64).denoise(photo)
    assert photo.pixels.shape == (scale * shape[0], scale * shape[1], 3)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("upsampling", ["direct", "stages"])
def test_tiles_agree_with_the_whole_picture(scale: int, upsampling: str, tmp_path: Path) -> None:
    card = tiny.upscaler(tmp_path, scale, upsampling=upsampling)
    engine = Engine(card, tmp_path, "cpu", "fp32")
    results = []
    for tile in (4096, 72):
        photo = _photo("float32", shape=(201, 173))
        plain = _plain(photo, scale)
        Denoiser(engine, tile=tile, color_lock=False).denoise(photo)
        results.append(photo.pixels)
    assert np.abs(results[0] - results[1]).max() <= 1 / 255
    assert np.abs(results[0] - plain).std() > 1 / 255  # the net does something


def test_memory_running_out_halves_the_tile_or_changes_the_engine() -> None:
    photo, engine = _photo(shape=(600, 500)), OutOfMemoryEngine(400, CARDS[2])
    report = Denoiser(engine, tile=1024).denoise(photo)
    assert any("256" in note for note in report.notes)
    assert photo.pixels.shape == (1200, 1000, 3)
    photo = _photo()
    denoiser = Denoiser(
        OutOfMemoryEngine(0, CARDS[2]), tile=512, fallback=lambda: BlurEngine(card=CARDS[2])
    )
    assert any("CPU" in note for note in denoiser.denoise(photo).notes)
    assert photo.pixels.shape == (122, 166, 3)


def test_nonsense_is_redone_in_float32_and_then_refused() -> None:
    class Nonsense(NaNEngine):
        def noise(self, tiles: Any, kind: str | None = None) -> Any:
            return [self.enlarged(each) for each in super().noise(tiles, kind)]

        def exact_noise(self, tile: Any, kind: str | None = None) -> Any:
            return self.enlarged(super().exact_noise(tile, kind))

    photo, engine = _photo(), Nonsense(hopeless=False)
    engine.card = CARDS[2]
    assert any("fp32" in note for note in Denoiser(engine).denoise(photo).notes)
    assert photo.pixels.shape == (122, 166, 3)
    photo, engine = _photo(), Nonsense(hopeless=True)
    engine.card = CARDS[2]
    with pytest.raises(ImplausibleResult):
        Denoiser(engine).denoise(photo)
    assert (photo.pixels.shape, photo.scale) == ((61, 83, 3), 1)


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    Denoiser(BlurEngine(card=CARDS[2]), tile=64).denoise(_photo(), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


# -- the engine ------------------------------------------------------------------------------------


def test_an_engine_with_a_net_that_enlarges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tiny.upscaler(tmp_path, 4)
    monkeypatch.setattr(engine_module, "native_bf16", lambda kind: True)
    engine = Engine(card, tmp_path, "cpu", "auto", tmp_path / "cache")
    assert "levels" in engine.choice.reason  # the probe ran
    tile = np.random.default_rng(0).random((21, 34, 3)).astype(np.float32)
    assert [found.shape for found in engine.noise([tile, tile])] == [(84, 136, 3)] * 2
    assert engine.exact_noise(tile).shape == (84, 136, 3)
    check_model(card, tmp_path)
    with pytest.raises(ModelError, match="enlarging 2 times, as its card says"):
        check_model(replace(card, scale=2), tmp_path)
    with pytest.raises(ModelError, match="steps of 1 pixels, as its card says"):
        check_model(replace(card, scale=1), tmp_path)


def test_tiles_follow_the_memory_that_the_card_tells(tmp_path: Path) -> None:
    card = tiny.upscaler(tmp_path, 2)
    sides = [
        Engine(replace(card, bytes_per_pixel=size), tmp_path, "cpu", "fp32").tile_side(2e8)
        for size in (0.0, 310.0, 1240.0, 1e9)
    ]
    assert sides[0] == sides[1]
    assert sides[1] == pytest.approx(2 * sides[2], abs=32)
    assert sides[3] == 128


def test_doctor_knows_the_truth_in_every_scale() -> None:
    from denoisetool.cli import doctor

    large = doctor._rendered(200, 4)
    boxed = large.reshape(200, 4, 200, 4, 3).mean((1, 3))
    assert np.abs(boxed - doctor._rendered(200))[1:-1, 1:-1].max() < 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_goes_first_cleans_the_photo_before_it_is_enlarged(dtype: str, scale: int) -> None:
    first = Denoiser(BlurEngine(), color_lock=False)
    photo, alone = _photo(dtype, shape=(80, 96)), _photo(dtype, shape=(80, 96))
    told = first.denoise(alone)
    whole = Denoiser(ConstantEngine(0.02, CARDS[scale]), color_lock=False, first=first)
    report = whole.denoise(photo)
    wanted = bicubic.rows(alone.pixels, scale, 0, 80 * scale) - np.float32(0.02 * photo.peak)
    assert photo.pixels.shape == wanted.shape
    if dtype == "uint8":
        wanted = np.clip(np.rint(wanted), 0, 255)
    np.testing.assert_allclose(photo.pixels, wanted, atol=1 if dtype == "uint8" else 2e-3)
    assert report.noise == told.noise
    assert report.noise is not None
    assert report.noise > 1
    assert (report.scale, report.changed) == (scale, True)


def test_half_the_strength_takes_half_of_both() -> None:
    results = []
    for strength in (0.0, 0.5, 1.0):
        photo = _photo("float32", shape=(64, 64))
        denoiser = Denoiser(
            ConstantEngine(0.05, CARDS[2]), strength=strength, color_lock=False,
            first=Denoiser(BlurEngine()),
        )  # fmt: skip
        denoiser.denoise(photo)
        results.append(photo.pixels)
    np.testing.assert_allclose(results[1], (results[0] + results[2]) / 2, atol=1e-3)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tint", [0.0, 0.05, -0.05])
def test_the_lock_holds_the_colours_that_what_goes_first_has_left(tint: float, scale: int) -> None:
    """Where shadows were clipped it makes them darker; a tint of what comes after is locked out."""
    plain = BlurEngine()
    plain.kinds = ("camera", "white")
    noisy = np.random.default_rng(0).normal(0, 50, (128, 192, 3))
    noisy[:, 96:] += 120
    pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    alone, photo = Photo(pixels.copy(), "png", "RGB"), Photo(pixels.copy(), "png", "RGB")
    assert Denoiser(plain).denoise(alone).kind == "white"
    engine = ConstantEngine(tint, CARDS[scale])
    Denoiser(engine, first=Denoiser(plain)).denoise(photo)
    wanted, seen = (
        [float(part.mean()) for part in np.split(each.pixels.astype(np.float64), 2, 1)]
        for each in (alone, photo)
    )
    assert pixels[:, :96].mean() - wanted[0] > 5
    assert seen == pytest.approx(wanted, abs=0.7)
