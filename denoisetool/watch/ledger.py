"""The ledger of one watched folder: every photo ever seen there, and what became of it.

One row is one piece of work: a name with one content. The name with new content is a new row, and
the old one, if it was done, stays as history; the same content again under its name only brings the
row's size and times up to date. So `seen = done + failed + waiting`, for good; photos that were
taken away before they were done are kept apart as `gone`.

A commit may be lost in a power cut, but never the order of commits. Nothing is lost by that: what
is forgotten is found again by the next scan, and an output made meanwhile is known by the index.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypeVar

from denoisetool import settings
from denoisetool.errors import OutputError
from denoisetool.files.database import connect, is_damage, replace_damaged, transaction

State = Literal["waiting", "working", "done", "failed", "gone"]

SCHEMA = """
CREATE TABLE photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path BLOB NOT NULL,            -- below the watched folder, as the system encodes it
    current INTEGER NOT NULL,      -- 0 where newer content came under this name
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    digest TEXT,                   -- NULL until the photo was read
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    error TEXT,
    target BLOB,
    target_key TEXT,
    arrived REAL NOT NULL,
    started REAL,                  -- the last try, NULL again where something was in the way
    finished REAL,
    megapixels REAL NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    model TEXT,
    settings TEXT,
    after TEXT NOT NULL DEFAULT '', -- what is still to be done once it is done: move, tell
    moved BLOB                     -- where the original went
);
CREATE UNIQUE INDEX photos_path ON photos (path) WHERE current;
CREATE INDEX photos_state ON photos (state);
CREATE INDEX photos_target ON photos (target_key);
CREATE INDEX photos_finished ON photos (finished);
CREATE TABLE watcher (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COLUMNS = (
    "id, path, current, size, mtime_ns, ctime_ns, digest, state, reason, error, target,"
    " arrived, started, finished, after, moved"
)
_HOUR = 3600.0
T = TypeVar("T")


class Stamp(NamedTuple):
    """What a file's state tells without reading it: whatever writes to it changes one of these."""

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp in a file's state."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Row:
    """One photo in the ledger; `path` is below the watched folder."""

    id: int
    path: Path
    current: bool
    stamp: Stamp
    digest: str | None
    state: State
    reason: str
    error: str | None
    target: Path | None
    arrived: float
    started: float | None
    finished: float | None
    after: frozenset[str]
    moved: Path | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many photos are in which state; `last_hour` were finished within the last hour."""

    seen: int = 0
    done: int = 0
    failed: int = 0
    waiting: int = 0
    gone: int = 0
    last_hour: int = 0


def ledger_path(root: Path) -> Path:
    """Where the ledger of a watched folder is, by the folder's real name."""
    real = os.path.normcase(os.path.realpath(root))
    mark = hashlib.blake2b(os.fsencode(real), digest_size=6).hexdigest()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(real).name)[:40] or "root"
    return settings.folder("state") / "watch" / f"{name}-{mark}.sqlite"


