"""Quality of models on the test sets: `python -m tests.bench.quality [--model NAME,...]`.

Prints JSON, and with --card notes the scores in the models' cards. --rivals nlm,bm3d measures those
on the same pictures (--limit takes the first few of each set: BM3D needs minutes for a picture).
`mp_per_s` is the time of the denoising alone, one picture after the other; `noise_error` is how far
the reported noise is from the true one, as a share of it, mean of the absolute values. --curve
prints PSNR and the noise left in the flattest quarter of each picture, by strength.

Protocols: Gaussian noise on x/255, not clipped, generator seeded with 0 for each image, output
clamped and rounded to 8 bits; real sets 8 bits in and out, as the command writes them. RGB PSNR
without border crop, mean over images. `clipped` rows: the noisy picture is rounded and clipped to 8
bits first, as files are. `nam:1.5`, or `polyu:`, is the set with so many times its noise. `dark`
are the scenes of `nam` as a phone's raw files would show them by night, simulated: see `phone.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomlkit
import torch
from PIL import Image

from denoisetool import metrics
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine
from denoisetool.modelcard import CARD_FILE
from denoisetool.photo import Photo
from denoisetool.registry import Registry
from denoisetool.settings import folder
from tests.bench.phone import dark_photo
from tests.bench.rivals import RIVALS, Picture, in_8_bits

Method = Callable[[npt.NDArray[Any]], tuple[Picture, float | None]]
"""A noisy picture to the clean one, and the noise that was found in it, if the method tells."""
DATA = Path(__file__).parents[3] / "shared" / "data" / "test"


def read(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def real_pairs(data: Path, name: str) -> Iterator[tuple[str, Picture, Picture]]:
    """(name, noisy, truth) of a real-noise set."""
    if name == "nam":
        for path in sorted((data / "nam" / "noisy").iterdir()):
            truth = data / "nam" / "gt" / path.name.replace("noise", "gt")
            yield path.stem, read(path), read(truth)
    else:
        for path in sorted((data / "polyu").glob("*_real.*")):
            truth = path.with_name(path.name.replace("_real", "_mean"))
            yield path.stem, read(path), read(truth)


def strengthened(noisy: Picture, truth: Picture, factor: float) -> Picture:
    """A picture with so many times its own noise."""
    return in_8_bits(truth + np.float32(factor) * (noisy.astype(np.float32) - truth))


def gaussian_pairs(
    data: Path, name: str, sigma: float
) -> Iterator[tuple[str, npt.NDArray[np.float32], Picture]]:
    """(name, noisy in levels, not clipped, truth)."""
    for path in sorted((data / name).glob("*.png")):
        truth = read(path)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(truth.shape[2], *truth.shape[:2], generator=generator)
        noisy = truth.astype(np.float32)
        noisy += noise.permute(1, 2, 0).numpy().astype(np.float32) * np.float32(sigma)
        yield path.stem, noisy, truth


def clean_with(denoiser: Denoiser, noisy: npt.NDArray[Any]) -> tuple[Picture, float | None]:
    """What the command would write for an 8-bit picture, or for a float one, which is not clipped
    before the end."""
    if noisy.dtype == np.uint8:
        photo = Photo(pixels=noisy.copy(), format="png", mode="RGB")
        report = denoiser.denoise(photo)
        return np.asarray(photo.pixels, np.uint8), report.noise
    scaled = np.asarray(noisy / 255, np.float32)
    photo = Photo(pixels=scaled, format="tiff", mode="RGB")
    report = denoiser.denoise(photo)
    return in_8_bits(scaled * 255), report.noise


def score(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Means over a set, and how many pictures came out worse than they went in."""
    keys = [k for k in rows[0] if k != "name"]
    means = {k: round(float(np.mean([r[k] for r in rows])), 4) for k in keys}
    means["images"] = len(rows)
    means["worse_than_input"] = sum(r["psnr"] < r["psnr_in"] for r in rows)
    means["least_gain"] = round(min(r["psnr"] - r["psnr_in"] for r in rows), 3)
    if "coarse" in rows[0]:
        means["coarse_worse"] = sum(r["coarse"] > r["coarse_in"] + 1e-4 for r in rows)
    return means


def measure(method: Method, noisy: npt.NDArray[Any], truth: Picture) -> dict[str, float]:
    started = time.perf_counter()
    out, found = method(noisy)
    seconds = time.perf_counter() - started
    given = in_8_bits(noisy)
    row = {"psnr_in": metrics.psnr(given, truth), "psnr": metrics.psnr(out, truth)}
    row["ssim"] = metrics.ssim(out, truth)
    row["coarse_in"] = metrics.coarse_ciede2000(given, truth)[0]
    row["coarse"] = metrics.coarse_ciede2000(out, truth)[0]
    for key, picture in (("channel_error_in", given), ("channel_error", out)):
        means = (picture.astype(np.float64) - truth).mean((0, 1))
        row[key] = float(np.abs(means).max())
    if found is not None:
        true = float(np.sqrt(np.square(noisy - truth.astype(np.float64)).mean()))
        row |= {"noise_found": found, "noise_error": abs(found - true) / true}
    return row | {"mp_per_s": truth.shape[0] * truth.shape[1] / 1e6 / seconds}


