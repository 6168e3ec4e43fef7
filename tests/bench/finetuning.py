"""What fine-tuning gains, against the clean truth, on photos it never saw.

    python -m tests.bench.finetuning --data CLEAN [--cases camera,known] [--minutes 10]
    python -m tests.bench.finetuning --pairs NOISY CLEAN [--steps N]

`--data` is a folder of clean photos. Some are rendered as pairs by a camera that no model knows,
with coarse grain along rows, colour blotches and banding, all of it depending on the signal; others
are kept for the score. Cases: `camera` is that; `known` has white noise, which the start model was
made for; `shifted`, `moving` and `exposure` have pairs of the camera that are moved by up to 8
pixels, have things that move, or differ by a third of a stop, each with preparation and without.
`--pairs` takes real noisy and clean photos, in the same order, and keeps one of four scenes, by
name, for the score.

Prints a row of JSON for each case.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoisetool import formats, metrics
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine
from denoisetool.finetune.run import Listener, Wishes, denoiser_of
from denoisetool.finetune.run import run as finetune
from denoisetool.modelcard import OWN, load
from denoisetool.registry import Registry
from denoisetool.training.data import load_photos
from denoisetool.training.team import Team

Float = npt.NDArray[np.float32]
WIDTH, HEIGHT = 3000, 2000
SCENES, TESTS = 8, 6
CASES = ("camera", "known", "shifted", "moving", "exposure")
PREPARED = ("shifted", "moving", "exposure")


def soft(noise: Float, sigmas: tuple[float, float]) -> Float:
    """Noise through a Gaussian, at a standard deviation of 1 again; by FFT."""
    fy = np.fft.fftfreq(noise.shape[0])[:, None, None]
    fx = np.fft.rfftfreq(noise.shape[1])[None, :, None]
    gain = np.exp(-2 * np.pi**2 * ((fy * sigmas[0]) ** 2 + (fx * sigmas[1]) ** 2))
    out = np.fft.irfft2(np.fft.rfft2(noise, axes=(0, 1)) * gain, s=noise.shape[:2], axes=(0, 1))
    return np.asarray(out / out.std(), np.float32)


def shoot(clean: Float, case: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A photo of a scene (0..1) by the camera of a case."""
    white = rng.normal(0, 1, clean.shape).astype(np.float32)
    if case == "known":
        noisy = clean + 12 / 255 * white
    else:
        grain = soft(white, (0.6, 1.6))
        blotches = soft(rng.normal(0, 1, clean.shape).astype(np.float32), (5.0, 5.0))
        blotches -= blotches.mean(2, keepdims=True)
        sigma = (4 + 16 * np.sqrt(clean) * (1 - 0.4 * clean)) / 255
        bands = rng.normal(0, 1.5 / 255, (len(clean), 1, 1))
        noisy = clean + sigma * (0.9 * grain + 0.7 * blotches) + bands
    return np.asarray(np.clip(np.rint(noisy * 255), 0, 255), np.uint8)


def scenes(data: Path, side: int) -> list[Float]:
    """Clean pictures of 6 MP (or smaller ones), the largest of a folder, each from one photo."""
    photos = sorted(load_photos(data, 1000), key=lambda p: -p.shape[0] * p.shape[1])
    found = []
    for photo in photos[: SCENES + TESTS]:
        image = Image.fromarray(photo)
        if image.height > image.width:
            image = image.rotate(90, expand=True)
        width, height = WIDTH // side, HEIGHT // side
        scale = max(width / image.width, height / image.height)
        size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        cut = np.asarray(image.crop((0, 0, width, height)), np.float32)
        found.append(cut / np.float32(255))
    return found


def spoilt(clean: Float, case: str, rng: np.random.Generator) -> Float:
    """The scene as it was at the second shot."""
    if case == "shifted":
        dy, dx = rng.uniform(-8, 8, 2)
        fy = np.fft.fftfreq(clean.shape[0])[:, None, None]
        fx = np.fft.fftfreq(clean.shape[1])[None, :, None]
        turned = np.fft.fft2(clean, axes=(0, 1)) * np.exp(-2j * np.pi * (fy * dy + fx * dx))
        moved = np.fft.ifft2(turned, axes=(0, 1)).real
        return np.asarray(np.clip(moved, 0, 1), np.float32)
    if case == "moving":
        out = clean.copy()
        for _ in range(25):
            size = int(rng.integers(80, 260))
            top, left = (int(rng.integers(0, n - size - 60)) for n in clean.shape[:2])
            out[top + 30 : top + 30 + size, left + 50 : left + 50 + size] = clean[
                top : top + size, left : left + size
            ]
        return out
    if case == "exposure":
        return clean * np.float32(2 ** (-1 / 3 / 2.2))
    return clean


def write(pixels: npt.NDArray[np.uint8], path: Path) -> None:
    """A JPEG as cameras write them, which tells its camera."""
    exif = Image.Exif()
    exif[271], exif[272] = "Bench", "Bench One"
    exif.get_ifd(34665)[34855] = 3200
    Image.fromarray(pixels).save(path, quality=93, subsampling=2, exif=exif)


