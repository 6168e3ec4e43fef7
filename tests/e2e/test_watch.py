"""The watch as a process: killed, stopped, starved, cut off, and what its books say then."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import pictures, processes
from tests.e2e.test_kill import marks, whole

LIMIT = 90.0


class Watch:
    """A watcher's process, and what it says."""

    def __init__(self, place: Path, *words: str | Path, seconds: float = 0.0) -> None:
        self.place, self.words, self.seconds = place, words, seconds
        self.inbox, self.out, self.home = place / "inbox", place / "out", place / "home"
        self.inbox.mkdir(exist_ok=True)
        self.log, self.errors = place / "log.jsonl", place / "errors.txt"
        self.log.touch()
        self.process: Any = None

    def command(self, *words: str | Path) -> list[str]:
        """A command line for this folder."""
        program = processes.fake(self.seconds)
        return [sys.executable, "-W", "error", *program, "watch", str(self.inbox), *map(str, words)]

    def start(self, **more: str) -> None:
        """Start it, with variables of its own if need be."""
        words = self.command("-o", self.out, "--json", "--settle", "0.2", *self.words)
        with self.log.open("ab") as log, self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=errors, cwd=processes.ROOT,
                env=processes.environment(self.home, **more),
            )  # fmt: skip

    def ask(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run another command about this folder, to its end."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=LIMIT, check=False,
            cwd=processes.ROOT, env=processes.environment(self.home),
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What `--status --json` says."""
        found = json.loads(self.ask("--status", "--json").stdout)
        assert found["seen"] == found["done"] + found["failed"] + found["waiting"]
        assert isinstance(found, dict)
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind so far."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def notices(self) -> list[str]:
        return [event["kind"] for event in self.events("notice")]

    def drop(self, name: str, seed: int = 0, height: int = 48) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures.jpeg(height, 64, seed))
        return path

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, while the watcher runs."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.02)

    def wait_for(self, *names: str) -> None:
        """Wait for outputs, and for the books to know of them."""
        self.wait(lambda: all((self.out / name).is_file() for name in names))
        self.wait(
            lambda: (
                {str(self.inbox / name) for name in names}
                <= {event["source"] for event in self.events("photo")}
            )
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        assert "Traceback" not in self.errors.read_text(), self.errors.read_text()
        assert isinstance(code, int)
        return code

    def worker(self) -> int | None:
        """The number of the worker's process."""
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for child in task.read_text().split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        return None


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    """Starts watchers, and ends those that still run."""
    started: list[Watch] = []

    def start(*words: str | Path, seconds: float = 0.0, **more: str) -> Watch:
        watch = Watch(tmp_path, *words, seconds=seconds)
        started.append(watch)
        watch.start(**more)
        watch.wait(lambda: bool(watch.events("watching")))
        return watch

    yield start
    for watch in started:
        if watch.process.poll() is None:
            watch.process.kill()
            watch.process.wait()


Watching = Callable[..., Watch]


def test_backlog_arrivals_and_junk(watching: Watching, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "there.jpg").write_bytes(pictures.jpeg(seed=5))
    watch = watching()
    watch.wait_for("there.jpg")
    watch.drop("new.jpg")
    (watch.inbox / "notes.txt").write_text("no picture")
    (watch.inbox / "bad.jpg").write_text("no picture")
    watch.wait_for("new.jpg")
    watch.wait(lambda: watch.status()["failed"] == 1)
    found = watch.status()
    assert (found["alive"], found["done"], found["waiting"], found["pid"]) == (
        True, 2, 0, watch.process.pid,
    )  # fmt: skip
    assert found["failures"][0]["path"] == "bad.jpg"
    assert "not an image" in found["failures"][0]["reason"]
    assert watch.ask("--status").returncode == 0
    assert watch.stop() == 143
    assert not watch.status()["alive"]
    assert watch.ask("--status").returncode == 1
    again = watch.ask("-o", watch.out, "--once", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["done"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(seed: int, watching: Watching) -> None:
    watch = watching(seconds=0.01)
    rng = random.Random(seed)
    names = [f"{number:02}.jpg" for number in range(40)]
    for number, name in enumerate(names):
        watch.drop(name, number)
    first = rng.randrange(1, 30)
    watch.wait(lambda: len(processes.finished(watch.out)) >= first)
    time.sleep(rng.uniform(0, 0.05))
    watch.process.kill()
    watch.process.wait()
    done = processes.finished(watch.out)
    whole(done)
    marked = marks(done)
    watch.start()
    watch.wait_for(*names)
    found = watch.status()
    assert (found["done"], found["failed"], found["waiting"]) == (40, 0, 0)
    assert marks(done) == marked
    whole(processes.finished(watch.out))
    watch.wait(lambda: not processes.leftovers(watch.out))
    told = [event["source"] for event in watch.events("photo") if event["status"] == "done"]
    assert len(told) == len(set(told)), "done twice"
    watch.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_the_first_signal_finishes_the_photo_in_hand(
    number: signal.Signals, watching: Watching
) -> None:
    watch = watching(seconds=0.2)
    for each in range(20):
        watch.drop(f"{each}.jpg", each)
    watch.wait(lambda: len(processes.finished(watch.out)) >= 2)
    assert watch.stop(number) == 128 + number
    whole(processes.finished(watch.out))
    assert not processes.leftovers(watch.out)
    found = watch.status()
    assert found["done"] == len(processes.finished(watch.out))
    assert found["done"] + found["waiting"] == 20
    summary = watch.events("summary")[-1]
    assert (summary["interrupted"], summary["exit_code"]) == (True, 128 + number)


def test_the_second_signal_aborts(watching: Watching) -> None:
    watch = watching(seconds=30.0)
    watch.drop("a.jpg")
    watch.wait(lambda: bool(watch.status()["working"]))
    watch.wait(lambda: watch.worker() is not None)
    worker = watch.worker()
    watch.process.send_signal(signal.SIGINT)
    watch.wait(lambda: "once more aborts" in watch.errors.read_text())
    assert watch.stop(signal.SIGINT) == 130
    assert not Path(f"/proc/{worker}/cmdline").exists()
    assert not processes.leftovers(watch.out)
    assert watch.status()["waiting"] == 1


def test_a_photo_that_kills_the_worker_costs_one_photo(watching: Watching) -> None:
    watch = watching(FAKE_ENGINE_POISON="300")
    for number in range(5):
        watch.drop(f"a{number}.jpg", number)
    watch.drop("poison.jpg", height=400)
    for number in range(5):
        watch.drop(f"z{number}.jpg", number)
    watch.wait_for(*(f"{letter}{number}.jpg" for letter in "az" for number in range(5)))
    watch.wait(lambda: watch.status()["failed"] == 1)
    failure = watch.status()["failures"][0]
    assert failure["path"] == "poison.jpg"
    assert "out of memory" in failure["reason"]
    assert "worker_died" in watch.notices()
    watch.stop()


def test_the_worker_rests_and_comes_back(watching: Watching) -> None:
    watch = watching("--unload-after", "0.3")
    watch.drop("a.jpg")
    watch.wait_for("a.jpg")
    watch.wait(lambda: watch.worker() is None)
    watch.drop("b.jpg", 1)
    watch.wait_for("b.jpg")
    assert "worker_died" not in watch.notices()
    watch.stop()


def test_one_watcher_per_folder(watching: Watching, tmp_path: Path) -> None:
    watch = watching()
    second = watch.ask("-o", watch.out)
    assert second.returncode == 2
    assert f"watched already, by process {watch.process.pid}" in second.stderr
    (watch.inbox / "sub").mkdir()
    inner = Watch(tmp_path)
    inner.inbox = watch.inbox / "sub"
    assert "overlaps" in inner.ask("-o", watch.out).stderr
    watch.stop()
    assert watch.ask("-o", watch.out, "--once").returncode == 0


def test_a_stopped_watcher_is_not_alive(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watching()
    assert watch.status()["alive"]
    beat = next((watch.home / "state" / "watch").glob("*.beat"))
    watch.process.send_signal(signal.SIGSTOP)
    try:
        os.utime(beat, (time.time() - 600, time.time() - 600))
        assert not watch.status()["alive"]
    finally:
        watch.process.send_signal(signal.SIGCONT)
    watch.stop()


@pytest.mark.parametrize("written_down", [True, False])
def test_new_content_after_a_kill(written_down: bool, tmp_path: Path) -> None:
    """The kill came between an output and the note of it; then the photo was overwritten."""
    watch = Watch(tmp_path)
    watch.drop("a.jpg")
    assert watch.ask("-o", watch.out, "--once").returncode == 0
    before = (watch.out / "a.jpg").read_bytes()
    if not written_down:
        ledger = next((watch.home / "state" / "watch").glob("*.sqlite"))
        with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            connection.execute(
                "UPDATE photos SET state = 'working', digest = NULL, finished = NULL, after = ''"
            )
    watch.drop("a.jpg", 1)
    assert watch.ask("-o", watch.out, "--once").returncode == 0, watch.status()
    assert (watch.out / "a.jpg").read_bytes() != before
    found = watch.status()
    assert (found["done"], found["failed"]) == (1 + written_down, 0)


def test_what_another_run_made_is_not_replaced(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.drop("a.jpg")
    batch = [each for each in watch.command("-o", watch.out) if each != "watch"]
    subprocess.run(batch, check=True, cwd=processes.ROOT, env=processes.environment(watch.home))
    before = (watch.out / "a.jpg").read_bytes()
    watch.drop("a.jpg", 1)
    for words in ((), ("--retry-failed",)):
        assert watch.ask("-o", watch.out, "--once", *words).returncode == 1
        assert watch.status()["failures"][0]["error"] == "OutputExists"
    assert (watch.out / "a.jpg").read_bytes() == before


def test_retry_failed_in_a_running_watch(watching: Watching) -> None:
    watch = watching()
    (watch.out).mkdir()
    (watch.out / "a.jpg").write_bytes(b"somebody else's")
    watch.drop("a.jpg")
    watch.wait(lambda: watch.status()["failed"] == 1)
    assert (watch.out / "a.jpg").read_bytes() == b"somebody else's"
    (watch.out / "a.jpg").unlink()
    ran = watch.ask("--retry-failed")
    assert ran.returncode == 0
    assert "1 that failed" in ran.stderr
    watch.wait(lambda: watch.status()["done"] == 1)
    watch.stop()


def test_originals_are_archived_once_verified(watching: Watching, tmp_path: Path) -> None:
    archive = tmp_path / "inbox" / "kept"
    watch = watching("--archive", archive)
    original = watch.drop("sub/a.jpg", 1).read_bytes()
    (watch.inbox / "bad.jpg").write_bytes(original[: len(original) // 2])
    watch.wait(lambda: (archive / "sub" / "a.jpg").is_file())
    watch.wait(lambda: not (watch.inbox / "sub" / "a.jpg").exists())
    assert (archive / "sub" / "a.jpg").read_bytes() == original
    second = watch.drop("sub/a.jpg", 2).read_bytes()
    watch.wait(lambda: (archive / "sub" / "a (2).jpg").is_file())
    assert (archive / "sub" / "a (2).jpg").read_bytes() == second
    made = [str(path.relative_to(watch.out)) for path in processes.finished(watch.out)]
    assert len(made) == 2, "the first result is kept"
    watch.wait(lambda: watch.status()["failed"] == 1)
    assert watch.status()["done"] == 2
    assert (watch.inbox / "bad.jpg").exists()
    watch.stop()


def test_a_command_per_photo_without_a_shell(watching: Watching, tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    code = "import sys; open(sys.argv[1], 'a').write(repr(sys.argv[2:]) + chr(10))"
    watch = watching(
        "--on-done", shlex.join([sys.executable, "-c", code, str(told), "{source}", "{output}"])
    )
    name = "a b; touch $(HOME) 'x' && {source}.jpg"
    watch.drop(name)
    watch.wait(lambda: told.is_file() and told.read_text().endswith("\n"))
    assert told.read_text() == repr([str(watch.inbox / name), str(watch.out / name)]) + "\n"
    watch.stop()
    watch.start()
    watch.drop("b.jpg")
    watch.wait(lambda: "b.jpg" in told.read_text())
    assert len(told.read_text().splitlines()) == 2
    watch.stop()


def test_a_command_that_fails_is_told_and_harms_nothing(watching: Watching) -> None:
    watch = watching("--on-done", "/nowhere/at-all")
    watch.drop("a.jpg")
    watch.wait(lambda: "on_done_failed" in watch.notices())
    watch.drop("b.jpg")
    watch.wait_for("b.jpg")
    assert watch.status()["done"] == 2
    watch.stop()


def test_a_folder_that_is_deleted_and_comes_back(watching: Watching, tmp_path: Path) -> None:
    watch = watching()
    watch.drop("a.jpg")
    watch.wait_for("a.jpg")
    (watch.inbox / "a.jpg").unlink()
    watch.inbox.rmdir()
    watch.wait(lambda: "folder_gone" in watch.notices())
    watch.inbox.mkdir()
    watch.drop("b.jpg")
    watch.wait_for("b.jpg")
    assert "folder_back" in watch.notices()
    assert watch.status()["done"] == 2
    watch.stop()


def test_an_overflow_of_events_loses_nothing(watching: Watching) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("this system queues too many events for a test")
    watch = watching()
    watch.drop("first.jpg")
    watch.wait_for("first.jpg")
    watch.process.send_signal(signal.SIGSTOP)
    for number in range(limit // 2 + 1000):
        os.close(os.open(watch.inbox / f"{number}.txt", os.O_CREAT | os.O_WRONLY))
    for number in range(20):
        watch.drop(f"lost{number}.jpg", number)
    watch.process.send_signal(signal.SIGCONT)
    watch.wait_for(*(f"lost{number}.jpg" for number in range(20)))
    assert "overflow" in watch.notices()
    assert watch.status()["done"] == 21
    watch.stop()


def in_a_namespace(watch: Watch, before: str, flags: str) -> list[str]:
    """The watcher's command in namespaces of its own; skips where that is not allowed."""
    if subprocess.run(["unshare", flags, "sh", "-c", before], capture_output=True).returncode:
        pytest.skip("no namespaces of one's own here")
    words = watch.command("-o", watch.out, "--json", "--settle", "0.2", *watch.words)
    return ["unshare", flags, "sh", "-c", f"{before} && exec {shlex.join(words)}"]


def test_too_few_watches_means_polling(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    for number in range(10):
        watch.drop(f"{number}/a.jpg", number)
    words = in_a_namespace(watch, "echo 5 > /proc/sys/user/max_inotify_watches", "-Ur")
    with watch.log.open("ab") as log, watch.errors.open("ab") as errors:
        watch.process = subprocess.Popen(
            words, stdout=log, stderr=errors, cwd=processes.ROOT,
            env=processes.environment(watch.home),
        )  # fmt: skip
    try:
        watch.wait_for(*(f"{number}/a.jpg" for number in range(10)))
        watch.wait(lambda: watch.events("watching")[-1]["mode"] == "polling")
        assert "limit" in watch.events("watching")[-1]["reason"]
        watch.drop("9/late.jpg")
        watch.wait_for("9/late.jpg")
        watch.stop()
    finally:
        watch.process.kill()
        watch.process.wait()


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """The disk is full before the first photo, and is freed from inside its namespace."""
    disk = tmp_path / "disk"
    disk.mkdir()
    watch = Watch(tmp_path)
    watch.out = disk / "out"
    free = tmp_path / "free-it"
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(disk)], capture_output=True
    )
    if probe.returncode:
        pytest.skip("nothing may be mounted here")
    words = watch.command("-o", watch.out, "--json", "--settle", "0.2")
    script = (
        f"mount -t tmpfs -o size=200k none {disk}; head -c 1000000 /dev/zero > {disk}/filler"
        f" 2>/dev/null; (while [ ! -e {free} ]; do sleep 0.1; done; rm {disk}/filler) &"
        f" exec {shlex.join(words)}"
    )
    for number in range(8):
        watch.drop(f"{number}.jpg", number)
    with watch.log.open("ab") as log, watch.errors.open("ab") as errors:
        watch.process = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", script], stdout=log, stderr=errors,
            cwd=processes.ROOT, env=processes.environment(watch.home),
        )  # fmt: skip
    try:
        watch.wait(lambda: "disk_full" in watch.notices())
        found = watch.status()
        assert (found["done"], found["failed"], found["waiting"]) == (0, 0, 8)
        free.touch()
        watch.wait(lambda: watch.status()["done"] == 8)
        assert "output_back" in watch.notices()
        assert watch.notices().count("disk_full") == 1
        watch.stop()
    finally:
        watch.process.kill()
        watch.process.wait()


def test_with_the_real_model(tmp_path: Path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    (inbox / "a.jpg").write_bytes(pictures.jpeg(120, 160))
    ran = processes.run(
        processes.REAL, "watch", inbox, "-o", out, "--once", "--json", home=tmp_path / "home"
    )
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "photo", "summary"]
    assert pictures.upright(out / "a.jpg").shape == (120, 160, 3)


def test_a_result_of_other_settings_is_not_replaced_unasked(watching: Watching) -> None:
    """Not at the first try, not after a kill, and not by --retry-failed."""
    watch = watching()
    watch.stop()
    watch.drop("a.jpg")
    made = subprocess.run(
        [sys.executable, *processes.fake(), str(watch.inbox), "-o", str(watch.out), "-q",
         "--strength", "0.5"],
        cwd=processes.ROOT, env=processes.environment(watch.home), timeout=LIMIT, check=False,
    )  # fmt: skip
    assert made.returncode == 0
    before = marks(processes.finished(watch.out))
    for words in ([], ["--retry-failed"]):
        assert watch.ask("-o", watch.out, "--once", *words).returncode == 1
        assert watch.status()["failed"] == 1
        assert marks(processes.finished(watch.out)) == before
    assert watch.ask("-o", watch.out, "--once", "--retry-failed", "--overwrite").returncode == 0
    assert marks(processes.finished(watch.out)) != before


def test_another_output_folder_for_what_comes_later(watching: Watching, tmp_path: Path) -> None:
    watch = watching()
    watch.drop("a.jpg", 1)
    watch.wait_for("a.jpg")
    watch.stop()
    watch.drop("a.jpg", 2)
    assert watch.ask("-o", tmp_path / "other", "--once").returncode == 0
    assert (tmp_path / "other" / "a.jpg").is_file()
    assert watch.status()["done"] == 2


def test_a_model_that_cannot_be_loaded_is_waited_for(watching: Watching, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    watch = watching(FAKE_ENGINE_BROKEN=str(broken))
    watch.drop("a.jpg")
    watch.wait(lambda: "model" in watch.notices())
    found = watch.status()
    assert (found["failed"], found["waiting"]) == (0, 1)
    broken.unlink()
    watch.wait_for("a.jpg")
    assert watch.notices().count("model") == 1
    watch.stop()


def test_an_output_folder_that_cannot_be_written_is_waited_for(watching: Watching) -> None:
    watch = watching()
    watch.out.write_text("a file where the folder should be")
    watch.drop("a.jpg")
    watch.wait(lambda: watch.status()["failed"] + len(watch.notices()) > 0)
    watch.out.unlink()
    if watch.status()["failed"]:
        assert watch.ask("--retry-failed").returncode == 0
    watch.wait_for("a.jpg")
    watch.wait(lambda: watch.status()["done"] == 1)
    watch.stop()
