"""Noise2Noise against clean targets: the same net, steps and inputs, five corruptions.

    python -m tests.bench.noise2noise --data FOLDER --test FOLDER [--steps 1500] [--kinds text,...]

Prints a row for each corruption: PSNR of the corrupted pictures, with clean targets, with corrupted
ones, and the gap between the two; as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from denoisetool.training.args import CORRUPTIONS, Recipe
from denoisetool.training.corrupt import Corrupted, corrupt
from denoisetool.training.data import Image, load_photos
from denoisetool.training.loop import Trainer

LOSSES = {"text": "l1", "impulse": "l0"}
"""What fits each corruption; L2 for the others."""
NET = {"channels": 3, "widths": [32, 48, 96], "blocks": [1, 1, 2], "down_blocks": [0, 1]}


def recipe(kind: str, targets: str, steps: int) -> Recipe:
    """A run of one corruption; L0 and L1 are for noisy targets, clean ones are met with L2."""
    loss = LOSSES.get(kind, "l2") if targets == "noisy" else "l2"
    return Recipe(
        name=f"{kind}-{targets}", title="Noise2Noise", net="unet", net_args=NET, seed=7,
        steps=steps, batch=16, patch=64, tail=0.0, rate=3e-3, warmup=100, decay=0.6, ema=0.99,
        loss=loss, corruption=kind, targets=targets, checkpoint_every=10**9, log_every=steps,
    )  # fmt: skip


def score(net: torch.nn.Module, kind: str, images: list[Image]) -> tuple[float, float]:
    """Mean PSNR of the corrupted pictures and of the net's results, rounded to 8 bits."""
    found = []
    for image in images:
        height, width = (n // 8 * 8 for n in image.shape[:2])
        clean = torch.from_numpy(image[:height, :width].astype(np.float32) / 255)
        clean = clean.permute(2, 0, 1)[None]
        noisy, _ = corrupt(kind, clean, np.random.default_rng(0))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            output = noisy - net(noisy.to(memory_format=torch.channels_last)).float()
        found.append([
            -10 * float(((p.clamp(0, 1).mul(255).round() / 255 - clean) ** 2).mean().log10())
            for p in (noisy, output)
        ])  # fmt: skip
    before, after = np.mean(found, axis=0)
    return float(before), float(after)


def main() -> None:
    """Train and score; one row after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="clean photos to train on")
    parser.add_argument("--test", type=Path, required=True, help="clean photos to score on")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--kinds", default=",".join(CORRUPTIONS))
    args = parser.parse_args()
    images, tests = load_photos(args.data, 256), load_photos(args.test, 64)
    for kind in args.kinds.split(","):
        row: dict[str, object] = {"corruption": kind, "steps": args.steps}
        after = {}
        for targets in ("clean", "noisy"):
            plan = recipe(kind, targets, args.steps)
            with tempfile.TemporaryDirectory() as folder:
                trainer = Trainer(plan, Corrupted(plan, images), Path(folder), "cpu")
                trainer.run(lambda _: None)
            row["psnr_in"], after[targets] = score(trainer.average, kind, tests)
            row[f"loss_{targets}"] = plan.loss
            row[f"psnr_{targets}"] = round(after[targets], 3)
        row["gap"] = round(after["noisy"] - after["clean"], 3)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
