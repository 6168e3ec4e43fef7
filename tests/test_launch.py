"""Which face a start shows: the command line or the window."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from denoisetool import launch, program
from denoisetool.errors import DenoiseError

SCREEN = {"DISPLAY": ":0"}


class Began(Exception):
    """A program took over."""


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What was shown, instead of showing it."""
    shown: list[tuple[str, Any]] = []

    def cli(window: object = None) -> None:
        shown.append(("cli", sys.argv[1:]))
        sys.exit(0)

    def gui(photos: list[str]) -> int:
        shown.append(("window", photos))
        return 7

    def become(command: list[str]) -> None:
        shown.append(("program", command))
        raise Began

    fake = ModuleType("denoisetool.gui")
    fake.main = gui  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "denoisetool.gui", fake)
    monkeypatch.setattr("denoisetool.cli.main", cli)
    monkeypatch.setattr(launch, "_become", become)
    return shown


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Be one of the programs of a bundle."""

    def be(name: str) -> Path:
        for each in (program.CONSOLE, program.window_name()):
            (tmp_path / each).touch()
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        monkeypatch.setattr(sys, "executable", str(tmp_path / name))
        return tmp_path

    return be


def start(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any], *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["program", *words])
    with pytest.raises((SystemExit, Began)) as ended:
        run()
    return getattr(ended.value, "code", None)


def clicked(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr(launch, "started_by_click", lambda: answer)


def test_the_console_program_is_the_command_line(
    faces: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    clicked(monkeypatch, True)
    photo = str(photos / "a.jpg")
    start(monkeypatch, launch.console, photo)
    clicked(monkeypatch, False)
    start(monkeypatch, launch.console)
    assert faces == [("cli", [photo]), ("cli", [])]


def test_a_double_click_on_it_opens_the_window(
    faces: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, bundle: Callable[[str], Path]
) -> None:
    clicked(monkeypatch, True)
    assert start(monkeypatch, launch.console) == 7
    place = bundle(program.CONSOLE)
    start(monkeypatch, launch.console)
    (place / program.window_name()).unlink()  # a bundle without the window must not start itself
    start(monkeypatch, launch.console)
    window = [str(place / program.window_name())]
    assert faces == [("window", []), ("program", window), ("cli", [])]


def test_photos_dropped_on_the_window_program_are_opened(
    faces: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    photo, folder = str(photos / "a.jpg"), str(photos)
    assert start(monkeypatch, launch.window, photo, folder) == 7
    assert start(monkeypatch, launch.window) == 7
    assert faces == [("window", [photo, folder]), ("window", [])]


def test_the_window_program_given_a_command_is_the_command_line(
    faces: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, photos: Path,
    bundle: Callable[[str], Path],
) -> None:  # fmt: skip
    words = [str(photos / "a.jpg"), "-o", str(photos / "out"), "--json"]
    start(monkeypatch, launch.window, *words)
    place = bundle(program.window_name())
    start(monkeypatch, launch.window, *words)
    console = str(place / program.CONSOLE)
    assert faces == [("cli", words), ("program", [console, *words])]


def test_photos_in(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    (photos / "über uns.jpg").touch()
    (photos / "-x.jpg").touch()
    address = (photos / "über uns.jpg").as_uri()
    assert launch.photos_in([]) == []
    assert launch.photos_in(["a.jpg", "sub"]) == ["a.jpg", "sub"]
    assert launch.photos_in(["/gone.jpg"]) == ["/gone.jpg"], "the window says that it is gone"
    assert launch.photos_in([address]) == [str(photos / "über uns.jpg")]
    assert launch.photos_in(["-psn_0_12345"]) == []
    for words in (["watch", "sub"], ["--help"], ["a.jpg", "-q"], ["-x.jpg"], ["gone.jpg"], ["-"]):
        assert launch.photos_in(words) is None, words


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_with_a_terminal_or_a_reader_nobody_clicked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = ("stdin", "stdout", "stderr").index(name)
    monkeypatch.setattr(launch, "_is_read", lambda n: n == number)
    assert not launch.started_by_click("linux", SCREEN)
    monkeypatch.setattr(launch, "_is_read", lambda n: False)
    assert launch.started_by_click("linux", SCREEN)
    assert launch.started_by_click("linux", {"WAYLAND_DISPLAY": "wayland-0"})
    assert not launch.started_by_click("linux", {}), "as from cron"


def test_who_reads(tmp_path: Path) -> None:
    leader, terminal = os.openpty()
    reader, pipe = os.pipe()
    closed = os.dup(pipe)
    os.close(closed)
    with (tmp_path / "log").open("w") as log, Path(os.devnull).open() as nothing:
        assert launch._is_read(terminal)
        assert launch._is_read(pipe)
        for number in (log.fileno(), nothing.fileno(), closed):
            assert not launch._is_read(number)
    for number in (leader, terminal, reader, pipe):
        os.close(number)


@pytest.mark.parametrize(("count", "answer"), [(0, True), (1, True), (2, False)])
def test_on_windows_a_console_of_its_own_is_a_click(
    count: int, answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_processes_on_console", lambda: count)
    monkeypatch.setattr(launch, "_is_pipe", lambda number: False)
    assert launch.started_by_click("win32", {}) == answer
    monkeypatch.setattr(launch, "_is_pipe", lambda number: number == 1)
    assert not launch.started_by_click("win32", {}), "another program reads what it says"


def test_without_the_window_it_is_said(
    faces: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(photos: list[str]) -> int:
        raise DenoiseError("no PySide6", hint="pip install 'denoisetool[gui]'")

    monkeypatch.setattr(sys.modules["denoisetool.gui"], "main", fails)
    assert launch.open_window([]) == 1
    assert "denoisetool[gui]" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "denoisetool.gui", None)
    assert launch.open_window([]) == 2
    assert "built without the window" in capsys.readouterr().err


def test_a_fault_of_the_window_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'numpyy'", name="numpyy")

    monkeypatch.setattr(launch, "import_module", broken)
    with pytest.raises(ModuleNotFoundError):
        launch.open_window([])


def test_a_windowed_program_has_streams_to_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    launch._settle_in()
    with sys.stdout, sys.stderr:
        print("x", "ü")
        sys.stderr.write("x")


@pytest.mark.parametrize("before", [None, "/opt/lib"])
def test_others_programs_do_not_get_the_bundles_libraries(
    before: str | None, bundle: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/bundle/_internal")
    monkeypatch.delenv("LD_LIBRARY_PATH_ORIG", raising=False)
    if before is not None:
        monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", before)
    bundle(program.CONSOLE)
    launch._settle_in()
    assert os.environ.get("LD_LIBRARY_PATH") == before


def test_words_that_start_it_again(bundle: Callable[[str], Path]) -> None:
    assert program.command() == [sys.executable, "-m", "denoisetool"]
    assert program.window() == [sys.executable, "-m", "denoisetool.launch"]
    place = bundle(program.window_name())
    assert program.command() == [str(place / "denoisetool")]
    assert program.window() == [str(place / program.window_name())]


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_the_two_names_differ_also_without_case(platform: str) -> None:
    assert program.window_name(platform).lower() != program.CONSOLE
    assert program.window_name("linux") != program.CONSOLE


def test_the_module_is_a_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "denoisetool.launch", "--version"], capture_output=True, text=True
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("denoisetool ")
