"""Models that follow published ones, on the tests of those: `python -m tests.bench.classics`.

    --model NAME-or-FOLDER,...   --cases cifar,dncnn,sr,colour   --limit N   --subset N

Prints JSON, an object for each case. `sr` takes the models that enlarge, all others those that do
not. Pictures go straight through the net in float32, padded by reflection to its stride, and a net
with experts is told that the noise is white; a row `command` is what the command writes instead:
8 bits in, tiles, colour lock, the kind of noise found in the picture. `eightfold` is the mean over
mirrored and turned pictures (Lim et al. 2017, "Enhanced deep residual networks"). Results are
clamped and rounded to 8 bits before they are scored.

`cifar`: the 10,000 test images of CIFAR-10, noise of sigma 30 of 255 clipped to [0, 1] and not
rounded, all of it from one generator seeded with 0, image after image. `psnr` is the mean over
images, `psnr_batch` the mean over batches of 64, each with one mean squared error; `coarse` is
CIEDE2000 of 16 x 16 boxes, four in an image; `tint` is the mean error of red, green and blue over
everything, in levels. The rivals, the command and, to compare, all others are also scored on the
first --subset images.

`dncnn`: CBSD68 and Kodak24, Gaussian noise as in `quality.py`, not clipped.

`sr`: Kodak24 made smaller by Pillow's bicubic filter, which takes the mean over the area, in 8
bits, and enlarged again. PSNR and SSIM are of RGB without border crop. `psnr_y` is of luma (BT.601,
16..235, not rounded) without `scale` pixels at each border. `squeeze_distance`: see there.

`colour`: what the command writes with the colour lock and without, for the same noise in 8 bits.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from denoisetool import metrics
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine
from denoisetool.engine.core import load_net
from denoisetool.nets.parts import enlarged
from denoisetool.registry import Registry
from denoisetool.registry.entry import Entry
from denoisetool.settings import folder
from denoisetool.training.features import Features
from tests.bench.quality import DATA, clean_with, gaussian_pairs, measure, read, score
from tests.bench.rivals import RIVALS, Picture, in_8_bits
from tests.bench.rivals import Method as Rival

Pair = tuple[Picture, Picture]
"""Noisy and true."""
Levels = npt.NDArray[np.float32]
"""Pictures in levels of 255, (N, H, W, 3), not clipped."""
SIGMA = 30.0
SIDE = 32
METRIC_BATCH = 64
AT_ONCE = 250
PUBLISHED: dict[str, Any] = {
    # The article trains on CIFAR-10 alone and scores by other rules: its PSNR is over batches of
    # 64, its SSIM has a 7 x 7 x 7 window that runs across images. The rest is PSNR by image.
    "cifar": {
        "SRGAN denoiser, its article": {"psnr_batch": 21.2315, "ssim_7x7x7": 0.9239},
        "SRGAN denoiser, run again on clean copies": {"psnr": 23.2},
        "CBM3D": {"psnr": 27.0},
        "DnCNN": {"psnr": 27.4},
        "FFDNet trained on clipped noise": {"psnr": 28.0},
    },
    # Zhang et al. 2021, "Plug-and-play image restoration with deep denoiser prior".
    "dncnn": {
        "cbsd68": {"15": 33.90, "25": 31.24, "50": 27.95},
        "kodak24": {"15": 34.60, "25": 32.14, "50": 28.95},
    },
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model to measure, and its bare net."""

    entry: Entry
    net: nn.Module
    scale: int

    def straight(self, pictures: Levels) -> Picture:
        """What the net makes of pictures of one size, larger by `scale`, in 8 bits."""
        told = ("white",) if "white" in getattr(self.net, "kinds", ()) else ()
        return through(self.net, pictures, self.entry.card.stride, self.scale, *told)

    def one(self, noisy: npt.NDArray[Any]) -> tuple[Picture, None]:
        """The same for one picture (H, W, 3), as `quality.measure` asks for it."""
        return self.straight(noisy[None])[0], None

    def command(self, precision: str, color_lock: bool = True) -> Denoiser:
        """The way that the command takes."""
        card, where = self.entry.card, self.entry.folder
        engine = Engine(card, where, "cpu", precision, folder("cache"))
        return Denoiser(engine, color_lock=color_lock)


