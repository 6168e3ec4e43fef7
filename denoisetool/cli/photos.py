"""Doing a batch for the default command: plan it, run it, report it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from denoisetool import files
from denoisetool.batch import Batch, Tally, prepare, preview, run
from denoisetool.cli.console import Console, show_error
from denoisetool.cli.forecast import forecast, remember_speed
from denoisetool.cli.interrupts import Interrupts, interruptible
from denoisetool.errors import DenoiseError, UsageError
from denoisetool.events import Outcome, Start, Summary
from denoisetool.report import RunReport, check_place
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
    report: Path | None = None,
) -> int:
    """Denoise files and folders, and write a report of it if one is named; the exit code.

    Raises:
        DenoiseError: whatever ends the command as a whole.
    """
    if report is not None:
        check_place(report, overwrite=overwrite, option="--report")
    session = Session(settings)
    if not dry_run:
        session.verify()  # before a long look through folders
    with files.Index.open(make=not dry_run) as index:
        batch = prepare(
            inputs, output, fingerprint=session.fingerprint, index=index, format=settings.format,
            name=settings.name, scale=session.scale, overwrite=overwrite,
            skip_existing=skip_existing,
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
        if report is None:
            return _run(batch, session, index, console, None)
        _check_apart(report, batch)
        with RunReport(
            report, overwrite=overwrite, photos=len(batch.jobs),
            megapixels=settings.max_megapixels,
        ) as pages:  # fmt: skip
            return _run(batch, session, index, console, pages)


def _check_apart(report: Path, batch: Batch) -> None:
    """Refuse a report that would have the name of a photo's result."""
    if any(files.target_key(report) == files.target_key(job.target) for job in batch.jobs
           if job.target.name == report.name):  # fmt: skip
        raise UsageError("the report would have the name of a result", path=report)


def _run(
    batch: Batch, session: Session, index: files.Index, console: Console, report: RunReport | None
) -> int:
    """Run a batch and tell about it; the exit code."""

    def show(event: Start | Outcome) -> None:
        console.show(event)
        if report is not None:
            report.see(event)

    tally, warned = Tally(batch), index.warning
    photos = len(batch.jobs)
    session.announce = lambda choice, entry: show(start_event(choice, entry, photos))
    with interruptible(quiet=console.quiet) as interrupts:
        console.begin(batch.jobs)
        try:
            pipeline = session.pipeline(index)
            for event in run(batch, pipeline, interrupts.stop, console.progress, tally):
                if not isinstance(event, Summary):
                    show(event)
        except KeyboardInterrupt:
            console.end()
            console.say("aborted; finished photos are kept, nothing is half-written")
        finally:
            console.end()
        summary = _final(tally.summary(), interrupts)
        problem = None if report is None else _finish(report, summary)
    if problem is not None:
        summary = replace(summary, exit_code=problem.exit_code)
    console.show(summary)
    if index.warning != warned:
        console.say(f"note: {index.warning}")
    if problem is not None:
        show_error(problem, as_json=console.as_json)
    elif report is not None:
        console.say(f"report: {report.target}")
    remember_speed(session, summary)
    index.prune()
    return summary.exit_code


def _finish(report: RunReport, summary: Summary) -> DenoiseError | None:
    """Write the report of a run; what went wrong with it, if anything, as the photos are done."""
    try:
        report.finish(summary)
    except DenoiseError as error:
        return error
    return None


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
