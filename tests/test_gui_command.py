import sys
from pathlib import Path

import pytest

from denoisetool import __main__, gui, program
from denoisetool.errors import UsageError
from tests.conftest import Cli


def _entry(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["denoisetool", *words])
    monkeypatch.setattr(program, "start_over", lambda: None)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_program_opens_the_window_with_photos(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[list[str]] = []

    def fake(photos: list[str]) -> int:
        opened.append(photos)
        return 0

    monkeypatch.setattr(gui, "main", fake)
    assert _entry(monkeypatch, "gui") == 0
    assert _entry(monkeypatch, "gui", "a.jpg", "photos/") == 0
    assert opened == [[], ["a.jpg", "photos/"]]


def test_without_pyside_it_says_how_to_get_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [n for n in sys.modules if n.startswith("denoisetool.gui.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("PySide6", "PySide6.QtCore"):
        monkeypatch.setitem(sys.modules, name, None)
    assert _entry(monkeypatch, "gui") == 2
    told = capsys.readouterr().err
    assert "PySide6" in told
    assert "pip install 'denoisetool[gui]'" in told


def test_a_library_of_the_system_that_is_missing_is_named() -> None:
    error = gui._missing(ImportError("libEGL.so.1: cannot open shared object file"))
    assert isinstance(error, UsageError)
    assert "libEGL.so.1" in str(error)
    assert "apt install libegl1" in str(error)


def test_the_command_line_alone_has_no_window(cli: Cli) -> None:
    ran = cli("gui")
    assert ran.code == 2
    assert "without the window" in ran.err


def test_children_are_started_by_python_or_by_the_bundles_own_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program.command() == [sys.executable, "-m", "denoisetool"]
    own = tmp_path / "denoisetool-window"
    own.touch()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(own))
    assert program.command() == [str(own)]
    (tmp_path / "denoisetool").touch()
    assert program.command() == [str(tmp_path / "denoisetool")]
