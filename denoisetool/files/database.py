"""SQLite files that outlive crashes: opening, transactions, and what to do when one is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 1
OUTPUTS = """
CREATE TABLE outputs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target BLOB NOT NULL,          -- real folder and name, as the system encodes it
    source BLOB NOT NULL,
    source_size INTEGER NOT NULL,
    source_mtime_ns INTEGER NOT NULL,
    source_digest BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER,              -- NULL until confirmed: then only the hash can tell
    digest BLOB NOT NULL,
    made REAL NOT NULL,
    checked REAL NOT NULL
);
CREATE INDEX outputs_target ON outputs (target);
CREATE INDEX outputs_checked ON outputs (checked);
"""
_BUSY_SECONDS = 30.0
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def connect(path: Path, schema: str = OUTPUTS) -> sqlite3.Connection:
    """Open the database and see that it is ours; several processes may do so at once.

    Args:
        path: the file; made if it is not there.
        schema: the statements that make its tables.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, schema)
        except BaseException as error:
            connection.close()
            # The change to WAL does not wait its turn as other statements do.
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return connection


def _prepare(connection: sqlite3.Connection, schema: str) -> None:
    """Set the modes and make the tables."""
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    # FULL, not NORMAL: an intention lost in a power cut would make the output a stranger.
    connection.execute("PRAGMA synchronous = FULL")
    version = _user_version(connection)
    if version == 0:
        with transaction(connection):
            if _user_version(connection) == 0:
                for statement in schema.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
    elif version != _VERSION:
        raise sqlite3.NotSupportedError(f"made by another version of denoisetool ({version})")


def _user_version(connection: sqlite3.Connection) -> int:
    """The version of the tables; 0 where there are none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def is_damage(error: Exception) -> bool:
    """Whether the file itself is at fault."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _DAMAGE


def replace_damaged(path: Path, schema: str = OUTPUTS) -> tuple[sqlite3.Connection, Path | None]:
    """Rename a damaged database and begin a new one, unless another process just did so."""
    import filelock  # slow to import, and needed next to never

    aside = path.with_name(f"{path.name}.damaged")
    with filelock.FileLock(path.with_name(f"{path.name}.lock"), timeout=_BUSY_SECONDS):
        with contextlib.suppress(sqlite3.DatabaseError):
            connection = connect(path, schema)
            try:
                if connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                    return connection, None
            except BaseException:
                connection.close()
                raise
            connection.close()
        for ending in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
        return connect(path, schema), aside
