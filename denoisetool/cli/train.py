"""`denoisetool train`: reproduce a shipped model, or train your own, from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from denoisetool import events
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line
from denoisetool.errors import OutputError, UsageError
from denoisetool.settings import resolve


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", help="Folder of clean photos.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Model folder to write. [default: beside the recipe]",
                     show_default=False),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for checkpoint and log. [default: runs/NAME]",
                     show_default=False),
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

    The checkpoint is written every few minutes and survives a kill. The model folder (weights,
    card) is written at the end, or when --steps is reached.
    """
    from denoisetool.engine import pick_device
    from denoisetool.training import args, export
    from denoisetool.training.batches import Synthetic
    from denoisetool.training.data import load_photos
    from denoisetool.training.loop import Trainer

    plan = args.load(recipe)
    if not data.is_dir():
        raise UsageError("the folder of training photos does not exist", path=data)
    name, _ = pick_device(resolve({"device": device}).settings.device)
    side = max(plan.patch, plan.tail_patch)
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
        trainer = Trainer(plan, Synthetic(plan, images), workplace, name)
        if trainer.step:
            print_error(f"continuing at step {trainer.step} of {plan.steps}")
        try:
            trainer.run(report, until=steps)
        except KeyboardInterrupt:
            trainer.save()
            print_error(f"stopped at step {trainer.step}; the same command goes on from there")
            raise
        target = export.export(workplace, recipe, output or recipe.parent, [describe(data, images)])
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise OutputError(what, path=error.filename or workplace) from error
    print_error(f"model written to {target}; use it with --model {target}")


def describe(data: Path, images: list[Any]) -> dict[str, Any]:
    """What the card says about the training photos, unless someone knows better."""
    megapixels = sum(i.shape[0] * i.shape[1] for i in images) / 1e6
    return {"name": data.name, "licence": "as the photos'", "photos": len(images),
            "megapixels": round(megapixels, 1)}  # fmt: skip
