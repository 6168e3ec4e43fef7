"""`denoisetool watch` as typed: what is refused and why, and what the answers look like."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import filelock
import pytest

from denoisetool.watch import Ledger, held, is_held, ledger_path, lock
from denoisetool.watch.ledger import Stamp
from tests.conftest import Cli


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--archive", "x", "--trash"], 2, "contradict"),
        (["--overwrite", "--skip-existing"], 2, "contradict"),
        (["--name", "{index}"], 2, "a watch has no end"),
        (["--name", "same"], 2, "every photo"),
        (["--name", "{nonsense}"], 2, "no field"),
        (["-o", "."], 2, "watched again"),
        (["-o", ""], 2, "empty"),
        (["--output="], 2, "empty"),
        (["--archive", ""], 2, "empty"),
        ([""], 2, "empty"),
        (["--once", ""], 2, "empty"),
        (["--on-done", "a 'b"], 2, "--on-done"),
        (["--on-done", ""], 2, "--on-done"),
        (["--settle", "-1"], 2, "settle"),
        (["--poll", "0"], 2, "poll"),
        (["--print"], 2, "--install-service"),
        (["--model", "nonesuch"], 4, "nonesuch"),
        (["--strength", "7"], 2, "strength"),
        (["--status"], 2, "never watched"),
        (["--archive", "."], 2, "archive"),
    ],
)
def test_refusals(
    words: list[str], code: int, said: str, cli: Cli, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inbox)
    ran = cli("watch", inbox, *words)
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_a_folder_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    ran = cli("watch", tmp_path / "nowhere")
    assert ran.code == 3
    assert "no such folder" in ran.err


def test_one_folder_inside_the_other(cli: Cli, inbox: Path) -> None:
    (inbox / "sub").mkdir()
    ran = cli("watch", inbox, inbox / "sub", "--once")
    assert ran.code == 2
    assert "inside the other" in ran.err
    assert "already" in cli("watch", inbox, inbox, "--once").err


@pytest.mark.parametrize("outer", [False, True])
def test_who_only_looks_keeps_no_watch_from_starting(
    outer: bool, inbox: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look, at the same folder or at one around it, takes the lock for a moment."""
    monkeypatch.setattr(lock, "PATIENCE", 30.0)
    folder = inbox.parent if outer else inbox
    with held(folder, folder / "out"):
        ledger = ledger_path(folder)
    taken = filelock.FileLock(ledger.with_suffix(".lock"), thread_local=False)
    taken.acquire()
    looked = threading.Timer(0.3, taken.release)
    looked.start()
    try:
        with held(inbox, inbox / "out"):
            assert is_held(ledger_path(inbox))
    finally:
        looked.join()


def test_once_with_nothing_there(cli: Cli, inbox: Path) -> None:
    ran = cli("watch", inbox, "--once", "--json")
    assert ran.code == 0
    assert [event["event"] for event in ran.events] == ["summary"]


@pytest.mark.parametrize("words", [["--poll"], ["--poll", "--once"], ["--poll", "2.5"]])
def test_poll_needs_no_value(words: list[str], cli: Cli, inbox: Path) -> None:
    ran = cli("watch", inbox, *words, "--install-service", "--print")
    assert ran.code == 0, ran.err


def test_status(cli: Cli, inbox: Path, home: Path) -> None:
    with held(inbox, inbox / "out"), Ledger(ledger_path(inbox)) as ledger:
        ledger.arrive([(Path("a.jpg"), Stamp(1, 1, 1)), (Path("b.jpg"), Stamp(1, 1, 1))])
        row = ledger.get(Path("b.jpg"))
        assert row is not None
        ledger.fail(row.id, None, "cut short", "UnreadablePhoto")
        ran = cli("watch", inbox, "--status")
        assert ran.code == 0
        assert "2 seen = 0 done + 1 failed + 1 waiting" in ran.out
        assert "FAILED b.jpg: cut short" in ran.out
        assert f"process {os.getpid()}" in ran.out
        event = cli("watch", inbox, "--status", "--json").events[0]
        assert (event["event"], event["alive"], event["pid"]) == ("status", True, os.getpid())
        assert (event["seen"], event["failed"], event["waiting"]) == (2, 1, 1)
    ran = cli("watch", inbox, "--status")
    assert ran.code == 1
    assert "NOT WATCHED" in ran.out
    assert cli("watch", inbox, "--status", "--json").events[0]["alive"] is False


def test_a_mistyped_watch_is_suggested(cli: Cli) -> None:
    ran = cli("wathc", "inbox")
    assert "denoisetool watch" in ran.err
