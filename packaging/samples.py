"""Small noisy pictures in every format and kind, for the smoke test."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

Pixels = npt.NDArray[np.generic]
TIFF_COMPRESSIONS = (
    "none", "lzw", "zlib", "deflate", "packbits", "lzma", "zstd", "jpeg", "jpeg2000", "lerc",
    "webp", "jpegxl",
)  # fmt: skip
"""All that we read, as tifffile calls them; `zlib` and `deflate` are two numbers of one."""


def picture(seed: int = 0, *, height: int = 96, width: int = 128, noise: float = 0.06) -> Pixels:
    """A smooth picture with noise: float64 (height, width, 3) in [0, 1]."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = (rows, columns, 0.5 + 0.5 * np.sin(9 * rows * columns))
    clean = 0.15 + 0.7 * np.stack(waves, 2)
    grain = np.random.default_rng(seed).normal(0, noise, clean.shape)
    return np.asarray(np.clip(clean + grain, 0, 1))


def write(folder: Path) -> None:
    """Write one picture per format, depth and compression into `folder`."""
    folder.mkdir(parents=True)
    exact = picture()
    rgb8 = np.rint(exact * 255).astype(np.uint8)
    rgb16 = np.rint(exact * 65535).astype(np.uint16)
    image = Image.fromarray(rgb8)
    for name, options in {
        "rgb8.jpg": {"quality": 92}, "progressive.jpg": {"progressive": True}, "rgb8.png": {},
        "rgb8.webp": {"quality": 90}, "lossless.webp": {"lossless": True}, "rgb8.bmp": {},
        "rgb8.avif": {"quality": 90},
    }.items():  # fmt: skip
        image.save(folder / name, **options)  # type: ignore[arg-type]
    image.convert("L").save(folder / "grey8.png")
    image.quantize(64).save(folder / "palette.png")
    alpha = np.concatenate([rgb8, rgb8[..., :1]], 2)
    Image.fromarray(alpha).save(folder / "rgba8.png")
    (folder / "rgb16.png").write_bytes(imagecodecs.png_encode(rgb16))
    ten_bits = np.rint(exact * 1023).astype(np.uint16)
    coded = imagecodecs.avif_encode(ten_bits, level=80, bitspersample=10)
    (folder / "rgb10.avif").write_bytes(coded)
    tifffile.imwrite(folder / "rgb16.tif", rgb16, photometric="rgb")
    for dtype in (np.float16, np.float32):
        name = f"{np.dtype(dtype).name}.tif"
        tifffile.imwrite(folder / name, exact.astype(dtype), photometric="rgb")
    for compression in TIFF_COMPRESSIONS:
        tifffile.imwrite(
            folder / f"{compression}.tif", rgb8, photometric="rgb",
            compression=None if compression == "none" else compression,
        )  # fmt: skip


def write_pairs(folder: Path) -> None:
    """Write four scenes, each twice with other noise, into folders of their own."""
    for scene in range(4):
        place = folder / f"scene{scene}"
        place.mkdir(parents=True)
        for shot in range(2):
            exact = np.roll(picture(2 * scene + shot, height=320, width=384), 40 * scene, 1)
            pixels = np.rint(exact * 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"shot{shot}.jpg", quality=97)
