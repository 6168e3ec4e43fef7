"""The loop of the watch, without a process of its own."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from denoisetool.events import Notice
from denoisetool.watch import Folder, Ledger, Options, Watcher
from denoisetool.watch import watcher as module
from denoisetool.watch.after import After
from denoisetool.watch.ledger import Stamp


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_signal_that_takes_longer_than_a_tick_is_not_the_last_thing_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.2)
    stop, rescued = threading.Event(), threading.Event()
    watcher = Watcher(
        [], Options(), make=cast("Any", None), settings="", show=lambda _: None, stop=stop
    )

    def slowly(*_: object) -> None:
        stop.set()
        time.sleep(0.4)

    def rescue() -> None:
        rescued.set()
        watcher._post(lambda: None)

    before = signal.signal(signal.SIGALRM, slowly)
    timer = threading.Timer(20.0, rescue)
    timer.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        watcher.run()
    finally:
        timer.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not rescued.is_set()


def test_no_worker_is_begun_after_the_stop() -> None:
    stop = threading.Event()
    watcher = Watcher(
        [], Options(), make=cast("Any", None), settings="", show=lambda _: None, stop=stop
    )
    watcher._post(watcher._warm)
    stop.set()
    watcher.run()
    assert watcher._worker is None


@pytest.mark.parametrize(
    ("before", "now", "alike"),
    [("a.jpg", "a.jpg", True), ("a (inbox).jpg", "a.jpg", True), ("a.png.jpg", "a.jpg", True),
     ("a (2).jpg", "a (3).jpg", True), ("a.jpg", "a_clean.jpg", False),
     ("ab.jpg", "a.jpg", False), ("a.jpg", "a.png", False), ("sub/a.jpg", "a.jpg", False)],
)  # fmt: skip
def test_a_name_that_had_to_give_way_is_kept(before: str, now: str, alike: bool) -> None:
    assert module._alike(Path("/out") / before, Path("/out") / now) is alike


# -- what comes after a photo ----------------------------------------------------------------------


class Desk:
    """A photo that is done, and what is to come after that."""

    def __init__(self, place: Path, steps: tuple[str, ...] = ("move",)) -> None:
        self.inbox = place / "inbox"
        self.inbox.mkdir()
        self.photo = self.inbox / "a.jpg"
        self.photo.write_bytes(b"a photo")
        options = Options(archive=place / "archive")
        self.ledger = Ledger(place / "state" / "inbox.sqlite")
        self.folder = Folder(self.inbox, str(place / "out") + "/", options, self.ledger)
        stamp = Stamp.of(self.photo.stat())
        self.ledger.arrive([(Path("a.jpg"), stamp)])
        self.number = self.ledger.rows()[0].id
        self.ledger.begin(self.number, stamp, place / "out" / "a.jpg", "key")
        self.ledger.done(
            self.number, "aa", reason="", megapixels=1, seconds=1, model="", settings="",
            after=steps,
        )  # fmt: skip
        self.told: list[Notice] = []
        self.posted: list[Callable[[], None]] = []
        self.after = After(options, self.told.append, self.posted.append)

    def verify(self, flaw: str) -> None:
        """As if the worker had looked at the output."""
        (task,) = self.after.tasks(lambda: 1)
        self.after.verified(task.number, flaw)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_photo_is_taken_up_once(desk: Desk) -> None:
    desk.after.resume(desk.folder)
    desk.after.resume(desk.folder)
    assert len(desk.after.tasks(iter(range(9)).__next__)) == 1
    desk.after.resume(desk.folder)
    assert not desk.after.to_verify


def test_an_original_that_is_gone_has_left_its_name(desk: Desk) -> None:
    desk.after.resume(desk.folder)
    desk.photo.unlink()
    desk.verify("the file is gone")
    row = desk.ledger.row(desk.number)
    assert (row.after, row.moved, desk.told) == (frozenset(), desk.photo, [])


def test_a_move_waits_for_its_folder(desk: Desk, tmp_path: Path) -> None:
    desk.after.resume(desk.folder)
    desk.inbox.rename(tmp_path / "away")
    desk.verify("the file is gone")
    assert desk.ledger.row(desk.number).after == {"move"}
    assert not desk.after.busy
    (tmp_path / "away").rename(desk.inbox)
    desk.after.resume(desk.folder)
    assert desk.after.to_verify
