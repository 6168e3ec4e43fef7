from dataclasses import replace

import numpy as np
import pytest

from denoisetool import clipping, preview
from denoisetool.color import Float
from denoisetool.denoiser import Denoiser
from denoisetool.errors import UnsupportedPhoto
from denoisetool.photo import Half, Photo
from denoisetool.preview import Part, Preview, Wishes
from tests.fakes import CARD, BlurEngine, ConstantEngine, ExpertEngine

SHAPE = (340, 420)


class CountingEngine(BlurEngine):
    """Remembers what it was asked for."""

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        self.calls += [tile.shape for tile in tiles]
        return super().noise(tiles, kind)


PARTS = [Part(0, 0, 420, 340), Part(37, 51, 200, 130), Part(300, 200, 120, 140), Part(5, 5, 1, 1)]
WISHES = [
    Wishes(),
    Wishes(strength=0.4),
    Wishes(luma=0.3),
    Wishes(chroma=0.2, strength=0.9),
    Wishes(color_lock=False),
]


def _photo(dtype: str = "uint8", channels: int = 3, sigma: float = 0.04) -> Photo:
    """A gradient with noise, a tint in it, and more of both on the right."""
    rng = np.random.default_rng(5)
    more = np.linspace(0.5, 1.5, SHAPE[1])[None, :, None]
    base = np.linspace(0.2, 0.8, SHAPE[1])[None, :, None]
    base = base + rng.normal(0, sigma, (*SHAPE, channels)) * more
    if dtype == "float32":
        return Photo(base.astype(np.float32), "tiff", "RGB")
    peak = np.iinfo(dtype).max
    return Photo(np.clip(base * peak, 0, peak).astype(dtype), "png", "RGB")


def _full(photo: Photo, wishes: Wishes, tile: int = 128) -> Photo:
    """What a full run makes of it."""
    done = replace(photo, pixels=photo.pixels.copy())
    Denoiser(
        BlurEngine(), strength=wishes.strength, luma=wishes.luma, chroma=wishes.chroma,
        color_lock=wishes.color_lock, tile=tile,
    ).denoise(done)  # fmt: skip
    return done


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("wishes", WISHES)
def test_once_measured_a_part_is_exactly_what_a_full_run_gives(dtype: str, wishes: Wishes) -> None:
    photo = _photo(dtype)
    seen = Preview(photo, Denoiser(BlurEngine(), tile=128))
    seen.measure()
    full = _full(photo, wishes)
    assert not np.array_equal(full.pixels, photo.pixels)
    for part in PARTS:
        shown = seen.show(part, wishes)
        assert shown.exact
        expected = part.of(full.pixels)
        assert shown.pixels.dtype == expected.dtype
        np.testing.assert_allclose(
            shown.pixels.astype(np.float64), expected, atol=1e-6 if dtype == "float32" else 0
        )


@pytest.mark.parametrize("wishes", WISHES)
def test_a_photo_too_large_to_keep_all_noise_of_differs_by_the_rounding_at_most(
    wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "KEPT", 0.01)
    photo = _photo("uint16")
    seen = Preview(photo, Denoiser(BlurEngine(), tile=128))
    seen.measure()
    assert seen.measured
    assert not seen.all_kept
    full = _full(photo, wishes)
    for part in PARTS:
        shown = seen.show(part, wishes)
        assert shown.exact
        apart = np.abs(shown.pixels.astype(np.float64) - part.of(full.pixels))
        assert apart.max() <= 65535 / 255 / 4, part


@pytest.mark.parametrize("wishes", WISHES)
def test_before_that_it_is_close(wishes: Wishes) -> None:
    photo = _photo()
    seen = Preview(photo, Denoiser(BlurEngine(), tile=128))
    shown = seen.show(PARTS[1], wishes)
    assert not shown.exact
    expected = PARTS[1].of(_full(photo, wishes).pixels).astype(np.float64)
    taken = PARTS[1].of(photo.pixels).astype(np.float64) - expected
    apart = shown.pixels - expected
    assert np.sqrt(np.mean(apart**2)) < 0.12 * np.sqrt(np.mean(taken**2))


def test_a_second_pass_is_close_too_and_not_called_exact() -> None:
    photo, wishes = _photo(), Wishes(strength=1.6, luma=0.8)
    seen = Preview(photo, Denoiser(BlurEngine(), tile=128))
    seen.measure()
    shown = seen.show(PARTS[1], wishes)
    assert not shown.exact
    assert shown.pixels.shape == (130, 200, 3)
    expected = PARTS[1].of(_full(photo, wishes).pixels).astype(np.float64)
    once = PARTS[1].of(_full(photo, replace(wishes, strength=1.0)).pixels).astype(np.float64)
    apart = np.sqrt(np.mean((shown.pixels - expected) ** 2))
    assert apart < 0.5 * np.sqrt(np.mean((once - expected) ** 2))


