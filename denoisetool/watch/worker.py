"""The worker: a process of its own that holds the model and does the photos.

So the watch outlives whatever happens to it: a decoder that crashes, a system that is out of memory
and kills. And when it ends, after an idle time, all memory that the model took is free again.

It is told what to do over a pipe, and ends at once when the other end of the pipe is gone. A lock
makes sure that no two workers of one folder are ever at work at the same time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import filelock

from denoisetool import files, formats
from denoisetool.errors import DenoiseError, OutputExists, explain
from denoisetool.events import Outcome, Start, failure
from denoisetool.pipeline import Job, Pipeline

Announce = Callable[[Start], None]
Make = Callable[[files.Index, Announce], Pipeline]
"""Makes the pipeline, in the worker's process; it must be picklable."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the worker is to do.

    Attributes:
        kind: do a photo; verify its output; load the model, for a photo that is about to come.
        number: what to call it.
        source: the photo.
        target: its output.
        format: name of the format to write, None for the photo's own.
        own: whether this watch made, or may have made, what is at the target now, from this name.
        overwrite: replace what is in the way; skip_existing: take it for the output.
    """

    kind: Literal["do", "verify", "warm"]
    number: int = 0
    source: Path = Path()
    target: Path = Path()
    format: str | None = None
    own: bool = False
    overwrite: bool = False
    skip_existing: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What the worker says.

    Attributes:
        kind: that it is there; a photo's outcome; whether an output is whole (`text` is empty if
            so); that the model runs; that it cannot (`text` says why); that the worker ended.
        number: of the task.
    """

    kind: Literal["hello", "outcome", "verified", "start", "broken", "ended"]
    number: int = 0
    outcome: Outcome | None = None
    start: Start | None = None
    text: str = ""
    error: str = ""


class Worker:
    """The worker, seen from the watch.

    Args:
        make: makes the pipeline, over there.
        locks: files that the worker locks while it runs, one per folder.
        hear: called with what it says, from a thread.
    """

    def __init__(
        self, make: Make, locks: Sequence[Path], hear: Callable[[Worker, Said], None]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=serve, args=(other, make, tuple(locks)), name="worker", daemon=True
        )
        self._process.start()
        other.close()
        self._hear = hear
        threading.Thread(target=self._listen, name="hear", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._process.pid

    def send(self, task: Task) -> None:
        """Give it something to do. If it has died, that is heard soon."""
        with contextlib.suppress(OSError):
            self._connection.send(task)

    def stop(self) -> None:
        """Let it finish the photo in hand and end."""
        with contextlib.suppress(OSError):
            self._connection.send(None)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join(10)

    def _listen(self) -> None:
        try:
            while True:
                self._hear(self, self._connection.recv())
        except (EOFError, OSError):
            self._process.join()
            self._hear(self, Said("ended", text=_cause(self._process.exitcode)))


def _cause(code: int | None) -> str:
    """Why a process ended; empty if in the usual way."""
    if not code:
        return ""
    if code == -getattr(signal, "SIGKILL", 9):
        return "killed, most likely because the system was out of memory"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


# -- the worker's own process ---------------------------------------------------------------------


def serve(connection: Connection, make: Make, locks: Sequence[Path]) -> None:
    """Do what comes over the connection until it is told to stop, or the other end is gone."""
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # the watch decides
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_read, args=(connection, tasks, stop), daemon=True).start()
    with contextlib.ExitStack() as held, files.Index.open() as index:
        for lock in sorted(locks):
            held.enter_context(filelock.FileLock(lock))
        _Server(connection, tasks, stop, index, make).run()
        index.prune()


def _read(
    connection: Connection, tasks: queue.SimpleQueue[Task | None], stop: threading.Event
) -> None:
    """Take tasks in; None, which is to stop, at once."""
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            os._exit(1)  # the watch was killed: end now, what is half done was never there
        if task is None:
            stop.set()
        tasks.put(task)