def pairs_of(data: Path, name: str) -> dict[str, tuple[float | None, list[Any]]]:
    """The variants of a set: sigma, if it is known, and (name, noisy, truth) of its pictures."""
    base, _, sigma = name.partition(":")
    if name == "dark":
        scenes = enumerate(real_pairs(data, "nam"))
        return {name: (None, [(n, *dark_photo(t, i)) for i, (n, _, t) in scenes])}
    if base in ("nam", "polyu"):
        pairs = [
            (n, strengthened(x, t, float(sigma or 1)), t) for n, x, t in real_pairs(data, base)
        ]
        return {f"{base} noise x {sigma}" if sigma else name: (None, pairs)}
    plain = list(gaussian_pairs(data, base, float(sigma)))
    clipped = [(n, in_8_bits(x), t) for n, x, t in plain]
    title = f"{base} sigma {sigma}"
    return {title: (float(sigma), plain), f"{title} clipped": (float(sigma), clipped)}


def run(denoiser: Denoiser, data: Path, sets: list[str], limit: int | None) -> dict[str, Any]:
    """Scores of a model per set."""
    result: dict[str, Any] = {}
    for name in sets:
        for title, (_, pairs) in pairs_of(data, name).items():
            rows = [measure(lambda n: clean_with(denoiser, n), n, t) for _, n, t in pairs[:limit]]
            result[title] = score(rows)
    return result


def curve(denoiser: Denoiser, data: Path, sets: list[str], limit: int | None) -> dict[str, Any]:
    """Mean PSNR and the mean noise left, in levels, per set and strength."""
    result: dict[str, Any] = {}
    for name in sets:
        title, (_, pairs) = next(iter(pairs_of(data, name).items()))
        result[title] = {}
        for denoiser.strength in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2):
            outs = [(clean_with(denoiser, n)[0], t) for _, n, t in pairs[:limit]]
            psnr = float(np.mean([metrics.psnr(out, truth) for out, truth in outs]))
            left = float(np.mean([flat_noise(out, truth) for out, truth in outs]))
            result[title][str(denoiser.strength)] = [round(psnr, 3), round(left, 3)]
    return result


def flat_noise(out: Picture, truth: Picture, side: int = 16) -> float:
    """Rms of what differs within the flattest quarter of the cells, in levels; tints left out."""
    rows, columns = truth.shape[0] // side, truth.shape[1] // side

    def cells(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        cut = picture[: rows * side, : columns * side].astype(np.float64)
        return cut.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side**2, 3)

    flatness = cells(truth).std(1).mean(1)
    error = (cells(out) - cells(truth))[flatness <= np.percentile(flatness, 25)]
    return float(np.sqrt(np.square(error - error.mean(1, keepdims=True)).mean()))


def run_rival(rival: str, data: Path, sets: list[str], limit: int | None) -> dict[str, Any]:
    """Scores of another denoiser per set, at the strength that suits the set best."""
    result: dict[str, Any] = {}
    method, strengths = RIVALS[rival]
    for name in sets:
        for title, (sigma, pairs) in pairs_of(data, name).items():
            tries = []
            for strength in strengths(sigma):
                work: Method = lambda n, s=strength: (method(n.astype(np.float32), s), None)  # type: ignore[misc]  # noqa: E731
                rows = [measure(work, n, t) for _, n, t in pairs[:limit]]
                tries.append(score(rows) | {"strength": strength})
            result[title] = max(tries, key=lambda scores: scores["psnr"])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="fast", help="names, with commas; '' for none")
    parser.add_argument("--rivals", default="", help="of nlm and bm3d, with commas")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--no-lock", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--sets", default="nam,polyu,kodak24:25,cbsd68:25,kodak24:15,kodak24:50")
    parser.add_argument("--limit", type=int, help="only the first few pictures of each set")
    parser.add_argument("--curve", action="store_true", help="by strength instead")
    parser.add_argument("--card", action="store_true", help="write the scores into the cards")
    options = parser.parse_args()
    if options.card and options.limit:
        parser.error("a card is for whole sets")
    if options.threads:
        torch.set_num_threads(options.threads)
    sets = options.sets.split(",")
    for name in filter(None, options.model.split(",")):
        entry = Registry().find(name)
        engine = Engine(entry.card, entry.folder, "cpu", options.precision, folder("cache"))
        denoiser = Denoiser(engine, color_lock=not options.no_lock)
        if options.curve:
            print(json.dumps(curve(denoiser, options.data, sets, options.limit), indent=1))
            continue
        scores = run(denoiser, options.data, sets, options.limit)
        about = {"model": name, "sha256": entry.card.weights_sha256[:12]}
        print(
            json.dumps(about | {"precision": engine.choice.precision, "scores": scores}, indent=1)
        )
        if options.card:
            path = entry.folder / CARD_FILE
            card = tomlkit.parse(path.read_text(encoding="utf-8"))
            # Scores of other sets are of the same weights, or they would not be there.
            known = card.setdefault("scores", tomlkit.table())
            known.update({key: _kept(row) for key, row in scores.items()})
            path.write_text(tomlkit.dumps(card), encoding="utf-8")
    for name in filter(None, options.rivals.split(",")):
        scores = run_rival(name, options.data, sets, options.limit)
        print(json.dumps({"rival": name, "scores": scores}, indent=1), flush=True)


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    """What a card keeps: everything that does not depend on this machine."""
    return {key: value for key, value in row.items() if key != "mp_per_s"}


if __name__ == "__main__":
    main()