class Ledger:
    """The ledger of one folder. Threads may share one; `--status` opens its own.

    Attributes:
        path: its file.
        warning: a sentence for the user if it had to be begun anew; else empty.
        patience: called with the reason when it cannot be written just now, as on a full disk;
            True to try again. Without one that is an error.

    Raises:
        OutputError: the ledger cannot be opened; without it a watch could prove nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warning = ""
        self.patience: Callable[[str], bool] | None = None
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = connect(path, SCHEMA)
            # What a power cut may take of this is found again; see above.
            self._connection.execute("PRAGMA synchronous = NORMAL")
        except (OSError, sqlite3.Error) as error:
            self._recover(error)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- arrivals ------------------------------------------------------------------------------

    def get(self, path: Path) -> Row | None:
        """What is known of the photo that has this name now."""
        rows = self._select("WHERE path = ? AND current", (os.fsencode(path),))
        return rows[0] if rows else None

    def row(self, number: int) -> Row:
        """The row of this number. Raises KeyError."""
        for row in self._select("WHERE id = ?", (number,)):
            return row
        raise KeyError(number)

    def arrive(self, items: Iterable[tuple[Path, Stamp]]) -> None:
        """Note photos that wait to be done: new names, or new content under a known name."""
        now = time.time()

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                for path, stamp in items:
                    key = os.fsencode(path)
                    done = connection.execute(
                        "UPDATE photos SET current = 0 WHERE path = ? AND current"
                        " AND state = 'done' RETURNING target, target_key, moved",
                        (key,),
                    ).fetchone()
                    # The output follows an original that was overwritten. Where the original was
                    # moved away, the name is free for another photo, and the output is kept.
                    target, target_key = done[:2] if done and done[2] is None else (None, None)
                    connection.execute(
                        "INSERT INTO photos (path, current, size, mtime_ns, ctime_ns, state,"
                        " target, target_key, arrived) VALUES (?, 1, ?, ?, ?, 'waiting', ?, ?, ?)"
                        " ON CONFLICT (path) WHERE current DO UPDATE SET size = excluded.size,"
                        " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,"
                        " state = 'waiting', reason = '', error = NULL, digest = NULL,"
                        " finished = NULL",
                        (key, *stamp, target, target_key, now),
                    )

        self._use(work)

    def restamp(self, number: int, stamp: Stamp) -> None:
        """The same content has another time now."""
        self._write(
            "UPDATE photos SET size = ?, mtime_ns = ?, ctime_ns = ? WHERE id = ?", *stamp, number
        )

    # -- work ----------------------------------------------------------------------------------

    def begin(self, number: int, stamp: Stamp, target: Path, target_key: str) -> None:
        """A photo is given to the worker."""
        self._write(
            "UPDATE photos SET state = 'working', started = ?, size = ?, mtime_ns = ?,"
            " ctime_ns = ?, target = ?, target_key = ? WHERE id = ?",
            time.time(), *stamp, os.fsencode(target), target_key, number,
        )  # fmt: skip

    def done(
        self, number: int, digest: str | None, *, reason: str, megapixels: float, seconds: float,
        model: str, settings: str, after: Iterable[str],
    ) -> None:  # fmt: skip
        """A photo's output is complete; `after` names the steps that are still to come."""
        self._write(
            "UPDATE photos SET state = 'done', reason = ?, error = NULL, finished = ?,"
            " digest = coalesce(?, digest), megapixels = ?, seconds = ?, model = ?, settings = ?,"
            " after = ? WHERE id = ?",
            reason, time.time(), digest, megapixels, seconds, model, settings,
            " ".join(sorted(after)), number,
        )  # fmt: skip

    def fail(self, number: int, digest: str | None, reason: str, error: str | None) -> None:
        """A photo cannot be done, as it is now. What was in its way was not made by this watch."""
        self._write(
            "UPDATE photos SET state = 'failed', reason = ?, error = ?, finished = ?, digest = ?,"
            " started = CASE ? WHEN 'OutputExists' THEN NULL ELSE started END WHERE id = ?",
            reason, error, time.time(), digest, error, number,
        )  # fmt: skip

    def wait(self, number: int) -> None:
        """A photo that was begun, or failed, waits again."""
        self._write(
            "UPDATE photos SET state = 'waiting', reason = '', error = NULL, finished = NULL"
            " WHERE id = ? AND state != 'done'",
            number,
        )

    def gone(self, number: int) -> None:
        """A photo was taken away before it was done."""
        self._write(
            "UPDATE photos SET state = 'gone', finished = ? WHERE id = ? AND state != 'done'",
            time.time(), number,
        )  # fmt: skip

    def drop(self, number: int) -> None:
        """What was taken for a photo turned out to be none."""
        self._write("DELETE FROM photos WHERE id = ? AND state != 'done'", number)

    def took_step(self, number: int, step: str, moved: Path | None = None) -> None:
        """One of the steps after a photo was done is over."""
        with self._lock:
            left = " ".join(sorted(self.row(number).after - {step}))
            self._write(
                "UPDATE photos SET after = ?, moved = coalesce(?, moved) WHERE id = ?",
                left, None if moved is None else os.fsencode(moved), number,
            )  # fmt: skip

    def again(self, number: int, step: str) -> None:
        """One of the steps after a photo was done is to be taken once more."""
        with self._lock:
            steps = " ".join(sorted(self.row(number).after | {step}))
            self._write("UPDATE photos SET after = ? WHERE id = ?", steps, number)

    def recent_targets(self, since: float) -> list[Path]:
        """Folders that outputs of photos begun since then (Unix time) went to."""
        query = "SELECT DISTINCT target FROM photos WHERE started > ? AND target IS NOT NULL"
        found = self._use(lambda c: c.execute(query, (since,)).fetchall())
        return list(dict.fromkeys(_path(target).parent for (target,) in found))

    def start_over(self) -> None:
        """What a watcher that was killed had in hand waits again."""
        self._write("UPDATE photos SET state = 'waiting' WHERE state = 'working'")

    def retry_failed(self) -> int:
        """Let everything that failed wait again; how many that were."""

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE photos SET state = 'waiting', reason = '', error = NULL, finished = NULL"
                " WHERE state = 'failed'"
            ).rowcount

        return self._use(work)

    # -- looking -------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """How many photos are in which state."""

        def work(connection: sqlite3.Connection) -> Counts:
            found = dict(connection.execute("SELECT state, count(*) FROM photos GROUP BY state"))
            recent = connection.execute(
                "SELECT count(*) FROM photos WHERE state = 'done' AND finished > ?",
                (time.time() - _HOUR,),
            ).fetchone()[0]
            done, failed = found.get("done", 0), found.get("failed", 0)
            waiting = found.get("waiting", 0) + found.get("working", 0)
            seen = done + failed + waiting
            return Counts(seen, done, failed, waiting, found.get("gone", 0), recent)

        return self._use(work)

    def rows(self, *states: State) -> list[Row]:
        """The rows in these states, in order of arrival; all without states."""
        marks = ",".join("?" * len(states))
        return self._select(f"WHERE state IN ({marks})" if states else "", states)

    def unfinished(self) -> list[Row]:
        """Photos that are done, with a step after that still to come."""
        return self._select("WHERE state = 'done' AND after != ''")

    def claims(self, target_key: str, path: Path) -> bool:
        """Whether a target belongs to another photo than the one that has this name now."""
        query = (
            "SELECT 1 FROM photos WHERE target_key = ? AND (path != ? OR moved IS NOT NULL)"
            " AND state != 'gone' LIMIT 1"
        )
        key = os.fsencode(path)
        return self._use(lambda c: c.execute(query, (target_key, key)).fetchone() is not None)

    def may_have_made(self, row: Row) -> bool:
        """Whether this watch may have made what is at the target of a photo that waits.

        It has if an earlier content of this name was done, with its result there. And it may have
        if the photo was begun, and a kill came before its outcome was written down; then the index
        knows.
        """
        if row.target is None or row.started is not None:
            return row.target is not None
        query = (
            "SELECT 1 FROM photos WHERE path = ? AND target = ? AND state = 'done'"
            " AND NOT current AND moved IS NULL LIMIT 1"
        )
        values = os.fsencode(row.path), os.fsencode(row.target)
        return self._use(lambda c: c.execute(query, values).fetchone() is not None)

    # -- the watcher ---------------------------------------------------------------------------

    def note(self, **values: object) -> None:
        """Keep something about the watcher itself."""

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(
                    "INSERT OR REPLACE INTO watcher VALUES (?, ?)",
                    [(name, str(value)) for name, value in values.items()],
                )

        self._use(work)

    def notes(self) -> dict[str, str]:
        """What `note` kept."""
        return self._use(lambda c: dict(c.execute("SELECT name, value FROM watcher")))

    # -- plumbing ------------------------------------------------------------------------------

    def _select(self, where: str, values: Iterable[object] = ()) -> list[Row]:
        query = f"SELECT {_COLUMNS} FROM photos {where} ORDER BY id"
        return self._use(lambda c: list(_rows(c.execute(query, tuple(values)))))

    def _write(self, statement: str, *values: object) -> None:
        self._use(lambda c: c.execute(statement, values))

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the connection; after damage once more, with a new ledger."""
        with self._lock:
            while True:
                try:
                    return work(self._connection)
                except sqlite3.DatabaseError as error:
                    passing = isinstance(error, sqlite3.OperationalError) and not is_damage(error)
                    if passing and self.patience is not None and self.patience(str(error)):
                        continue
                    self._recover(error)

    def _recover(self, error: Exception) -> None:
        """Set a damaged ledger aside: a scan and the index of outputs make up for it."""
        if is_damage(error):
            with contextlib.suppress(OSError, sqlite3.Error):
                self._connection, aside = replace_damaged(self.path, SCHEMA)
                self.warning = f"the ledger was damaged and is set aside as {aside}" * bool(aside)
                return
        hint = "check the disk that it is on; DENOISETOOL_HOME chooses another place"
        what = f"the ledger of the watch cannot be used: {error}"
        raise OutputError(what, path=self.path, hint=hint) from error


def _rows(found: Iterable[tuple[object, ...]]) -> Iterator[Row]:
    for values in found:
        (number, path, current, size, mtime, ctime, digest, state, reason, error, target,
         arrived, started, finished, after, moved) = values  # fmt: skip
        yield Row(
            number, _path(path), bool(current), Stamp(size, mtime, ctime), digest, state, reason,  # type: ignore[arg-type]
            error, None if target is None else _path(target), arrived, started, finished,  # type: ignore[arg-type]
            frozenset(str(after).split()), None if moved is None else _path(moved),
        )  # fmt: skip


def _path(value: object) -> Path:
    assert isinstance(value, bytes)
    return Path(os.fsdecode(value))
