"""Draws the sample photos: scenes made of numbers, through a simulated camera, into real files.

    python tests/photos/make.py OUTDIR [--clean]

writes the noisy files, the same every time, and with `--clean` the noise-free pictures too, as PNG
under OUTDIR/clean. The camera adds shot and read noise on a Bayer mosaic and interpolates it
bilinearly, so that the noise is correlated and coloured as in real photos; then come the tone
curve and the JPEG.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.photos.balls import marbles, still_life
from tests.photos.drawing import Array, Rng, blur
from tests.photos.scenes import old_scan, poster, skyline, valley

BALANCE = np.array([1.9, 1.0, 1.6])
"""White balance gains: red and blue sensor signals are weak, so their noise is strong."""


def tone(linear: Array) -> Array:
    """Linear light to file values 0..1: sRGB curve with a little contrast."""
    x = np.clip(linear, 0, 1)
    encoded = np.where(x > 0.0031308, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055, 12.92 * x)
    return np.asarray(encoded - 0.02 * np.sin(2 * np.pi * encoded))


def demosaic_noise(noise: Array) -> Array:
    """Bilinear interpolation of (H, W, 3) sensor noise, of which an RGGB mosaic saw one colour."""
    height, width, _ = noise.shape
    seen = np.zeros((height, width, 3))
    for color, y, x in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)):
        seen[y::2, x::2, color] = 1
    around = np.zeros((2, height, width, 3))
    for layer, values in enumerate((noise * seen, seen)):
        padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="reflect")
        for y, wy in enumerate((0.5, 1, 0.5)):
            for x, wx in enumerate((0.5, 1, 0.5)):
                around[layer] += wy * wx * padded[y : y + height, x : x + width]
    mean = around[0] / around[1]
    return np.where(seen > 0, noise, mean)


def camera(linear: Array, rng: Rng, shot: float, read: float) -> tuple[Array, Array]:
    """Clean and noisy file values 0..1 of a scene; noise variance is shot * signal + read**2."""
    signal = blur(linear, 0.55) / BALANCE
    deviation = np.sqrt(shot * np.clip(signal, 0, 1) + read**2)
    noise = demosaic_noise(deviation * rng.standard_normal(linear.shape))
    return tone(signal * BALANCE), tone((signal + noise) * BALANCE)


def film(linear: Array, rng: Rng, grain: float, read: float) -> tuple[Array, Array]:
    """Clean and noisy file values of a grey print: clumped grain, strongest in the mid-tones."""
    clean = tone(blur(linear, 0.7))[..., :1]
    clumps = blur(rng.standard_normal(clean.shape), 0.9)
    clumps *= grain / clumps.std() * (0.4 + 2.4 * clean * (1 - clean))
    return clean, np.clip(clean + clumps + read * rng.standard_normal(clean.shape), 0, 1)


@dataclass(frozen=True)
class Shot:
    """How a sample is taken and kept: scene, noise (two numbers for the sensor), file name."""

    scene: Callable[[], Array]
    noise: tuple[float, float]
    file: str
    iso: int
    seconds: tuple[int, int]
    orientation: int = 1
    take: Callable[[Array, Rng, float, float], tuple[Array, Array]] = camera
    bits: int = 8


SHOTS = {
    "skyline": Shot(skyline, (0.006, 0.006), "night_skyline.jpg", 6400, (1, 15)),
    "still_life": Shot(still_life, (0.006, 0.006), "still_life.jpg", 3200, (1, 60)),
    "valley": Shot(valley, (0.004, 0.003), "trip/valley.jpg", 1600, (1, 250)),
    "poster": Shot(poster, (0.008, 0.006), "poster_sideways.jpg", 5000, (1, 30), orientation=6),
    "old_scan": Shot(old_scan, (0.028, 0.008), "old_scan.jpg", 0, (1, 1), take=film),
    "marbles": Shot(marbles, (0.005, 0.004), "marbles_16bit.png", 2500, (1, 80), bits=16),
}
NAMES = tuple(SHOTS)
FILES = {name: shot.file for name, shot in SHOTS.items()}


@cache
def render(name: str) -> tuple[Array, Array]:
    """Noise-free and noisy picture, upright (H, W, C), uint8 or uint16, before compression."""
    shot = SHOTS[name]
    rng = np.random.default_rng([2024, NAMES.index(name)])
    clean, noisy = shot.take(shot.scene(), rng, *shot.noise)
    peak, dtype = (65535, np.uint16) if shot.bits == 16 else (255, np.uint8)
    pair = np.round(clean * peak).astype(dtype), np.round(noisy * peak).astype(dtype)
    for pixels in pair:
        pixels.flags.writeable = False  # the pair is kept and shared
    return pair


def icc_profile() -> bytes:
    """An sRGB profile with a fixed date."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return bytes(profile[:24] + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + profile[36:])


def exif(shot: Shot) -> Image.Exif:
    """What a camera notes, with a place by the sea."""
    data = Image.Exif()
    data.update({0x010F: "Samplecam", 0x0110: "SC-1 Mark II", 0x0112: shot.orientation})
    data[0x0132] = "2024:01:02 21:43:05"
    data.get_ifd(0x8769).update(
        {0x829A: IFDRational(*shot.seconds), 0x8827: shot.iso, 0x829D: IFDRational(28, 10)}
    )
    if shot.scene is valley:
        place = {1: "N", 2: (46.0, 33.0, 12.5), 3: "E", 4: (8.0, 1.0, 44.0), 6: 1270.0}
        data.get_ifd(0x8825).update(place)
    return data


def png16(pixels: Array, icc: bytes | None = None) -> bytes:
    """A 16-bit RGB PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width, _ = pixels.shape
    raw = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    up = np.diff(raw, axis=0, prepend=np.zeros_like(raw[:1]))
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), up], axis=1)
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))]
    if icc is not None:
        parts.append(chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(icc, 9)))
    parts += [chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encode(name: str) -> bytes:
    """The noisy sample as its file holds it."""
    shot, pixels = SHOTS[name], render(name)[1]
    if shot.bits == 16:
        return png16(pixels, icc_profile())
    if shot.orientation == 6:  # the camera was held upright: rows run down the long side
        pixels = np.rot90(pixels)
    out = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels.squeeze()))
    options: dict[str, Any] = {
        "subsampling": "4:2:0",
        "icc_profile": icc_profile(),
        "exif": exif(shot),
    }
    if pixels.shape[2] == 1:
        options = {"dpi": (300, 300), "comment": b"scanned print"}
    picture.save(out, "JPEG", quality=92, **options)
    return out.getvalue()


def write(outdir: Path, *, clean: bool = False) -> list[Path]:
    """Writes all samples under `outdir`; with `clean` the noise-free ones under outdir/clean."""
    written = []
    for name, shot in SHOTS.items():
        files = {outdir / shot.file: encode(name)}
        if clean:
            pixels = render(name)[0]
            buffer = io.BytesIO()
            if shot.bits == 8:
                Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
            data = buffer.getvalue() or png16(pixels)
            files[(outdir / "clean" / shot.file).with_suffix(".png")] = data
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            written.append(path)
    return written


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the noisy sample photos.")
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--clean", action="store_true", help="the noise-free pictures too")
    args = parser.parse_args()
    for path in write(args.outdir, clean=args.clean):
        print(f"{path}  {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
