"""The whole of a fine-tuning: from a folder of pairs to a model that was found better, or not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from denoisetool import files, settings
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine, check_model, pick_device
from denoisetool.errors import ModelError, UsageError
from denoisetool.finetune import collect, corruption, dataset, pairs, result, tune
from denoisetool.finetune.source import Pairs
from denoisetool.finetune.verdict import Verdict, compare
from denoisetool.formats.exif import Shot
from denoisetool.modelcard import OWN
from denoisetool.modelcard import load as load_card
from denoisetool.registry import Entry, Registry, check_name
from denoisetool.training import args
from denoisetool.training.loop import CHECKPOINT, LOG, Trainer
from denoisetool.training.team import Team

PLAN = "plan.json"
LOCK = ".lock"
MINUTES = 10.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for.

    Attributes:
        folder: of pairs.
        start: the model to begin with.
        name: of the new model; None for one of the camera or folder.
        minutes, steps: how long to train: the steps, or else the time.
        loss: `auto` or one of `l2`, `l1`, `l0`.
        seed: of all choices.
        resume: go on with the run that was broken off.
        force: keep the model even if it is not better.
        bursts: find scenes by time and camera.
        raw: leave the pairs as they are, neither aligned nor masked; for comparison.
        device: `auto`, or one that must be there.
        run: folder for the work; None for one in the user's cache folder.
    """

    folder: Path
    start: Entry
    name: str | None = None
    minutes: float = MINUTES
    steps: int | None = None
    loss: str = "auto"
    seed: int = 0
    resume: bool = False
    force: bool = False
    bursts: bool = False
    raw: bool = False
    device: str = "auto"
    run: Path | None = None

    @property
    def workplace(self) -> Path:
        """Where the work is done: one place for each folder of pairs."""
        if self.run is not None:
            return self.run
        mark = files.digest(str(self.folder.resolve()).encode("utf-8", "surrogateescape")).hex()
        return settings.folder("cache") / "finetune" / f"{self.folder.resolve().name}-{mark[:10]}"


@dataclass(slots=True)
class Plan:
    """What a run is to do, kept in its folder so that it can go on after a kill.

    Attributes:
        start: folder of the model to begin with. name: of the new one.
        kind: the kind of noise that the start model sees in the photos.
        expert: the one that is trained: `OWN` in a net of experts, '' for the one net.
        loss, seed, steps: of the training; 0 steps before they are known.
        supervised: whether the targets are clean. pairs: how many there are.
        shots: how the photos were taken.
    """

    start: str
    name: str
    kind: str
    expert: str
    loss: str
    seed: int
    steps: int
    supervised: bool
    pairs: int
    shots: list[Shot] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write it; the run can be resumed from then on."""
        data = dataclasses.asdict(self)
        for shot in data["shots"]:
            shot["taken"] = None
        with files.errors_told(folder):
            (folder / PLAN).write_text(json.dumps(data), encoding="utf-8")

    @property
    def other(self) -> str:
        """The expert for photos that are not of these cameras, which must not get worse.

        The one they had before; but where the pairs do not tell their camera, the new one.
        """
        return self.kind if result.cameras(self.shots) else self.expert

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read it. Raises UsageError where there is none."""
        try:
            data = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            data["shots"] = [Shot(**shot) for shot in data["shots"]]
            return cls(**data)
        except (OSError, ValueError, TypeError, KeyError) as error:
            hint = "without --resume it starts from the beginning"
            raise UsageError("there is no run to resume", path=folder, hint=hint) from error


