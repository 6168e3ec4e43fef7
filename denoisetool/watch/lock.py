"""One watcher per folder, and signs of life that others can see."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from denoisetool.errors import OutputError, UsageError
from denoisetool.events import WatchStatus
from denoisetool.watch.ledger import Ledger, ledger_path

SILENT_SECONDS = 120.0
"""Without a sign of life for so long a watcher counts as hung."""
PATIENCE = 1.0
"""Seconds that a lock is waited for: whoever asks how a watch stands has it for a moment."""


@contextmanager
def held(root: Path, output: Path) -> Iterator[None]:
    """Be the one watcher of a folder, and of what is in it, while the block runs.

    Raises:
        UsageError: there is one already; says who.
        OutputError: the state folder cannot be written.
    """
    ledger = ledger_path(root)
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(_lock(ledger), timeout=PATIENCE)
        lock.acquire()
    except filelock.Timeout:
        raise _taken(root, ledger) from None
    except OSError as error:
        what = f"the state of the watch cannot be written: {error.strerror or error}"
        hint = "DENOISETOOL_HOME chooses another place"
        raise OutputError(what, path=ledger.parent, hint=hint) from error
    try:
        _refuse_overlap(root, ledger)
        holder = {
            "root": str(root), "real": os.path.realpath(root), "output": str(output),
            "pid": os.getpid(), "host": socket.gethostname(), "started": time.time(),
        }  # fmt: skip
        _holder(ledger).write_text(json.dumps(holder), encoding="utf-8")
        beat(ledger)
        yield
    finally:
        lock.release()


def beat(ledger: Path) -> None:
    """Give a sign of life: the time of a small file, which costs the disk nothing."""
    with contextlib.suppress(OSError):
        ledger.with_suffix(".beat").touch()


def ask_to_look(ledger: Path) -> None:
    """Have the watcher look through its folder soon."""
    ledger.with_suffix(".look").touch()


def asked_to_look(ledger: Path) -> bool:
    """Whether somebody asked since the last time."""
    try:
        ledger.with_suffix(".look").unlink()
    except OSError:
        return False
    return True


def is_held(ledger: Path, patience: float = 0.0) -> bool:
    """Whether a process holds the lock that belongs to a ledger, for longer than `patience` s."""
    if not _lock(ledger).exists():
        return False
    lock = filelock.FileLock(_lock(ledger), timeout=patience)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def status(root: Path, *, most: int = 1000) -> WatchStatus:
    """How the watch of a folder stands; asks nothing of the watcher itself.

    Args:
        root: the folder.
        most: failures to list.

    Raises:
        UsageError: the folder was never watched.
        OutputError: the ledger cannot be read.
    """
    path = ledger_path(root)
    if not path.exists():
        hint = f"`denoisetool watch {root}` begins"
        raise UsageError("this folder was never watched", path=root, hint=hint)
    with Ledger(path) as ledger:
        counts, notes = ledger.counts(), ledger.notes()
        now = time.time()
        working = [
            {"path": str(row.path), "seconds": round(now - (row.started or now), 1)}
            for row in ledger.rows("working")
        ]
        failures = [
            {"path": str(row.path), "reason": row.reason, "error": row.error}
            for row in ledger.rows("failed")[:most]
        ]
    holder, silent = _read_holder(path), _silence(path)
    alive = is_held(path) and silent is not None and silent < SILENT_SECONDS
    output = holder.get("output")
    return WatchStatus(
        root, Path(output) if output else None, alive, holder.get("pid") if alive else None,
        str(holder.get("host", "")), holder.get("started") if alive else None, silent,
        notes.get("mode", ""), counts.seen, counts.done, counts.failed, counts.waiting,
        counts.gone, counts.last_hour, working, failures,
    )  # fmt: skip


def _lock(ledger: Path) -> Path:
    return ledger.with_suffix(".lock")


def _holder(ledger: Path) -> Path:
    return ledger.with_suffix(".json")


def _read_holder(ledger: Path) -> dict[str, Any]:
    """Who wrote itself down as the watcher last; {} if that cannot be read."""
    try:
        found = json.loads(_holder(ledger).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _silence(ledger: Path) -> float | None:
    """Seconds since the last sign of life."""
    try:
        return round(max(0.0, time.time() - ledger.with_suffix(".beat").stat().st_mtime), 1)
    except OSError:
        return None


def _taken(root: Path, ledger: Path) -> UsageError:
    holder = _read_holder(ledger)
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    if holder.get("started"):
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder["started"]))
        who += f", since {since}, into {holder.get('output', '?')}"
    hint = f"`denoisetool watch {root} --status` shows how it stands"
    return UsageError(f"this folder is watched already, by {who}", path=root, hint=hint)


def _refuse_overlap(root: Path, own: Path) -> None:
    """A photo must not have two watchers. Raises UsageError."""
    real = Path(os.path.realpath(root))
    for path in own.parent.glob("*.json"):
        ledger = path.with_suffix(".sqlite")
        other = _read_holder(ledger)
        place = Path(str(other.get("real", "")))
        if ledger == own or not place.is_absolute():
            continue
        overlap = real.is_relative_to(place) or place.is_relative_to(real)
        if overlap and is_held(ledger, PATIENCE):
            if other.get("pid") == os.getpid():
                what = f"one of the folders is inside the other: {place}"
                raise UsageError(what, path=root, hint="give only the outer one")
            what = f"this overlaps {place}, which process {other.get('pid')} watches already"
            raise UsageError(what, path=root, hint="end that watch, or watch another folder")
