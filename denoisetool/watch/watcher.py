"""The watch itself: what the scout finds goes to the worker, what the worker says to the ledger.

Three parties that cannot take each other down: the scout (a thread) finds, the worker (a process)
does, the finisher (a thread) does what comes after; between them this loop, which keeps the books.
Whatever happens to a photo is written down before anybody is told of it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from denoisetool import files
from denoisetool.errors import (
    DenoiseError,
    DeviceError,
    DiskFull,
    ModelError,
    OutputError,
    UnreadablePhoto,
    explain,
)
from denoisetool.events import Event, Notice, Outcome, Summary, failure
from denoisetool.watch.after import After
from denoisetool.watch.finish import COMMAND_SECONDS
from denoisetool.watch.folder import Folder, Options
from denoisetool.watch.ledger import Row, Stamp
from denoisetool.watch.observe import identity
from denoisetool.watch.pause import Pause, takes
from denoisetool.watch.scan import Sighting
from denoisetool.watch.scout import Scout
from denoisetool.watch.worker import Make, Said, Task, Worker

IN_HAND = 8
"""Photos the worker has been given at once; how many of them are in memory is its own affair."""
TICK_SECONDS = 0.5
LEDGER_SECONDS = 2.0
TIDY_SECONDS = 2.0
"""Without work before leftovers are removed: by then the processes that left them are gone."""
LEAVE_SECONDS = 5.0
"""For what comes after photos, when told to stop; the next run does the rest."""
_TRIES = 2
_UNWELL = 60.0
_TAG = re.compile(r" \([^()]*\)$")
_MODEL_CODES = {each.__name__: each.exit_code for each in (ModelError, DeviceError)}


@dataclass(slots=True)
class _Item:
    """A photo on its way; `turn` is its place in the order of arrival."""

    turn: int
    folder: Folder
    sighting: Sighting
    number: int = 0
    target: Path | None = None


@dataclass(slots=True)
class _Tally:
    """What this run did."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    megapixels: float = 0.0
    started: float = field(default_factory=time.monotonic)


