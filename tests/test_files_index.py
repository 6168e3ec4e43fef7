"""The index: what it claims is true after any crash, and trouble with it stops nothing."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from denoisetool.errors import UnreadablePhoto
from denoisetool.files import (
    Identity,
    Index,
    Verdict,
    atomic_write,
    database,
    digest,
    digest_file,
    identify,
    state_folder,
)
from denoisetool.files import index as index_module


@dataclass
class Desk:
    """A photo, a place for its output, and an index."""

    folder: Path
    index: Index

    @property
    def source(self) -> Path:
        return self.folder / "photo.jpg"

    @property
    def target(self) -> Path:
        return self.folder / "clean.jpg"

    def make(self, data: bytes = b"clean", fingerprint: str = "A", confirm: bool = True) -> None:
        make(self.index, self.target, self.source, data, fingerprint)
        if confirm:
            self.index.confirm(self.target)

    def verdict(self, fingerprint: str = "A") -> Verdict:
        return self.index.lookup(self.target, self.source, fingerprint)

    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.folder / "state")

    def hashing(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """A list that grows with every source that is read."""
        read: list[Path] = []

        def counted(path: Path) -> Identity:
            read.append(path)
            return identify(path)

        monkeypatch.setattr(index_module, "identify", counted)
        return read


def make(index: Index, target: Path, source: Path, data: bytes, fingerprint: str) -> None:
    """What the pipeline does for one photo, short of `confirm`."""
    with atomic_write(target, overwrite=True, copy_times=source.stat()) as file:
        file.write(data)
        size, found = digest_file(file)
        index.intend(
            target,
            source=source,
            identity=identify(source),
            fingerprint=fingerprint,
            size=size,
            digest=found,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "photo.jpg").write_bytes(b"noisy")
    return Desk(tmp_path, Index.open(tmp_path / "state"))


def test_the_four_verdicts(desk: Desk) -> None:
    assert desk.verdict() is Verdict.MISSING
    desk.target.write_bytes(b"theirs")
    assert desk.verdict() is Verdict.FOREIGN
    desk.make()
    assert desk.verdict() is Verdict.SAME
    assert desk.verdict("B") is Verdict.DIFFERENT
    desk.source.write_bytes(b"other photo")
    assert desk.verdict() is Verdict.DIFFERENT
    desk.target.unlink()
    assert desk.verdict() is Verdict.MISSING
    assert not desk.index.warning


def test_it_is_remembered(desk: Desk) -> None:
    desk.make()
    desk.reopen()
    assert desk.verdict() is Verdict.SAME


def test_a_touched_source_is_read_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read = desk.hashing(monkeypatch)
    desk.make()
    assert desk.verdict() is Verdict.SAME
    assert not read
    os.utime(desk.source, ns=(1, 1))
    assert [desk.verdict(), desk.verdict()] == [Verdict.SAME] * 2
    assert len(read) == 1
    desk.source.write_bytes(b"NOISY")  # as long as before
    assert desk.verdict() is Verdict.DIFFERENT


def test_a_touched_output_is_read_once_and_an_edited_one_is_foreign(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.make()
    os.utime(desk.target, ns=(5, 5))
    assert desk.verdict() is Verdict.SAME
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "digest_file", lambda _: pytest.fail("read again"))
        assert desk.verdict() is Verdict.SAME
    desk.target.write_bytes(b"CLEAN")
    assert desk.verdict() is Verdict.FOREIGN
    desk.target.write_bytes(b"cropped")
    assert desk.verdict() is Verdict.FOREIGN


def test_a_link_or_folder_at_the_target_is_foreign(desk: Desk) -> None:
    desk.make()
    desk.target.rename(desk.folder / "moved.jpg")
    desk.target.symlink_to("moved.jpg")
    assert desk.verdict() is Verdict.FOREIGN
    desk.target.unlink()
    desk.target.mkdir()
    assert desk.verdict() is Verdict.FOREIGN


def test_a_vanished_source_is_different(desk: Desk) -> None:
    desk.make()
    desk.source.unlink()
    assert desk.verdict() is Verdict.DIFFERENT


def test_versions_of_equal_size_and_time_are_told_apart(desk: Desk) -> None:
    """Copied times and no compression: only the hash can tell, until `confirm` says which."""
    desk.make(b"clean A", "A")
    desk.make(b"clean B", "B", confirm=False)
    assert desk.verdict("A") is Verdict.DIFFERENT
    assert desk.verdict("B") is Verdict.SAME
    desk.make(b"clean A", "A")
    assert (desk.verdict("A"), desk.verdict("B")) == (Verdict.SAME, Verdict.DIFFERENT)


def test_an_intention_that_came_to_nothing_changes_nothing(desk: Desk) -> None:
    desk.make(b"clean A", "A")
    for attempt in range(3):
        desk.index.intend(
            desk.target,
            source=desk.source,
            identity=identify(desk.source),
            fingerprint="B",
            size=7,
            digest=digest(b"clean %d" % attempt),
        )
    desk.reopen()
    assert (desk.verdict("A"), desk.verdict("B")) == (Verdict.SAME, Verdict.DIFFERENT)
    desk.index.confirm(desk.target)  # of another process: nothing to confirm
    assert desk.verdict("A") is Verdict.SAME


def test_two_folders_by_one_name_are_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.make()
    (desk.folder / "link").symlink_to(".")
    monkeypatch.chdir(desk.folder)
    for spelling in ("clean.jpg", "link/clean.jpg", "state/../clean.jpg"):
        assert desk.index.lookup(Path(spelling), desk.source, "A") is Verdict.SAME


@pytest.mark.parametrize("name", [os.fsdecode(b"\xe9.jpg"), "new\nline", "cafe\u0301", "'; --"])
def test_odd_names(desk: Desk, name: str) -> None:
    target = desk.folder / name
    make(desk.index, target, desk.source, b"clean", "A")
    desk.index.confirm(target)
    assert desk.index.lookup(target, desk.source, "A") is Verdict.SAME
    assert not desk.index.warning


def test_own_outputs_are_told_where_their_photo_is_there_too(desk: Desk) -> None:
    desk.make()
    other = desk.folder / "other.jpg"
    other.touch()
    assert desk.index.own_outputs([desk.source, desk.target, other]) == {desk.target}
    assert desk.index.own_outputs([desk.target, other]) == set()
    desk.target.write_bytes(b"edited")
    assert desk.index.own_outputs([desk.source, desk.target]) == set()


def test_many_are_looked_up_quickly(desk: Desk) -> None:
    paths = [desk.folder / f"out/{number}.jpg" for number in range(20_000)]
    start = time.process_time()
    verdicts = desk.index.lookup_many([(path, desk.source, "A") for path in paths])
    assert time.process_time() - start < 3.0
    assert verdicts == [Verdict.MISSING] * 20_000
    assert desk.index.lookup_many([]) == []


def test_pruning_forgets_only_what_is_gone_for_good(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stays", "goes", "usb/unplugged", "empty/unmounted"):
        make(desk.index, desk.folder / name, desk.source, b"clean", "A")
    assert desk.index.prune() == 0
    (desk.folder / "goes").unlink()
    (desk.folder / "usb").rename(desk.folder / "away")
    (desk.folder / "empty/unmounted").unlink()
    assert desk.index.prune() == 0  # a rename may be about to happen
    now = time.time() + 2 * 24 * 3600
    monkeypatch.setattr(time, "time", lambda: now)
    assert sum(desk.index.prune(limit=1) for _ in range(4)) == 1
    (desk.folder / "away").rename(desk.folder / "usb")
    assert desk.index.lookup(desk.folder / "usb/unplugged", desk.source, "A") is Verdict.SAME
    assert desk.index.lookup(desk.folder / "stays", desk.source, "A") is Verdict.SAME


# Trouble


def test_a_damaged_index_is_set_aside(desk: Desk) -> None:
    desk.make()
    desk.index.close()
    desk.index.path.write_bytes(b"this is no database at all " * 100)
    desk.reopen()
    assert "set aside" in desk.index.warning
    assert desk.verdict() is Verdict.FOREIGN
    assert (desk.folder / "state/outputs.sqlite.damaged").exists()
    desk.make()
    desk.reopen()
    assert not desk.index.warning
    assert desk.verdict() is Verdict.SAME


def test_damage_in_the_midst_of_work_is_set_aside(desk: Desk) -> None:
    for number in range(15):
        make(desk.index, desk.folder / f"{number}", desk.source, b"clean", "A" * 2000)
    desk.index.close()
    size = desk.index.path.stat().st_size
    with desk.index.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    desk.index = Index.open(desk.folder / "state")
    desk.make()
    assert "set aside" in desk.index.warning
    assert desk.verdict() is Verdict.SAME


def test_an_index_that_cannot_be_used_is_done_without(desk: Desk) -> None:
    (desk.folder / "file").touch()
    index = Index.open(desk.folder / "file/state")
    assert "cannot be used" in index.warning
    make(index, desk.target, desk.source, b"clean", "A")
    index.confirm(desk.target)
    assert index.lookup(desk.target, desk.source, "A") is Verdict.FOREIGN
    assert index.lookup(desk.folder / "x", desk.source, "A") is Verdict.MISSING
    assert index.own_outputs([desk.source, desk.target]) == set()
    assert index.prune() == 0


def test_a_folder_in_place_of_the_index_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "outputs.sqlite").mkdir()
    assert Index.open(tmp_path).warning


def test_an_index_of_a_later_version_is_left_alone(desk: Desk) -> None:
    desk.make()
    desk.index.close()
    connection = sqlite3.connect(desk.index.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    desk.reopen()
    assert "another version" in desk.index.warning
    assert desk.verdict() is Verdict.FOREIGN
    assert not (desk.folder / "state/outputs.sqlite.damaged").exists()


def test_a_full_disk_is_told_and_the_index_goes_on(desk: Desk) -> None:
    connection = desk.index._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(15):
        make(desk.index, desk.folder / f"{number}", desk.source, b"clean", "A" * 2000)
    assert "full" in desk.index.warning
    assert (desk.folder / "14").exists()
    connection.execute(f"PRAGMA max_page_count = {100 * pages}")
    desk.make()
    assert desk.verdict() is Verdict.SAME


def test_a_busy_index_is_told_and_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    desk.reopen()
    other = sqlite3.connect(desk.index.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    desk.make()
    assert "locked" in desk.index.warning
    other.execute("ROLLBACK")
    other.close()
    desk.make(b"clean again")
    assert desk.verdict() is Verdict.SAME


def meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> None:
    """Have something happen between the first look into the index and that at the disk."""
    look, todo = desk.index._rows, [work]

    def rows(keys: Sequence[bytes]) -> Any:
        found = look(keys)
        while todo:
            todo.pop()()
        return found

    monkeypatch.setattr(desk.index, "_rows", rows)


def test_what_another_run_makes_meanwhile_is_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(desk, monkeypatch, desk.make)
    assert desk.verdict() is Verdict.SAME


@pytest.mark.parametrize("how", ["own_outputs", "made"])
def test_an_output_that_is_replaced_meanwhile_is_still_ours(
    how: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.make()
    meanwhile(desk, monkeypatch, lambda: desk.make(b"another"))
    if how == "made":
        assert desk.index.made(desk.target)
    else:
        assert desk.index.own_outputs([desk.source, desk.target]) == {desk.target}


def test_another_photo_of_equal_size_and_time_is_told_apart(desk: Desk) -> None:
    desk.make()
    other = desk.folder / "card2" / "photo.jpg"
    other.parent.mkdir()
    status = desk.source.stat()
    for data, verdict in ((b"other", Verdict.DIFFERENT), (b"noisy", Verdict.SAME)):
        other.write_bytes(data)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert desk.index.lookup(desk.target, other, "A") is verdict


def test_the_state_folder_moves_with_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DENOISETOOL_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "state"
    with Index.open() as index:
        assert index.path == tmp_path / "state/outputs.sqlite"
    monkeypatch.delenv("DENOISETOOL_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder().name == "denoisetool"


# Content


def test_identity_is_that_of_the_content(desk: Desk) -> None:
    identity = identify(desk.source)
    status = desk.source.stat()
    assert identity == Identity(status.st_size, status.st_mtime_ns, digest(b"noisy"))
    with pytest.raises(UnreadablePhoto):
        identify(desk.folder / "gone")


def test_a_photo_still_being_written_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fstat = os.fstat

    def growing(descriptor: int) -> os.stat_result:
        with desk.source.open("ab") as file:
            file.write(b"more")
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", growing)
    with pytest.raises(UnreadablePhoto, match="still being written"):
        identify(desk.source)


# Company


def test_threads_share_an_index(desk: Desk) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 8):
            target = desk.folder / f"{number}.out"
            make(desk.index, target, desk.source, b"%d" % number, "A")
            desk.index.confirm(target)
            assert desk.index.lookup(target, desk.source, "A") is Verdict.SAME

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.reopen()
    made = [desk.folder / f"{100 * n + m}.out" for n in range(4) for m in range(8)]
    items = [(target, desk.source, "A") for target in made]
    assert desk.index.lookup_many(items) == [Verdict.SAME] * 32
    assert not desk.index.warning


WORKER = """
import os, signal, sys
from pathlib import Path
from denoisetool.files import *
folder, first, die = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
index = Index.open(folder / "state")
source = folder / "photo.jpg"
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
for number in range(first, first + 12):
    target = folder / "out" / f"{number}"
    last = number == first + 11
    with atomic_write(target, overwrite=True, copy_times=source.stat()) as file:
        file.write(b"B%d" % number)
        size, found = digest_file(file)
        if last and die == "before intend":
            kill()
        index.intend(target, source=source, identity=identify(source), fingerprint="B",
                     size=size, digest=found)
        if last and die == "after intend":
            kill()
        if last and die == "before rename":
            os.replace = kill
        if last and die == "after rename":
            os.unlink = kill
    if last and die == "before confirm":
        kill()
    index.confirm(target)
