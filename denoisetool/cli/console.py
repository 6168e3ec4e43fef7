"""Talking to people on stderr and to programs on stdout."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from denoisetool import events
from denoisetool.errors import DenoiseError
from denoisetool.events import Event, Outcome, Planned, Start, Summary
from denoisetool.pipeline import Job


def show_error(error: DenoiseError, *, as_json: bool = False) -> None:
    """Tell why the command failed as a whole."""
    if as_json:
        print_line(events.to_json(events.problem(error)))
    print_error(f"error: {error}")


def print_line(text: str) -> None:
    """One line of data on stdout; names that are no valid text are shown escaped."""
    sys.stdout.write(_printable(text) + "\n")
    sys.stdout.flush()


def print_error(text: str) -> None:
    """One line for people on stderr, which a windowed program does not have."""
    if sys.stderr is not None:
        sys.stderr.write(_printable(text) + "\n")
        sys.stderr.flush()


def _printable(text: str) -> str:
    """Line feeds and undecodable bytes in file names must not break lines or encodings."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\n", "\\n").replace("\r", "\\r") if "\n" in text or "\r" in text else text


class Console:
    """Reports a batch while it runs.

    Args:
        as_json: events as JSON lines on stdout.
        quiet: only failures for people.
        verbose: every photo, notes and what was passed over.
        megapixels: what the model will have to do, for the progress bar.
        photos: how many photos there are.
    """

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._bar: Any = None
        self._shares: dict[Job, float] = {}
        self._done = self._photos = 0
        self._lock = threading.Lock()

    def begin(self, megapixels: float, photos: int) -> None:
        """Show a progress bar if a person is watching."""
        self._photos = photos
        if self.quiet or not photos or sys.stderr is None or not sys.stderr.isatty():
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=round(megapixels, 1), unit="MP", dynamic_ncols=True, leave=False,
            bar_format="{percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} MP, {rate_fmt},"
            " {remaining} left {postfix}",
        )  # fmt: skip

    def progress(self, job: Job, share: float) -> None:
        """The model has done `share` of a photo."""
        if self._bar is None:
            return
        with self._lock:
            before = self._shares.get(job, 0.0)
            self._shares[job] = share
            self._bar.set_postfix_str(
                f"{self._done + 1} of {self._photos}: {_printable(job.source.name)}", refresh=False
            )
            self._bar.update((share - before) * job.megapixels)
            if share >= 1:
                del self._shares[job]
                self._done += 1

    def show(self, event: Event) -> None:
        """Tell about one event."""
        if self.as_json:
            print_line(events.to_json(event))
        if isinstance(event, Start):
            self.say(f"{event.model} on {event.device} in {event.precision}: {event.reason}")
        elif isinstance(event, Outcome):
            self._show_outcome(event)
        elif isinstance(event, Summary):
            self._show_summary(event)
        elif isinstance(event, Planned) and not self.as_json:
            arrow = f" -> {event.target}" if event.target else ""
            reason = f": {event.reason}" if event.reason else f" ({event.megapixels:.1f} MP)"
            print_line(f"{event.action:8}{event.source}{arrow}{reason}")

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
            if outcome.noise is not None:
                line += f", noise {outcome.noise:.1f}"
            if self.verbose and outcome.shift_mean is not None:
                line += f", colour shift {outcome.shift_mean:.2f} mean {outcome.shift_p95:.2f} p95"
            self.say(line + ("" if outcome.changed else ", copied unchanged") + ")")
        for note in outcome.notes:
            self.say(f"  note: {outcome.source.name}: {note}")

    def _show_summary(self, summary: Summary) -> None:
        self.end()
        parts = [f"{summary.done} done"]
        if summary.skipped:
            parts.append(f"{summary.skipped} skipped")
        if summary.failed:
            parts.append(f"{summary.failed} FAILED")
        if summary.ignored and self.verbose:
            parts.append(f"{summary.ignored} other files passed over")
        line = ", ".join(parts)
        if summary.done:
            speed = summary.megapixels / max(summary.seconds, 1e-9)
            line += f" in {summary.seconds:.1f} s ({speed:.2f} MP/s)"
        if summary.interrupted:
            line += "; interrupted, run the same command again to go on"
        if summary.failed or not self.quiet:
            self._write(line)


class Interrupts:
    """How a run was asked to stop.

    Attributes:
        stop: set at the first Ctrl-C or SIGTERM; the second raises KeyboardInterrupt.
        signal: number of the signal that asked, 0 if none.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.signal = 0

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, 0 if nobody asked."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def interruptible(console: Console) -> Iterator[Interrupts]:
    """First Ctrl-C or SIGTERM: finish the photo in hand. Second: abort, no half-written file."""
    state = Interrupts()

    def handle(number: int, _frame: FrameType | None) -> None:
        if state.stop.is_set():
            raise KeyboardInterrupt
        state.signal = number
        state.stop.set()
        console.say("finishing the photo in hand; once more aborts it")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
