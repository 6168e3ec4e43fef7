"""A batch that is killed, interrupted or run twice: nothing half-written, nothing done again."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from denoisetool.files import digest
from tests.e2e import pictures, processes

COUNT = 40


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        data = pictures.jpeg(seed=number) if number % 2 else pictures.png(seed=number)
        (folder / f"{number:02}{'.jpg' if number % 2 else '.png'}").write_bytes(data)
    return folder


def marks(paths: list[Path]) -> dict[Path, tuple[int, int]]:
    """What tells that a file was not written again."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def inputs(folder: Path) -> dict[Path, bytes]:
    return {path: digest(path.read_bytes()) for path in folder.iterdir()}


def whole(paths: list[Path]) -> None:
    for path in paths:
        assert pictures.upright(path).shape == (48, 64, 3)


def killed_and_resumed(
    program: tuple[str, ...], photos: Path, tmp_path: Path, at_least: int, delay: float
) -> None:
    before, out, home = inputs(photos), tmp_path / "out", tmp_path / "home"
    env = processes.environment(home, OMP_NUM_THREADS="1")  # small tiles gain nothing by more
    process = processes.start(program, photos, "-o", out, home=home, env=env)
    processes.wait_for(lambda: len(processes.finished(out)) >= at_least, process)
    time.sleep(delay)
    process.kill()
    process.communicate()
    done = processes.finished(out)
    assert process.returncode == -signal.SIGKILL
    assert at_least <= len(done) < COUNT
    whole(done)
    marked = marks(done)

    again = processes.run(program, photos, "-o", out, "--json", home=home, env=env)

    assert again.returncode == 0, again.stderr
    everything = processes.finished(out)
    assert len(everything) == COUNT
    whole(everything)
    assert marks(done) == marked
    assert not processes.leftovers(out)
    assert inputs(photos) == before
    summary = json.loads(again.stdout.splitlines()[-1])
    assert (summary["done"], summary["skipped"]) == (COUNT - len(done), len(done))


def test_killed_in_the_middle_with_the_real_model(photos: Path, tmp_path: Path) -> None:
    killed_and_resumed(processes.REAL, photos, tmp_path, 8, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_any_moment(seed: int, photos: Path, tmp_path: Path) -> None:
    rng = random.Random(seed)
    moment = rng.randrange(1, 25), rng.uniform(0, 0.05)
    killed_and_resumed(processes.fake(0.01), photos, tmp_path, *moment)


def interrupted(
    signals: list[signal.Signals], photos: Path, tmp_path: Path, seconds: float
) -> tuple[int, list[dict[str, Any]], str]:
    """Run, send the first signal when a photo is done and the rest soon after."""
    out = tmp_path / "out"
    process = processes.start(
        processes.fake(seconds), photos, "-o", out, "--json", home=tmp_path / "home"
    )
    processes.wait_for(lambda: len(processes.finished(out)) >= 2, process)
    for each in signals:
        process.send_signal(each)
        time.sleep(0.15)
    stdout, stderr = process.communicate(timeout=60)
    assert b"Traceback" not in stderr, stderr
    whole(processes.finished(out))
    assert not processes.leftovers(out)
    return process.returncode, [json.loads(line) for line in stdout.splitlines()], stderr.decode()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_the_first_signal_finishes_the_photo_in_hand(
    number: signal.Signals, code: int, photos: Path, tmp_path: Path
) -> None:
    returned, events, stderr = interrupted([number], photos, tmp_path, 0.1)
    assert returned == code
    assert "finishing the photo in hand; once more aborts it" in stderr
    assert "the same command goes on from here" in stderr
    summary = events[-1]
    assert (summary["event"], summary["interrupted"]) == ("summary", True)
    assert summary["exit_code"] == code
    assert summary["done"] == len(processes.finished(tmp_path / "out"))
    assert summary["done"] + summary["left"] == COUNT
    assert summary["left"] > 0
    again = processes.run(processes.fake(), photos, "-o", tmp_path / "out", home=tmp_path / "home")
    assert again.returncode == 0
    assert len(processes.finished(tmp_path / "out")) == COUNT


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGINT], 143),
        ([signal.SIGINT] * 4, 130),
    ],
    ids=["int int", "term int", "four"],
)
def test_the_second_signal_aborts(
    signals: list[signal.Signals], code: int, photos: Path, tmp_path: Path
) -> None:
    started = time.monotonic()
    returned, events, stderr = interrupted(signals, photos, tmp_path, 0.6)
    # One that comes when Python itself is about to end is what a shell calls 130 too.
    assert returned in {code, -signal.SIGINT} if len(signals) > 2 else returned == code
    assert time.monotonic() - started < 30
    summary = events[-1]
    assert (summary["event"], summary["interrupted"]) == ("summary", True)
    assert summary["exit_code"] == code
    assert "aborted" in stderr


