"""Writing: whole or not at all, never over what nobody asked to replace, nothing left behind."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from denoisetool import errors
from denoisetool.files import atomic, atomic_write, clean_leftovers, free_bytes, is_temporary


def write(target: Path, data: bytes = b"new", *, overwrite: bool = False) -> None:
    with atomic_write(target, overwrite=overwrite) as file:
        file.write(data)


def failing(number: int) -> Callable[..., NoReturn]:
    """A system call that fails with this error."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "a/b/photo.jpg"
    with atomic_write(target, overwrite=False) as file:
        file.write(b"123")
        assert not target.exists()
        assert [is_temporary(name) for name in listing(target.parent)] == [True]
        file.seek(0)
        assert file.read() == b"123"
    assert target.read_bytes() == b"123"
    assert listing(target.parent) == ["photo.jpg"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_times_are_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.touch()
    os.utime(source, ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321))
    with atomic_write(tmp_path / "a", overwrite=False, copy_times=source.stat()) as file:
        file.write(b"1")
    status = (tmp_path / "a").stat()
    assert status.st_mtime_ns == source.stat().st_mtime_ns
    assert status.st_atime_ns == source.stat().st_atime_ns


def test_nothing_is_replaced_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(errors.OutputExists) as told:
        write(target)
    assert "--overwrite" in told.value.hint
    assert target.read_bytes() == b"old"
    write(target, overwrite=True)
    assert target.read_bytes() == b"new"
    assert listing(tmp_path) == ["a"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"old")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(errors.OutputExists):
            write(tmp_path / name)
        write(tmp_path / name, overwrite=True)
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_link_to_a_pipe_is_no_place_for_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    link = tmp_path / "link"
    link.symlink_to("pipe")
    with pytest.raises(errors.OutputError, match="device or pipe"):
        write(link, overwrite=True)
    assert link.is_symlink()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    target = tmp_path / "a"

    def block() -> None:
        with atomic_write(target, overwrite=False) as file:
            file.write(b"new")
            target.write_bytes(b"theirs")

    with pytest.raises(errors.OutputExists):
        block()
    assert target.read_bytes() == b"theirs"
    assert listing(tmp_path) == ["a"]


def test_a_disk_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EOPNOTSUPP))
    write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(errors.OutputError):
        write(tmp_path / "b")
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_happens_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def block() -> None:
        with atomic_write(tmp_path / "a", overwrite=True) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        block()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("call", "number", "said"),
    [
        ("fsync", errno.ENOSPC, "full"),
        ("fsync", errno.EDQUOT, "quota"),
        ("fsync", errno.EIO, "cannot be written"),
        ("open", errno.EROFS, "read-only"),
        ("open", errno.EACCES, "no permission"),
        ("open", errno.ENOSPC, "full"),
        ("replace", errno.EPERM, "no permission"),
        ("mkdir", errno.EACCES, "no permission"),
    ],
)
def test_what_the_disk_says_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, said: str
) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(errors.OutputError) as told:
        write(tmp_path / "new/a" if call == "mkdir" else tmp_path / "a", overwrite=True)
    assert said in str(told.value)
    assert told.value.exit_code == 6
    assert listing(tmp_path) == []


def test_a_full_disk_is_told_apart_from_other_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inside(error: Exception) -> Callable[[], None]:
        def block() -> None:
            with atomic_write(tmp_path / "a", overwrite=True) as file:
                file.write(b"half")
                raise error

        return block

    with pytest.raises(errors.OutputError, match="full"):
        inside(OSError(errno.ENOSPC, "No space left on device"))()
    with pytest.raises(errors.OutputError, match="cannot be written"):
        inside(OSError(errno.EIO, "Input/output error"))()
    with pytest.raises(PermissionError):  # about the source, for all we know
        inside(PermissionError(errno.EACCES, "Permission denied"))()
    with pytest.raises(OSError, match="encoder error"):
        inside(OSError("encoder error -2"))()
    monkeypatch.setattr(atomic, "free_bytes", lambda _: 0)
    with pytest.raises(errors.OutputError, match="full"):
        inside(OSError("encoder error -2"))()
    assert listing(tmp_path) == []


