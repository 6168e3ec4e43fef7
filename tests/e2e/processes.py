"""The command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REAL = ("-m", "denoisetool")
LIMIT = 90.0


def fake(seconds: float = 0.0) -> tuple[str, ...]:
    """The command with an engine that takes so long for each tile."""
    return ("-m", "tests.e2e.with_fake", str(seconds))


def environment(home: Path, **more: str) -> dict[str, str]:
    """This environment without settings of ours, and a home for the run."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DENOISETOOL_", "NO_COLOR"))}
    return {**kept, "DENOISETOOL_HOME": str(home), "PYTHONPATH": str(ROOT), **more}


def start(program: tuple[str, ...], *words: str | Path, home: Path, **options: Any) -> Any:
    """Start the command; both streams are pipes unless said otherwise."""
    options = {
        "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT,
        "env": environment(home), **options,
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-W", "error", *program, *words], **options)


def run(
    program: tuple[str, ...], *words: str | Path, home: Path, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    options = {
        "capture_output": True, "text": True, "cwd": ROOT, "env": environment(home),
        "timeout": LIMIT, **options,
    }  # fmt: skip
    return subprocess.run([sys.executable, "-W", "error", *program, *words], check=False, **options)


def wait_for(condition: Callable[[], bool], process: Any) -> None:
    """Wait until something is so; fails if the process ends or time runs out first."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def finished(folder: Path) -> list[Path]:
    """The files of an output folder that have their final name."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def leftovers(folder: Path) -> list[Path]:
    """Unfinished files anywhere below a folder."""
    return [p for p in folder.rglob(".*") if p.name.startswith(".denoisetool-")]