def test_other_wishes_need_no_model() -> None:
    engine = CountingEngine()
    seen = Preview(_photo(), Denoiser(engine, tile=512))
    seen.show(PARTS[1], Wishes())
    before = len(engine.calls)
    assert before == 1
    for wishes in WISHES:
        seen.show(PARTS[1], wishes)
        seen.show(Part(60, 60, 100, 100), wishes)  # within what is known
    assert len(engine.calls) == before
    seen.show(PARTS[2], Wishes())
    assert len(engine.calls) == before + 1


@pytest.mark.parametrize("wishes", [Wishes(strength=0), Wishes(luma=0, chroma=0)])
def test_nothing_wanted_shows_the_photo_without_the_model(wishes: Wishes) -> None:
    engine, photo = CountingEngine(), _photo()
    shown = Preview(photo, Denoiser(engine)).show(PARTS[1], wishes)
    np.testing.assert_array_equal(shown.pixels, PARTS[1].of(photo.pixels))
    assert shown.exact
    assert not engine.calls


def test_a_clean_photo_is_said_to_be_clean_once_all_of_it_is_known() -> None:
    photo = _photo(sigma=0.0005)
    seen = Preview(photo, Denoiser(ConstantEngine(0.001)))
    assert not seen.show(PARTS[1], Wishes()).clean
    seen.measure()
    shown = seen.show(PARTS[1], Wishes())
    assert shown.clean
    np.testing.assert_array_equal(shown.pixels, PARTS[1].of(photo.pixels))
    assert not seen.show(PARTS[1], Wishes(strength=1.5)).clean


def test_the_photo_stays_as_it_is_and_grey_ones_work() -> None:
    photo = _photo(channels=1)
    before = photo.pixels.copy()
    seen = Preview(photo, Denoiser(BlurEngine(), tile=128))
    seen.show(PARTS[1], Wishes(strength=2))
    seen.measure()
    assert seen.show(PARTS[0], Wishes()).pixels.shape == (*SHAPE, 1)
    np.testing.assert_array_equal(photo.pixels, before)


def test_the_kind_of_noise_is_asked_of_the_whole_photo() -> None:
    seen = Preview(_photo(), Denoiser(ExpertEngine(0.02, 0.02)))
    assert seen.show(PARTS[1], Wishes()).kind == "white"


def test_parts_stay_within_the_photo() -> None:
    photo = _photo()
    assert Part(-5, 330, 100, 100).within(photo) == Part(0, 330, 95, 10)
    assert Part(500, 0, 10, 10).within(photo).megapixels == 0
    assert Part(20, 20, 10, 10).grown(8, photo) == Part(0, 0, 48, 48)
    assert Part(0, 0, 48, 48).holds(Part(20, 20, 28, 28))
    assert not Part(0, 0, 48, 48).holds(Part(20, 20, 29, 28))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("wishes", [Wishes(), Wishes(strength=0.4, chroma=0.2), Wishes(strength=0)])
def test_with_a_model_that_enlarges_a_part_is_larger(scale: int, wishes: Wishes) -> None:
    photo = _photo()
    engine = BlurEngine(card=replace(CARD, scale=scale))
    denoiser = Denoiser(
        engine, strength=wishes.strength, luma=wishes.luma, chroma=wishes.chroma, tile=128
    )
    full = replace(photo, pixels=photo.pixels.copy())
    denoiser.denoise(full)
    seen = Preview(photo, Denoiser(engine, tile=128))
    guessed = seen.show(PARTS[1], wishes)
    wanted = PARTS[1].enlarged(scale).of(full.pixels).astype(int)
    assert guessed.exact == wishes.nothing
    assert guessed.noise == (0 if wishes.nothing else None)
    assert not guessed.clean
    assert np.abs(guessed.pixels - wanted).mean() < 1
    seen.measure()
    for part in PARTS:
        shown = seen.show(part, wishes)
        assert shown.exact
        np.testing.assert_array_equal(shown.pixels, part.enlarged(scale).of(full.pixels))


def _dark(dtype: str = "uint8") -> Photo:
    """White noise, a corner of it in the dark where half of it is cut off."""
    clean = np.broadcast_to(np.linspace(60, 180, SHAPE[1])[None, :, None], (*SHAPE, 3)).copy()
    clean[:150, :150] = 3
    noisy = clean + np.random.default_rng(0).normal(0, 25, clean.shape)
    peak = np.iinfo(dtype).max
    return Photo(np.clip(np.rint(noisy / 255 * peak), 0, peak).astype(dtype), "png", "RGB")


