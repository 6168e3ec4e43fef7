"""The recipe: everything that decides what a training run makes, read from one TOML file."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from denoisetool import nets
from denoisetool.errors import ModelError, UsageError
from denoisetool.nets.experts import Experts, members
from denoisetool.nets.ipt import IPT
from denoisetool.training.degrade import Degradation

CORRUPTIONS = ("gaussian", "poisson", "bernoulli", "text", "impulse")
TARGETS = ("clean", "noisy")
LOSSES = ("relative", "l2", "l1", "l0", "charbonnier")
"""See `losses.picture_loss`."""
KINDS_OF_VALUE: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "bool": ("true or false", (bool,)),
    "str": ("a text", (str,)),
}
"""What a field's type is called, and what TOML has for it; all others are tables."""
COUNTS = ("steps", "batch", "patch", "tail_patch", "tail_batch", "critic_width", "scale",
          "reduction", "checkpoint_every", "log_every")  # fmt: skip
SHARES = ("tail", "decay", "ema", "reduced", "pull")
LEAST = 16
"""Side in pixels of the smallest patch that a JPEG's grid of blocks can be shifted in."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train one model.

    Attributes:
        name: name of the model it makes.
        title: one line for people.
        net: architecture name, with `net_args`.
        seed: of the weights, the patches and the noise.
        steps: optimiser steps in all.
        batch: patches per step; patch: their side in pixels.
        tail_patch, tail_batch, tail: side, count and share of the last steps on larger patches.
        rate: peak learning rate, on AdamW's scale; weight_decay: decoupled; see `optim`.
        warmup: steps of linear warm-up; decay: share of the last steps over which the rate falls
            to zero (the rate is constant in between, so that a run can be prolonged).
        clip: largest gradient norm.
        ema: decay of the exponential moving average of the weights, the one that is shipped.
        loss: one of `LOSSES`; pixel: its weight.
        colour, content, adversarial, variation: weights of what is added to it: the difference of
            coarse colour, of a frozen net's features (Johnson et al. 2016), what the critic says
            (Goodfellow et al. 2014), and the output's total variation. See `objective`.
        critic_width: features of the critic's first layers.
        corruption: one of `CORRUPTIONS` instead of a mix of noise; '' for the mix.
        contrast: weight of IPT's contrastive loss, for a net that has several tasks.
        sigma: noise level of the corruption `gaussian`, of 255; clipped: whether it is clipped to
            black and white and rounded to 8 bits, as in a file.
        targets: with a corruption, what the net is shown as its goal: `clean` patches or, as in
            Noise2Noise, `noisy` ones.
        scale: how many times smaller than the target the input is; `patch` is the input's side.
        reduction, reduced: by how much patches are reduced, and the share of those that are. The
            mean of several pixels has less noise: no photo is without any.
        patches: tables of an expert's own reduction and reduced.
        taught: the expert that learns from others, `camera` or `apart`, see `teacher`; '' for none.
        pull: share of the way back to the weights it started from that each step goes, at the peak
            rate (Li et al. 2018, "Explicit inductive bias for transfer learning").
        mix: share of each kind of noise; see `degrade.KINDS`. For a net with experts a table of
            shares for each of them; they are trained in turn, step by step.
        checkpoint_every, log_every: in steps.
    """

    name: str
    title: str
    net: str
    net_args: dict[str, Any]
    seed: int = 0
    steps: int = 100_000
    batch: int = 32
    patch: int = 64
    tail_patch: int = 128
    tail_batch: int = 8
    tail: float = 0.15
    rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 300
    decay: float = 0.4
    clip: float = 1.0
    ema: float = 0.999
    loss: str = "relative"
    pixel: float = 1.0
    colour: float = 0.3
    content: float = 0.0
    adversarial: float = 0.0
    variation: float = 0.0
    critic_width: int = 64
    contrast: float = 0.0
    corruption: str = ""
    sigma: float = 25.0
    clipped: bool = False
    targets: str = "clean"
    scale: int = 1
    reduction: int = 2
    reduced: float = 0.3
    patches: dict[str, dict[str, Any]] = field(default_factory=dict)
    taught: str = ""
    pull: float = 0.0
    mix: dict[str, Any] = field(default_factory=dict)
    checkpoint_every: int = 1000
    log_every: int = 200

    def rate_at(self, step: int) -> float:
        """Learning rate at `step`: warm-up, plateau, then 1 - sqrt(progress) down to zero.

        Plateau and cooldown as in Haegele et al. 2024, "Scaling laws and compute-optimal training
        beyond fixed training durations".
        """
        start = self.steps * (1 - self.decay)
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        if step < start:
            return self.rate
        progress = min(1.0, (step - start) / max(1.0, self.steps - start))
        return float(self.rate * (1 - progress**0.5))

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts that the mix has tables for; ('',) for a net without any."""
        tables = tuple(key for key, value in self.mix.items() if isinstance(value, dict))
        return tables or ("",)

    def mix_for(self, expert: str) -> dict[str, float]:
        """The shares of noise for one expert; '' is the net that has none.

        Raises:
            UsageError: the recipe's mix is not of that form.
        """
        mix = self.mix.get(expert) if expert else self.mix
        if not isinstance(mix, dict) or any(isinstance(share, dict) for share in mix.values()):
            form = f"a table [mix.{expert}]" if expert else "one table [mix]"
            raise UsageError(f"the recipe's net needs {form} of noise shares")
        return mix

    def reduction_for(self, expert: str) -> tuple[int, float]:
        """By how much the patches for one expert are reduced, and the share of those that are."""
        own = self.patches.get(expert, {})
        return own.get("reduction", self.reduction), own.get("reduced", self.reduced)

    def in_tail(self, step: int) -> bool:
        """Whether `step` belongs to the last share that uses the larger patches."""
        return step >= self.steps * (1 - self.tail)

    def shape_at(self, step: int) -> tuple[int, int]:
        """How many patches of which side in pixels `step` has."""
        if self.in_tail(step):
            return self.tail_batch, self.tail_patch
        return self.batch, self.patch


def load(path: Path) -> Recipe:
    """Read a recipe. Raises UsageError naming the key that is missing, unknown or impossible."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the recipe cannot be read: {error.strerror}", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the recipe is not valid TOML: {error}", path=path) from error
    known = {f.name for f in fields(Recipe)}
    for key in data:
        if key not in known:
            raise UsageError(f"the recipe has an unknown key {key!r}", path=path)
    for key in ("name", "title", "net", "net_args"):
        if key not in data:
            raise UsageError(f"the recipe lacks {key!r}", path=path)
    recipe = Recipe(**data)
    try:
        for each in fields(Recipe):
            _check_value(each.name, getattr(recipe, each.name), str(each.type))
        _check_words(recipe)
        _check_experts(recipe)
        _check_net(recipe)
    except UsageError as error:
        error.path = path
        raise
    return recipe


