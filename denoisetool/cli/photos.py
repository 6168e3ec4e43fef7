"""Doing a batch for the default command: plan it, run it, report it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from denoisetool import files
from denoisetool.batch import Batch, Tally, prepare, preview, run
from denoisetool.cli.console import Console
from denoisetool.cli.forecast import forecast, remember_speed
from denoisetool.cli.interrupts import Interrupts, interruptible
from denoisetool.events import Summary
from denoisetool.session import Session, start_event
from denoisetool.settings import Settings


def denoise_all(
    inputs: Sequence[Path],
    output: str | None,
    settings: Settings,
    console: Console,
    *,
    overwrite: bool,
    skip_existing: bool,
    dry_run: bool,
) -> int:
    """Denoise files and folders; the exit code.

    Raises:
        DenoiseError: whatever ends the command as a whole.
    """
    session = Session(settings)
    if not dry_run:
        session.verify()  # before a long look through folders
    with files.Index.open(make=not dry_run) as index:
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
        batch.require_photos(inputs)
        if dry_run:
            return _preview(batch, session, console)
        return _run(batch, session, index, console)


def _run(batch: Batch, session: Session, index: files.Index, console: Console) -> int:
    """Run a batch and report it; the exit code."""
    tally = Tally(batch)
    photos = len(batch.jobs)
    session.announce = lambda choice, entry: console.show(start_event(choice, entry, photos))
    with interruptible(quiet=console.quiet) as interrupts:
        console.begin(batch.jobs)
        try:
            pipeline = session.pipeline(index)
            for event in run(batch, pipeline, interrupts.stop, console.progress, tally):
                if not isinstance(event, Summary):
                    console.show(event)
        except KeyboardInterrupt:
            console.end()
            console.say("aborted; finished photos are kept, nothing is half-written")
        finally:
            console.end()
        summary = _final(tally.summary(), interrupts)
    console.show(summary)
    remember_speed(session, summary)
    index.prune()
    return summary.exit_code


def _final(summary: Summary, interrupts: Interrupts) -> Summary:
    """The summary with the exit code that the signal, if there was one, makes of it."""
    if not summary.interrupted:
        return summary
    return replace(summary, exit_code=interrupts.exit_code)


def _preview(batch: Batch, session: Session, console: Console) -> int:
    """Show the plan; 1 if some photo would be refused."""
    tally = Tally(batch, done=len(batch.jobs))
    for planned in preview(batch):
        console.show(planned)
    for outcome in (*batch.failed, *batch.skipped):
        tally.count(outcome)
    console.show(forecast(batch, session))
    return tally.summary().exit_code