def _white() -> BlurEngine:
    """Takes all noise for white."""
    engine = BlurEngine()
    engine.kinds = ("camera", "white")
    return engine


@pytest.mark.parametrize("some", [True, False])
def test_clipped_shadows_are_dark_in_parts_as_in_a_full_run(
    some: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the noise is not kept; where too little of the photo is clipped they stay."""
    monkeypatch.setattr(preview, "KEPT", 0.01)
    if not some:
        monkeypatch.setattr(clipping, "LEAST_SHARE", 0.2)
    photo = _dark("uint16")
    full = replace(photo, pixels=photo.pixels.copy())
    assert Denoiser(_white(), tile=128).denoise(full).kind == "white"
    seen = Preview(photo, Denoiser(_white(), tile=128))
    assert not seen.show(Part(0, 0, 64, 64), Wishes()).exact
    seen.measure()
    for part in (Part(0, 0, 64, 64), Part(131, 115, 60, 50), *PARTS):
        shown = seen.show(part, Wishes())
        assert shown.exact
        apart = np.abs(shown.pixels.astype(int) - part.of(full.pixels))
        assert apart.max() <= 65535 / 255 / 8, part


class _Camera(BlurEngine):
    """Takes all noise for a camera's."""

    kinds: tuple[str, ...] = ("camera", "white")

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        found = super().noise(tiles, kind)
        return [each / np.float16(2) for each in found] if kind == "white" else found


def test_a_cameras_noise_is_in_parts_as_in_a_full_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the colours that are found in a smaller picture, also where the noise is not kept."""
    monkeypatch.setattr(preview, "KEPT", 0.01)
    photo = _dark("uint16")
    full = replace(photo, pixels=photo.pixels.copy())
    assert Denoiser(_Camera(), tile=128).denoise(full).kind == "camera"
    seen = Preview(photo, Denoiser(_Camera(), tile=128))
    seen.measure()
    for part in (Part(0, 0, 64, 64), Part(131, 115, 60, 50), *PARTS):
        shown = seen.show(part, Wishes())
        assert shown.exact
        apart = np.abs(shown.pixels.astype(int) - part.of(full.pixels))
        assert apart.max() <= 65535 / 255 / 8, part


def test_what_goes_first_is_in_parts_as_in_a_full_run() -> None:
    photo, engine = _dark(), BlurEngine(card=replace(CARD, scale=2))
    denoiser = Denoiser(engine, tile=128, first=Denoiser(_white(), tile=128))
    full = replace(photo, pixels=photo.pixels.copy())
    denoiser.denoise(full)
    seen = Preview(photo, denoiser)
    wanted = PARTS[1].enlarged(2).of(full.pixels).astype(int)
    guessed = seen.show(PARTS[1], Wishes())
    assert np.abs(guessed.pixels - wanted).mean() < 1
    seen.measure()
    for part in PARTS:
        shown = seen.show(part, Wishes())
        assert shown.exact
        np.testing.assert_array_equal(shown.pixels, part.enlarged(2).of(full.pixels))


def test_what_goes_first_is_guessed_from_a_part_where_its_noise_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preview, "KEPT", 0.01)
    photo, engine = _dark(), BlurEngine(card=replace(CARD, scale=2))
    for first in (None, Denoiser(_white(), tile=128)):
        seen = Preview(photo, Denoiser(engine, tile=128, first=first))
        seen.measure()
        assert seen.show(PARTS[1], Wishes()).exact == (first is None)


@pytest.mark.parametrize("scale", [1, 2])
def test_what_a_full_run_refuses_is_not_shown(scale: int) -> None:
    photo, engine = _photo("float32"), CountingEngine(card=replace(CARD, scale=scale))
    photo.pixels[300, 300, 0] = np.nan
    seen = Preview(photo, Denoiser(engine))
    with pytest.raises(UnsupportedPhoto, match="NaN or infinite"):
        seen.show(PARTS[1], Wishes())
    with pytest.raises(UnsupportedPhoto, match="NaN or infinite"):
        seen.measure()
    if scale == 1:
        shown = seen.show(PARTS[0], Wishes(strength=0))
        np.testing.assert_array_equal(shown.pixels, photo.pixels)
    else:
        with pytest.raises(UnsupportedPhoto, match="NaN or infinite"):
            seen.show(PARTS[1], Wishes(strength=0))
    assert not engine.calls
