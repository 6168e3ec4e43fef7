"""The committed sample photos are what `tests/photos/make.py` draws, and like real photos."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from denoisetool.metrics import psnr
from tests.photos import FILES, NAMES, make, render

Array = npt.NDArray[Any]
HERE = Path(__file__).parent / "photos"


def upright(data: bytes) -> Array:
    """Pixels (H, W, C) as a viewer shows them."""
    if data.startswith(b"\x89PNG"):
        return np.asarray(imagecodecs.png_decode(data))
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.mark.parametrize("name", NAMES)
def test_the_file_holds_the_noisy_picture(name: str) -> None:
    clean, noisy = render(name)
    kept = upright((HERE / FILES[name]).read_bytes())
    assert kept.shape == noisy.shape == clean.shape
    assert kept.dtype == noisy.dtype
    peak = float(np.iinfo(noisy.dtype).max)
    assert psnr(kept, noisy, peak) > (80 if name == "marbles" else 29)  # JPEG costs a little
    assert 24 < psnr(clean, noisy, peak) < 34


@pytest.mark.parametrize("name", ["poster", "marbles"])
def test_drawing_again_gives_the_same_file(name: str) -> None:
    again, kept = make.encode(name), (HERE / FILES[name]).read_bytes()
    peak = 65535 if name == "marbles" else 255
    # not byte for byte: other versions of numpy, Pillow or zlib may round or pack differently
    assert psnr(upright(again), upright(kept), peak) > 45


@pytest.mark.parametrize("name", ["still_life", "valley"])
def test_the_noise_is_correlated_and_stronger_in_red_and_blue(name: str) -> None:
    clean, noisy = render(name)
    noise = noisy.astype(float) - clean
    noise -= noise.mean(axis=(0, 1))
    variance = (noise**2).mean(axis=(0, 1))
    neighbour = (noise[:, 1:] * noise[:, :-1]).mean(axis=(0, 1)) / variance
    assert (neighbour > 0.15).all()
    assert variance[0] > 1.2 * variance[1] < variance[2]


def test_metadata_of_the_samples() -> None:
    with Image.open(HERE / FILES["valley"]) as valley:
        exif = valley.getexif()
        assert exif[0x010F] == "Samplecam"
        assert exif.get_ifd(0x8769)[0x8827] == 1600
        assert exif.get_ifd(0x8769)[0x829A] == Fraction(1, 250)
        assert exif.get_ifd(0x8825)[1] == "N"
        assert valley.info["icc_profile"] == make.icc_profile()
    with Image.open(HERE / FILES["poster"]) as poster:
        assert poster.size == (600, 420)
        assert poster.getexif()[0x0112] == 6
    with Image.open(HERE / FILES["old_scan"]) as scan:
        assert scan.mode == "L"
    with Image.open(HERE / FILES["marbles"]) as marbles:
        assert marbles.info["icc_profile"] == make.icc_profile()


def test_the_samples_stay_small_and_nothing_else_lies_there() -> None:
    pictures = {p for p in HERE.rglob("*") if p.suffix in (".jpg", ".png")}
    assert pictures == {HERE / file for file in FILES.values()}
    assert sum(p.stat().st_size for p in pictures) < 1_500_000


def test_the_script_writes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "SHOTS", {n: make.SHOTS[n] for n in ("poster", "marbles")})
    written = make.write(tmp_path, clean=True)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in written) == [
        "clean/marbles_16bit.png",
        "clean/poster_sideways.png",
        "marbles_16bit.png",
        "poster_sideways.jpg",
    ]
    for name in ("poster", "marbles"):
        clean = (tmp_path / "clean" / FILES[name]).with_suffix(".png")
        np.testing.assert_array_equal(upright(clean.read_bytes()), render(name)[0])


def test_the_script_runs_on_its_own() -> None:
    script = [sys.executable, str(HERE / "make.py"), "--help"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert "--clean" in done.stdout