class _Server:
    """The loop of the worker's process."""

    def __init__(
        self, connection: Connection, tasks: queue.SimpleQueue[Task | None],
        stop: threading.Event, index: files.Index, make: Make,
    ) -> None:  # fmt: skip
        self._connection, self._tasks, self._stop, self._index = connection, tasks, stop, index
        self._pipeline = make(index, lambda start: self._say(Said("start", start=start)))
        self._numbers: deque[int] = deque()

    def run(self) -> None:
        """Serve until told to stop."""
        self._say(Said("hello"))
        while not self._stop.is_set():
            task = self._tasks.get()
            if task is None:
                return
            try:
                if task.kind == "warm":
                    self._pipeline.ready()
                    continue
                for outcome in self._pipeline.run(self._jobs(task), self._stop):
                    number = self._numbers.popleft()
                    self._say(Said("outcome", number, outcome))
            except DenoiseError as error:  # the model cannot be loaded: no photo is at fault
                self._say(Said("broken", text=str(error), error=error.kind))
                return

    def _jobs(self, first: Task) -> Iterator[Job]:
        """The jobs that are there now; what needs no work is answered on the way."""
        task: Task | None = first
        while task is not None:
            if task.kind == "verify":
                self._say(Said("verified", task.number, text=self._flaw(task)))
            elif task.kind == "do":
                answer = self._judge(task)
                if isinstance(answer, Job):
                    self._numbers.append(task.number)
                    yield answer
                else:
                    self._say(Said("outcome", task.number, answer))
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
        self._tasks.put(None)

    def _judge(self, task: Task) -> Job | Outcome:
        """The job behind a task, or what to say if there is nothing to do."""
        source, target = task.source, task.target
        if self._index.made(source):
            return _skipped(source, None, "an output of this program", _identity(source))
        job = Job(source, target, task.format, skip_existing=task.skip_existing)
        verdict = self._index.lookup(target, source, self._pipeline.fingerprint)
        if verdict is files.Verdict.SAME:
            # By size and time, perhaps; what is noted as done must be what was compared.
            identity, verdict = _identity(source), files.Verdict.DIFFERENT
            if identity is not None:
                fingerprint = self._pipeline.fingerprint
                verdict = self._index.lookup(target, source, fingerprint, identity)
            if verdict is files.Verdict.SAME:
                return _skipped(source, target, "already done", identity)
        if verdict is files.Verdict.MISSING:
            return job
        follows = task.own and verdict is files.Verdict.DIFFERENT
        if task.overwrite or (follows and self._index.made_from(target, source)):
            return Job(source, target, task.format, overwrite=True)
        if task.skip_existing:
            return _skipped(source, target, "the output exists", _identity(source))
        what = "the output exists, and this watch did not make it, or it was changed since"
        hint = "--overwrite replaces it, --skip-existing leaves it; then --retry-failed"
        return failure(source, target, OutputExists(what, hint=hint))

    def _flaw(self, task: Task) -> str:
        """Why the output is not to be trusted with being all that is left; empty if it is."""
        try:
            identity = files.identify(task.source)
            verdict = self._index.lookup(
                task.target, task.source, self._pipeline.fingerprint, identity
            )
            if verdict is not files.Verdict.SAME:
                return "the output is not what was made of this photo"
            limits = self._pipeline.limits
            photo = formats.decode(task.source.read_bytes(), limits)
            size = (limits.scale * photo.height, limits.scale * photo.width)
            del photo
            made = formats.decode(task.target.read_bytes(), replace(limits, scale=1))
        except Exception as error:  # noqa: BLE001 - any doubt keeps the original where it is
            return explain(error)[0]
        return "" if (made.height, made.width) == size else "the output has another size"

    def _say(self, said: Said) -> None:
        try:
            self._connection.send(said)
        except OSError:
            os._exit(1)


def _identity(source: Path) -> files.Identity | None:
    """What a photo holds; None if it cannot be read just now."""
    with contextlib.suppress(DenoiseError):
        return files.identify(source)
    return None


def _skipped(
    source: Path, target: Path | None, reason: str, identity: files.Identity | None
) -> Outcome:
    """The outcome of a photo that needs nothing, with its hash for the ledger."""
    outcome = Outcome(source, target, "skipped", reason)
    outcome.digest = None if identity is None else identity.digest.hex()
    return outcome