class Watcher:
    """Watches folders until it is told to stop.

    Args:
        folders: what to watch; their locks are held by the caller.
        options: how.
        make: makes the pipeline, in the worker's process.
        settings: what stands for settings and model in the ledger.
        show: takes events for the user.
        stop: set to end after the photo in hand.
    """

    def __init__(
        self, folders: Sequence[Folder], options: Options, *, make: Make, settings: str,
        show: Callable[[Event], None], stop: threading.Event,
    ) -> None:  # fmt: skip
        self._folders, self._options = list(folders), options
        self._make, self._settings, self._stop = make, settings, stop
        self._face = show
        self._untidy: set[Path] = set()
        self._ledger_told = False
        self._model = ""
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()  # see scout.py
        self._ready: list[_Item] = []
        self._in_hand: dict[int, _Item] = {}
        self._worker: Worker | None = None
        self._said_hello = False
        self._careful = 0
        self._deaths: dict[tuple[Path, Path], int] = {}
        self._pause = Pause()
        self._turns = 0
        self._numbers = 0
        self._ticked = self._worked = time.monotonic()
        self._tally = _Tally()
        self._code = 0
        self._scout = Scout(
            self._folders, options,
            ready=lambda folder, sighting: self._post(partial(self._take, folder, sighting)),
            coming=lambda: self._post(self._warm),
            finish=lambda folder, number: self._post(partial(self._after.go_on, folder, number)),
            tell=lambda event: self._post(partial(self._told, event)),
            well=lambda: time.monotonic() - self._ticked < _UNWELL,
        )  # fmt: skip
        self._after = After(options, self._show, self._post)

    def run(self) -> Summary:
        """Watch; returns when told to stop, or with `once` when all is done."""
        for folder in self._folders:
            folder.ledger.patience = self._wait_for_ledger
            since = time.time() - files.STALE_SECONDS
            self._untidy.update(folder.ledger.recent_targets(since))
            folder.ledger.start_over()
            if folder.ledger.warning:
                self._show(Notice("ledger_damaged", folder.ledger.warning, folder.ledger.path))
            for row in folder.ledger.unfinished():
                self._expect_leftovers(row)
            self._after.resume(folder)
        self._scout.start()
        try:
            while not self._stop.is_set() and not self._over():
                self._tick()
            self._end_worker()
        except BaseException:
            self._abort()
            raise
        finally:
            self._scout.stop()
            self._after.stop(COMMAND_SECONDS if self._options.once else LEAVE_SECONDS)
            self._drain()
            if self._worker is not None:
                self._worker.kill()
            for item in (*self._in_hand.values(), *self._ready):
                if item.number:
                    item.folder.ledger.wait(item.number)
        return self.summary()

    def summary(self) -> Summary:
        """What this run did."""
        tally = self._tally
        left = sum(folder.ledger.counts().waiting for folder in self._folders)
        return Summary(
            tally.done, tally.skipped, tally.failed, 0, round(tally.megapixels, 3),
            round(time.monotonic() - tally.started, 3), interrupted=self._stop.is_set(),
            exit_code=self._code or int(tally.failed > 0), left=left,
        )  # fmt: skip

    # -- the loop --------------------------------------------------------------------------------

    def _post(self, work: Callable[[], None]) -> None:
        """From any thread: have the loop do something."""
        self._inbox.put(work)

    def _tick(self) -> None:
        self._ticked = time.monotonic()
        try:
            self._safely(self._inbox.get(timeout=TICK_SECONDS))
            self._drain()
        except queue.Empty:
            pass
        if not self._scout.alive:
            self._show(Notice("scout_restarted", "the search for photos died; begun anew"))
            self._scout.start()
        self._dispatch()
        self._rest()

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._safely(self._inbox.get_nowait())

    def _safely(self, work: Callable[[], None]) -> None:
        """A fault of ours costs the photo it happened with, until the next start."""
        try:
            work()
        except DenoiseError:  # the ledger cannot be used, and nobody wants to wait for it
            raise
        except Exception as error:  # noqa: BLE001 - the watch goes on
            self._show(Notice("trouble", explain(error)[0]))

    def _over(self) -> bool:
        """With `once`: whether all that can be done is."""
        if not self._options.once:
            return False
        if self._pause.kind:
            unwritable = self._pause.folder is not None
            self._code = self._code or (OutputError.exit_code if unwritable else 1)
            return not self._in_hand
        busy = self._ready or self._in_hand or self._after.busy
        return self._scout.settled and not busy and self._inbox.empty()

    def _rest(self) -> None:
        """Without work: tidy up, and after a while let the model go, with all its memory."""
        if self._ready or self._in_hand or self._after.busy:
            self._worked = time.monotonic()
            return
        idle = time.monotonic() - self._worked
        while self._untidy and idle > TIDY_SECONDS:
            files.clean_leftovers(self._untidy.pop())
        if self._worker and idle > self._options.idle:
            self._worker.stop()

    def _show(self, event: Event) -> None:
        """Tell the user; if nobody can be told any more, the ledger still knows."""
        with contextlib.suppress(OSError, OutputError):
            self._face(event)

    def _wait_for_ledger(self, reason: str) -> bool:
        """The ledger cannot be written: nothing may be done that could not be written down."""
        if not self._ledger_told:
            self._ledger_told = True
            self._show(Notice("ledger", f"the ledger cannot be written, waiting: {reason}"))
        return not self._stop.wait(LEDGER_SECONDS)

    # -- what comes in ---------------------------------------------------------------------------

    def _told(self, event: Event) -> None:
        if isinstance(event, Outcome) and event.status == "failed":
            self._tally.failed += 1
        self._show(event)
        if isinstance(event, Notice) and event.kind == "folder_back":
            for folder in self._folders:
                if folder.root == event.path:
                    self._after.resume(folder)

    def _take(self, folder: Folder, sighting: Sighting) -> None:
        """A photo is complete."""
        self._turns += 1
        self._ready.append(_Item(self._turns, folder, sighting))

    def _warm(self) -> None:
        """A photo was seen: load the model while it is waited for."""
        if self._stop.is_set():
            return
        self._worked = time.monotonic()
        if self._worker is None and not self._pause.kind:
            worker = self._begin_worker()
            if worker is not None:
                worker.send(Task("warm"))

    # -- what goes out ---------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give the worker as much as it should have."""
        kind, folder = self._pause.kind, self._pause.folder
        if not self._pause.over():
            return
        if kind and folder is not None:
            self._show(Notice("output_back", "writing again", folder))
        worker = self._begin_worker() if self._ready or self._after.to_verify else None
        if worker is None:
            return
        most = 1 if self._careful or self._pause.seconds else IN_HAND
        while self._ready and len(self._in_hand) < most:
            self._safely(partial(self._send, worker, self._ready.pop(0)))
        for task in self._after.tasks(self._number):
            worker.send(task)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _send(self, worker: Worker, item: _Item) -> None:
        """One photo to the worker, if it is still there and has a place to go to."""
        folder, path = item.folder, item.sighting.path
        relative = folder.relative(path)
        row = folder.ledger.get(relative)
        if row is None:
            folder.active.discard(path)
            return
        try:
            stamp = Stamp.of(path.stat())
        except OSError:
            self._missing(item, row)
            return
        target, problem = self._plan(item, relative)
        if target is None:
            assert problem is not None
            folder.ledger.restamp(row.id, stamp)
            self._failed(item, row, failure(path, None, problem))
            return
        # New content goes to where the old went, also if the name had to give way then.
        own = False
        if row.target is not None and _alike(row.target, target):
            own = folder.ledger.may_have_made(row)
            target = row.target if own else target
        self._untidy.add(target.parent)
        folder.ledger.begin(row.id, stamp, target, files.target_key(target))
        item.number, item.target = row.id, target
        number, options = self._number(), self._options
        self._in_hand[number] = item
        worker.send(
            Task("do", number, path, target, options.format, own=own,
                 overwrite=options.overwrite, skip_existing=options.skip_existing)
        )  # fmt: skip

    def _plan(self, item: _Item, relative: Path) -> tuple[Path | None, Exception | None]:
        """Where a photo's output goes, or why nowhere."""
        assert item.sighting.source is not None
        options = self._options

        def claimed(key: str) -> bool:
            return any(
                folder.ledger.claims(key, relative if folder is item.folder else Path())
                for folder in self._folders
            )

        plan = files.plan(
            [item.sighting.source], item.folder.where, name=options.name,
            suffixes=(lambda _: options.suffixes) if options.suffixes else None,
            scale=options.scale, claimed=claimed,
        )  # fmt: skip
        if plan.problems:
            return None, plan.problems[0].error
        return plan.outputs[0].target.absolute(), None

    def _begin_worker(self) -> Worker | None:
        """The worker; None, and a pause, if the system has no room for a process."""
        if self._worker is None:
            locks = [folder.ledger.path.with_suffix(".work") for folder in self._folders]
            self._said_hello = False
            try:
                self._worker = Worker(
                    self._make, locks,
                    lambda worker, said: self._post(partial(self._heard, worker, said)),
                )  # fmt: skip
            except OSError as error:
                text = f"the worker cannot be started: {error.strerror or error}; tried again soon"
                self._show(Notice("worker_died", text))
                self._pause.begin("worker")
        return self._worker

    # -- what the worker says --------------------------------------------------------------------

    def _heard(self, worker: Worker, said: Said) -> None:
        if worker is not self._worker:
            return
        self._worked = time.monotonic()
        if said.kind == "hello":
            self._said_hello = True
        elif said.kind == "start" and said.start is not None:
            self._model = said.start.model
            self._show(said.start)
        elif said.kind == "verified":
            self._after.verified(said.number, said.text)
        elif said.kind == "outcome" and said.outcome is not None:
            item = self._in_hand.pop(said.number, None)
            if item is not None:
                self._settle(item, said.outcome)
        elif said.kind == "broken":
            self._broken(said)
        elif said.kind == "ended":
            self._ended(said.text)

    def _settle(self, item: _Item, outcome: Outcome) -> None:
        """A photo has an outcome: keep it, then tell it."""
        folder, path = item.folder, item.sighting.path
        self._careful = max(0, self._careful - 1)
        row = folder.ledger.row(item.number)
        if outcome.status == "failed":
            self._try_again_or_fail(item, row, outcome)
            return
        self._pause.forget()
        steps = self._options.steps if outcome.target is not None else frozenset()
        folder.ledger.done(
            row.id, outcome.digest, reason=outcome.reason, megapixels=outcome.megapixels,
            seconds=outcome.seconds, model=self._model, settings=self._settings, after=steps,
        )  # fmt: skip
        self._deaths.pop((folder.root, path), None)
        if outcome.status == "done":
            self._tally.done += 1
            self._tally.megapixels += outcome.megapixels
        else:
            self._tally.skipped += 1
        self._show(outcome)
        self._let_go(item)
        if steps:
            self._expect_leftovers(row)
            self._after.go_on(folder, row.id)

    def _expect_leftovers(self, row: Row) -> None:
        """Originals that are copied into an archive may be left there unfinished by a kill."""
        if self._options.archive is not None:
            self._untidy.add((self._options.archive / row.path).parent)

    def _try_again_or_fail(self, item: _Item, row: Row, outcome: Outcome) -> None:
        """A failure may be the disk's, the writer's who is not done yet, or the photo's own."""
        folder, path = item.folder, item.sighting.path
        if outcome.error in (DiskFull.__name__, OutputError.__name__):
            size = item.sighting.stamp.size
            if outcome.error == DiskFull.__name__ or not takes(folder.output, size):
                self._hold(item, outcome)
                return
        elif outcome.error == MemoryError.__name__ and self._count(item) < _TRIES:
            self._careful = max(self._careful, 1)
            self._put_back(item)
            return
        try:
            status = path.stat()
        except OSError:
            self._missing(item, row)
            return
        if outcome.error == UnreadablePhoto.__name__:
            fresh = 0 <= time.time() - status.st_mtime < self._options.settle
            if fresh or Stamp.of(status) != row.stamp:
                folder.ledger.wait(row.id)  # its writer is not done yet
                self._let_go(item)
                return
        self._failed(item, row, outcome)

    def _failed(self, item: _Item, row: Row, outcome: Outcome) -> None:
        item.folder.ledger.fail(row.id, outcome.digest, outcome.reason, outcome.error)
        self._tally.failed += 1
        self._show(outcome)
        self._let_go(item)

    def _missing(self, item: _Item, row: Row) -> None:
        """A photo is not there any more: taken away, or the whole folder is gone."""
        folder = item.folder
        if identity(folder.root) is not None and not os.path.lexists(item.sighting.path):
            folder.ledger.gone(row.id)
        else:
            folder.ledger.wait(row.id)
        self._let_go(item)

    def _let_go(self, item: _Item) -> None:
        """The scout may look at the file again, and does: it may have changed meanwhile."""
        item.folder.active.discard(item.sighting.path)
        self._scout.look(item.folder, item.sighting.path)

    def _put_back(self, item: _Item) -> None:
        """A photo waits again, in its old place in the order."""
        item.folder.ledger.wait(item.number)
        self._ready.append(item)
        self._ready.sort(key=lambda each: each.turn)

    def _count(self, item: _Item) -> int:
        """How often a photo has brought the worker down, or to the end of its memory."""
        key = item.folder.root, item.sighting.path
        self._deaths[key] = self._deaths.get(key, 0) + 1
        return self._deaths[key]

    # -- pauses: nothing can be written, or no model can be loaded -------------------------------

    def _hold(self, item: _Item, outcome: Outcome) -> None:
        """Nothing can be written: wait, with everything, until it can."""
        self._put_back(item)
        if not self._pause.kind:
            kind = "disk_full" if outcome.error == DiskFull.__name__ else "output_gone"
            folder = item.folder.output
            what = outcome.reason.partition(" (")[0]  # without the advice to run it again
            text = f"{what}; waiting until it can be written"
            self._show(Notice(kind, text, folder))
            self._pause.begin(kind, folder, item.sighting.stamp.size)

    def _broken(self, said: Said) -> None:
        """The model cannot be loaded: wait, with everything, until it can."""
        self._code = _MODEL_CODES.get(said.error, 1) if self._options.once else 0
        if not self._pause.seconds:
            self._show(Notice("model", f"{said.text}; waiting until it can be used"))
        self._pause.begin("model")

    # -- the worker's end ------------------------------------------------------------------------

    def _ended(self, cause: str) -> None:
        """The worker is no more: at rest, or because something killed it."""
        self._worker = None
        items = list(self._in_hand.values())
        self._in_hand.clear()
        self._after.worker_ended()
        if not cause:
            for item in items:
                self._put_back(item)
            return
        self._show(Notice("worker_died", f"the worker was lost ({cause}); begun anew"))
        self._careful = max(self._careful, len(items))
        if not self._said_hello:
            self._pause.begin("worker")
        blamed = items[0] if len(items) == 1 and self._said_hello else None
        for item in items:
            if item is blamed and self._count(item) >= _TRIES:
                outcome = Outcome(item.sighting.path, item.target, "failed")
                outcome.reason = f"the worker was lost with this photo, {_TRIES} times: {cause}"
                outcome.error = "WorkerDied"
                self._failed(item, item.folder.ledger.row(item.number), outcome)
            else:
                self._put_back(item)

    def _end_worker(self) -> None:
        """Have the worker finish the photo in hand, and hear of it."""
        if self._worker is None:
            return
        self._worker.stop()
        while self._worker is not None:
            with contextlib.suppress(queue.Empty):
                self._safely(self._inbox.get(timeout=TICK_SECONDS))

    def _abort(self) -> None:
        """End the worker at once, and remove what it had not finished."""
        if self._worker is not None:
            self._worker.kill()
            for item in self._in_hand.values():
                if item.target is not None:
                    files.clean_leftovers(item.target.parent)


def _alike(one: Path, other: Path) -> bool:
    """Whether a target is another one, or that with what is added where a name must give way."""
    (stem, suffix), (kept, ending) = (files.split_suffix(path.name) for path in (other, one))
    plain = _TAG.sub("", stem)
    same = kept == plain or kept.startswith((f"{plain} (", f"{plain}."))
    return one.parent == other.parent and ending == suffix and same