@dataclass(slots=True)
class Done:
    """What came of it.

    Attributes:
        name: of the model. installed: where it lies now; None if it was refused.
        verdict: what the held-out pairs said. curve: how training went.
        folder: the model's folder among the work.
    """

    name: str
    installed: Path | None
    verdict: Verdict
    curve: tune.Curve
    folder: Path
    plan: Plan

    @property
    def seconds(self) -> float:
        """Time of the training."""
        return self.curve.seconds

    @property
    def start(self) -> str:
        """Name of the model it began with."""
        return Path(self.plan.start).name


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what.

    Attributes:
        line: each line of the table.
        prepared: the table's end: what was found, and what of it can be used.
        say: a sentence for the user.
        step: step, steps, best gain in dB so far, seconds left.
        done: the end, while what lies in the run's folder is still this run's.
    """

    line: Callable[[collect.Line], None]
    prepared: Callable[[pairs.Found, collect.Collected], None]
    say: Callable[[str], None]
    step: Callable[[int, int, float, float], None]
    done: Callable[[Done], None] = lambda _: None


def look(wishes: Wishes, listener: Listener) -> tuple[pairs.Found, collect.Collected]:
    """Find the pairs and prepare them, in memory.

    Raises:
        NoInputError: there are none that can be used.
        ModelError: the start model is none that can be fine-tuned.
    """
    result.check_start(wishes.start)
    found = pairs.find(wishes.folder, bursts=wishes.bursts)
    count = f"{len(found.scenes)} scene" + "s" * (len(found.scenes) != 1)
    listener.say(f"{count} in {wishes.folder}: {found.how}")
    denoiser = denoiser_of(wishes.start, wishes.device)
    listener.say(f"start: {wishes.start.name} on {_choice(denoiser)}")
    collected = collect.collect(
        found, denoiser.denoise, seed=wishes.seed, raw=wishes.raw, report=listener.line
    )
    listener.prepared(found, collected)
    collected.require(wishes.folder)
    return found, collected


def begin(wishes: Wishes, listener: Listener) -> Plan:
    """Prepare the pairs on disk and decide how to train.

    Raises:
        NoInputError, OutputError, DiskFull, ModelError.
    """
    if wishes.name is not None:
        _check_place(wishes.name)  # at once: preparing takes minutes
    found, collected = look(wishes, listener)
    folder = wishes.workplace
    for left in (PLAN, tune.STATE, tune.BEST, CHECKPOINT, LOG):
        (folder / left).unlink(missing_ok=True)
    collected.save(folder)
    kind = "camera" if collected.kind == OWN else collected.kind
    loss = wishes.loss
    if loss == "auto":
        loss = corruption.choose(dataset.load(folder, "train"))
        listener.say(f"loss: {loss}, by the differences of the pairs")
    plan = Plan(
        start=str(wishes.start.folder),
        name=wishes.name or result.name_for(collected.shots, wishes.folder),
        kind=kind,
        expert=OWN if collected.kind else "",
        loss=loss,
        seed=wishes.seed,
        steps=wishes.steps or 0,
        supervised=found.supervised,
        pairs=len([line for line in collected.lines if line.taken]),
        shots=collected.shots,
    )
    _check_place(plan.name)
    plan.save(folder)
    return plan


def train(wishes: Wishes, plan: Plan, team: Team, listener: Listener) -> tuple[Any, tune.Curve]:
    """Train, or go on with it; the new weights, and how it went."""
    folder, entry = wishes.workplace, wishes.start
    net_args, start = result.start_of(entry, plan.kind)
    views, images = dataset.load(folder, "train"), dataset.load_images(folder, "images")
    device = team.device(pick_device(wishes.device)[0])

    def trainer(place: Path, steps: int) -> Trainer:
        made = _recipe(entry, plan, net_args, steps)
        source = Pairs(made, views, images, plan.supervised, plan.expert)
        return Trainer(made, source, place, device, start)

    if not plan.steps:
        steps = tune.steps_for(wishes.minutes * 60, lambda place: trainer(place, 1000))
        plan.steps = int(team.from_first(steps))
        if team.first:
            plan.save(folder)
    work = trainer(folder, plan.steps)
    if work.step:
        listener.say(f"going on at step {work.step} of {plan.steps}")
    check = dataset.load(folder, "check")
    judge = tune.Judge(work.recipe, plan.expert, plan.other, check, images, start, device)

    def told(step: int, gain: float, seconds: float) -> None:
        listener.step(step, plan.steps, gain, seconds)

    return tune.tune(work, judge, told)


def _recipe(entry: Entry, plan: Plan, net_args: dict[str, Any], steps: int) -> args.Recipe:
    """How a plan's model is trained; the judges take its net and its mix of noise from there."""
    parent = args.load(entry.recipe) if entry.recipe.is_file() else None
    return tune.recipe_for(
        parent, entry.card.net, net_args, plan.kind, name=plan.name, seed=plan.seed,
        steps=steps, loss="relative" if plan.loss == "l2" else plan.loss,
    )  # fmt: skip


