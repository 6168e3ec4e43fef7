"""What comes after a photo: originals are moved whole or not at all, commands see no shell."""

from __future__ import annotations

import errno
import os
import sys
import threading
import types
from pathlib import Path

import pytest

from denoisetool.errors import OutputError, UnreadablePhoto, UsageError
from denoisetool.files import digest
from denoisetool.watch import finish
from denoisetool.watch.folder import Folder

DATA = b"an original" * 1000


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "inbox" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(DATA)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


@pytest.fixture(params=["link", "copy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Within a disk, and from one to another."""
    if request.param == "copy":

        def refuse(self: Path, target: Path) -> None:
            if not self.name.startswith(".denoisetool") and ".denoisetool" not in str(target):
                raise OSError(errno.EXDEV, "another disk")
            os.link(target, self)

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    return str(request.param)


def test_an_original_moves_with_its_time(original: Path, way: str, tmp_path: Path) -> None:
    place = tmp_path / "archive" / "2024" / "a.jpg"
    assert finish.archive(original, digest(DATA).hex(), place) == place
    assert place.read_bytes() == DATA
    assert place.stat().st_mtime == 1_000_000_000
    assert not original.exists()
    assert list(place.parent.iterdir()) == [place]


def test_nothing_in_the_archive_is_replaced(original: Path, way: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("a.jpg", "a (2).jpg"):
        (archive / name).write_bytes(b"older")
    went = finish.archive(original, digest(DATA).hex(), archive / "a.jpg")
    assert went == archive / "a (3).jpg"
    assert (archive / "a.jpg").read_bytes() == b"older"


def test_an_original_that_changed_stays(original: Path, way: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadablePhoto, match="changed"):
        finish.archive(original, digest(b"other").hex(), tmp_path / "archive" / "a.jpg")
    assert original.read_bytes() == DATA
    assert not list((tmp_path / "archive").glob("*"))


def test_a_kill_between_link_and_unlink_is_mended(original: Path, tmp_path: Path) -> None:
    place = tmp_path / "archive" / "a.jpg"
    place.parent.mkdir()
    place.hardlink_to(original)
    assert finish.archive(original, digest(DATA).hex(), place) == place
    assert not original.exists()
    assert list(place.parent.iterdir()) == [place]


def test_a_kill_between_copy_and_unlink_is_mended(original: Path, way: str, tmp_path: Path) -> None:
    place = tmp_path / "archive" / "a.jpg"
    place.parent.mkdir()
    place.write_bytes(DATA)
    assert finish.archive(original, digest(DATA).hex(), place) == place
    assert not original.exists()
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize("when", ["after the look", "after the move"])
def test_what_takes_the_name_meanwhile_is_not_lost(
    when: str, original: Path, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "archive" / "a.jpg"
    step = {"after the look": "_require", "after the move": "_put"}[when]
    do = getattr(finish, step)

    def replaced(*given: object) -> None:
        do(*given)
        new = tmp_path / "new"
        new.write_bytes(b"a new photo")
        new.replace(original)
        monkeypatch.setattr(finish, step, do)

    monkeypatch.setattr(finish, step, replaced)
    if when == "after the look":
        with pytest.raises(UnreadablePhoto, match="changed"):
            finish.archive(original, digest(DATA).hex(), place)
        assert not place.exists()
    else:
        assert finish.archive(original, digest(DATA).hex(), place) == place
        assert place.read_bytes() == DATA
        assert list(place.parent.iterdir()) == [place]
    assert original.read_bytes() == b"a new photo"


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_a_command_is_out_of_reach_of_ctrl_c(original: Path, tmp_path: Path) -> None:
    code = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpgid(0)))"
    finish.run([sys.executable, "-c", code, str(tmp_path / "group")], original, original)
    assert int((tmp_path / "group").read_text()) != os.getpgid(0)


def test_an_archive_that_cannot_be_made(original: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="archive cannot be written"):
        finish.archive(original, digest(DATA).hex(), tmp_path / "file" / "a.jpg")
    assert original.exists()


def test_trash_and_no_trash(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trashed: list[str] = []
    fake = types.ModuleType("send2trash")
    monkeypatch.setitem(sys.modules, "send2trash", fake)
    vars(fake)["send2trash"] = trashed.append
    finish.trash(original, digest(DATA).hex())
    assert trashed == [str(original)]
    with pytest.raises(UnreadablePhoto, match="changed"):
        finish.trash(original, digest(b"other").hex())

    def refuse(path: str) -> None:
        raise PermissionError(path)

    vars(fake)["send2trash"] = refuse
    with pytest.raises(OutputError, match="--archive"):
        finish.trash(original, digest(DATA).hex())
    assert original.exists()


def test_the_real_trash(original: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only there can the trash be put elsewhere")
    import subprocess

    code = (
        "import sys; from pathlib import Path; from denoisetool.watch import finish;"
        "finish.trash(Path(sys.argv[1]), sys.argv[2])"
    )
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", code, str(original), digest(DATA).hex()],
        env=environment, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert not original.exists()
    assert (tmp_path / "data" / "Trash" / "files" / "a.jpg").read_bytes() == DATA


def record(told: Path) -> list[str]:
    code = "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]))"
    return [sys.executable, "-c", code, str(told)]


def test_arguments_reach_the_command_as_they_are(tmp_path: Path) -> None:
    told = tmp_path / "told"
    source, output = Path("/in/$(rm -rf) a'b.jpg"), Path("/out/x y;z {source}.jpg")
    finish.run(record(told), source, output)
    assert told.read_text() == repr([str(output)])
    finish.run([*record(told), "--from={source}", "{output}"], source, output)
    assert told.read_text() == repr([f"--from={source}", str(output)])


@pytest.mark.parametrize(
    "command", [["/nowhere/at-all"], [sys.executable, "-c", "raise SystemExit(3)"]]
)
def test_a_command_that_fails(command: list[str]) -> None:
    with pytest.raises(UsageError, match="--on-done"):
        finish.run(command, Path("/in.jpg"), Path("/out.jpg"))


def test_a_command_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "COMMAND_SECONDS", 0.2)
    with pytest.raises(UsageError, match="ended after"):
        finish.run([sys.executable, "-c", "import time; time.sleep(60)"], Path("a"), Path("b"))


def test_steps_are_taken_in_order_whatever_happens() -> None:
    seen: list[tuple[str, str]] = []
    over = threading.Event()

    def stepped(step: finish.Step, moved: Path | None, problem: str) -> None:
        seen.append((step.name, problem))
        if step.name == "last":
            over.set()

    def broken() -> Path | None:
        raise RuntimeError("oh")

    finisher = finish.Finisher(stepped)
    key = (object.__new__(Folder), 1)
    finisher.take(finish.Step(key, "first", broken))
    finisher.take(finish.Step(key, "last", lambda: None))
    assert over.wait(30)
    finisher.stop(30)
    assert [name for name, _ in seen] == ["first", "last"]
    assert "unexpected RuntimeError" in seen[0][1]
    assert seen[1][1] == ""