def psnr(denoiser: Denoiser, noisy: Path, clean: Float) -> float:
    """Of one photo through the whole chain."""
    photo = formats.read(noisy, formats.Limits())
    denoiser.denoise(photo)
    return metrics.psnr(photo.pixels.astype(np.float32), np.rint(clean * 255))


def tuned(folder: Path, args: argparse.Namespace, raw: bool) -> tuple[dict[str, object], Path]:
    """Fine-tune; what the verdict said, and where the model lies."""
    wishes = Wishes(
        folder, Registry().find(args.model), name="bench", minutes=args.minutes, steps=args.steps,
        raw=raw, run=folder.parent / ("work-raw" if raw else "work"),
    )  # fmt: skip
    began = time.monotonic()
    silent = Listener(
        lambda line: None, lambda found, collected: None, lambda text: None, lambda *step: None
    )
    done = finetune(wishes, Team(), silent)
    assert done is not None
    verdict = done.verdict
    row: dict[str, object] = {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "training_minutes": round(done.seconds / 60, 1), "steps": done.plan.steps,
        "pairs": done.plan.pairs, "installed": done.installed is not None,
        "gain_noise2noise": verdict.gain, "low": verdict.low, "high": verdict.high,
        "gain_estimated": verdict.truth_gain, "synthetic": round(verdict.synthetic, 3),
        "why": "; ".join(verdict.reasons),
    }  # fmt: skip
    return row, done.folder


def scored(
    args: argparse.Namespace, tests: list[tuple[Path, Float]], made: Path
) -> dict[str, float]:
    """PSNR of test photos: as they are, with the start model, with the new one."""
    start = denoiser_of(Registry().find(args.model), "auto")
    new = Denoiser(Engine(load(made), made), only=OWN)
    pictures = [
        (p, formats.read(p, formats.Limits()).pixels.astype(np.float32), c) for p, c in tests
    ]
    return {
        "psnr_in": round(
            float(np.mean([metrics.psnr(n, np.rint(c * 255)) for _, n, c in pictures])), 3
        ),
        "psnr_start": round(float(np.mean([psnr(start, p, c) for p, _, c in pictures])), 3),
        "psnr": round(float(np.mean([psnr(new, p, c) for p, _, c in pictures])), 3),
    }


def rendered(case: str, args: argparse.Namespace, place: Path) -> None:
    """One case of rendered pairs."""
    rng = np.random.default_rng(11)
    clean = scenes(args.data, 1 if case in ("camera", "known") else 2)
    folder = place / "pairs"
    folder.mkdir(parents=True)
    for number, scene in enumerate(clean[:SCENES]):
        write(shoot(scene, case, rng), folder / f"scene{number}_a.jpg")
        write(shoot(spoilt(scene, case, rng), case, rng), folder / f"scene{number}_b.jpg")
    tests = []
    for number, scene in enumerate(clean[SCENES:]):
        tests.append((place / f"test{number}.jpg", scene))
        write(shoot(scene, case, rng), tests[-1][0])
    for raw in (False, True) if case in PREPARED else (False,):
        row, made = tuned(folder, args, raw)
        kept = shutil.copytree(made, place / f"model-{raw}")
        print(
            json.dumps({"case": case, "prepared": not raw} | scored(args, tests, kept) | row),
            flush=True,
        )


def _scene(name: str) -> str:
    """What a name says of the scene: all but its number, and what is behind that."""
    return re.sub(r"_\d+(_[a-z]+)?$", "", Path(name).stem)


def real(args: argparse.Namespace, place: Path) -> None:
    """Real noisy and clean photos; one of four scenes is for the score."""
    noisy, clean = args.pairs
    names = sorted(p.name for p in noisy.iterdir() if formats.by_suffix(p.suffix) is not None)
    truths = sorted(p.name for p in clean.iterdir() if formats.by_suffix(p.suffix) is not None)
    tests: list[tuple[Path, Float]] = []
    for folder in ("noisy", "clean"):
        (place / "pairs" / folder).mkdir(parents=True)
    scenes_of = sorted({_scene(name) for name in names})
    kept = set(scenes_of[3::4])
    for index, (name, truth) in enumerate(zip(names, truths, strict=True)):
        if _scene(name) in kept:
            picture = formats.read(clean / truth, formats.Limits()).pixels.astype(np.float32)
            tests.append((noisy / name, picture / np.float32(255)))
            continue
        for folder, source in (("noisy", noisy / name), ("clean", clean / truth)):
            target = place / "pairs" / folder / f"{index:03}{source.suffix}"
            target.symlink_to(source.resolve())
    row, made = tuned(place / "pairs", args, raw=False)
    print(
        json.dumps({"case": noisy.name, "tested": len(tests)} | scored(args, tests, made) | row),
        flush=True,
    )


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of clean photos")
    parser.add_argument("--pairs", type=Path, nargs=2, help="folders of noisy and clean photos")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--model", default="fast")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    for case in ["pairs"] if args.pairs else args.cases.split(","):
        with tempfile.TemporaryDirectory() as place:
            os.environ["DENOISETOOL_HOME"] = f"{place}/home"
            if args.pairs:
                real(args, Path(place))
            else:
                rendered(case, args, Path(place))


if __name__ == "__main__":
    main()
