"""The scout: finds what arrives, waits until it is complete, and hands it on. A thread of its own.

Hints only make it look earlier. What counts is the scan: at the start, whenever events were lost or
the observer was restarted, when a folder came back, and every few minutes in any case.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from denoisetool import files
from denoisetool.errors import DenoiseError, UnreadablePhoto, explain
from denoisetool.events import Event, Notice, Watching, failure
from denoisetool.watch.folder import Folder, Options, Pending
from denoisetool.watch.ledger import Stamp
from denoisetool.watch.lock import asked_to_look, beat
from denoisetool.watch.observe import Hint, Observer, identity, network_kind, out_of_watches
from denoisetool.watch.scan import Sighting

SCAN_SECONDS = 300.0
"""Between two scans of a folder that sends events."""
POLL_SECONDS = 10.0
"""Between two scans of one that does not."""
CHECK_SECONDS = 2.0
"""Between two looks at whether the folder and its observer are there."""
BEAT_SECONDS = 15.0
"""Between two signs of life."""
_LONGEST_NAP = 1.0
_CLOSED_NAP = 0.02
_SHARE = 20.0
"""A scan may take a twentieth of the time, however large the folder is."""

Ready = Callable[[Folder, Sighting], None]
Finished = Callable[[Folder, int], None]


class Scout:
    """Watches folders.

    Args:
        folders: what to watch.
        options: how.
        ready: called with each photo that is complete and new.
        coming: called when a photo was seen that may soon be complete.
        finish: called with the number of a photo that is done, and of which a new copy came.
        tell: takes events for the user; called from this thread.
        well: whether the rest of the program is well; without it there is no sign of life.
    """

    def __init__(
        self, folders: list[Folder], options: Options, *, ready: Ready, coming: Callable[[], None],
        finish: Finished, tell: Callable[[Event], None], well: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._folders, self._options = folders, options
        self._ready, self._coming, self._finish = ready, coming, finish
        self._tell, self._well = tell, well
        # No SimpleQueue: after a signal its `get` may wait for good instead of for the timeout.
        self._hints: queue.Queue[Hint] = queue.Queue()
        self._lock = threading.Lock()
        self._open = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._beaten = 0.0
        self._troubles: dict[Path, str] = {}

    # -- from other threads ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin, or begin again after it died."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="scout", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        for folder in self._folders:
            if folder.observer is not None:
                folder.observer.stop()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def hint(self, hint: Hint) -> None:
        """Take a hint."""
        with self._lock:
            self._open += 1
        self._hints.put(hint)

    def look(self, folder: Folder, path: Path) -> None:
        """Look at a file soon."""
        self.hint(Hint("file", folder.root, path))

    @property
    def settled(self) -> bool:
        """Whether every folder was scanned, and nothing waits to be complete (`--once`)."""
        seen = (not f.present or (f.scans > 0 and not f.pending) for f in self._folders)
        return self._open == 0 and all(seen)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            hints = self._take()
            for folder in self._folders:
                try:
                    self._turn(
                        folder, [each for each in dict.fromkeys(hints) if each.root == folder.root]
                    )
                except Exception as error:  # noqa: BLE001 - whatever happens, the watch goes on
                    folder.due = min(folder.due, time.monotonic() + CHECK_SECONDS)
                    self._trouble(folder.root, explain(error)[0])
            with self._lock:
                self._open -= len(hints)
            now = time.monotonic()
            if now - self._beaten >= BEAT_SECONDS and self._well():
                self._beaten = now
                for folder in self._folders:
                    beat(folder.ledger.path)

    def _take(self) -> list[Hint]:
        """The hints since the last time; waits until something is due."""
        now = time.monotonic()
        due = [now + _LONGEST_NAP]
        for folder in self._folders:
            due.append(folder.due if folder.present else now + _LONGEST_NAP)
            due += [self._due(pending) for pending in folder.pending.values()]
        hints: list[Hint] = []
        try:
            hints.append(self._hints.get(timeout=max(0.0, min(due) - now)))
            while True:
                hints.append(self._hints.get_nowait())
        except queue.Empty:
            return hints

    def _due(self, pending: Pending) -> float:
        return pending.since + (_CLOSED_NAP if pending.closed else self._options.settle)

    def _turn(self, folder: Folder, hints: list[Hint]) -> None:
        """Everything that is due in one folder."""
        now = time.monotonic()
        if now - folder.checked >= CHECK_SECONDS:
            folder.checked = now
            self._check(folder)
        if not folder.present:
            return
        if any(hint.kind == "lost" for hint in hints):
            if folder.due > now:
                text = "events were lost; looking through the whole folder"
                self._tell(Notice("overflow", text, folder.root))
            folder.due = now
        found: list[tuple[Sighting, bool]] = []
        for hint in hints:
            found += [(sighting, hint.kind == "closed") for sighting in self._behind(folder, hint)]
        scanned = now >= folder.due
        if scanned:
            found += [(sighting, False) for sighting in folder.scanner.everything()]
        self._note(folder, found)
        if scanned:  # only now: with `--once` a scan with nothing pending is the end
            self._after_scan(folder, now)
        for path, pending in list(folder.pending.items()):
            if time.monotonic() >= self._due(pending):
                self._decide(folder, path, pending)

    def _behind(self, folder: Folder, hint: Hint) -> Iterable[Sighting]:
        """What a hint leads to."""
        if not hint.path.is_relative_to(folder.root) or hint.kind == "lost":
            return []
        if hint.kind == "folder" and hint.path != folder.root:
            return list(folder.scanner.below(hint.path))
        if hint.kind == "closed":
            pending = folder.pending.get(hint.path)
            if pending is not None:
                pending.closed = True
        sighting = folder.scanner.one(hint.path)
        return [] if sighting is None else [sighting]

    def _note(self, folder: Folder, found: list[tuple[Sighting, bool]]) -> None:
        """Put what was found among the pending, and what is new into the ledger."""
        new: list[tuple[Path, Stamp]] = []
        for sighting, closed in found:
            folder.pending[sighting.path] = Pending(sighting.stamp, closed=closed)
            relative = folder.relative(sighting.path)
            row = folder.ledger.get(relative)
            if row is None or row.state == "gone":
                new.append((relative, sighting.stamp))
        if new:
            folder.ledger.arrive(new)
            self._coming()

    def _decide(self, folder: Folder, path: Path, pending: Pending) -> None:
        """A file that was closed, or quiet for long enough: is it new work?"""
        sighting = folder.scanner.one(path, again=True)
        relative = folder.relative(path)
        if sighting is None:
            del folder.pending[path]
            self._lost_sight(folder, path, relative)
            return
        if sighting.stamp != pending.stamp:
            # Still growing: it is waited for, however long that takes.
            if self._options.once:
                del folder.pending[path]
            else:
                folder.pending[path] = Pending(sighting.stamp)
            return
        if sighting.error is not None and pending.closed:
            pending.closed = False  # some programs close a file before they fill it
            return
        row = folder.ledger.get(relative)
        if row is not None and row.digest is not None and row.state in ("done", "failed"):
            try:
                same = files.identify(path).digest.hex() == row.digest
            except UnreadablePhoto:
                same = False
            if same:
                folder.ledger.restamp(row.id, sighting.stamp)
                wanted = "move" in self._options.steps and "move" not in row.after
                if row.state == "done" and wanted:
                    folder.ledger.again(row.id, "move")
                    self._finish(folder, row.id)
                del folder.pending[path]
                return
        if row is None or row.state in ("done", "failed", "gone"):
            folder.ledger.arrive([(relative, sighting.stamp)])
            row = folder.ledger.get(relative)
        assert row is not None
        if sighting.error is not None:
            del folder.pending[path]
            self._fail(folder, row.id, sighting, sighting.error)
            return
        folder.active.add(path)
        self._ready(folder, sighting)
        del folder.pending[path]

    def _lost_sight(self, folder: Folder, path: Path, relative: Path) -> None:
        """A pending file is gone, or is no photo after all."""
        row = folder.ledger.get(relative)
        if row is None or identity(folder.root) is None:
            return
        if os.path.lexists(path):
            folder.ledger.drop(row.id)
        else:
            folder.ledger.gone(row.id)

    def _fail(self, folder: Folder, number: int, sighting: Sighting, error: DenoiseError) -> None:
        folder.ledger.restamp(number, sighting.stamp)
        outcome = failure(sighting.path, None, error)
        folder.ledger.fail(number, None, outcome.reason, outcome.error)
        self._tell(outcome)

    # -- scans and the observer --------------------------------------------------------------------

    def _after_scan(self, folder: Folder, started: float) -> None:
        """Plan the next scan, and see who is missing."""
        if folder.observer is not None and not folder.polling:
            reason = out_of_watches(folder.ledger.path.parent)
            if reason:
                self._set_mode(folder, reason)
        usual = (self._options.poll or POLL_SECONDS) if folder.polling else SCAN_SECONDS
        now = time.monotonic()
        folder.due = now + max(usual, _SHARE * (now - started))
        folder.scans += 1
        for place, what in folder.scanner.troubles.items():
            self._trouble(place, what)
        if folder.scanner.troubles or identity(folder.root) is None:
            return  # what could not be seen is not gone
        for row in folder.ledger.rows("waiting", "failed"):
            path = folder.root / row.path
            known = path in folder.active or path in folder.pending
            if not known and not os.path.lexists(path):
                folder.ledger.gone(row.id)

    def _check(self, folder: Folder) -> None:
        """See that the folder is there, and that hints come from it; else mend it."""
        there = identity(folder.root) is not None
        if folder.present and not there:
            folder.present = False
            folder.pending.clear()
            self._unobserve(folder)
            text = "the folder is gone; it is waited for"
            self._tell(Notice("folder_gone", text, folder.root))
        elif not folder.present and there:
            folder.present, folder.due = True, 0.0
            self._tell(Notice("folder_back", "the folder is back", folder.root))
        if not there or self._options.once:
            return
        if asked_to_look(folder.ledger.path):
            folder.due = 0.0
        problem = None if folder.observer is None else folder.observer.problem()
        if problem is not None:
            self._unobserve(folder)
            self._tell(Notice("observer_restarted", f"{problem}; begun anew", folder.root))
        if folder.observer is None and not folder.polling:
            self._observe(folder)

    def _observe(self, folder: Folder) -> None:
        """Begin to take hints, or to poll where there are none to be had; then scan."""
        reason = self._why_poll(folder.root)
        if not reason:
            # An observer without all of its watches is better than none, so it is kept.
            try:
                folder.observer = Observer(
                    folder.root, self.hint, recursive=self._options.recursive
                )
            except FileNotFoundError:
                return  # gone again
            except OSError as error:
                reason = f"no events to be had here: {error.strerror or error}"
            else:
                reason = out_of_watches(folder.ledger.path.parent)
        folder.due = 0.0
        self._set_mode(folder, reason)

    def _set_mode(self, folder: Folder, reason: str) -> None:
        """Note and tell whether a folder is observed or polled."""
        folder.polling = reason
        mode = f"polling, {reason}" if reason else "events"
        folder.ledger.note(mode=mode)
        self._tell(Watching(folder.root, folder.output, "polling" if reason else "events", reason))

    def _why_poll(self, root: Path) -> str:
        if self._options.poll is not None:
            return "as asked"
        kind = network_kind(root)
        return f"{kind} sends no events" if kind else ""

    def _unobserve(self, folder: Folder) -> None:
        if folder.observer is not None:
            folder.observer.stop()
            folder.observer = None

    def _trouble(self, place: Path, what: str) -> None:
        """Tell about a trouble, once as long as it stays the same."""
        if self._troubles.get(place) != what:
            self._troubles[place] = what
            self._tell(Notice("trouble", what, place))
