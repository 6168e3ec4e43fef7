"""Talking to people on stderr and to programs on stdout."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from denoisetool import events
from denoisetool import text as text_module
from denoisetool.errors import DenoiseError, OutputError
from denoisetool.events import (
    Event,
    Forecast,
    Notice,
    Outcome,
    Planned,
    Start,
    Summary,
    Watching,
    WatchStatus,
)

if TYPE_CHECKING:
    from denoisetool.pipeline import Job


def show_error(error: DenoiseError, *, as_json: bool = False) -> None:
    """Tell why the command failed as a whole."""
    if as_json:
        print_line(events.to_json(events.problem(error)))
    print_error(f"error: {error}")


def print_line(text: str) -> None:
    """One line of data on stdout.

    Raises:
        OutputError: stdout cannot take it. A reader that went away stays BrokenPipeError.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        sys.stdout.write(printable(text, sys.stdout) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise stdout_error(error) from error


def stdout_error(error: OSError) -> OutputError:
    """Why standard output takes nothing more."""
    return OutputError(f"standard output cannot be written: {error.strerror or error}")


def print_error(text: str) -> None:
    """One line for people on stderr, which a windowed program does not have.

    Where it cannot be written, as on a full disk or a terminal that was closed, the work goes on. A
    reader that went away stays BrokenPipeError.
    """
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(printable(text, sys.stderr) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:
        return


def printable(text: str, stream: TextIO | None = None) -> str:
    """Text as a stream can take it, on one line; see `text.printable`."""
    return text_module.printable(text, getattr(stream, "encoding", None) or "utf-8")


class Console:
    """Reports a batch while it runs.

    Args:
        as_json: events as JSON lines on stdout.
        quiet: only failures for people.
        verbose: every photo, notes and what was passed over.
    """

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._bar: Any = None
        self._jobs: dict[Path, float] = {}
        self._shares: dict[Path, float] = {}
        self._number = 0

    def begin(self, jobs: list[Job]) -> None:
        """Show a progress bar if a person is watching."""
        self._jobs = {job.target: job.megapixels for job in jobs}
        if self.quiet or not jobs or sys.stderr is None or not sys.stderr.isatty():
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=sum(self._jobs.values()), unit="MP", leave=False, smoothing=0.1, disable=None,
            dynamic_ncols=_tells_its_width(), ncols=80, nrows=20,
            bar_format="{percentage:3.0f}% |{bar:20}| {n:.1f} of {total:.1f} MP, {rate_noinv_fmt},"
            " {remaining} left{postfix}",
        )  # fmt: skip
        self._bar.set_postfix_str("starting")

    def progress(self, job: Job, share: float) -> None:
        """The model has done `share` of a photo."""
        self._advance(job.target, share, job.source.name)

    def show(self, event: Event) -> None:
        """Tell about one event."""
        if self.as_json:
            print_line(events.to_json(event))
        if isinstance(event, Start):
            if self._bar is not None:
                self._bar.unpause()  # the model is loaded: time counts from here
            self.say(f"{event.model} on {event.device} in {event.precision}: {event.reason}")
        elif isinstance(event, Outcome):
            self._show_outcome(event)
            self._settle(event)
        elif isinstance(event, Summary):
            self.end()
            self._show_summary(event)
        elif isinstance(event, Planned) and not self.as_json:
            arrow = f" -> {event.target}" if event.target else ""
            size = f"{event.megapixels:.1f} MP"
            if event.scale > 1:
                size += (
                    f", enlarged {event.scale} times: {event.megapixels * event.scale**2:.1f} MP"
                )
            reason = f": {event.reason}" if event.reason else f" ({size})"
            print_line(f"{event.action:8}{event.source}{arrow}{reason}")
        elif isinstance(event, Forecast):
            self._show_forecast(event)
        elif isinstance(event, Watching):
            how = f", polling: {event.reason}" if event.mode == "polling" else ""
            self.say(f"watching {event.folder} -> {event.output}{how}")
        elif isinstance(event, Notice):
            where = f"{event.path}: " if event.path is not None else ""
            self._write(f"note: {where}{event.text}")
        elif isinstance(event, WatchStatus) and not self.as_json:
            for line in _status_lines(event):
                print_line(line)

    def say(self, text: str) -> None:
        """A sentence for people, unless they want quiet."""
        if not self.quiet:
            self._write(text)

    def detail(self, text: str) -> None:
        """A sentence for people who asked for more."""
        if self.verbose:
            self._write(text)

    def end(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _advance(self, target: Path, share: float, name: str) -> None:
        """Move the bar; backwards too, when a photo is begun again with smaller tiles."""
        if self._bar is None or target not in self._jobs:
            return
        before = self._shares.get(target, 0.0)
        if share == before:
            return
        if before == 0:
            self._number += 1
            text = f"photo {self._number} of {len(self._jobs)}: {printable(name)[:40]}"
            self._bar.set_postfix_str(text, refresh=False)
        self._shares[target] = share
        self._bar.update((share - before) * self._jobs[target])

    def _settle(self, outcome: Outcome) -> None:
        """A photo with an outcome costs no more time, whatever became of it."""
        if outcome.target is not None:
            self._advance(outcome.target, 1.0, outcome.source.name)

    def _write(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        print_error(text)
        if self._bar is not None:
            self._bar.refresh()

    def _show_outcome(self, outcome: Outcome) -> None:
        if outcome.status == "failed":
            self._write(f"FAILED {outcome.source}: {outcome.reason}")
            return
        if outcome.status == "skipped":
            self.detail(f"skipped {outcome.source}: {outcome.reason}")
            return
        if self._bar is None or self.verbose:
            line = f"{outcome.source} -> {outcome.target} ({outcome.megapixels:.1f} MP, "
            line += f"{outcome.seconds:.1f} s"
            if outcome.scale > 1:
                line += f", enlarged {outcome.scale} times to {outcome.width} x {outcome.height}"
            if outcome.noise is not None and outcome.changed:
                kind = f" {outcome.noise_kind}" if outcome.noise_kind else ""
                line += f",{kind} noise {outcome.noise:.1f}"
            if outcome.model is not None:
                line += f", model {outcome.model}"
            if self.verbose and outcome.shift_mean is not None:
                line += f", colour shift {outcome.shift_mean:.2f} mean {outcome.shift_p95:.2f} p95"
            if outcome.clean:
                line += ", already clean"
            elif not outcome.changed:
                line += ", nothing changed"
            self.say(line + ")")
        for note in outcome.notes:
            self.say(f"  note: {outcome.source.name}: {note}")

    def _show_summary(self, summary: Summary) -> None:
        parts = [f"{summary.done} done"]
        for count, word in ((summary.skipped, "skipped"), (summary.failed, "FAILED"),
                            (summary.left, "not begun")):  # fmt: skip
            if count:
                parts.append(f"{count} {word}")
        if summary.ignored and self.verbose:
            parts.append(f"{summary.ignored} other files passed over")
        line = ", ".join(parts)
        if summary.done:
            speed = summary.megapixels / max(summary.seconds, 1e-9)
            line += f" in {summary.seconds:.1f} s ({speed:.2f} MP/s)"
        if summary.interrupted:
            line += "; interrupted: the same command goes on from here"
        elif summary.left:
            line += "; the disk is full: free some space, then the same command goes on from here"
        if summary.failed or summary.left or not self.quiet:
            self._write(line)

    def _show_forecast(self, plan: Forecast) -> None:
        line = f"{plan.denoise} to denoise ({plan.megapixels:.1f} MP), {plan.skip} to skip"
        line += f", {plan.refuse} refused"
        if plan.denoise:
            line += f"; needs about {size_text(plan.bytes)}"
            if plan.free_bytes is not None:
                line += f" of {size_text(plan.free_bytes)} free"
            line += (
                "; time not known yet: no photo was denoised on this machine so far"
                if plan.seconds is None
                else f"; takes about {time_text(plan.seconds)}"
            )
        self.say(line)
        if plan.free_bytes is not None and plan.bytes > plan.free_bytes:
            self._write("warning: that is more than is free")


def _status_lines(status: WatchStatus) -> list[str]:
    """How a watch stands, for people."""
    if status.alive:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.started or 0))
        who = f"watched by process {status.pid} on {status.host} since {since} ({status.mode})"
    else:
        who = "NOT WATCHED at the moment"
    lines = [f"{status.folder} -> {status.output}: {who}"]
    if status.heartbeat is not None:
        lines.append(f"last sign of life {time_text(status.heartbeat)} ago")
    lines.append(
        f"{status.seen} seen = {status.done} done + {status.failed} failed + {status.waiting}"
        f" waiting; {status.per_hour} done in the last hour"
    )
    if status.gone:
        lines.append(f"{status.gone} more were taken away before they were done")
    lines += [f"working on {w['path']} for {time_text(w['seconds'])}" for w in status.working]
    lines += [f"FAILED {f['path']}: {f['reason']}" for f in status.failures]
    return lines


def _tells_its_width() -> bool:
    """Whether the terminal says how wide it is; some say 0, and a bar of that width is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def size_text(count: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.1f} {unit}" if count < 10 else f"{count:.0f} {unit}"
    return f"{count / 1000:.1f} TB"


def time_text(seconds: float) -> str:
    """A span of time as people say it."""
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
