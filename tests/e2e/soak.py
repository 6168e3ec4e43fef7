"""A watch under fire: writers of every bad habit, and a watcher that is killed again and again.

python -m tests.e2e.soak MINUTES [FOLDER]

Every picture carries a number in its pixels, written and read by this file alone. So the list of
what was dropped is independent of the ledger, and an output tells which picture it was made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.e2e import processes

SETTLE = 0.5
BITS = 48
NAMES = ("IMG_{}.jpg", "photo {}.JPG", "Straße {}.png", "照片{}.jpg", "a'b;$({}).jpeg", "{}.png")


def picture(number: int, kind: str) -> bytes:
    """A noisy picture of 8 x 6 blocks, light for ones and dark for zeros of its number."""
    rng = np.random.default_rng(number)
    bits = np.array([number >> bit & 1 for bit in range(BITS)]).reshape(6, 8)
    pixels = np.kron(bits * 120 + 60, np.ones((8, 8)))[:, :, None].repeat(3, 2)
    noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noisy).save(out, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return out.getvalue()


def number_in(path: Path) -> int:
    """The number in a picture; raises if the file is not a whole picture."""
    with Image.open(path) as image:
        image.load()
        pixels = np.asarray(image.convert("L"), float)
    blocks = pixels.reshape(6, 8, 8, 8).mean((1, 3)) if pixels.shape == (48, 64) else None
    assert blocks is not None, (path, pixels.shape)
    return sum(int(light > 120) << bit for bit, light in enumerate(blocks.reshape(-1)))


def kind_of(path: Path) -> str:
    return "PNG" if path.suffix == ".png" else "JPEG"


@dataclass
class Dropped:
    """The independent list: what lies in the inbox in the end, by name.

    Attributes:
        whole: number of the picture that each name holds; bad: names that hold none.
        removed: names that were taken away again, with the numbers they ever held.
        quiet: names that no watch should speak of.
        versions: every number that a name ever held, in order.
    """

    whole: dict[Path, int] = field(default_factory=dict)
    bad: set[Path] = field(default_factory=set)
    removed: dict[Path, list[int]] = field(default_factory=dict)
    quiet: set[Path] = field(default_factory=set)
    versions: dict[Path, list[int]] = field(default_factory=dict)
    tally: Counter[str] = field(default_factory=Counter)


class Soak:
    """One soak in a folder of its own.

    Args:
        place: where inbox, results and the watch's home are made.
        seconds: how long the writers write.
        burst: how many small files come at once, now and then.
        writers: how many write at the same time.
        kill_every: seconds between two kills, on average.
        seed: of everything that is left to chance.
        limit: seconds to wait for anything in the end.
        words: more options for the watch.
    """

    def __init__(
        self, place: Path, seconds: float, *, burst: int, writers: int = 3,
        kill_every: float = 10.0, seed: int = 0, limit: float = 300.0,
        words: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.words = words
        self.place, self.seconds, self.burst, self.limit = place, seconds, burst, limit
        self.writers, self.kill_every, self.seed = writers, kill_every, seed
        self.inbox, self.out, self.home = place / "inbox", place / "out", place / "home"
        self.outside = place / "outside"
        for folder in (self.inbox, self.outside):
            folder.mkdir(parents=True)
        self.dropped = Dropped()
        self.lock = threading.Lock()
        self.next = 0
        self.over = threading.Event()
        self.kills: Counter[str] = Counter()
        self.problems: list[str] = []
        self.checked = 0
        self.process: Any = None
        self.log = place / "events.jsonl"
        self.errors = place / "errors.txt"

    # -- the watcher ---------------------------------------------------------------------------

    def start(self) -> None:
        with self.log.open("ab") as log, self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", *processes.fake(), "watch", self.inbox,
                 "-o", self.out, "--settle", str(SETTLE), "--json", "--unload-after", "3",
                 *self.words],
                stdout=log, stderr=errors, cwd=processes.ROOT,
                env=processes.environment(self.home, OMP_NUM_THREADS="1"),
            )  # fmt: skip

    def kill_now_and_then(self) -> None:
        rng = random.Random(self.seed + 1)
        while not self.over.wait(rng.uniform(0.3, 1.7) * self.kill_every):
            if self.process.poll() is not None:
                self.problems.append(f"the watcher ended by itself: {self.process.returncode}")
                self.start()
                continue
            what = rng.choice(["watcher", "watcher", "watcher", "worker", "term"])
            if what == "worker":
                worker = self.worker()
                if worker is None:
                    continue
                with contextlib.suppress(OSError):
                    os.kill(worker, signal.SIGKILL)
                self.kills[what] += 1
                continue
            self.process.send_signal(signal.SIGKILL if what == "watcher" else signal.SIGTERM)
            self.process.wait(self.limit)
            self.kills[what] += 1
            self.over.wait(rng.choice([0.0, 0.0, rng.uniform(0, 3)]))
            self.start()

    def worker(self) -> int | None:
        """The worker's process number."""
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for child in task.read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"spawn_main" in command:
                    return int(child)
        return None

    # -- the writers ---------------------------------------------------------------------------

    def write(self, seed: int) -> None:
        rng = random.Random(self.seed * 1000 + seed)
        deadline = time.monotonic() + self.seconds
        habits = [
            self.plainly, self.slowly, self.by_renaming, self.by_folder, self.by_link,
            self.over_old, self.over_old, self.junk, self.cut_short, self.for_a_moment, self.deep,
            self.moved, self.again,
        ]  # fmt: skip
        number = 0
        while time.monotonic() < deadline:
            habit = habits[number % len(habits)] if number < len(habits) else rng.choice(habits)
            number += 1
            try:
                habit(rng)
            except Exception as error:  # noqa: BLE001 - told in the end
                self.problems.append(f"{habit.__name__}: {error!r}")
            with self.lock:
                self.dropped.tally[habit.__name__] += 1
            time.sleep(rng.uniform(0, 0.2))

    def fresh(self, rng: random.Random) -> tuple[Path, int]:
        """A name that was never used, and a number."""
        with self.lock:
            self.next += 1
            number = self.next
        name = rng.choice(NAMES).format(number)
        folder = rng.choice(["", "", "trip", "trip/day 2", "Ä"])
        path = self.inbox / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # The number has a checksum in its high bits, so that no other reads as it.
        return path, self.signed(number)

    @staticmethod
    def signed(number: int) -> int:
        mark = hashlib.sha256(number.to_bytes(8, "big")).digest()[:2]
        return number | int.from_bytes(mark, "big") << 32

    def dropped_whole(self, path: Path, number: int) -> None:
        with self.lock:
            self.dropped.whole[path] = number
            self.dropped.versions.setdefault(path, []).append(number)

    def plainly(self, rng: random.Random) -> None:
        path, number = self.fresh(rng)
        path.write_bytes(picture(number, kind_of(path)))
        self.dropped_whole(path, number)

    def slowly(self, rng: random.Random) -> None:
        path, number = self.fresh(rng)
        data = picture(number, kind_of(path))
        cuts = sorted(rng.sample(range(1, len(data)), 4))
        with path.open("wb", buffering=0) as file:
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                file.write(data[start:end])
                time.sleep(rng.choice([0.05, 0.2, SETTLE * 2]))
        self.dropped_whole(path, number)

    def by_renaming(self, rng: random.Random) -> None:
        path, number = self.fresh(rng)
        part = path.with_name(path.name + rng.choice([".part", ".crdownload", ".tmp"]))
        part.write_bytes(picture(number, kind_of(path)))
        time.sleep(rng.choice([0, SETTLE * 1.5]))
        part.rename(path)
        self.dropped_whole(path, number)

    def by_folder(self, rng: random.Random) -> None:
        with self.lock:
            self.next += 1
            folder = self.outside / f"card{self.next}"
        inside = self.inbox / folder.name
        made = []
        for index in range(rng.randrange(1, 8)):
            _, number = self.fresh(rng)
            path = folder / ("DCIM" if index % 2 else ".") / f"DSC{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(number, "JPEG"))
            made.append((inside / path.relative_to(folder), number))
        folder.rename(inside)
        for path, number in made:
            self.dropped_whole(path, number)

    def by_link(self, rng: random.Random) -> None:
        path, number = self.fresh(rng)
        other = self.outside / f"{number}.jpg"
        other.write_bytes(picture(number, kind_of(path)))
        path.hardlink_to(other)
        self.dropped_whole(path, number)

    def taken(self, rng: random.Random) -> tuple[Path, int] | None:
        """A photo that was dropped whole, off the list, so that nobody else takes it meanwhile."""
        with self.lock:
            if not self.dropped.whole:
                return None
            path = rng.choice(list(self.dropped.whole))
            return path, self.dropped.whole.pop(path)

    def over_old(self, rng: random.Random) -> None:
        """New content under an old name, written over it or put in its place."""
        taken = self.taken(rng)
        if taken is None:
            return
        path, _ = taken
        _, number = self.fresh(rng)
        data = picture(number, kind_of(path))
        if rng.random() < 0.5:
            new = self.outside / f"new{number}"
            new.write_bytes(data)
            new.replace(path)
        else:
            half = len(data) // 2
            with path.open("wb", buffering=0) as file:
                file.write(data[:half])
                time.sleep(rng.choice([0.0, 0.1]))
                file.write(data[half:])
        self.dropped_whole(path, number)

    def again(self, rng: random.Random) -> None:
        """The same content again, with a new time: not new work."""
        taken = self.taken(rng)
        if taken is None:
            return
        path, number = taken
        if rng.random() < 0.5:
            path.touch()
        else:
            new = self.outside / f"same{rng.random()}"
            shutil.copyfile(path, new)
            new.replace(path)
        with self.lock:
            self.dropped.whole[path] = number

    def junk(self, rng: random.Random) -> None:
        path, _ = self.fresh(rng)
        quiet = [
            path.with_suffix(".txt"),
            path.with_name("." + path.name),
            path.with_suffix(".xmp"),
        ]
        for each in quiet:
            each.write_bytes(b"nothing to see here. " * 20)
        path.write_bytes(rng.randbytes(500) if rng.random() < 0.7 else b"")
        with self.lock:
            self.dropped.quiet.update(quiet)
            self.dropped.bad.add(path)

    def cut_short(self, rng: random.Random) -> None:
        """A truncated file, which may be completed later."""
        path, number = self.fresh(rng)
        data = picture(number, kind_of(path))
        half = rng.randrange(len(data) // 4, len(data) - 20)
        path.write_bytes(data[:half])
        if rng.random() < 0.3:
            with self.lock:
                self.dropped.bad.add(path)
            return
        time.sleep(rng.choice([0.1, SETTLE * 3]))
        with path.open("ab") as file:
            file.write(data[half:])
        self.dropped_whole(path, number)

    def for_a_moment(self, rng: random.Random) -> None:
        """A photo that is taken away again, perhaps while it waits."""
        path, number = self.fresh(rng)
        path.write_bytes(picture(number, kind_of(path)))
        time.sleep(rng.choice([0, 0.05, 0.3]))
        path.unlink()
        with self.lock:
            self.dropped.removed[path] = [number]
            self.dropped.versions.setdefault(path, []).append(number)

    def deep(self, rng: random.Random) -> None:
        """Folders and a file in them, faster than they can be watched."""
        path, number = self.fresh(rng)
        path = path.parent / f"deep{number}" / "a" / "b" / path.name
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(number, kind_of(path)))
        self.dropped_whole(path, number)

    def moved(self, rng: random.Random) -> None:
        """A name becomes another: the old one is gone, the new one is new."""
        taken = self.taken(rng)
        if taken is None:
            return
        path, number = taken
        with self.lock:
            self.dropped.removed[path] = self.dropped.versions[path]
        new, _ = self.fresh(rng)
        new = new.with_suffix(path.suffix)
        path.rename(new)
        self.dropped_whole(new, number)

    def bursts(self) -> None:
        """Very many small files at once, at a third and two thirds of the time."""
        for share in (0.33, 0.67):
            if self.over.wait(self.seconds * 0.33 if share < 0.5 else self.seconds * 0.34):
                return
            rng = random.Random(self.seed + int(share * 100))
            folder = self.inbox / f"burst{share}"
            folder.mkdir()
            for index in range(self.burst):
                with self.lock:
                    self.next += 1
                    number = self.signed(self.next)
                path = folder / f"{index}.jpg"
                path.write_bytes(picture(number, "JPEG"))
                self.dropped_whole(path, number)
                if rng.random() < 0.02:
                    with self.lock:
                        self.dropped.removed[path] = self.dropped.versions[path]
                        if self.dropped.whole.pop(path, None) is None:
                            del self.dropped.removed[path]  # another writer has it just now
                            continue
                    path.unlink()
            with self.lock:
                self.dropped.tally["burst"] += 1

    def check_outputs(self) -> None:
        """No output is ever half a picture, at any moment."""
        rng = random.Random(self.seed + 2)
        while not self.over.wait(0.05):
            found = processes.finished(self.out)
            for path in rng.sample(found, min(10, len(found))):
                try:
                    number_in(path)
                    self.checked += 1
                except Exception as error:  # noqa: BLE001 - told in the end
                    self.problems.append(f"half-written: {path}: {error!r}")

    # -- the whole -----------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Soak, wait until all is settled, and compare; what was found."""
        started = time.monotonic()
        self.start()
        threads = [threading.Thread(target=self.write, args=(i,)) for i in range(self.writers)]
        threads.append(threading.Thread(target=self.bursts))
        sidelines = [
            threading.Thread(target=self.kill_now_and_then),
            threading.Thread(target=self.check_outputs),
        ]
        for thread in (*threads, *sidelines):
            thread.start()
        for thread in threads:
            thread.join()
        writing = time.monotonic() - started
        self.over.set()
        for thread in sidelines:
            thread.join()
        self.settle_down()
        wait_until(lambda: not processes.leftovers(self.out), 30)
        settling = time.monotonic() - started - writing
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(self.limit)
        report = self.compare()
        report["seconds"] = {"writing": round(writing), "settling": round(settling, 1)}
        return report

    def settle_down(self) -> None:
        """Wait until the ledger knows every name that is there, and nothing waits."""
        deadline = time.monotonic() + self.limit
        while time.monotonic() < deadline:
            rows = self.rows()
            current = {row["path"]: row for row in rows if row["current"]}
            waiting = [row for row in rows if row["state"] in ("waiting", "working")]
            names = set(self.dropped.whole) | self.dropped.bad
            late = [
                path for path, number in self.dropped.whole.items()
                if not (self.target(path).is_file() and self.try_number(path) == number)
            ]  # fmt: skip
            if not waiting and not late and names <= set(current):
                return
            time.sleep(0.5)
        self.problems.append(f"not settled in {self.limit} s: {len(waiting)} waiting, late {late}")

    def try_number(self, path: Path) -> int | None:
        try:
            return number_in(self.target(path))
        except Exception:  # noqa: BLE001 - looked at again in the end
            return None

    def target(self, path: Path) -> Path:
        return self.out / path.relative_to(self.inbox)

    def rows(self) -> list[dict[str, Any]]:
        """The ledger, read as a plain database."""
        found = list((self.home / "state" / "watch").glob("inbox-*.sqlite"))
        if not found:
            return []
        connection = sqlite3.connect(found[0], timeout=60)
        connection.row_factory = sqlite3.Row
        with contextlib.closing(connection):
            try:
                found_rows = connection.execute("SELECT * FROM photos ORDER BY id").fetchall()
            except sqlite3.OperationalError:  # killed before it had made the tables
                return []
        rows = [dict(row) for row in found_rows]
        for row in rows:
            row["path"] = self.inbox / os.fsdecode(row["path"])
        return rows

    def compare(self) -> dict[str, Any]:
        """The ledger, the outputs and the list of what was dropped: do they agree?"""
        dropped, wrong = self.dropped, list(self.problems)
        rows = self.rows()
        current = {row["path"]: row for row in rows if row["current"]}
        for path, number in dropped.whole.items():
            row = current.get(path)
            digest = hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()
            if row is None or row["state"] != "done" or row["digest"] != digest:
                wrong.append(f"ledger: {path}: {row}")
            if self.try_number(path) != number:
                wrong.append(f"output: {path}: {self.try_number(path)}, not {number}")
        for path in dropped.bad:
            if path not in current or current[path]["state"] != "failed":
                wrong.append(f"not failed: {path}: {current.get(path)}")
            if self.target(path).exists():
                wrong.append(f"an output of nothing: {path}")
        wrong += [f"junk in the ledger: {path}" for path in dropped.quiet & set(current)]
        known = set(dropped.whole) | dropped.bad | set(dropped.removed)
        wrong += [f"nobody dropped: {path}" for path in set(current) - known]
        made = processes.finished(self.out)
        for path in made:
            name = self.inbox / path.relative_to(self.out)
            if number_in(path) not in dropped.versions.get(name, []):
                wrong.append(f"an output of something else: {path}")
        wrong += [f"left unfinished: {path}" for path in processes.leftovers(self.out)]
        done = [(row["path"], row["digest"]) for row in rows if row["state"] == "done"]
        wrong += [f"done twice: {each}" for each, count in Counter(done).items() if count > 1]
        events = [json.loads(line) for line in self.log.read_bytes().splitlines() if line]
        told = Counter(
            (event["source"], event["digest"])
            for event in events if event["event"] == "photo" and event["status"] == "done"
        )  # fmt: skip
        wrong += [f"made twice: {each}" for each, count in told.items() if count > 1]
        if b"Traceback" in self.errors.read_bytes():
            wrong.append("a traceback: " + self.errors.read_text()[-3000:])
        states = Counter(row["state"] for row in rows)
        return {
            "wrong": wrong,
            "dropped": {"whole": len(dropped.whole), "bad": len(dropped.bad),
                        "removed": len(dropped.removed), "quiet": len(dropped.quiet),
                        "versions": sum(map(len, dropped.versions.values()))},
            "habits": dict(dropped.tally), "ledger": dict(states), "outputs": len(made),
            "kills": dict(self.kills), "outputs_checked_meanwhile": self.checked,
            "notices": dict(Counter(e["kind"] for e in events if e["event"] == "notice")),
        }  # fmt: skip


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until something is so, or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    minutes = float(sys.argv[1])
    where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="soak"))
    result = Soak(where, minutes * 60, burst=5000, kill_every=30, limit=1800).run()
    print(json.dumps(result, indent=1))
    sys.exit(bool(result["wrong"]))
