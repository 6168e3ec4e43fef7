"""Recipes against each other at equal training time: `python -m tests.bench.contest`.

    --recipes FILE,...  --data FOLDER  [--minutes 10] [--sigmas 30,50] [--features FILE] [--limit N]

Each recipe is trained for so many minutes of processor time on one thread, its schedule drawn
together to the steps that fit, and scored on Kodak24: white noise of the sigmas, clipped and
rounded to 8 bits, PSNR of the results in 8 bits. A net with several tasks is scored by the task
called `denoise` and the sigma, if it has that. Prints a JSON line for each recipe.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from denoisetool import metrics
from denoisetool.nets.experts import members
from denoisetool.nets.parts import kmac_per_pixel
from denoisetool.training import args
from denoisetool.training.data import Image, load_photos
from denoisetool.training.loop import Trainer
from denoisetool.training.sources import source_for
from tests.bench.classics import through
from tests.bench.quality import DATA, gaussian_pairs
from tests.bench.rivals import in_8_bits

WARM, TRIED = 3, 6
"""Steps before the time of one is taken, and steps it is taken from; of each task."""


def train(plan: args.Recipe, images: list[Image], seconds: float, features: Path | None) -> Trainer:
    """A run of about so many seconds of processor time."""
    source = source_for(plan, images)
    with tempfile.TemporaryDirectory() as place:
        trial = Trainer(plan, source, Path(place), "cpu", features=features)
        turns = len(source.turns)
        trial.run(lambda _: None, until=WARM * turns)
        began = time.process_time()
        trial.run(lambda _: None, until=(WARM + TRIED) * turns)
        each = (time.process_time() - began) / (TRIED * turns)
    plan = replace(plan, steps=max(1, int(seconds / each)), checkpoint_every=10**9)
    plan = replace(plan, warmup=min(plan.warmup, plan.steps // 10), log_every=plan.steps)
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(plan, source, Path(place), "cpu", features=features)
        trainer.run(lambda _: None)
    return trainer


def main() -> None:
    """Train and score; one recipe after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipes", required=True)
    parser.add_argument("--data", type=Path, required=True, help="clean photos to train on")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sigmas", default="30,50")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = load_photos(given.data, 256)
    for path in given.recipes.split(","):
        plan = args.load(Path(path))
        began = time.process_time()
        trainer = train(plan, images, given.minutes * 60, given.features)
        net = trainer.average.eval()
        row = {
            "recipe": plan.name, "steps": trainer.step,
            "megapixels": round(trainer.pixels / 1e6, 1),
            "minutes": round((time.process_time() - began) / 60, 2),
            "kmac_per_pixel": round(kmac_per_pixel(net)),
            "parameters": sum(p.numel() for p in net.parameters()),
        }  # fmt: skip
        tasks = members(net)
        for sigma in given.sigmas.split(","):
            one = tasks.get(f"denoise{sigma}", net)
            pairs = list(gaussian_pairs(DATA, "kodak24", float(sigma)))[: given.limit]
            stride: int = net.stride  # type: ignore[assignment]
            noisy = [in_8_bits(n)[None].astype(np.float32) for _, n, _ in pairs]
            found = [through(one, n, stride)[0] for n in noisy]
            scores = [metrics.psnr(f, t) for f, (_, _, t) in zip(found, pairs, strict=True)]
            row[f"kodak24 sigma {sigma} clipped"] = round(float(np.mean(scores)), 3)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
