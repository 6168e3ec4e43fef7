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
