"""Training on the user's pairs: watched on crops it does not see, stopped when it gains no more."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from denoisetool import files, nets
from denoisetool.finetune.dataset import Views
from denoisetool.nets.experts import members
from denoisetool.training.args import Recipe
from denoisetool.training.batches import Batch
from denoisetool.training.data import Image, Patches
from denoisetool.training.degrade import Degradation
from denoisetool.training.loop import Trainer
from denoisetool.training.precision import mixed

RATE, PULL = 1e-3, 1e-3
EVALUATIONS = 16
"""How often a run looks at the crops it does not train on."""
PATIENCE = 5
"""Looks without a better one after which it stops."""
SHARES = (1.0, 0.75, 0.5, 0.25)
"""How far to go from the start weights to the tuned ones (Wortsman et al. 2022, "Robust fine-tuning
of zero-shot models"): the furthest that keeps the synthetic score is taken."""
KEPT = 0.03
"""dB of the synthetic score that may be lost on the way; the verdict allows a little more."""
BEST = "best.safetensors"
STATE = "tuning.json"
UNSEEN = 2 / 255
"""Errors far below this do not count in the synthetic score."""
SYNTHETIC, SYNTHETIC_SIDE = 96, 128
"""Patches of the synthetic score, and their side."""

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Curve:
    """How a run went, kept beside its checkpoint.

    Attributes:
        points: (step, gain in dB on the watched crops, synthetic gain in dB).
        stopped: whether it ended early.
        share: how far the result lies from the start weights to the best ones.
        seconds: time it took, over all its parts where it was broken off.
    """

    points: list[tuple[int, float, float]] = field(default_factory=list)
    stopped: bool = False
    share: float = 1.0
    seconds: float = 0.0

    @property
    def best(self) -> int:
        """Index of the point that gained most, the first of equal ones; -1 before any gain."""
        gained = [index for index, point in enumerate(self.points) if point[1] > 0]
        return max(gained, key=lambda index: self.points[index][1], default=-1)

    @property
    def gain(self) -> float:
        """The best gain so far; 0 for none."""
        return self.points[self.best][1] if self.best >= 0 else 0.0


class Judge:
    """Scores weights on watched pairs and on synthetic noise, against the start weights.

    Args:
        recipe: its net and mix are used.
        kind: the expert for the pairs, '' for the one net.
        other: the expert for the synthetic noise.
        views: watched pairs.
        images: clean pictures for the synthetic score.
        start: weights to compare with.
        device: where to compute.
    """

    def __init__(
        self, recipe: Recipe, kind: str, other: str, views: Views, images: list[Image],
        start: Weights, device: str = "cpu",
    ) -> None:  # fmt: skip
        self.kind, self.other, self.views = kind, other, views
        self.device = torch.device(device)
        self.net = nets.build(recipe.net, recipe.net_args).to(self.device).eval()
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.synthetic = synthetic(recipe, images)
        self.start = self._errors(start)

    def gains(self, weights: Weights) -> tuple[float, float]:
        """Mean gain in dB over the start weights: on pairs, and on synthetic noise."""
        found = self._errors(weights)
        pairs, made = (
            10 * float(np.mean(np.log10(a / b))) if len(a) else 0.0
            for a, b in zip(self.start, found, strict=True)
        )
        return pairs, made

    def _errors(self, weights: Weights) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Mean squared errors of all watched pairs, and of all synthetic patches."""
        self.net.load_state_dict(weights)
        net, other = members(self.net)[self.kind], members(self.net)[self.other]
        pairs = []
        for index in range(len(self.views)):
            noisy, target, counts = self.views.one(index)
            clean = self._run(net, torch.from_numpy(noisy).permute(2, 0, 1)[None])
            error = np.square(clean[0].permute(1, 2, 0).numpy() - target)
            pairs.append(float(error[counts].mean()))
        if self.synthetic is None:
            return np.array(pairs), np.zeros(0)
        output = self._run(other, self.synthetic.noisy).clamp(0, 1)
        made = (output - self.synthetic.target).square().mean((1, 2, 3)) + UNSEEN**2
        return np.array(pairs), made.numpy()

    def _run(self, net: nn.Module, noisy: Tensor) -> Tensor:
        """The denoised patches, on the CPU; a few at once."""
        parts = []
        with torch.inference_mode(), mixed(self.device):
            for first in range(0, len(noisy), 16):
                there = noisy[first : first + 16].to(self.device, memory_format=torch.channels_last)
                parts.append((there - net(there).float()).cpu())
        return torch.cat(parts)


def synthetic(recipe: Recipe, images: list[Image]) -> Batch | None:
    """The same noisy patches each time; None without pictures that are large enough."""
    fit = [image for image in images if min(image.shape[:2]) >= SYNTHETIC_SIDE]
    if not fit:
        return None
    clean = Patches(fit, np.random.default_rng(1)).batch(SYNTHETIC, SYNTHETIC_SIDE)
    return Batch(*Degradation(recipe.mix, seed=1)(clean))


def steps_for(seconds: float, trainer: Callable[[Path], Trainer]) -> int:
    """How many steps fit into a time, measured on a few.

    Args:
        seconds: what there is.
        trainer: makes one that works in the given folder.
    """
    with TemporaryDirectory() as place:
        trial = trainer(Path(place))
        trial.run(lambda _: None, until=2)
        began = time.monotonic()
        trial.run(lambda _: None, until=8)
        each = (time.monotonic() - began) / 6
    return max(60, int(seconds / each))


def tune(
    trainer: Trainer, judge: Judge, report: Callable[[int, float, float], None]
) -> tuple[Weights, Curve]:
    """Train to the end of the recipe, or until nothing is gained any more.

    Can be called again after a kill: it goes on from the last checkpoint.

    Args:
        trainer: set up on a `source.Pairs`.
        judge: scores its averaged weights.
        report: told after each look: step, gain in dB, seconds left.

    Returns:
        The weights to take, and how it went.
    """
    folder, recipe = trainer.folder, trainer.recipe
    curve = _read(folder / STATE)
    curve.points = [p for p in curve.points if p[0] <= trainer.step]
    every = max(1, recipe.steps // EVALUATIONS)
    began, first, before = time.monotonic(), trainer.step, curve.seconds
    while trainer.step < recipe.steps and not trainer.team.from_first(curve.stopped):
        trainer.run(lambda _: None, until=(trainer.step // every + 1) * every)
        trainer.save()
        if trainer.team.first:
            curve.seconds = before + time.monotonic() - began
            _look(trainer, judge, curve)
            pace = (time.monotonic() - began) / (trainer.step - first)
            report(trainer.step, curve.gain, pace * (recipe.steps - trainer.step))
    return (_soup(trainer, judge, curve) if trainer.team.first else trainer.start_weights), curve


def _look(trainer: Trainer, judge: Judge, curve: Curve) -> None:
    """Score the averaged weights; keep them if they are the best so far."""
    weights = {key: value.cpu() for key, value in trainer.average.state_dict().items()}
    gain, made = judge.gains(weights)
    curve.points.append((trainer.step, round(gain, 4), round(made, 4)))
    last = len(curve.points) - 1
    if curve.best == last:
        _save(weights, trainer.folder)
    curve.stopped = last - curve.best >= PATIENCE
    _write(trainer.folder / STATE, curve)


def _soup(trainer: Trainer, judge: Judge, curve: Curve) -> Weights:
    """The point on the way from the start weights to the best that gains most and loses nothing."""
    start = trainer.start_weights
    if curve.best < 0:
        curve.share = 0.0
        return start
    best, kept = load_file(trainer.folder / BEST), 0.0
    result = start
    curve.share = 0.0
    for share in SHARES:
        weights = {key: torch.lerp(start[key], best[key], share) for key in start}
        gain, made = judge.gains(weights)
        if gain > kept and made >= -KEPT:
            result, kept, curve.share = weights, gain, share
    return result


def _save(weights: Mapping[str, Tensor], folder: Path) -> None:
    part = folder / (BEST + ".part")
    with files.errors_told(folder):
        save_file({key: value.contiguous() for key, value in weights.items()}, part)
        part.replace(folder / BEST)


def _read(path: Path) -> Curve:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Curve()
    points = [tuple(point) for point in data["points"]]
    return Curve(points, data["stopped"], data["share"], data["seconds"])


def _write(path: Path, curve: Curve) -> None:
    part = path.with_suffix(".part")
    with files.errors_told(path):
        part.write_text(json.dumps(asdict(curve)), encoding="utf-8")
        part.replace(path)


def recipe_for(
    parent: Recipe | None, net: str, net_args: dict[str, Any], kind: str, *, name: str, seed: int,
    steps: int, loss: str,
) -> Recipe:  # fmt: skip
    """How to fine-tune a model.

    Args:
        parent: the recipe the model was made by, for its mix of noise; None if unknown.
        net: the model's net.
        net_args: its arguments.
        kind: whose mix of synthetic noise is taken.
        name: of the result.
        seed: of all choices.
        steps: how many.
        loss: one of `args.LOSSES`.
    """
    mix = {} if parent is None else parent.mix_for(
        kind if kind in parent.experts else parent.experts[0]
    )  # fmt: skip
    return Recipe(
        name=name, title=f"{name}, fine-tuned", net=net, net_args=net_args, seed=seed, steps=steps,
        batch=32, patch=64, tail=0.0, rate=RATE, weight_decay=0.0, warmup=min(50, steps // 10),
        decay=0.7, ema=0.99, loss=loss, pull=PULL, mix=dict(mix),
        checkpoint_every=max(1, steps // EVALUATIONS), log_every=max(1, steps // (4 * EVALUATIONS)),
    )  # fmt: skip
