import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from denoisetool.denoiser import Report
from denoisetool.finetune import align, corruption, dataset
from denoisetool.finetune.prepare import Frame, Prepared, Rejected, prepare, read
from denoisetool.formats.exif import Shot
from tests.photos import render

Float = npt.NDArray[np.float32]


def _scene() -> Float:
    return np.asarray(np.asarray(render("still_life")[0], np.float32) / np.float32(255))


def _moved(picture: Float, dy: float, dx: float) -> Float:
    """A picture shifted by exact phases, so that nothing of it is blurred (edges wrap around)."""
    fy = np.fft.fftfreq(picture.shape[0])[:, None, None]
    fx = np.fft.fftfreq(picture.shape[1])[None, :, None]
    phase = np.exp(-2j * np.pi * (fy * dy + fx * dx))
    return np.asarray(np.fft.ifft2(np.fft.fft2(picture, axes=(0, 1)) * phase, axes=(0, 1)).real,
                      np.float32)  # fmt: skip


def _frame(clean: Float, seed: int, sigma: float = 6.0) -> Frame:
    """A noisy 8-bit photo of a scene, and the scene as what a denoiser would have made of it."""
    noisy = clean + np.random.default_rng(seed).normal(0, sigma / 255, clean.shape)
    pixels = np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)
    size = f"{clean.shape[1]} x {clean.shape[0]}"
    half = clean.clip(0, 1).astype(np.float16)
    return Frame(size, Shot(), pixels, 255.0, half)


def _error(pair: Prepared, truth: Float, margin: int = 40) -> float:
    """Rms error of the target's mean in levels: noise is averaged out by boxes of 8."""
    inside = np.s_[margin:-margin, margin:-margin]
    difference = np.where(pair.counts, pair.target - truth, 0)[inside]
    height, width = (n // 8 * 8 for n in difference.shape[:2])
    boxed = difference[:height, :width].reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3))
    return float(np.sqrt(np.square(boxed).mean())) * 255


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (2.5, -7.25), (-8, 8), (0.4, 0.3), (21.6, -34)])
def test_shifts_are_found_and_undone(shift: tuple[float, float]) -> None:
    scene = _scene()
    grey, other = scene.mean(2), _moved(scene, *shift).mean(2)
    whole = align.whole_shift(grey, other)
    assert np.abs(np.subtract(whole, shift)).max() <= 1
    shifts = align.field(grey, other, whole)
    inner = shifts[1:-1, 1:-1]
    np.testing.assert_allclose(np.median(inner, (0, 1)), shift, atol=0.15)
    back, there = align.move(_moved(scene, *shift), shifts)
    inside = np.s_[48:-48, 48:-48]
    assert there[inside].all()
    error = float(np.sqrt(np.square(back - scene)[inside].mean())) * 255
    assert error < (0.01 if shift in ((0, 0), (3, -5), (-8, 8)) else 2.0)
    moved = float(np.sqrt(np.square(_moved(scene, *shift) - scene)[inside].mean())) * 255
    assert error <= 0.25 * moved + 0.01


def test_moving_leaves_out_what_is_not_there() -> None:
    picture = np.random.default_rng(0).random((130, 150, 3), np.float32)
    shifts = np.broadcast_to(np.array([10.0, -200.0], np.float32), (3, 3, 2))
    moved, there = align.move(picture, shifts)
    assert moved.shape == picture.shape
    assert not there.any()
    moved, there = align.move(picture, np.broadcast_to(np.array([10, -20], np.float32), (3, 3, 2)))
    np.testing.assert_array_equal(moved[there], picture[10:, :-20].reshape(-1, 3))
    assert there.sum() == 120 * 130
    half, there = align.move(picture, np.broadcast_to(np.array([0.5, 0], np.float32), (3, 3, 2)))
    assert np.isfinite(half).all()
    assert 0.9 < there.mean() < 1


def test_a_pair_is_aligned_and_brought_to_the_same_light() -> None:
    scene = _scene()
    gains = np.array([0.9, 0.85, 0.95], np.float32)
    other = _moved(scene, 4.5, -6.2) * gains
    pair = prepare(_frame(scene, 1), _frame(other, 2), supervised=False)
    assert _error(pair, scene) < 1.2
    assert pair.noise == pytest.approx(6, abs=1.2)
    assert pair.exposure == pytest.approx(2.2 * math.log2(1 / 0.9), abs=0.1)
    assert pair.weight > 0.6
    np.testing.assert_allclose(pair.shift, (4.5, -6.2), atol=0.2)
    untouched = prepare(_frame(scene, 1), _frame(other, 2), supervised=False, raw=True)
    assert _error(untouched, scene) > 10


