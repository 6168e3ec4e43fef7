"""One photo through pipes: `-` reads it from standard input or writes it to standard output."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from denoisetool import files, formats
from denoisetool.batch import format_for
from denoisetool.cli.console import Console, stdout_error
from denoisetool.denoiser import Report
from denoisetool.errors import (
    DenoiseError,
    NoInputError,
    OutputExists,
    UnreadablePhoto,
    UnsupportedPhoto,
    UsageError,
)
from denoisetool.events import Outcome, Summary
from denoisetool.photo import Photo
from denoisetool.pipeline import note
from denoisetool.session import Session, start_event
from denoisetool.settings import Settings

PIPE = "-"


def denoise_stream(
    photos: list[str],
    output: str | None,
    settings: Settings,
    console: Console,
    *,
    overwrite: bool,
    skip_existing: bool,
    dry_run: bool,
) -> int:
    """Denoise one photo from standard input, to standard output, or both; the exit code.

    Raises:
        DenoiseError: whatever goes wrong, since there is only this one photo.
    """
    target = None if output in (None, PIPE) else Path(str(output))
    _check(photos, target, str(output), console, dry_run=dry_run)
    source = Path(photos[0])
    if target is not None and os.path.lexists(target) and not overwrite:
        if skip_existing:
            outcome = Outcome(source, target, "skipped", "the output exists")
            return _report(outcome, console, 0.0)
        hint = "--overwrite replaces it, --skip-existing leaves it"
        raise OutputExists("the output exists", path=target, hint=hint)
    session = Session(settings)
    session.announce = lambda choice, entry: console.show(start_event(choice, entry, 1))
    started = time.monotonic()
    data = _read(source)
    wanted = format_for(target, settings.format)
    try:
        result, photo, report = session.pipeline().once(data, wanted)
    except (UnreadablePhoto, UnsupportedPhoto) as error:
        if formats.sniff(data[: files.HEAD_BYTES]) is None:  # no photo came in at all
            raise NoInputError(error.what, path=_shown(source), hint=error.hint) from error
        error.path = _shown(source)
        raise
    except DenoiseError as error:
        error.path = error.path or _shown(source)
        raise
    if target is None:
        _write_stdout(result)
    else:
        with files.atomic_write(target, overwrite=overwrite) as out:
            out.write(result)
    seconds = time.monotonic() - started
    return _report(_outcome(source, target, photo, report, seconds), console, seconds)


def _check(
    photos: list[str], target: Path | None, output: str, console: Console, *, dry_run: bool
) -> None:
    """Refuse what makes no sense, before anything is computed."""
    if len(photos) != 1:
        raise UsageError("- stands for one photo; give no other input beside it or beside -o -")
    if dry_run:
        raise UsageError("--dry-run cannot look into a pipe", hint="leave it out, or give files")
    if photos[0] == PIPE and sys.stdin is None:
        raise UsageError("standard input is closed", hint="pipe a photo in, or give its name")
    if target is None and sys.stdout is None:
        raise UsageError("standard output is closed", hint="use -o FILE, or pipe it on")
    if photos[0] == PIPE and sys.stdin.isatty():
        raise UsageError("standard input is a terminal", hint="pipe a photo in, or give its name")
    if target is None:
        if console.as_json:
            what = "--json and a photo cannot share standard output"
            raise UsageError(what, hint="write the photo to a file with -o")
        if sys.stdout.isatty():
            what = "not writing a picture to the terminal"
            raise UsageError(what, hint="use -o FILE, or pipe it on")
    elif target.is_dir() or output.endswith(tuple({"/", os.sep})):
        what = "a photo from standard input has no name; -o must be a file here, not a folder"
        raise UsageError(what, path=target)


def _read(source: Path) -> bytes:
    """The photo's file content."""
    try:
        data = sys.stdin.buffer.read() if str(source) == PIPE else source.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise NoInputError(what, path=_shown(source)) from error
    if not data:
        raise NoInputError("there is nothing in it", path=_shown(source))
    return data


def _shown(source: Path) -> Path:
    """What to call the input in messages."""
    return Path("standard input") if str(source) == PIPE else source


def _write_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise stdout_error(error) from error


def _outcome(
    source: Path, target: Path | None, photo: Photo, report: Report, seconds: float
) -> Outcome:
    outcome = Outcome(
        source, target or Path(PIPE), "done",
        megapixels=round(photo.megapixels / report.scale**2, 3),
        seconds=round(seconds, 4), notes=photo.notes + report.notes,
    )  # fmt: skip
    note(outcome, report, photo)
    return outcome


def _report(outcome: Outcome, console: Console, seconds: float) -> int:
    console.show(outcome)
    done = outcome.status == "done"
    if console.as_json:
        console.show(Summary(int(done), int(not done), 0, 0, outcome.megapixels, round(seconds, 3)))
    return 0
