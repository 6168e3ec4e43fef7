"""`denoisetool train`: reproduce a shipped model, or train your own, from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoisetool import events
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line
from denoisetool.cli.interrupts import interruptible
from denoisetool.errors import ModelError, OutputError, UsageError
from denoisetool.modelcard import RECIPE_FILE
from denoisetool.settings import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from denoisetool.registry import Entry
    from denoisetool.training.args import Recipe

GROWING = ("unet", "experts")
"""Nets of which a larger one can start from a smaller one."""

STOPPING = "finishing the step in hand and saving it; once more aborts without saving"


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", help="Folder of clean photos.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default=False,
                     help="Model folder to write. [default: that of a recipe.toml, else in --run]"),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for checkpoint and log. [default: runs/NAME]",
                     show_default=False),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="NAME", show_default=False,
                     help="Model, or its folder, whose weights a new run starts from."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", metavar="NAME", show_default=False,
                     help="Model, or its folder, that teaches, for recipes that say so."
                          " [default: that of --start]"),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FILE", show_default=False,
                     help="SqueezeNet 1.1 weights, for recipes with a content loss."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", help="Stop at this step; the next run goes on from there.", min=1,
                     show_default=False),
    ] = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Train a model from a recipe; run again to continue from the last checkpoint.

    The checkpoint is written every few minutes and survives a kill. The first Ctrl-C stops after
    the step in hand and saves it, the second aborts. The model folder (weights, card) is written at
    the end, or when --steps is reached.
    """
    from denoisetool.engine import load_net, pick_device
    from denoisetool.registry import Registry
    from denoisetool.training import args, export
    from denoisetool.training.data import load_photos
    from denoisetool.training.loop import Trainer
    from denoisetool.training.sources import largest_patch, source_for

    plan = args.load(recipe)
    if not data.is_dir():
        raise UsageError("the folder of training photos does not exist", path=data)
    name, _ = pick_device(resolve({"device": device}).settings.device)
    side = largest_patch(plan)
    images = load_photos(data, side, lambda error: print_error(f"left out {error}"))
    megapixels = sum(i.shape[0] * i.shape[1] for i in images) / 1e6
    print_error(f"{len(images)} photos, {megapixels:.0f} MP, on {name}")
    workplace = run or Path("runs") / plan.name

    def report(line: dict[str, Any]) -> None:
        if json:
            print_line(events.record("training", **line))
        else:
            print_error(
                f"step {line['step']}/{plan.steps}  {line['psnr']:.2f} dB on noisy patches  "
                f"{line['pixels'] / 1e9:.2f} GP  {line['eta_seconds'] / 60:.0f} min left"
            )

    try:
        weights = None if start is None else start_weights(plan, Registry().find(start))
        other = None if teacher is None else Registry().find(teacher)
        teaches = None if other is None else load_net(other.card, other.weights)
        source = source_for(plan, images)
        trainer = Trainer(plan, source, workplace, name, weights, features, teaches)
        if trainer.step:
            print_error(f"continuing at step {trainer.step} of {plan.steps}")
        with interruptible(STOPPING) as interrupts:
            try:
                trainer.run(report, steps, interrupts.stop)
            except KeyboardInterrupt as error:
                print_error("aborted; the same command goes on from the last checkpoint")
                raise typer.Exit(interrupts.exit_code) from error
        if interrupts.signal:
            print_error(f"stopped at step {trainer.step}; the same command goes on from there")
            raise typer.Exit(interrupts.exit_code)
        place = output or (recipe.parent if recipe.name == RECIPE_FILE else workplace / "model")
        target = export.export(workplace, recipe, place, [describe(data, images)])
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise OutputError(what, path=error.filename or workplace) from error
    print_error(f"model written to {target}; use it with --model {target}")


def start_weights(plan: Recipe, entry: Entry) -> dict[str, Tensor]:
    """The weights of a model, for a recipe of the same net.

    What only one of the two has stays as a new net has it: a model that enlarges can start from one
    that does not. U-Nets grow: one that is wider, or has more blocks or an estimator, starts with
    what the smaller one computes.

    Raises:
        ModelError: they are damaged, of another net, or of a U-Net of fewer scales.
    """
    from denoisetool import nets
    from denoisetool.engine import load_net
    from denoisetool.training.grow import grown

    if entry.card.net != plan.net:
        raise ModelError(
            f"the recipe's net is {plan.net!r}, and that of model {entry.card.name!r} is"
            f" {entry.card.net!r}",
            hint="start from a model of the same net, or from none",
        )
    fresh = nets.build(plan.net, plan.net_args).state_dict()
    given = load_net(entry.card, entry.weights).state_dict()
    fits = {key: value for key, value in given.items() if _same(fresh.get(key), value)}
    if not fits:
        raise ModelError(f"no weight of model {entry.card.name!r} fits the recipe's net")
    return grown(given, fresh) if plan.net in GROWING else fresh | fits


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape


def describe(data: Path, images: list[Any]) -> dict[str, Any]:
    """What the card says about the training photos, unless someone knows better."""
    megapixels = sum(i.shape[0] * i.shape[1] for i in images) / 1e6
    return {"name": data.name, "licence": "as the photos'", "photos": len(images),
            "megapixels": round(megapixels, 1)}  # fmt: skip
