"""`denoisetool photos/ -o clean/`: the default command."""

from __future__ import annotations

import difflib
import json
import os
import sys
from pathlib import Path

import typer

from denoisetool import files
from denoisetool.batch import Batch, prepare, preview, run
from denoisetool.cli import options
from denoisetool.cli.console import Console, Interrupts, interruptible
from denoisetool.engine import Choice
from denoisetool.errors import NoInputError, OutputError, UsageError
from denoisetool.events import Start, Summary
from denoisetool.registry import Entry
from denoisetool.session import Session
from denoisetool.settings import Settings, folder, resolve


def denoise(
    photos: options.Photos,
    output: options.Output = None,
    model: options.Model = None,
    device: options.Device = None,
    precision: options.Precision = None,
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
    json: options.Json = False,
    strip: options.Strip = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    low_priority: options.LowPriority = None,
    max_megapixels: options.MaxMegapixels = None,
) -> None:
    """Take the noise out of photos and folders of photos."""
    settings = resolve(
        {
            "model": model, "device": device, "precision": precision, "strength": strength,
            "luma": luma, "chroma": chroma, "color_lock": color_lock, "tile": tile, "jobs": jobs,
            "format": format, "quality": quality, "name": name, "strip": strip,
            "low_priority": low_priority, "max_megapixels": max_megapixels,
        }
    ).settings  # fmt: skip
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing contradict each other")
    if settings.low_priority:
        _give_way()
    console = Console(as_json=json, quiet=quiet, verbose=verbose)
    if "-" in photos or output == "-":
        _stream(photos, output, settings, console, dry_run)
        return
    inputs = [Path(photo) for photo in photos]
    _check_inputs(inputs)
    session = Session(settings)
    with files.Index.open() as index:
        batch = prepare(
            inputs, output, fingerprint=session.fingerprint, index=index, format=settings.format,
            name=settings.name, overwrite=overwrite, skip_existing=skip_existing,
        )  # fmt: skip
        if index.warning:
            console.say(f"note: {index.warning}")
        for note in batch.notes:
            console.say(f"note: {note}")
        for ignored in batch.ignored:
            console.detail(f"passed over {ignored.path}: {ignored.reason}")
        if dry_run:
            _preview(batch, session, console)
            return
        code = _run(batch, session, index, console)
    raise typer.Exit(code)


def _run(batch: Batch, session: Session, index: files.Index, console: Console) -> int:
    """Run a batch and report it; the exit code."""

    def announce(choice: Choice, entry: Entry) -> None:
        console.show(Start(choice.device, choice.precision, choice.reason, entry.card.name,
                           len(batch.jobs)))  # fmt: skip

    session.announce = announce
    summary: Summary | None = None
    with interruptible(console) as interrupts:
        console.begin(batch.megapixels, len(batch.jobs))
        try:
            for event in run(batch, session.pipeline(index), interrupts.stop, console.progress):
                if isinstance(event, Summary):
                    summary = event
                console.show(event)
        except KeyboardInterrupt:
            console.end()
            console.say("aborted; finished photos are kept")
            return interrupts.exit_code or 130
        finally:
            console.end()
    assert summary is not None
    _remember_speed(session, summary)
    return _code(summary, interrupts)


def _code(summary: Summary, interrupts: Interrupts) -> int:
    return interrupts.exit_code if summary.interrupted else summary.exit_code


def _preview(batch: Batch, session: Session, console: Console) -> None:
    """Show the plan, and the space and time it will take as far as they are known."""
    for planned in preview(batch):
        console.show(planned)
    size = sum(job.source.stat().st_size for job in batch.jobs if job.source.exists())
    line = f"{len(batch.jobs)} to denoise ({batch.megapixels:.1f} MP), {len(batch.skipped)} to skip"
    line += f", {len(batch.failed)} refused"
    if batch.jobs:
        target = batch.jobs[0].target.parent
        line += f"; about {size / 1e6:.0f} MB, {files.free_bytes(target) / 1e6:.0f} MB free there"
        speed = _speeds().get(_speed_key(session))
        line += (
            f"; about {batch.megapixels / speed:.0f} s" if speed else "; time not yet known here"
        )
    console.say(line)


def _stream(
    photos: list[str], output: str | None, settings: Settings, console: Console, dry_run: bool
) -> None:
    """One photo from standard input or to standard output."""
    if len(photos) != 1:
        raise UsageError("- stands for one photo; give no other input beside it or beside -o -")
    to_stdout = output in (None, "-")
    if dry_run:
        raise UsageError("--dry-run has nothing to show for -")
    if console.as_json and to_stdout:
        raise UsageError("--json and a photo on standard output cannot share it", hint="use -o")
    session = Session(settings)
    if photos[0] == "-":
        data = sys.stdin.buffer.read()
        if not data:
            raise NoInputError("standard input is empty")
    else:
        try:
            data = Path(photos[0]).read_bytes()
        except OSError as error:
            raise NoInputError(f"cannot be read: {error.strerror}", path=photos[0]) from error
    session.announce = lambda choice, entry: console.say(
        f"{entry.card.name} on {choice.device} in {choice.precision}: {choice.reason}"
    )
    target_format = None if settings.format == "keep" else settings.format
    result, report = session.pipeline().once(data, target_format)
    for note in report.notes:
        console.say(f"note: {note}")
    if to_stdout:
        if sys.stdout.isatty():
            raise UsageError(
                "not writing a picture to the terminal", hint="use -o FILE, or pipe it"
            )
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()
        return
    assert output is not None
    target = Path(output)
    if target.is_dir():
        raise OutputError("this is a folder; standard input needs a file name", path=target)
    with files.atomic_write(target, overwrite=False) as out:
        out.write(result)


def _check_inputs(inputs: list[Path]) -> None:
    """A lone word that is no file may be a mistyped command."""
    from denoisetool.cli.app import app

    if os.path.lexists(inputs[0]):
        return
    known = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    known += [g.name or "" for g in app.registered_groups]
    near = difflib.get_close_matches(str(inputs[0]), [k for k in known if k != "denoise"], n=1)
    if near:
        raise UsageError(
            f"there is no file, folder or command {str(inputs[0])!r}",
            hint=f"did you mean `denoisetool {near[0]}`?",
        )
    if len(inputs) == 1:
        raise NoInputError("no such file or folder", path=inputs[0])


def _give_way() -> None:
    """Let every other program go first."""
    if hasattr(os, "nice"):
        os.nice(15)
    elif sys.platform == "win32":
        import ctypes

        below_normal = 0x4000
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)


def _speed_key(session: Session) -> str:
    return f"{session.entry.card.weights_sha256[:16]} {session.settings.device}"


def _speeds() -> dict[str, float]:
    try:
        known = json.loads((folder("cache") / "speed.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember_speed(session: Session, summary: Summary) -> None:
    """Keep the measured speed for the next dry run's estimate; worth nothing if it fails."""
    if summary.megapixels < 1 or summary.seconds <= 0:
        return
    path = folder("cache") / "speed.json"
    known = _speeds() | {_speed_key(session): summary.megapixels / summary.seconds}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known), encoding="utf-8")
    except OSError:
        return