def test_what_moved_does_not_count() -> None:
    scene = _scene()
    other = scene.copy()
    other[200:300, 300:420] = np.array([0.8, 0.2, 0.3], np.float32)
    pair = prepare(_frame(scene, 1), _frame(other, 2), supervised=False)
    assert not pair.counts[210:290, 310:410].any()
    away = np.ones(scene.shape[:2], bool)
    away[160:340, 260:460] = False
    assert pair.counts[away].mean() > 0.7
    still = prepare(_frame(scene, 1), _frame(scene, 2), supervised=False)
    assert pair.counts[away].mean() > still.counts[away].mean() - 0.02


def test_clipped_noise_does_not_count() -> None:
    scene = _scene() * 0.9 + 0.05
    scene[:100] = 0.004
    scene[-100:] = 0.997
    pair = prepare(_frame(scene, 1, 8), _frame(scene, 2, 8), supervised=False)
    assert not pair.counts[:96].any()
    assert not pair.counts[-96:].any()
    assert pair.counts[130:-130].mean() > 0.7


def _blurred(scene: Float) -> Float:
    """Out of focus, over seven pixels."""
    for axis in (0, 1):
        turns = [np.roll(scene, step, axis) for step in range(-3, 4)]
        scene = np.asarray(np.mean(turns, axis=0), np.float32)
    return scene


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda s: s[:, :-8], "differ in size"),
        (lambda s: np.asarray(np.roll(s[::-1, ::-1], 130, 1)), "scene|counts|overlap|on both"),
        (lambda s: (s * 0.5).astype(np.float32), "exposures differ by 2.2 stops"),
        (_blurred, "second photo is blurred"),
        (lambda s: _moved(s, 0, 400), "is on both photos|scene"),
    ],
)
def test_what_is_no_pair_is_told(other: object, told: str) -> None:
    scene = _scene()
    assert callable(other)
    with pytest.raises(Rejected, match=told):
        prepare(_frame(scene, 1), _frame(other(scene), 2), supervised=False)


def test_copies_and_clean_photos_are_told() -> None:
    scene = _scene()
    with pytest.raises(Rejected, match="identical"):
        prepare(_frame(scene, 1), _frame(scene, 1), supervised=False)
    with pytest.raises(Rejected, match="already clean"):
        prepare(_frame(scene, 1, 0.3), _frame(scene, 2, 0.3), supervised=False)
    black = np.zeros_like(scene)
    with pytest.raises(Rejected, match="black nor white"):
        prepare(_frame(black, 1), _frame(black, 2), supervised=False)


def test_a_clean_target_is_taken_for_what_it_is() -> None:
    scene = _scene()
    pair = prepare(_frame(scene, 1), _frame(scene, 2, 0.0), supervised=True)
    assert pair.noise == pytest.approx(6, abs=1.0)
    assert _error(pair, scene) < 0.6


def test_photos_are_read_with_reasons(tmp_path: Path) -> None:
    sample = Path(__file__).parent / "photos" / "still_life.jpg"

    def clean(photo: object) -> Report:
        return Report(noise=3.0, kind="camera")

    frame = read(sample, clean)
    assert (frame.kind, frame.noise) == ("camera", 3.0)
    assert frame.picture.shape == frame.clean.shape
    (tmp_path / "cut.jpg").write_bytes(sample.read_bytes()[:2000])
    with pytest.raises(Rejected, match=r"cut.jpg cannot be read"):
        read(tmp_path / "cut.jpg", clean)
    from PIL import Image

    Image.fromarray(np.full((100, 400, 3), 90, np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(Rejected, match="too small: 400 x 100"):
        read(tmp_path / "small.png", clean)
    Image.fromarray(np.full((400, 400), 90, np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(Rejected, match="grey"):
        read(tmp_path / "grey.png", clean)


def _views(spoil: object) -> dataset.Views:
    """Two pictures, each spoilt independently."""
    scene = _scene()[:512, :512]
    assert callable(spoil)
    noisy, target = (spoil(scene, np.random.default_rng(seed)) for seed in (1, 2))
    return dataset.Views(
        np.clip(np.rint(noisy[None] * 65535), 0, 65535).astype(np.uint16),
        target[None].astype(np.float16), np.ones((1, *scene.shape), bool),
    )  # fmt: skip


def _gaussian(scene: Float, rng: np.random.Generator) -> Float:
    return np.asarray(scene + rng.normal(0, 12 / 255, scene.shape), np.float32)


def _text(scene: Float, rng: np.random.Generator) -> Float:
    out = scene.copy()
    for _ in range(250):
        top, left = rng.integers(0, 490, 2)
        out[top : top + 3, left : left + 22] = rng.random(3)
        out[top : top + 18, left : left + 3] = rng.random(3)
    return out


def _impulse(scene: Float, rng: np.random.Generator) -> Float:
    hit = rng.random(scene.shape[:2]) < 0.15
    return np.where(hit[..., None], rng.random(scene.shape), scene).astype(np.float32)


@pytest.mark.parametrize(("spoil", "loss"), [(_gaussian, "l2"), (_text, "l1"), (_impulse, "l0")])
def test_the_loss_fits_what_is_wrong(spoil: object, loss: str) -> None:
    assert corruption.choose(_views(spoil)) == loss
