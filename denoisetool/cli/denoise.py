"""`denoisetool photos/ -o clean/`: the default command."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from denoisetool.cli import options
from denoisetool.errors import NoInputError, UsageError
from denoisetool.program import give_way


def denoise(
    photos: options.Photos,
    output: options.Output = None,
    model: options.Model = None,
    camera_models: options.CameraModels = None,
    device: options.Device = None,
    precision: options.Precision = None,
    scale: options.Scale = None,
    strength: options.Strength = None,
    luma: options.Luma = None,
    chroma: options.Chroma = None,
    color_lock: options.ColorLock = None,
    tile: options.Tile = None,
    jobs: options.Jobs = None,
    format: options.Format = None,  # noqa: A002 - the option's name
    quality: options.Quality = None,
    name: options.Name = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    dry_run: options.DryRun = False,
    report: options.Report = None,
    json: options.Json = False,
    strip: options.Strip = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    low_priority: options.LowPriority = None,
    max_megapixels: options.MaxMegapixels = None,
) -> None:
    """Take the noise out of photos and folders of photos."""
    given = locals()
    _check_words(photos, output, report)
    settings = options.settings_from(given)
    if settings.low_priority:
        give_way()
    # numpy and the formats are imported here, so that --help and a mistyped word need not wait.
    from denoisetool.cli.console import Console
    from denoisetool.cli.photos import denoise_all
    from denoisetool.cli.stream import PIPE, denoise_stream

    console = Console(as_json=json, quiet=quiet, verbose=verbose)
    if PIPE in photos or output == PIPE:
        if report is not None:
            what = "--report is for photos in files; this one goes through a pipe"
            raise UsageError(what, hint="leave it out, or give files")
        if name is not None:
            what = "--name is for photos in files; one that goes through a pipe is named by -o"
            raise UsageError(what, hint="leave it out, or give files and a folder")
        code = denoise_stream(
            photos, output, settings, console,
            overwrite=overwrite, skip_existing=skip_existing, dry_run=dry_run,
        )  # fmt: skip
    else:
        code = denoise_all(
            [Path(photo) for photo in photos], output, settings, console,
            overwrite=overwrite, skip_existing=skip_existing, dry_run=dry_run,
            report=None if report is None or dry_run else Path(report),
        )  # fmt: skip
    raise typer.Exit(code)


def _check_words(photos: list[str], output: str | None, report: str | None) -> None:
    """Catch a mistyped command, an unset variable and a name that is not there."""
    if "" in photos or output == "":
        where = "-o" if output == "" else "an input"
        raise UsageError(
            f"{where} is empty, which would mean the current folder",
            hint="write . if that is meant; else check the variable in your command",
        )
    if report == "":
        hint = "check the variable in your command, or name it like --report report.html"
        raise UsageError("--report is empty", hint=hint)
    first = photos[0]
    if first == "-" or os.path.lexists(first):
        return
    from denoisetool.cli.app import nearest_command

    near = nearest_command(first)
    if near == first:
        what = f"there is no file or folder {first!r}"
        raise UsageError(what, hint=f"a command comes first: `denoisetool {near} ...`")
    if near is not None:
        what = f"there is no file, folder or command {first!r}"
        raise UsageError(what, hint=f"did you mean `denoisetool {near}`?")
    if len(photos) == 1:
        raise NoInputError("no such file or folder", path=first, hint="check the spelling")
