"""`denoisetool models`: bundled, downloaded and own models in one registry."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoisetool import events
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line
from denoisetool.errors import OutputExists
from denoisetool.settings import resolve

if TYPE_CHECKING:
    from denoisetool.registry import Entry

app = typer.Typer(
    help="List, inspect, install, export and remove models.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List all models and where each comes from."""
    from denoisetool.registry import Registry

    entries = Registry().list()
    if not entries:
        hint = "`denoisetool models install PATH-OR-URL` installs one"
        print_error(f"no model is installed ({hint})")
    for entry in entries:
        if json:
            print_line(_line(entry))
        elif entry.problem is not None:
            print_line(f"{entry.name:12} {entry.origin:10} BROKEN: {entry.problem.what}")
        else:
            card = entry.card
            cost = f"{card.kmac_per_pixel:.0f} kMAC/px"
            print_line(f"{entry.name:12} {entry.origin:10} {cost:12} {card.title}")


@app.command()
def info(name: Name, json: options.Json = False) -> None:
    """Show a model's card: what it is, what it was trained on, how it scores."""
    from denoisetool.registry import Registry

    registry = Registry()
    entry = registry.find(name)
    registry.verify(entry)
    if json:
        print_line(_line(entry))
        return
    for key, value in _described(entry).items():
        print_line(f"{key:18} {value}")


def _described(entry: Entry) -> dict[str, object]:
    """The card for people, in the order they ask."""
    card = entry.card
    rows: dict[str, object] = {
        "name": entry.name,
        "title": card.title,
        "origin": entry.origin,
        "folder": entry.folder,
        "net": f"{card.net} {card.net_args}",
        "parameters": f"{card.parameters:,}",
        **({"enlarges": f"{card.scale} times on each side"} if card.scale > 1 else {}),
        "cost": f"{card.kmac_per_pixel:.1f} kMAC per pixel",
        "noise range": f"{card.sigma_range[0]:g} to {card.sigma_range[1]:g} levels of 255",
        "tile context": ", ".join(
            [f"{card.overlap} pixels", *(f"{k} {v}" for k, v in card.overlaps.items())]
        )
        + f" (bound {card.receptive_radius})",
        "licence": card.licence,
        "sha256": card.weights_sha256 + " (verified)",
    }
    for item in card.training_data:
        rows[f"trained on {item.get('name')}"] = (
            f"{item.get('photos')} photos, licence: {item.get('licence')}"
        )
    for test, scores in card.scores.items():
        rows[f"{test}"] = ", ".join(f"{k} {v}" for k, v in scores.items())
    rows["provenance"] = ", ".join(f"{k} {v}" for k, v in card.provenance.items())
    return rows


@app.command()
def install(
    source: Annotated[str, typer.Argument(metavar="PATH-OR-URL", show_default=False)],
    name: Annotated[str | None, typer.Option(help="What to call it.", show_default=False)] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of one so called.")] = False,
    offline: options.Offline = None,
    json: options.Json = False,
) -> None:
    """Install a model from a folder, a .zip or .tar.gz pack, or the address of one.

    Downloads resume where they broke off and are verified by SHA-256: from `#sha256=HEX` at the
    end of the address, or from a file of the same name with .sha256 added beside it.
    """
    from denoisetool.engine import check_model
    from denoisetool.registry import Registry

    settings = resolve({"offline": offline}).settings
    watched = sys.stderr is not None and sys.stderr.isatty()
    try:
        entry = Registry().install(
            source, name=name, replace=replace, offline=settings.offline,
            progress=_progress if watched else None, accept=check_model,
        )  # fmt: skip
    finally:
        if watched:
            sys.stderr.write("\r\x1b[K")
    if json:
        print_line(_line(entry))
    for note in entry.notes:
        print_error(f"note: {note}")
    print_error(f"installed {entry.name} in {entry.folder}; use it with --model {entry.name}")


@app.command()
def export(
    name: Name,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE.onnx", show_default=False, help="The file to write."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            show_default=False,
            help="Which expert, of a model that has them: camera or white. [default: camera]",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Write a model as ONNX, for use in other programs; checked against the model first.

    Input `photo` (N, C, H, W), 0 to 1; output `noise`, to be subtracted from it, or from its
    bicubic enlargement if the model enlarges. Needs `pip install 'denoisetool[onnx]'`.
    """
    from denoisetool.engine.onnx import to_onnx
    from denoisetool.files import atomic_write
    from denoisetool.registry import Registry

    registry = Registry()
    entry = registry.find(name)
    registry.verify(entry)
    if output.exists() and not overwrite:
        raise OutputExists("is there already", path=output, hint="--overwrite replaces it")
    data, difference = to_onnx(entry.card, entry.folder, kind)
    with atomic_write(output, overwrite=overwrite) as file:
        file.write(data)
    if json:
        print_line(
            events.record(
                "exported", name=name, target=output, bytes=len(data), difference=difference
            )
        )
    print_error(
        f"wrote {output}, {len(data) / 1e6:.1f} MB; within {difference * 255:.5f} levels of"
        " the model"
    )


@app.command("export-pack")
def export_pack(
    name: Name,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE.zip", show_default=False, help="The file to write."
        ),
    ],
    overwrite: options.Overwrite = False,
) -> None:
    """Write a model as one file, which `models install` takes on another machine."""
    from denoisetool.files import atomic_write
    from denoisetool.registry import Registry

    with atomic_write(output, overwrite=overwrite) as file:
        Registry().export(name, file)
        size = file.tell()
    print_error(f"wrote {output}, {size / 1e6:.1f} MB; `denoisetool models install` takes it")


@app.command()
def rollback(name: Name) -> None:
    """Bring back the version that a fine-tuned model replaced; once more undoes it."""
    from denoisetool.registry import Registry

    entry = Registry().rollback(name)
    print_error(f"{entry.name} is the earlier version again: {entry.card.title}")


@app.command()
def remove(name: Name) -> None:
    """Remove an installed model; the bundled ones stay."""
    from denoisetool.registry import Registry

    Registry().remove(name)
    print_error(f"removed {name}")


def _progress(received: int, total: int | None) -> None:
    """How far a download is, on one line of the terminal."""
    of = f" of {total / 1e6:.1f}" if total else ""
    sys.stderr.write(f"\r\x1b[K{received / 1e6:.1f}{of} MB ")
    sys.stderr.flush()


def _line(entry: Entry) -> str:
    problem = None if entry.problem is None else str(entry.problem)
    return events.record(
        "model", name=entry.name, origin=entry.origin, folder=entry.folder, problem=problem,
        card=dataclasses.asdict(entry.card),
    )  # fmt: skip