def test_a_file_over_the_size_limit_is_told(tmp_path: Path) -> None:
    """A real failure of a buffered write: what is left in the buffer must not hide it."""
    script = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from denoisetool import errors\nfrom denoisetool.files import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n"
        "    with atomic_write(Path(sys.argv[1]), overwrite=True) as file:\n"
        "        for _ in range(int(sys.argv[2])):\n"
        "            file.write(b'x' * 5000)\n"
        "except errors.OutputError as error:\n    print(error.what)\n"
    )
    for count in ("3", "9"):
        told = python(script, str(tmp_path / "a"), count)
        assert told == "the file is too large for this disk\n"
    assert listing(tmp_path) == []


def python(script: str, *arguments: str) -> str:
    """What a script prints, run on its own."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    cases = {
        "folder": "folder of that name",
        "file/a": "in the way",
        "file/a/b": "in the way",
        "pipe": "device or pipe",
        "x" * 300: "too long",
    }
    for name, said in cases.items():
        for overwrite in (True, False):
            with pytest.raises(errors.OutputError) as told:
                write(tmp_path / name, overwrite=overwrite)
            assert said in told.value.what
            assert told.value.path == tmp_path / name
    assert listing(tmp_path) == ["file", "folder", "pipe"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = "x" * 251 + ".jpg"
    write(tmp_path / name)
    assert listing(tmp_path) == [name]


def test_file_systems_that_cannot_sync_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_many_writers_of_one_new_name_leave_one_whole_file(tmp_path: Path) -> None:
    done: list[int] = []

    def writer(number: int) -> None:
        try:
            write(tmp_path / "a", bytes([number]) * 50_000)
            done.append(number)
        except errors.OutputExists:
            pass

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = done
    assert (tmp_path / "a").read_bytes() == bytes([winner]) * 50_000
    assert listing(tmp_path) == ["a"]


KILLED = """
import os, signal, sys
from pathlib import Path
from denoisetool.files import atomic_write
target, point, links = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "links"
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def unlinkable(*_, **__):
    raise OSError(95, "not supported")
if not links:
    os.link = unlinkable
if point != "write":
    setattr(os, point, die)
with atomic_write(target, overwrite=sys.argv[4] == "overwrite") as file:
    file.write(b"n" * 100_000)
    file.flush()
    if point == "write":
        die()
"""


@pytest.mark.parametrize("point", ["write", "fsync", "link", "replace", "unlink"])
@pytest.mark.parametrize("overwrite", ["overwrite", "keep"])
def test_killed_at_any_point_the_target_is_old_or_new(
    tmp_path: Path, point: str, overwrite: str
) -> None:
    if (overwrite, point) in {("overwrite", "link"), ("keep", "replace")}:
        pytest.skip("this call is not made on this way")
    target = tmp_path / "a"
    if overwrite == "overwrite":
        target.write_bytes(b"old")
    command = [sys.executable, "-c", KILLED, str(target), point, "links", overwrite]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    content = target.read_bytes() if target.exists() else None
    before = b"old" if overwrite == "overwrite" else None
    assert content in (before, b"n" * 100_000)
    assert clean_leftovers(tmp_path) <= 1
    assert listing(tmp_path) == ([] if content is None else ["a"])


def test_leftovers_of_dead_processes_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = atomic._host()
    mine = f".denoisetool-{here}-{os.getpid()}-{'0' * 16}.part"
    parent = f".denoisetool-{here}-{os.getppid()}-{'0' * 16}.part"
    dead = f".denoisetool-{here}-{ended.pid}-{'0' * 16}.part"
    huge = f".denoisetool-{here}-{'9' * 30}-{'0' * 16}.part"
    other = f".denoisetool-elsewhere-{ended.pid}-{'0' * 16}.part"
    user = ".denoisetool-notes.part"
    for name in (mine, parent, dead, huge, other, user):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))  # copied times say nothing about age
    assert clean_leftovers(tmp_path) == 2
    assert listing(tmp_path) == sorted([mine, parent, other, user])
    later = time.time() + atomic.STALE_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert clean_leftovers(tmp_path) == 3
    assert listing(tmp_path) == [user]
    assert clean_leftovers(tmp_path / "not there") == 0


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not/yet/there.jpg") > 0
    (tmp_path / "file").touch()
    assert free_bytes(tmp_path / "file/below") > 0


def test_no_free_space_to_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", failing(errno.EIO))
    with pytest.raises(errors.OutputError):
        free_bytes(tmp_path)