assert not index.warning, index.warning
"""


def worker(folder: Path, first: int, die: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(folder), str(first), die]
    return subprocess.Popen(command)


@pytest.mark.parametrize(
    ("point", "renamed"),
    [
        ("before intend", False),
        ("after intend", False),
        ("before rename", False),
        ("after rename", True),
        ("before confirm", True),
    ],
)
@pytest.mark.parametrize("older", [True, False])
def test_killed_at_any_point_the_index_tells_the_truth(
    desk: Desk, point: str, renamed: bool, older: bool
) -> None:
    last = desk.folder / "out/11"
    if older:
        make(desk.index, last, desk.source, b"A11", "A")
        desk.index.confirm(last)
    killed = worker(desk.folder, 0, point)
    assert killed.wait() == -signal.SIGKILL
    desk.reopen()
    verdicts = [desk.index.lookup(desk.folder / f"out/{n}", desk.source, "B") for n in range(11)]
    assert verdicts == [Verdict.SAME] * 11
    verdict = desk.index.lookup(last, desk.source, "B")
    if renamed:
        assert last.read_bytes() == b"B11"
        assert verdict is Verdict.SAME
    elif older:
        assert last.read_bytes() == b"A11"
        assert verdict is Verdict.DIFFERENT
        assert desk.index.lookup(last, desk.source, "A") is Verdict.SAME
    else:
        assert verdict is Verdict.MISSING
    assert not desk.index.warning


def test_processes_share_a_new_index_and_a_folder(desk: Desk) -> None:
    desk.index.close()
    for path in (desk.folder / "state").iterdir():
        path.unlink()
    workers = [worker(desk.folder, first) for first in (0, 6, 12)]  # they overlap
    assert [each.wait() for each in workers] == [0, 0, 0]
    desk.reopen()
    made = [desk.folder / f"out/{number}" for number in range(24)]
    verdicts = desk.index.lookup_many([(target, desk.source, "B") for target in made])
    assert verdicts == [Verdict.SAME] * 24
    assert sorted(os.listdir(desk.folder / "out")) == sorted(map(str, range(24)))  # noqa: PTH208


def test_an_output_is_known_whatever_it_was_made_of(desk: Desk) -> None:
    assert not desk.index.made(desk.target)
    desk.make()
    assert desk.index.made(desk.target)
    assert not desk.index.made(desk.source)
    desk.target.write_bytes(b"changed by others")
    assert not desk.index.made(desk.target)


def test_a_photo_of_equal_size_and_time_is_told_apart_by_reading_it(desk: Desk) -> None:
    desk.make()
    status = desk.source.stat()
    desk.source.write_bytes(b"other")
    os.utime(desk.source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert desk.verdict() is Verdict.SAME, "size and time are all that is looked at"
    found = desk.index.lookup(desk.target, desk.source, "A", identify(desk.source))
    assert found is Verdict.DIFFERENT


def test_an_output_knows_the_photo_it_was_made_of(desk: Desk) -> None:
    desk.make()
    other = desk.folder / "other.jpg"
    other.write_bytes(b"noisy")
    assert desk.index.made_from(desk.target, desk.source)
    assert not desk.index.made_from(desk.target, other)
    desk.target.write_bytes(b"edited")
    assert not desk.index.made_from(desk.target, desk.source)
