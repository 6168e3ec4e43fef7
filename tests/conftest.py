"""What many tests need: a home of their own, and the command line in this process."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from denoisetool.cli import main
from denoisetool.registry import places
from tests.e2e import pictures

settings.register_profile("gate", deadline=None)  # a busy machine is no failure
settings.load_profile("gate")
# A shell starts background jobs with Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [each for each in self.events if each["event"] == event]


Cli = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is not there yet, with no settings in the environment."""
    import os

    for variable in list(os.environ):
        if variable.startswith("DENOISETOOL_"):
            monkeypatch.delenv(variable)
    place = tmp_path / "home"
    monkeypatch.setenv("DENOISETOOL_HOME", str(place))
    return place


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three small photos, one of them in a subfolder, and a text file."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(pictures.jpeg(seed=1))
    (folder / "b.png").write_bytes(pictures.png(seed=2))
    (folder / "sub" / "c.jpg").write_bytes(pictures.jpeg(seed=3))
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process."""

    def run(*words: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["denoisetool", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def only_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if `fast` were the only model that came with the program; its shelf."""
    bundled = places.bundled_models()
    assert bundled is not None
    shelf = tmp_path / "bundled"
    shelf.mkdir()
    (shelf / "fast").symlink_to(bundled / "fast", target_is_directory=True)
    monkeypatch.setattr(places, "bundled_models", lambda: shelf)
    return shelf