def through(net: nn.Module, pictures: Levels, stride: int, scale: int = 1, *told: str) -> Picture:
    """What a net makes of pictures of one size, padded by reflection to its stride, in 8 bits."""
    height, width = pictures.shape[1:3]
    given = torch.from_numpy(pictures / 255).permute(0, 3, 1, 2)
    given = F.pad(given, (0, -width % stride, 0, -height % stride), mode="reflect")
    with torch.inference_mode():
        found = enlarged(given, scale) - net(given, *told)
    found = found[..., : height * scale, : width * scale].permute(0, 2, 3, 1)
    return in_8_bits(found.numpy() * 255)


def load(name: str) -> Model:
    entry = Registry().find(name)
    net = load_net(entry.card, entry.weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(entry, net, entry.card.scale)


# -- cifar ------------------------------------------------------------------------------------


def small_images(path: Path) -> Picture:
    """(N, 32, 32, 3) from a sheet of them, row by row."""
    sheet = read(path)
    rows, columns = sheet.shape[0] // SIDE, sheet.shape[1] // SIDE
    tiles = sheet.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(-1, SIDE, SIDE, 3))


def clipped_noise(truth: Picture, sigma: float = SIGMA) -> Levels:
    """(N, H, W, 3) with noise, clipped and not rounded; the first ones do not depend on N."""
    noise = np.random.default_rng(0).standard_normal(truth.shape, np.float32)
    return np.clip(truth + noise * np.float32(sigma), 0, 255)


def score_small(found: npt.NDArray[Any], truth: Picture) -> dict[str, Any]:
    """Scores of images (N, 32, 32, 3) in levels; no window and no box runs across two of them."""
    pairs = list(zip(found, truth, strict=True))
    batches = range(0, len(truth), METRIC_BATCH)
    whole = [(found[i : i + METRIC_BATCH], truth[i : i + METRIC_BATCH]) for i in batches]
    column = (-1, SIDE, 3)  # one image under the other; boxes divide their height
    coarse = metrics.coarse_ciede2000(found.reshape(column), truth.reshape(column))
    tint = (found.astype(np.float64) - truth).mean((0, 1, 2))
    return {
        "psnr": _rounded(np.mean([metrics.psnr(a, b) for a, b in pairs])),
        "psnr_batch": _rounded(np.mean([metrics.psnr(a, b) for a, b in whole])),
        "ssim": _rounded(np.mean([metrics.ssim(a, b) for a, b in pairs])),
        "coarse": _rounded(coarse[0]),
        "tint": [_rounded(value) for value in tint],
        "images": len(truth),
    }


def timed(work: Callable[[Levels], Picture], noisy: Levels, step: int) -> tuple[Picture, float]:
    """What `work` makes of images, `step` at once, and how many it does in a second."""
    started = time.perf_counter()
    parts = [work(noisy[i : i + step]) for i in range(0, len(noisy), step)]
    return np.concatenate(parts), len(noisy) / (time.perf_counter() - started)


