"""Speed and memory of the whole command: `python -m tests.bench.speed [--quick] [--only NAME,...]`.

--model NAME,... measures the speed of several models in one run, and --card notes it in their
cards, as a share of the machine's peak.

Prints JSON. Every verdict is a ratio or a difference within this one run; nothing depends on how
fast the machine is. The photos are made here: the sample scenes enlarged to 12 and 100 megapixels,
with fresh sensor-like noise, as JPEG.

    command   eight 12 MP JPEGs through the installed command; `useful` is its MP/s over the peak:
              the convolutions alone of the nets that take these photos, in bf16 (fp32 where the
              CPU lacks it), on tiles of the shape the command uses: the machine's own limit
    nlm       OpenCV's fastNlMeansDenoisingColored on one of the same pictures
    bm3d      the authors' CBM3D on a corner of it; only where it is asked for
    memory    peak over what importing torch takes, for one 100 MP photo and for 10 and 100 photos
    start     --help, and the command's first 1 MP photo
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
import torch
from PIL import Image

from denoisetool import formats, tiling
from denoisetool.engine import Engine, load_net
from denoisetool.finder import Finder
from denoisetool.modelcard import CARD_FILE
from denoisetool.nets.parts import convolutions, kmac_per_pixel
from denoisetool.program import NO_CACHE, TUNABLES
from denoisetool.registry import Entry, Registry
from tests.bench.rivals import RIVALS
from tests.photos import render

SIZES = {1: (1152, 868), 3: (2048, 1536), 12: (4000, 3000), 100: (11600, 8640)}
COMMAND = [sys.executable, "-m", "denoisetool"]


def make_photo(megapixels: int, seed: int, path: Path) -> Path:
    """A noisy JPEG of about so many megapixels."""
    width, height = SIZES[megapixels]
    clean, _ = render(("still_life", "skyline", "valley")[seed % 3])
    picture = Image.fromarray(np.asarray(clean)).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture).copy()
    rng = np.random.default_rng(seed)
    for top in range(0, height, 512):
        band = pixels[top : top + 512]
        noise = rng.standard_normal(band.shape, np.float32) * (3 + 0.03 * band)
        pixels[top : top + 512] = np.clip(band + noise, 0, 255)
    Image.fromarray(pixels).save(path, quality=92)
    return path


def make_photos(folder: Path, count: int, megapixels: int) -> Path:
    folder.mkdir(parents=True)
    first = [make_photo(megapixels, i, folder / f"{i:03}.jpg") for i in range(min(count, 8))]
    for i in range(len(first), count):
        (folder / f"{i:03}.jpg").write_bytes(first[i % len(first)].read_bytes())
    return folder


def best_of(work: Callable[[], object], times: int = 3) -> float:
    work()
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def peak(model: str, photos: Path) -> dict[str, Any]:
    """MP/s of nothing but a net's convolutions, back to back, on the command's own tiles.

    Where a model has several nets, each counts as often as it has photos.
    """
    entry = Registry().find(model)
    engine = Engine(entry.card, entry.folder, "cpu")
    kinds = Counter(Finder(engine).kind(formats.read(path)) for path in sorted(photos.iterdir()))
    nets = {kind: convolving(entry, engine, kind) for kind in kinds}
    spent = sum(count / nets[kind]["mp_per_s"] for kind, count in kinds.items())
    return {"mp_per_s": kinds.total() / spent, "photos": kinds, "nets": nets}


def convolving(entry: Entry, engine: Engine, kind: str | None) -> dict[str, Any]:
    """The peak of the net that takes photos with this kind of noise."""
    dtype = torch.float32 if engine.choice.precision == "fp32" else torch.bfloat16
    width, height = SIZES[12]
    card = entry.card
    layout = (engine.tile_side(), card.overlap_for(kind), card.stride_for(kind))
    shape = next(iter(tiling.plan(height, width, *layout))).shape
    net: Any = load_net(card, entry.weights).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if kind is not None:
        net = net.for_kind(kind)
    inputs: list[tuple[torch.nn.Module, torch.Tensor]] = []

    def keep(module: torch.nn.Module, given: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        inputs.append((module, torch.rand_like(given[0])))

    hooks = [conv.register_forward_hook(keep) for conv in convolutions(net)]
    with torch.inference_mode():
        net(torch.rand(1, 3, *shape).to(memory_format=torch.channels_last))
        for hook in hooks:
            hook.remove()
        seconds = sum(best_of(lambda m=m, x=x: m(x)) for m, x in inputs)  # type: ignore[misc]
    assert all(x.dtype == dtype for _, x in inputs)
    megapixels = shape[0] * shape[1] / 1e6
    return {
        "tile": shape,
        "mp_per_s": megapixels / seconds,
        "gmac_per_s": kmac_per_pixel(net) * megapixels / seconds,
    }


def run(arguments: list[str], home: Path) -> tuple[float, subprocess.CompletedProcess[str]]:
    environment = os.environ | {"DENOISETOOL_HOME": str(home)}
    started = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, done


def command(work: Path, model: str) -> dict[str, Any]:
    """The whole command on eight photos, and the peak before or after, whichever was higher: a busy
    moment when it is measured must not flatter the command."""
    photos = work / "twelve"
    limit = peak(model, photos)
    run([str(photos / "000.jpg"), "-o", f"{work}/warm-{model}/", "--model", model], work / "home")
    environment = os.environ | {"DENOISETOOL_HOME": str(work / "home")}
    started = time.perf_counter()
    words = [*COMMAND, str(photos), "-o", f"{work}/{model}/", "--model", model, "--json", "-q"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        begun = json.loads(process.stdout.readline())
        ready = time.perf_counter()
        process.stdout.read()
    seconds = time.perf_counter() - started
    assert process.returncode == 0
    assert begun["event"] == "start"
    limit = max(limit, peak(model, photos), key=lambda found: found["mp_per_s"])
    loaded = 8 * 12 / (seconds - (ready - started))
    return {
        "peak": limit,
        "precision": begun["precision"],
        "seconds": seconds,
        "seconds_to_load": ready - started,
        "mp_per_s": 8 * 12 / seconds,
        "useful": 8 * 12 / seconds / limit["mp_per_s"],
        "mp_per_s_once_loaded": loaded,
        "useful_once_loaded": loaded / limit["mp_per_s"],
    }


def rival(name: str, work: Path) -> float:
    """MP/s of another denoiser on one photo, or on a corner of it if it is slow."""
    picture = np.asarray(Image.open(work / "twelve" / "000.jpg"), np.float32)
    if name == "bm3d":
        picture = np.ascontiguousarray(picture[1000:1512, 1000:1512])
    started = time.perf_counter()
    RIVALS[name][0](picture, 5.0 if name == "nlm" else 10.0)
    seconds = time.perf_counter() - started
    return float(picture.shape[0] * picture.shape[1]) / 1e6 / seconds


def note(model: str, found: dict[str, Any]) -> None:
    """What a card keeps of a model's speed: its share of the peak and the arithmetic."""
    path = Registry().find(model).folder / CARD_FILE
    card = tomlkit.parse(path.read_text(encoding="utf-8"))
    card["speed"] = {
        "precision": found["precision"],
        "share_of_conv_peak": round(found["useful"], 3),
        "share_once_loaded": round(found["useful_once_loaded"], 3),
    }
    path.write_text(tomlkit.dumps(card), encoding="utf-8")


