"""The process of the program: started again in its own place."""

import os
import subprocess
import sys

import pytest

from denoisetool import program

SHOW = """
import os, sys
from denoisetool import program
program.start_over()
print(os.getpid(), os.environ.get(program.TUNABLES), *sys.argv[1:])
"""
END = """
import atexit, sys, threading, time
from denoisetool import program
class Kept:
    def __del__(self):
        print("taken apart")
kept = Kept()
if sys.argv[1] == "at once":
    program.end_at_once()
atexit.register(print, "registered")
threading.Timer(0.2, print, ["waited for"]).start()
print("said", end=" ")
if sys.argv[2] == "crash":
    raise RuntimeError("a bug")
program.leave(3)
"""
LINUX = sys.platform.startswith("linux")


@pytest.mark.parametrize("told", [None, "glibc.malloc.perturb=1", program.NO_CACHE])
def test_it_starts_over_once_and_in_its_own_place(told: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != program.TUNABLES}
    if told is not None:
        environment[program.TUNABLES] = told
    words = [sys.executable, "-c", SHOW, "two words", "-x"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        shown, _ = process.communicate()
    expected = told
    if LINUX and told != program.NO_CACHE:
        expected = f"{told}:{program.NO_CACHE}" if told else program.NO_CACHE
    assert shown.split() == [str(process.pid), str(expected), "two", "words", "-x"]


def test_where_it_cannot_it_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(path: str, words: list[str]) -> None:
        tried.append(path)
        raise OSError

    monkeypatch.setattr(os, "execv", refuse)
    monkeypatch.setenv(program.TUNABLES, "glibc.malloc.perturb=1")
    program.start_over()
    assert tried == ([sys.executable] if LINUX else [])


def test_a_bundle_does_not_start_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.delenv(program.TUNABLES, raising=False)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("started over"))
    program.start_over()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("crash", [True, False])
def test_the_end(at_once: bool, crash: bool) -> None:
    """Only what nobody misses is left out, and only at an end that was meant."""
    how = ["at once" if at_once else "", "crash" if crash else ""]
    done = subprocess.run([sys.executable, "-c", END, *how], capture_output=True, text=True)
    said = "said waited for\nregistered\n"
    assert done.stdout == said + ("" if at_once and not crash else "taken apart\n")
    assert done.returncode == (1 if crash else 3)
    assert ("a bug" in done.stderr) == crash