def cifar(
    models: list[Model], truth: Picture, subset: int, rivals: list[str], precision: str
) -> dict[str, Any]:
    """Rows for all images, and rows for the first few of them."""
    noisy = clipped_noise(truth)
    few, few_truth = noisy[:subset], truth[:subset]
    everything = {"noisy": score_small(noisy, truth)}
    some = {"noisy": score_small(few, few_truth)}
    for model in models:
        name = model.entry.name
        found, speed = timed(model.straight, noisy, AT_ONCE)
        everything[name] = score_small(found, truth) | {"images_per_s": round(speed, 1)}
        some[name] = score_small(found[:subset], few_truth)
        found, speed = timed(partial(_by_command, model.command(precision)), few, 1)
        row = score_small(found, few_truth) | {"images_per_s": round(speed, 1)}
        some[f"{name}, command"] = row
        found, speed = timed(partial(eightfold, model.straight), few, AT_ONCE)
        row = score_small(found, few_truth) | {"images_per_s": round(speed, 1)}
        some[f"{name}, eightfold"] = row
    for rival in rivals:
        method, strengths = RIVALS[rival]
        tries = []
        for strength in strengths(SIGMA):
            found, speed = timed(partial(_by_rival, method, strength), few, 1)
            row = score_small(found, few_truth) | {"images_per_s": round(speed, 2)}
            tries.append(row | {"strength": strength})
        some[rival] = max(tries, key=lambda row: row["psnr"])
    return {"all": everything, "subset": some, "published": PUBLISHED["cifar"]}


def eightfold(work: Callable[[Levels], Picture], pictures: Levels) -> Picture:
    """The mean of what comes out of squares turned and mirrored in all eight ways, turned back."""
    total = np.zeros(pictures.shape, np.float32)
    for turns in range(4):
        for step in (1, -1):
            given = np.ascontiguousarray(np.rot90(pictures, turns, (1, 2))[:, :, ::step])
            total += np.rot90(work(given)[:, :, ::step], -turns, (1, 2))
    return in_8_bits(total / 8)


def _by_command(denoiser: Denoiser, pictures: Levels) -> Picture:
    return clean_with(denoiser, in_8_bits(pictures[0]))[0][None]


def _by_rival(method: Rival, strength: float, pictures: Levels) -> Picture:
    return method(pictures[0], strength)[None]


# -- dncnn ------------------------------------------------------------------------------------


def dncnn(models: list[Model], data: Path, limit: int | None) -> dict[str, Any]:
    """Scores per model, set and sigma."""
    result: dict[str, Any] = {}
    for model in models:
        rows = result[model.entry.name] = {}
        for name, published in PUBLISHED["dncnn"].items():
            for sigma, theirs in published.items():
                pairs = list(gaussian_pairs(data, name, float(sigma)))[:limit]
                scores = score([measure(model.one, noisy, truth) for _, noisy, truth in pairs])
                rows[f"{name} sigma {sigma}"] = scores | {"published": theirs}
    return result


# -- sr ---------------------------------------------------------------------------------------