MEASURE = """
import sys, torch
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
torch.nn.functional.conv2d(torch.zeros(1, 3, 64, 64), torch.zeros(8, 3, 3, 3))
base = peak()
sys.argv = ["denoisetool", *sys.argv[1:]]
from denoisetool.cli import main
try:
    main()
finally:
    print("MEMORY", base / 1024, (peak() - base) / 1024, file=sys.stderr)
"""


def memory_of(photos: Path, output: Path, home: Path) -> float:
    """MB over what importing torch takes."""
    own = {"DENOISETOOL_HOME": str(home), TUNABLES: NO_CACHE}  # as the command itself sets it
    environment = os.environ | own
    words = [sys.executable, "-c", MEASURE, str(photos), "-o", f"{output}/", "-q"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    line = next(x for x in done.stderr.splitlines() if x.startswith("MEMORY"))
    return float(line.split()[2])


def memory(work: Path, quick: bool) -> dict[str, float]:
    result: dict[str, float] = {}
    for count, megapixels in ((10, 3), (100, 3)) if not quick else ((5, 1), (20, 1)):
        photos = make_photos(work / f"m{count}", count, megapixels)
        used = memory_of(photos, work / f"o{count}", work / "home")
        result[f"mb_{count}_photos_of_{megapixels}_mp"] = used
    if not quick:
        photo = make_photo(100, 1, work / "large.jpg")
        result["mb_one_photo_of_100_mp"] = memory_of(photo, work / "large", work / "home")
    return result


def start(work: Path) -> dict[str, float]:
    photo = make_photo(1, 0, work / "one.jpg")
    helps = min(run(["--help"], work / "home")[0] for _ in range(5))
    firsts = []
    for i in range(3):
        target = work / f"first{i}" / "one.jpg"
        firsts.append(run([str(photo), "-o", str(target)], work / "home")[0])
    fresh = run([str(photo), "-o", str(work / "fresh.jpg")], work / "other_home")[0]
    return {"help_s": helps, "first_photo_s": min(firsts), "first_photo_ever_s": fresh}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller memory test")
    parser.add_argument("--only", default="command,nlm,memory,start", help="also bm3d")
    parser.add_argument("--model", default="fast", help="names, with commas")
    parser.add_argument("--card", action="store_true", help="write the speed into the cards")
    options = parser.parse_args()
    wanted = options.only.split(",")
    result: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_photos(work / "twelve", 8, 12)
        if "command" in wanted:
            models = options.model.split(",")
            result["command"] = {model: command(work, model) for model in models}
            for model in models if options.card else ():
                note(model, result["command"][model])
        for other in sorted(RIVALS.keys() & set(wanted)):
            theirs = rival(other, work)
            result[other] = {"mp_per_s": theirs}
            for model, found in result.get("command", {}).items():
                result[other][f"{model}_times_as_fast"] = found["mp_per_s"] / theirs
        if "memory" in wanted:
            result["memory"] = memory(work, options.quick)
        if "start" in wanted:
            result["start"] = start(work)
    print(json.dumps(result, indent=1, default=lambda x: round(float(x), 4)))


if __name__ == "__main__":
    main()
