"""The scout: what it finds, when it takes it for complete, and what it survives."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from denoisetool.errors import UsageError
from denoisetool.events import Event, Notice, Outcome, Watching
from denoisetool.watch import scout as module
from denoisetool.watch.folder import Folder, Options
from denoisetool.watch.ledger import Ledger, Stamp
from denoisetool.watch.observe import Hint, network_kind
from denoisetool.watch.scan import Sighting
from denoisetool.watch.scout import Scout
from tests.e2e import pictures

LIMIT = 30.0


class Desk:
    """A scout at work on a folder, with nobody behind it."""

    def __init__(self, place: Path, options: Options | None = None) -> None:
        self.inbox = place / "inbox"
        self.inbox.mkdir(exist_ok=True)
        self.options = options or Options(settle=0.05)
        self.ledger = Ledger(place / "state" / "inbox.sqlite")
        self.folder = Folder(self.inbox, str(place / "out") + "/", self.options, self.ledger)
        self.found: list[Sighting] = []
        self.again: list[int] = []
        self.told: list[Event] = []
        self.scout = Scout(
            [self.folder], self.options, ready=lambda _, sighting: self.found.append(sighting),
            coming=lambda: None, finish=lambda _, number: self.again.append(number),
            tell=self.told.append, well=lambda: True,
        )  # fmt: skip

    def names(self) -> list[str]:
        return sorted(str(each.path.relative_to(self.inbox)) for each in self.found)

    def drop(self, name: str, data: bytes | None = None) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures.jpeg(seed=len(name)) if data is None else data)
        return path

    def complete(self, name: str) -> None:
        """As if the worker had done it."""
        row = self.ledger.get(Path(name))
        assert row is not None
        path = self.inbox / name
        from denoisetool.files import identify

        self.ledger.restamp(row.id, Stamp.of(path.stat()))
        self.ledger.done(
            row.id, identify(path).digest.hex(), reason="", megapixels=0, seconds=0, model="",
            settings="", after=(),
        )  # fmt: skip
        self.folder.active.discard(path)
        self.found.clear()

    def notices(self) -> list[str]:
        return [event.kind for event in self.told if isinstance(event, Notice)]

    def modes(self) -> list[str]:
        return [event.mode for event in self.told if isinstance(event, Watching)]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.05)
    made = Desk(tmp_path)
    yield made
    made.scout.stop()


def test_what_is_there_at_the_start_is_found_in_order(desk: Desk) -> None:
    for name in ("b10.jpg", "b2.jpg", "sub/a.png", ".hidden.jpg", "notes.txt", "c.jpg.part"):
        desk.drop(name)
    desk.drop("junk.txt", b"nothing")
    desk.scout.start()
    wait_for(lambda: len(desk.found) >= 4)
    assert [each.path.name for each in desk.found] == ["b2.jpg", "b10.jpg", "notes.txt", "a.png"]
    assert desk.ledger.counts().waiting == 4


def test_nothing_is_settled_before_what_was_found_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With `--once` the watch ends when all is settled: between a scan and the note of what it
    # found it must not be.
    desk = Desk(tmp_path, Options(settle=0.05, once=True))
    desk.drop("a.jpg")
    seen: list[bool] = []
    note = Scout._note

    def slowly(scout: Scout, folder: Folder, found: list[tuple[Sighting, bool]]) -> None:
        seen.append(scout.settled)
        note(scout, folder, found)
        seen.append(scout.settled)

    monkeypatch.setattr(Scout, "_note", slowly)
    desk.scout.start()
    wait_for(lambda: len(desk.found) == 1)
    wait_for(lambda: desk.scout.settled)
    desk.scout.stop()
    assert seen[:2] == [False, False]


@pytest.mark.parametrize("polling", [False, True], ids=["events", "polling"])
def test_what_arrives_is_found(polling: bool, tmp_path: Path) -> None:
    desk = Desk(tmp_path, Options(settle=0.05, poll=0.2 if polling else None))
    desk.scout.start()
    wait_for(lambda: bool(desk.modes()))
    assert desk.modes() == ["polling" if polling else "events"]
    desk.drop("a.jpg")
    other = tmp_path / "elsewhere.jpg"
    other.write_bytes(pictures.jpeg())
    (desk.inbox / "linked.jpg").hardlink_to(other)
    desk.drop("moved.jpg.part").rename(desk.inbox / "moved.jpg")
    card = tmp_path / "card" / "DCIM"
    card.mkdir(parents=True)
    (card / "x.jpg").write_bytes(pictures.jpeg())
    card.parent.rename(desk.inbox / "card")
    expected = ["a.jpg", "card/DCIM/x.jpg", "linked.jpg", "moved.jpg"]
    wait_for(lambda: len(desk.found) >= 4)
    assert desk.names() == expected
    desk.scout.stop()


def test_a_growing_file_is_waited_for(desk: Desk) -> None:
    desk.options = replace(desk.options, settle=0.6)
    desk.scout._options = desk.options
    data = pictures.jpeg(200, 300)
    path = desk.inbox / "slow.jpg"
    desk.scout.start()
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), len(data) // 8 + 1):
            assert not desk.found, "taken while it was written"
            file.write(data[start : start + len(data) // 8 + 1])
            time.sleep(0.1)
        assert desk.ledger.counts().done == 0
    wait_for(lambda: len(desk.found) == 1)
    assert desk.found[0].stamp.size == len(data)


def test_a_closed_file_does_not_wait_to_settle(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Options(settle=3600))
    desk.scout.start()
    wait_for(lambda: bool(desk.modes()))
    desk.drop("a.jpg")
    wait_for(lambda: desk.names() == ["a.jpg"])
    desk.scout.stop()


def test_the_same_content_again_is_no_work_but_new_content_is(desk: Desk) -> None:
    path = desk.drop("a.jpg")
    desk.scout.start()
    wait_for(lambda: len(desk.found) == 1)
    desk.complete("a.jpg")
    old = desk.ledger.get(Path("a.jpg"))
    path.write_bytes(path.read_bytes())
    wait_for(lambda: desk.ledger.get(Path("a.jpg")).stamp != old.stamp)  # type: ignore[union-attr]
    assert desk.found == []
    path.write_bytes(pictures.jpeg(seed=99))
    wait_for(lambda: len(desk.found) == 1)
    assert desk.ledger.counts().waiting == 1
    assert desk.ledger.counts().done == 1


def test_what_cannot_be_a_photo_fails_once_until_it_changes(desk: Desk) -> None:
    path = desk.drop("a.jpg", b"this is no picture")
    desk.scout.start()
    wait_for(lambda: desk.ledger.counts().failed == 1)
    desk.scout.hint(Hint("lost", desk.inbox, desk.inbox))
    wait_for(lambda: desk.folder.scans >= 2)
    failures = [event for event in desk.told if isinstance(event, Outcome)]
    assert [event.status for event in failures] == ["failed"]
    assert "not an image" in failures[0].reason
    path.write_bytes(pictures.jpeg())
    wait_for(lambda: desk.names() == ["a.jpg"])


def test_a_file_that_was_no_photo_may_become_one(desk: Desk) -> None:
    path = desk.drop("scan", b"")
    desk.scout.start()
    wait_for(lambda: desk.folder.scans >= 1)
    assert desk.ledger.counts().seen == 0
    path.write_bytes(pictures.png())
    wait_for(lambda: desk.names() == ["scan"])


def test_lost_events_lead_to_a_scan(desk: Desk) -> None:
    desk.scout.start()
    wait_for(lambda: bool(desk.modes()) and desk.folder.scans >= 1)
    assert desk.folder.observer is not None
    desk.folder.observer.stop()  # deaf, as after an overflow
    desk.folder.observer.problem = lambda: None  # type: ignore[method-assign]
    desk.drop("a.jpg")
    desk.scout.hint(Hint("lost", desk.inbox, desk.inbox))
    wait_for(lambda: desk.names() == ["a.jpg"])
    assert "overflow" in desk.notices()


def test_the_librarys_warning_of_lost_events_is_heard(desk: Desk) -> None:
    import logging

    desk.scout.start()
    wait_for(lambda: desk.folder.observer is not None and desk.folder.scans >= 1)
    logging.getLogger("watchdog.observers.inotify_c").warning("queue overflowed")
    wait_for(lambda: "overflow" in desk.notices())


@pytest.mark.parametrize("victim", ["emitter", "observer", "reader"])
def test_a_dead_observer_is_begun_anew(victim: str, desk: Desk) -> None:
    desk.scout.start()
    wait_for(lambda: desk.folder.observer is not None and desk.folder.scans >= 1)
    observer = desk.folder.observer
    assert observer is not None
    if victim == "emitter":
        next(iter(observer._observer.emitters)).stop()
    elif victim == "observer":
        observer._observer.stop()
    else:
        observer._observer._inotify_fd.stop()
    wait_for(lambda: "observer_restarted" in desk.notices())
    wait_for(lambda: desk.folder.observer not in (None, observer))
    desk.drop("a.jpg")
    wait_for(lambda: desk.names() == ["a.jpg"])


def test_an_observer_that_hangs_is_left_behind(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoisetool.watch.observe._STOP_SECONDS", 0.1)
    desk.scout.start()
    wait_for(lambda: desk.folder.observer is not None and desk.folder.scans >= 1)
    observer = desk.folder.observer
    assert observer is not None
    go_on = threading.Event()
    monkeypatch.setattr(observer._observer, "stop", go_on.wait)
    monkeypatch.setattr(observer, "problem", lambda: "it hangs")
    wait_for(lambda: desk.folder.observer not in (None, observer))
    desk.drop("a.jpg")
    wait_for(lambda: desk.names() == ["a.jpg"])
    go_on.set()
    observer._observer.unschedule_all()


def test_a_folder_that_goes_away_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    desk.drop("a.jpg")
    desk.scout.start()
    wait_for(lambda: desk.names() == ["a.jpg"])
    desk.complete("a.jpg")
    desk.inbox.rename(tmp_path / "away")
    wait_for(lambda: "folder_gone" in desk.notices())
    (tmp_path / "away").rename(desk.inbox)
    wait_for(lambda: "folder_back" in desk.notices())
    desk.drop("b.jpg")
    wait_for(lambda: desk.names() == ["b.jpg"])
    assert (desk.ledger.counts().done, desk.ledger.counts().gone) == (1, 0)


def test_another_folder_in_its_place_is_observed(desk: Desk, tmp_path: Path) -> None:
    desk.scout.start()
    wait_for(lambda: desk.folder.observer is not None)
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").write_bytes(pictures.jpeg())
    desk.inbox.rename(tmp_path / "away")
    other.rename(desk.inbox)
    wait_for(lambda: desk.names() == ["b.jpg"])
    desk.drop("c.jpg")
    wait_for(lambda: desk.names() == ["b.jpg", "c.jpg"])


def test_what_was_taken_away_is_gone(desk: Desk) -> None:
    desk.ledger.arrive([(Path("was.jpg"), Stamp(1, 1, 1))])
    desk.scout.start()
    wait_for(lambda: desk.ledger.counts().gone == 1)
    assert desk.ledger.counts().seen == 0


def test_no_more_watches_means_polling(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(module, "Observer", none)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.1)
    desk.scout.start()
    wait_for(lambda: desk.modes() == ["polling"])
    desk.drop("a.jpg")
    wait_for(lambda: desk.names() == ["a.jpg"])
    watching = next(event for event in desk.told if isinstance(event, Watching))
    assert "limit" in watching.reason


def test_no_more_watches_for_subfolders_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "out_of_watches", lambda _: "the limit is reached")
    desk.scout.start()
    wait_for(lambda: "polling" in desk.modes())
    assert desk.folder.observer is not None


def test_a_network_drive_is_polled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "network_kind", lambda _: "nfs4")
    desk.scout.start()
    wait_for(lambda: desk.modes() == ["polling"])


def test_this_disk_is_no_network_drive(tmp_path: Path) -> None:
    assert network_kind(tmp_path) is None


def test_an_error_in_the_scout_does_not_end_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = threading.Event()
    broken.set()
    usual = desk.folder.scanner.everything

    def everything() -> Iterator[Sighting]:
        if broken.is_set():
            raise RuntimeError("the disk is on fire")
        return usual()

    monkeypatch.setattr(type(desk.folder.scanner), "everything", lambda _: everything())
    desk.drop("a.jpg")
    desk.scout.start()
    wait_for(lambda: "trouble" in desk.notices())
    broken.clear()
    wait_for(lambda: desk.names() == ["a.jpg"])


def test_outputs_and_archive_in_the_watched_folder_are_not_fed_back(tmp_path: Path) -> None:
    options = Options(settle=0.05, archive=tmp_path / "inbox" / "archive")
    desk = Desk(tmp_path, options)
    desk.folder = Folder(desk.inbox, str(desk.inbox / "clean") + "/", options, desk.ledger)
    for name in ("clean/out.jpg", "clean/sub/out.jpg", "archive/old.jpg", "in.jpg"):
        desk.drop(name)
    assert [each.path.name for each in desk.folder.scanner.everything()] == ["in.jpg"]
    assert desk.folder.scanner.one(desk.inbox / "clean" / "sub" / "out.jpg") is None
    assert list(desk.folder.scanner.below(desk.inbox / "clean" / "sub")) == []
    (desk.inbox / "way").symlink_to(desk.inbox / "clean")
    assert [each.path.name for each in desk.folder.scanner.everything()] == ["in.jpg"]


@pytest.mark.parametrize("output", [".", "inbox", "link"])
def test_outputs_that_would_be_watched_are_refused(output: str, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="watched again"):
        Folder(
            tmp_path / "inbox", f"{tmp_path / output}{os.sep}", Options(),
            Ledger(tmp_path / "x.sqlite"),
        )  # fmt: skip


def test_subfolders_are_left_out_when_asked(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Options(recursive=False))
    desk.drop("sub/a.jpg")
    top = desk.drop("b.jpg")
    assert [each.path for each in desk.folder.scanner.everything()] == [top]
    assert desk.folder.scanner.one(desk.inbox / "sub" / "a.jpg") is None


def test_what_is_known_is_not_opened(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.drop("a.jpg")
    desk.drop("text.txt", b"nothing")
    for sighting in desk.folder.scanner.everything():
        desk.ledger.arrive([(Path("a.jpg"), sighting.stamp)])
    desk.complete("a.jpg")
    opened: list[Path] = []
    from denoisetool.files import sources

    usual = sources._read_head

    def read_head(path: Path) -> tuple[bytes, os.stat_result]:
        opened.append(path)
        return usual(path)

    monkeypatch.setattr(sources, "_read_head", read_head)
    assert list(desk.folder.scanner.everything()) == []
    assert opened == []
