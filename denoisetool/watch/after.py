"""What comes after a photo is done, and in which order: verify, move the original, tell.

The ledger knows which of these are still to come, so a kill between two of them loses none. A
command may be run once more for a photo if the kill came while it ran.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from denoisetool.events import Notice
from denoisetool.watch import finish
from denoisetool.watch.folder import Folder, Options
from denoisetool.watch.ledger import Row
from denoisetool.watch.observe import identity
from denoisetool.watch.worker import Task

MOST = 8
"""Outputs that the worker verifies at a time."""


class After:
    """Sees every photo through its last steps.

    Args:
        options: which steps there are.
        show: takes notices for the user.
        post: has the loop do something; the finisher's thread calls it.
    """

    def __init__(
        self, options: Options, show: Callable[[Notice], None],
        post: Callable[[Callable[[], None]], None],
    ) -> None:  # fmt: skip
        self._options, self._show = options, show
        self._to_verify: deque[tuple[Folder, Row]] = deque()
        self._verifying: dict[int, tuple[Folder, Row]] = {}
        self._under_way: set[tuple[Folder, int]] = set()
        self._finisher = finish.Finisher(
            lambda step, moved, problem: post(partial(self._finished, step, moved, problem))
        )

    @property
    def to_verify(self) -> bool:
        """Whether the worker has something to verify."""
        return bool(self._to_verify)

    @property
    def busy(self) -> bool:
        """Whether a step is waiting or under way."""
        return bool(self._under_way)

    def go_on(self, folder: Folder, number: int) -> None:
        """Take the next step that is still to come for a photo that is done."""
        row = folder.ledger.row(number)
        if row.target is None or not row.after or (folder, number) in self._under_way:
            return
        options = self._options
        if "move" in row.after and (options.archive or options.trash):
            self._under_way.add((folder, number))
            self._to_verify.append((folder, row))
        elif "move" in row.after:
            self._stepped(folder, number, "move", None, "")  # not asked for any more
        elif options.on_done:
            source = row.moved or folder.root / row.path
            work = partial(_tell, options.on_done, source, row.target)
            self._take(finish.Step((folder, number), "tell", work))
        else:
            self._stepped(folder, number, "tell", None, "")

    def resume(self, folder: Folder) -> None:
        """Go on with what had to wait while a folder was away."""
        for row in folder.ledger.unfinished():
            self.go_on(folder, row.id)

    def tasks(self, number: Callable[[], int]) -> list[Task]:
        """What the worker should verify now.

        Args:
            number: gives each task a number.
        """
        tasks = []
        while self._to_verify and len(self._verifying) < MOST:
            folder, row = self._to_verify.popleft()
            assert row.target is not None
            task = Task("verify", number(), folder.root / row.path, row.target)
            self._verifying[task.number] = (folder, row)
            tasks.append(task)
        return tasks

    def verified(self, number: int, flaw: str) -> None:
        """The worker's verdict on an output; `flaw` is empty if it is whole."""
        folder, row = self._verifying.pop(number)
        self._under_way.discard((folder, row.id))
        source = folder.root / row.path
        if flaw and identity(folder.root) is None:
            return  # until the folder is back, or the next start
        if flaw and not os.path.lexists(source):  # moved before a kill, or taken away
            self._stepped(folder, row.id, "move", source, "")
        elif flaw:
            self._stepped(folder, row.id, "move", None, flaw)
        else:
            work = partial(_move, self._options, folder, row)
            self._take(finish.Step((folder, row.id), "move", work))

    def worker_ended(self) -> None:
        """What it was to verify, the next one shall."""
        self._to_verify.extendleft(reversed(self._verifying.values()))
        self._verifying.clear()

    def stop(self, seconds: float) -> None:
        """End; what is not over then, the next run does."""
        self._finisher.stop(seconds)

    def _take(self, step: finish.Step) -> None:
        self._under_way.add(step.key)
        self._finisher.take(step)

    def _finished(self, step: finish.Step, moved: Path | None, problem: str) -> None:
        self._under_way.discard(step.key)
        self._stepped(*step.key, step.name, moved, problem)

    def _stepped(
        self, folder: Folder, number: int, name: str, moved: Path | None, problem: str
    ) -> None:
        """A step is over; what went wrong with it is told, and the photo stays done."""
        if problem:
            row = folder.ledger.row(number)
            kind = "not_moved" if name == "move" else "on_done_failed"
            self._show(Notice(kind, problem, folder.root / row.path))
        folder.ledger.took_step(number, name, moved)
        self.go_on(folder, number)


def _move(options: Options, folder: Folder, row: Row) -> Path | None:
    """Move an original away, once its output was verified."""
    source = folder.root / row.path
    if not os.path.lexists(source):
        return source
    if options.archive is not None:
        return finish.archive(source, row.digest or "", options.archive / row.path)
    finish.trash(source, row.digest or "")
    return source


def _tell(command: tuple[str, ...], source: Path, output: Path) -> None:
    finish.run(command, source, output)
