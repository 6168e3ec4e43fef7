"""The README's commands are run, and every command it names exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "models", "config", "compare", "desktop", "doctor", "evaluate", "finetune", "gui", "train",
    "watch",
}  # fmt: skip
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert found, f"the README has no {marker} command"
    return found[1]


def test_the_main_command_cleans_the_sample_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = shlex.split(_block("main").split("&&")[-1])
    assert command[0] == ".venv/bin/denoisetool"
    monkeypatch.setenv("DENOISETOOL_HOME", str(tmp_path / "home"))
    words = [str(tmp_path / "clean") if word == "clean/" else word for word in command[1:]]
    assert str(tmp_path / "clean") in words
    done = subprocess.run(
        [sys.executable, "-m", "denoisetool", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    photos = ROOT / "tests" / "photos"
    expected = {p.relative_to(photos) for kind in ("jpg", "png") for p in photos.rglob(f"*.{kind}")}
    made = {p.relative_to(tmp_path / "clean") for p in (tmp_path / "clean").rglob("*.*")}
    assert made == expected
    assert len(made) >= 5


def test_the_test_command_is_what_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script
    assert _block("tests").endswith("python -m tests.gate")


def test_every_command_and_option_the_readme_names_exists() -> None:
    lines = [line.split("#")[0] for line in re.findall(r"^denoisetool .*$", README, re.MULTILINE)]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line.split(">")[0])[1:]
        command = words[0] if words[0] in COMMANDS else ""
        path = [w for w in words[:2] if command in {"models", "config", "desktop"}] or (
            [command] if command else []
        )
        shown = subprocess.run(
            [sys.executable, "-m", "denoisetool", *path, "--help"], capture_output=True, text=True
        )
        assert shown.returncode == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.stdout, f"{option} of {line!r}"