def test_a_background_job_ignores_ctrl_c(photos: Path, tmp_path: Path) -> None:
    """A shell starts background jobs of a script with SIGINT ignored; it must stay so."""
    out = tmp_path / "out"
    process = processes.start(
        processes.fake(0.01), photos, "-o", out, home=tmp_path / "home",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    processes.wait_for(lambda: len(processes.finished(out)) >= 2, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(processes.finished(out)) == COUNT


@pytest.mark.parametrize("words", [(), ("--overwrite",)], ids=["plain", "overwrite"])
def test_two_runs_into_one_folder_at_once(
    words: tuple[str, ...], photos: Path, tmp_path: Path
) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    runs = [
        processes.start(processes.fake(0.01), photos, "-o", out, "--json", *words, home=home)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=60) for process in runs]
    assert [process.returncode for process in runs] == [0, 0], ended
    everything = processes.finished(out)
    assert len(everything) == COUNT
    whole(everything)
    assert not processes.leftovers(out)
    summaries = [json.loads(stdout.splitlines()[-1]) for stdout, _ in ended]
    assert all(s["done"] + s["skipped"] == COUNT for s in summaries)
    again = processes.run(processes.fake(), photos, "-o", out, "--json", home=home)
    assert json.loads(again.stdout.splitlines()[-1])["skipped"] == COUNT


def on_a_terminal(
    *words: str | Path, home: Path, columns: int = 100, **more: str
) -> tuple[int, str]:
    """Run with a pseudo-terminal as stderr; exit code and what was shown."""
    leader, follower = pty.openpty()
    if columns:
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(follower, termios.TIOCSWINSZ, size)
    process = subprocess.Popen(
        [sys.executable, *processes.fake(0.01), *words], stderr=follower,
        stdout=subprocess.DEVNULL, cwd=processes.ROOT,
        env=processes.environment(home, TERM="xterm", **more),
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        shown += data
    os.close(leader)
    return process.wait(60), shown.decode()


@pytest.mark.parametrize("columns", [140, 0])
def test_a_terminal_gets_a_progress_bar(columns: int, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"")
    (photos / "zz.jpg").write_bytes(pictures.jpeg()[:700])
    code, shown = on_a_terminal(
        photos, "-o", tmp_path / "out", home=tmp_path, columns=columns, NO_COLOR="1"
    )
    assert code == 1
    if columns:
        assert f"of {COUNT + 1}: " in shown
    assert " MP, " in shown
    assert f"FAILED {photos / 'bad.jpg'}: the file is empty" in shown
    assert "->" not in shown  # the bar stands for the lines
    assert "\x1b[3" not in shown  # no colours
    lines = [line for line in shown.replace("\r", "\n").split("\n") if line.strip()]
    assert lines[-1].startswith(f"{COUNT} done, 2 FAILED in ")
    numbers = [int(each) for each in re.findall(r"photo (\d+) of", shown)]
    assert numbers == sorted(numbers)
    assert not numbers or numbers[-1] <= COUNT + 1
    percents = [int(line.split("%")[0]) for line in lines if "%" in line]
    assert percents == sorted(percents)
    assert max(percents) <= 100


def test_a_quiet_terminal_gets_none(photos: Path, tmp_path: Path) -> None:
    assert on_a_terminal(photos, "-o", tmp_path / "out", "-q", home=tmp_path) == (0, "")