def _check_value(key: str, value: object, kind: str) -> None:
    """Raise UsageError if a value is not of its kind, or out of its range."""
    word, types = KINDS_OF_VALUE.get(kind, ("a table", (dict,)))
    if type(value) not in types or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError(f"the recipe's {key} must be {word}, not {value!r}")
    if kind not in ("int", "float"):
        return
    assert isinstance(value, (int, float))
    name = key.split(".")[-1]
    least = int(name in COUNTS)
    if value < least:
        raise UsageError(f"the recipe's {key} must be at least {least}, not {value!r}")
    if name in SHARES and value > 1:
        raise UsageError(f"the recipe's {key} must be at most 1, not {value!r}")
    if name in ("rate", "clip") and not value:
        raise UsageError(f"the recipe's {key} must be above 0")


def _check_words(recipe: Recipe) -> None:
    for key, allowed in (
        ("loss", LOSSES), ("corruption", ("", *CORRUPTIONS)), ("targets", TARGETS)
    ):  # fmt: skip
        value = getattr(recipe, key)
        if value not in allowed:
            words = ", ".join(word for word in allowed if word)
            raise UsageError(f"the recipe's {key} must be one of {words}, not {value!r}")


def _check_experts(recipe: Recipe) -> None:
    """The mix, and what goes by its tables."""
    if recipe.corruption and (recipe.experts != ("",) or recipe.scale != 1):
        raise UsageError("a recipe with a corruption cannot have experts or a scale")
    if recipe.experts != ("",) and len(recipe.experts) < len(recipe.mix):
        raise UsageError("the recipe's mix must be shares of noise, or a table for each expert")
    for expert in recipe.experts:
        mix = recipe.mix_for(expert)
        key = f"mix.{expert}" if expert else "mix"
        if any(type(share) not in (int, float) for share in mix.values()):
            raise UsageError(f"the recipe's {key} must be shares of noise")
        try:
            Degradation(mix)
        except ValueError as error:
            raise UsageError(f"the recipe's {key}: {error}") from error
    for expert, own in recipe.patches.items():
        there = expert in recipe.experts and isinstance(own, dict)
        if not there or set(own) - {"reduction", "reduced"}:
            what = f"the recipe's patches.{expert} must be reduction and reduced of an expert"
            raise UsageError(what)
        for key, value in own.items():
            kind = "int" if key == "reduction" else "float"
            _check_value(f"patches.{expert}.{key}", value, kind)
    if recipe.taught and recipe.taught not in {"camera", "apart"} & set(recipe.experts):
        what = f"the recipe's taught must be camera or apart, and in its mix, not {recipe.taught!r}"
        raise UsageError(what)


def _check_net(recipe: Recipe) -> None:
    """The net's arguments, and the sides of patches that it takes."""
    if recipe.scale != recipe.net_args.get("scale", 1):
        raise UsageError("the recipe's scale is not that of its net_args")
    if recipe.net == "ipt" and "tasks" not in recipe.net_args:
        raise UsageError("the recipe's net_args must name its tasks")
    try:
        with torch.random.fork_rng(devices=()):
            net = nets.build(recipe.net, recipe.net_args)
    except (ModelError, RuntimeError) as error:
        what = getattr(error, "what", error)
        raise UsageError(f"the recipe's net or net_args are impossible: {what}") from error
    turns = members(net)
    trained = set(recipe.experts) & set(turns) or set(turns)
    stride = max(int(getattr(turns[name], "stride", 1)) for name in trained)
    if recipe.taught and isinstance(net, Experts):  # which looks at every other pixel
        stride = max(stride, 2 * net.white.stride)
    mixed = not isinstance(net, IPT) and not recipe.corruption
    for key, step in (("patch", 0), ("tail_patch", recipe.steps - 1)):
        side = getattr(recipe, key)
        if side != recipe.shape_at(step)[1] or (isinstance(net, IPT) and side == net.patch):
            continue
        if mixed and side < LEAST:
            raise UsageError(f"the recipe's {key} must be at least {LEAST}, not {side}")
        if side % stride:
            other = f"{net.patch} or " if isinstance(net, IPT) else ""
            what = f"the recipe's {key} must be {other}a multiple of {stride}, not {side}"
            raise UsageError(what)