def luma(picture: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """BT.601 luma of R'G'B' levels, 16..235: (H, W, 3) to (H, W, 1)."""
    return np.asarray(16 + picture @ np.array([[65.481], [128.553], [24.966]]) / 255)


def squeeze_distance(features: Features, a: Picture, b: Picture) -> float:
    """How differently SqueezeNet sees two pictures (H, W, 3): 0 for equal ones, at most 2.

    Made as LPIPS is (Zhang et al. 2018): at seven depths the channels of each place are scaled to
    unit length, and the squared differences summed over channels; then the mean over places and
    depths. LPIPS weighs channels by what people judged; this does not, so its values are others.
    """
    with torch.inference_mode():
        maps = [
            features(torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None])
            for picture in (a, b)
        ]
        distances = [
            (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean()
            for x, y in zip(*maps, strict=True)
        ]
    return float(torch.stack(distances).mean())


def score_enlarged(
    found: Picture, truth: Picture, scale: int, features: Features
) -> dict[str, float]:
    inner = slice(scale, -scale)
    return {
        "psnr": metrics.psnr(found, truth),
        "psnr_y": metrics.psnr(luma(found)[inner, inner], luma(truth)[inner, inner]),
        "ssim": metrics.ssim(found, truth),
        "coarse": metrics.coarse_ciede2000(found, truth)[0],
        "squeeze_distance": squeeze_distance(features, found, truth),
    }


def smaller(picture: Picture, scale: int) -> tuple[Picture, Picture]:
    """The picture, cut to a multiple of `scale`, and a smaller one, both in 8 bits."""
    height, width = (side // scale for side in picture.shape[:2])
    truth = np.ascontiguousarray(picture[: height * scale, : width * scale])
    return truth, _resized(truth, width, height)


def _resized(picture: Picture, width: int, height: int) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def sr(models: list[Model], pictures: list[Picture], features: Features) -> dict[str, Any]:
    """Rows per scale: bicubic, and each model of that scale; both scales if there is no model."""
    result: dict[str, Any] = {}
    for scale in sorted({model.scale for model in models} or {2, 4}):
        rows: dict[str, list[dict[str, float]]] = {"bicubic": []}
        for picture in pictures:
            truth, small = smaller(picture, scale)
            found = _resized(small, truth.shape[1], truth.shape[0])
            rows["bicubic"].append(score_enlarged(found, truth, scale, features))
            for model in models:
                if model.scale == scale:
                    found = model.straight(small[None].astype(np.float32))[0]
                    row = score_enlarged(found, truth, scale, features)
                    rows.setdefault(model.entry.name, []).append(row)
        result[f"x{scale}"] = {
            name: {key: _rounded(np.mean([row[key] for row in found])) for key in found[0]}
            | {"images": len(found)}
            for name, found in rows.items()
        }
    return result


# -- colour -----------------------------------------------------------------------------------


def colour(models: list[Model], sets: dict[str, list[Pair]], precision: str) -> dict[str, Any]:
    """Scores by model and set, of noisy pictures of 8 bits, with the lock and without."""
    result: dict[str, Any] = {}
    for model in models:
        rows = result[model.entry.name] = {}
        for title, lock in (("lock", True), ("no lock", False)):
            denoiser = model.command(precision, lock)
            clean = partial(clean_with, denoiser)
            for name, pairs in sets.items():
                scores = score([measure(clean, noisy, truth) for noisy, truth in pairs])
                rows[f"{name}, {title}"] = scores
    return result


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="fast", help="names or folders, with commas")
    parser.add_argument("--cases", default="cifar,dncnn,sr,colour")
    parser.add_argument("--rivals", default="", help="of nlm and bm3d, with commas; for cifar")
    parser.add_argument("--limit", type=int, help="only the first few pictures of each set")
    parser.add_argument("--subset", type=int, default=50, help="images for what is slow")
    parser.add_argument("--precision", default="auto", help="of the command's rows")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--features", type=Path, help="weights of SqueezeNet 1.1, for sr")
    options = parser.parse_args()
    cases = options.cases.split(",")
    if unknown := set(cases) - {"cifar", "dncnn", "sr", "colour"}:
        parser.error(f"no case is called {', '.join(sorted(unknown))}")
    if options.threads:
        torch.set_num_threads(options.threads)
    models = [load(name) for name in filter(None, options.model.split(","))]
    plain = [model for model in models if model.scale == 1]
    data, limit = options.data, options.limit
    rivals = [name for name in options.rivals.split(",") if name]
    for case in cases:
        if case == "cifar":
            truth = small_images(data / "cifar10_mosaic.webp")[:limit]
            found = cifar(plain, truth, options.subset, rivals, options.precision)
        elif case == "dncnn":
            found = dncnn(plain, data, limit)
        elif case == "sr":
            path = options.features or data.parent / "perceptual" / "squeezenet1_1.safetensors"
            larger = [model for model in models if model.scale > 1]
            found = sr(larger, _kodak(data)[:limit], Features(path))
        else:
            truth = small_images(data / "cifar10_mosaic.webp")[: limit or options.subset]
            sets = {
                "kodak24": [(_noisy(t[None])[0], t) for t in _kodak(data)[:limit]],
                "cifar": list(zip(_noisy(truth), truth, strict=True)),
            }
            found = colour(plain, sets, options.precision)
        print(json.dumps({"case": case} | found, indent=1), flush=True)


def _noisy(truth: Picture) -> Picture:
    return in_8_bits(clipped_noise(truth))


def _kodak(data: Path) -> list[Picture]:
    return [read(path) for path in sorted((data / "kodak24").glob("*.png"))]


if __name__ == "__main__":
    main()