def finish(wishes: Wishes, plan: Plan, weights: Any, curve: tune.Curve) -> Done:
    """Write the model, put it to the test, and install it if it is better (or forced)."""
    folder, entry = wishes.workplace, wishes.start
    provenance = {
        "seed": plan.seed, "steps": curve.points[-1][0] if curve.points else 0,
        "loss": plan.loss, "pairs": plan.pairs, "share": curve.share,
        "minutes": round(curve.seconds / 60, 1),
    }  # fmt: skip
    net_args, _ = result.start_of(entry, plan.kind)
    made = result.write(
        folder / "model", entry, net_args, weights, name=plan.name, expert=plan.expert,
        shots=plan.shots, provenance=provenance, pairs=plan.pairs,
    )  # fmt: skip
    verdict = judge(wishes, plan, made, weights)
    result.add_scores(made, verdict)
    if curve.share == 0 and verdict.better:  # the start weights again: nothing was learnt
        verdict.reasons.append("training gained nothing")
    return Done(plan.name, None, verdict, curve, made, plan)


def judge(wishes: Wishes, plan: Plan, made: Path, weights: Any) -> Verdict:
    """Compare the start model and the new one on what was held out."""
    folder, entry = wishes.workplace, wishes.start
    net_args, start = result.start_of(entry, plan.kind)
    recipe = _recipe(entry, plan, net_args, plan.steps)
    held = dataset.load(folder, "held")
    images = dataset.load_images(folder, "held-images")
    nothing = dataset.Views(held.noisy[:0], held.target[:0], held.counts[:0])
    device = pick_device(wishes.device)[0]
    other = tune.Judge(recipe, plan.expert, plan.other, nothing, images, start, device)
    synthetic = other.gains(weights)[1]
    exact = Denoiser(Engine(load_card(made), made, wishes.device, "fp32"), only=OWN)
    result.widen(made, exact, held.one(0)[0])
    engine = Engine(load_card(made), made, wishes.device, "auto", settings.folder("cache"))
    return compare(
        held, denoiser_of(entry, wishes.device), Denoiser(engine, only=OWN), exact,
        supervised=plan.supervised, synthetic=synthetic, seed=plan.seed,
    )  # fmt: skip


def install(done: Done, *, force: bool) -> None:
    """Put the model into the user's registry if it was found better, or if it is forced to."""
    if not (done.verdict.better or force):
        return
    name = done.name if done.verdict.better else f"{done.name[:55]}-forced"
    entry = Registry().install(done.folder, name=name, replace=True, user=True, accept=check_model)
    done.name, done.installed = entry.name, entry.folder


def _check_place(name: str) -> None:
    """Raise ModelError for a name that the new model cannot have."""
    check_name(name)
    registry = Registry()
    if name in registry.names() and registry.find(name).origin == "bundled":
        what = f"{name!r} is the name of a model that came with the program"
        raise ModelError(what, hint="give another one with --name")


def denoiser_of(entry: Entry, device: str) -> Denoiser:
    """A denoiser with a model of the registry, after a look at its weights."""
    Registry().verify(entry)
    return Denoiser(Engine(entry.card, entry.folder, device, "auto", settings.folder("cache")))


def _choice(denoiser: Denoiser) -> str:
    engine = denoiser.engine
    assert isinstance(engine, Engine)
    return f"{engine.choice.device} in {engine.choice.precision}: {engine.choice.reason}"


@contextmanager
def _alone(wishes: Wishes) -> Iterator[None]:
    """Be the one run in the folder of the work while the block runs."""
    folder = wishes.workplace
    if wishes.resume and not folder.exists():
        Plan.load(folder)  # raises; no folder is made for the lock
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    with files.errors_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            what = "a fine-tuning of this folder is running already"
            hint = "wait for its end, or end it; --run names another place for this one"
            raise UsageError(what, path=wishes.run or wishes.folder, hint=hint) from None
    try:
        yield
    finally:
        lock.release()


def run(wishes: Wishes, team: Team, listener: Listener) -> Done | None:
    """All of it. None in all processes but the first, where there are several.

    Raises:
        UsageError: another run works in the same folder, or there is none to resume.
        DenoiseError: whatever ends it before there is a verdict.
    """
    with _alone(wishes) if team.first else nullcontext():
        if team.first:
            plan = Plan.load(wishes.workplace) if wishes.resume else begin(wishes, listener)
            if wishes.resume and Path(plan.start) != wishes.start.folder:
                what = f"the run to be resumed began with the model in {plan.start}"
                raise UsageError(what, hint="name that one with --from, or leave out --resume")
        team.wait()
        plan = Plan.load(wishes.workplace)
        weights, curve = train(wishes, plan, team, listener)
        if not team.first:
            return None
        done = finish(wishes, plan, weights, curve)
        install(done, force=wishes.force)
        listener.done(done)
        return done
