"""The memory of which outputs are ours: from what photo, with what settings and model.

It makes a second run skip what the first one finished, and only that. Its one rule: what it says
must be true after a power cut at any moment, and where it cannot know, it must not claim. So:

1. `intend` is called when an output is complete under its temporary name, and is on the disk
   before the rename: which target, from which content, how, and the hash of what will be there.
2. The rename happens, or does not.
3. `confirm` notes the modification time, so that the next run need not read the file to know it.

After a crash between any two of these the file at the target is compared with all that was
intended for it: the last few versions are remembered, so the older output is known as ours until
the newer one has taken its place. A file that matches nothing we intended is somebody else's.

An index that is damaged is set aside, one that cannot be used is done without; both are told in
`Index.warning` and neither stops anything.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from denoisetool import settings
from denoisetool.errors import UnreadablePhoto
from denoisetool.files.content import Identity, digest_file, identify
from denoisetool.files.database import connect, is_damage, replace_damaged, transaction

INDEX_NAME = "outputs.sqlite"

_COLUMNS = (
    "id, target, source, source_size, source_mtime_ns, source_digest, fingerprint,"
    " size, mtime_ns, digest"
)
_VERSIONS_KEPT = 4
_BATCH = 500
_DAY = 24 * 3600.0
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
"""What may be over by the next photo: another process has the file, or the disk is full."""
T = TypeVar("T")


class Verdict(enum.StrEnum):
    """What is at a target."""

    MISSING = "missing"
    """Nothing."""
    SAME = "same"
    """What we made of this content with this fingerprint, untouched since."""
    DIFFERENT = "different"
    """What we made of other content or with another fingerprint, untouched since."""
    FOREIGN = "foreign"
    """Something else: made or changed by others, or before the index knew."""


def state_folder() -> Path:
    """Where the index lives: `$DENOISETOOL_HOME/state`, else the platform's folder for state."""
    return settings.folder("state")


class _Photo(NamedTuple):
    """A photo, its key, and what it holds, where that was read already."""

    path: Path
    key: bytes
    identity: Identity | None


class _Row(NamedTuple):
    """One version of one output, as stored."""

    id: int
    target: bytes
    source: bytes
    source_size: int
    source_mtime_ns: int
    source_digest: bytes
    fingerprint: str
    size: int
    mtime_ns: int | None
    digest: bytes


@dataclass(slots=True)
class _Learnt:
    """What a lookup found out by hashing, to be noted so that the next one need not."""

    outputs: list[tuple[int, int, bytes]] = field(default_factory=list)
    sources: list[tuple[int, int]] = field(default_factory=list)


class Index:
    """The index of outputs. Threads may share one; processes open their own.

    Attributes:
        warning: a sentence for the user if the index could not be used as it was; else empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warning = ""
        self._lock = threading.RLock()
        self._pending: dict[bytes, int] = {}
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def open(cls, folder: Path | None = None, *, make: bool = True) -> Index:
        """Open the index in a state folder. Never raises.

        Args:
            folder: where it is; the user's by default.
            make: whether to make folder and index if need be; else a missing one knows nothing.
        """
        index = cls((folder or state_folder()) / INDEX_NAME)
        if not make and not index.path.exists():
            return index
        try:
            index.path.parent.mkdir(parents=True, exist_ok=True)
            index._connection = connect(index.path)
        except (OSError, sqlite3.Error) as error:
            index._recover(error)
        return index

    def close(self) -> None:
        """Let go of the file. Afterwards the index knows nothing."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def intend(
        self,
        target: Path,
        *,
        source: Path,
        identity: Identity,
        fingerprint: str,
        size: int,
        digest: bytes,
    ) -> None:
        """Note what is about to be renamed to `target`; it is on the disk when this returns.

        Args:
            target: the output.
            source: the photo it was made of.
            identity: the photo's content, as it was read.
            fingerprint: whatever else decides the output: settings, model, program version.
            size: bytes of the finished temporary file.
            digest: its hash, from `digest_file`.
        """
        key, now = _key(target), time.time()
        photo = (_key(source), identity.size, identity.mtime_ns, identity.digest)
        row = (key, *photo, fingerprint, size, digest, now, now)

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                # From here until `confirm` size and time prove nothing about this target: with
                # copied times and no compression two versions have them in common.
                connection.execute("UPDATE outputs SET mtime_ns = NULL WHERE target = ?", (key,))
                cursor = connection.execute(
                    "INSERT INTO outputs (target, source, source_size, source_mtime_ns,"
                    " source_digest, fingerprint, size, digest, made, checked)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
                self._pending[key] = cursor.lastrowid or 0
                connection.execute(
                    "DELETE FROM outputs WHERE target = ? AND id NOT IN"
                    " (SELECT id FROM outputs WHERE target = ? ORDER BY id DESC LIMIT ?)",
                    (key, key, _VERSIONS_KEPT),
                )

        self._use(work, None)

    def confirm(self, target: Path) -> None:
        """Note that the rename announced by the last `intend` for this target has happened."""
        key = _key(target)
        with self._lock:
            number = self._pending.pop(key, None)
        try:
            status = target.lstat()
        except OSError:
            return
        if number is not None:
            self._note(_Learnt(outputs=[(status.st_mtime_ns, number, key)]))

    def lookup(
        self, target: Path, source: Path, fingerprint: str, identity: Identity | None = None
    ) -> Verdict:
        """What is at `target`, seen from a run that would make it of `source`.

        Args:
            target: the output.
            source: the photo.
            fingerprint: see `intend`.
            identity: the photo's content where it was read; else its size and time may tell.
        """
        return self._looked_up([(target, source, fingerprint)], identity)[0]

    def lookup_many(self, items: Sequence[tuple[Path, Path, str]]) -> list[Verdict]:
        """`lookup` for many (target, source, fingerprint), in the same order, far quicker."""
        return self._looked_up(items, None)

    def _looked_up(
        self, items: Sequence[tuple[Path, Path, str]], identity: Identity | None
    ) -> list[Verdict]:
        verdicts = self._judged(items, identity)
        # Another run may have made an output since the rows were read; its intention came first.
        foreign = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.FOREIGN]
        again = self._judged([items[i] for i in foreign], identity)
        for i, verdict in zip(foreign, again, strict=True):
            verdicts[i] = verdict
        return verdicts

    def _judged(
        self, items: Sequence[tuple[Path, Path, str]], identity: Identity | None
    ) -> list[Verdict]:
        keys = _keys(target for target, _, _ in items)
        sources = _keys(source for _, source, _ in items)
        rows = self._rows(keys)
        learnt = _Learnt()
        verdicts = [
            _judge(
                target, _Photo(source, known_as, identity), fingerprint, rows.get(key, []), learnt
            )
            for key, known_as, (target, source, fingerprint) in zip(
                keys, sources, items, strict=True
            )
        ]
        if learnt.outputs or learnt.sources:
            self._note(learnt)
        return verdicts

    def own_outputs(self, paths: Sequence[Path]) -> set[Path]:
        """Which of these files are untouched outputs of ours, made of another of them.

        They are no input: a second run over `*.jpg` finds `a.jpg` and also `a_clean.jpg`. An
        output given without the photo that it was made of is not among them: it is meant.
        """
        keys = _keys(paths)
        known, rows = set(keys), self._rows(keys)
        pairs = zip(keys, paths, strict=True)
        return {path for key, path in pairs if self._ours(path, key, rows.get(key, []), known)}

    def made(self, path: Path) -> bool:
        """Whether this file is an untouched output of ours, whatever it was made of."""
        key = _key(path)
        return self._ours(path, key, self._rows([key]).get(key, []), None)

    def made_from(self, target: Path, source: Path) -> bool:
        """Whether a file is an untouched output of ours that was made of the photo of this name."""
        key = _key(target)
        return self._ours(target, key, self._rows([key]).get(key, []), {_key(source)})

    def _ours(self, path: Path, key: bytes, rows: list[_Row], sources: set[bytes] | None) -> bool:
        """Whether a file is one of these versions, or one that another run puts in its place now.

        Args:
            path: the file.
            key: what the index knows it by.
            rows: the versions, as they were read before.
            sources: keys of the photos that it must be made of one of; None for any.
        """

        def among(found: list[_Row]) -> bool:
            versions = [row for row in found if sources is None or row.source in sources]
            return bool(_intact(path, versions, _Learnt()))

        return bool(rows) and (among(rows) or among(self._rows([key]).get(key, [])))

    def prune(self, limit: int = 1000) -> int:
        """Forget outputs that are gone; looks at the `limit` rows not looked at for longest.

        A row is kept while its folder is missing or empty, since that is what a disk that is not
        plugged in looks like, and for a day, since the rename may be about to happen.

        Returns:
            How many were forgotten.
        """
        now = time.time()

        def work(connection: sqlite3.Connection) -> int:
            found: list[tuple[int, bytes]] = connection.execute(
                "SELECT id, target FROM outputs WHERE made < ? ORDER BY checked LIMIT ?",
                (now - _DAY, limit),
            ).fetchall()
            filled: dict[Path, bool] = {}
            gone = [(number,) for number, key in found if _gone(Path(os.fsdecode(key)), filled)]
            with transaction(connection):
                looked_at = ((now, number) for number, _ in found)
                connection.executemany("UPDATE outputs SET checked = ? WHERE id = ?", looked_at)
                connection.executemany("DELETE FROM outputs WHERE id = ?", gone)
            return len(gone)

        return self._use(work, 0)

    def _rows(self, keys: Sequence[bytes]) -> dict[bytes, list[_Row]]:
        """All versions known for each target, newest first."""

        def work(connection: sqlite3.Connection) -> dict[bytes, list[_Row]]:
            rows: dict[bytes, list[_Row]] = {}
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                marks = ",".join("?" * len(batch))
                query = f"SELECT {_COLUMNS} FROM outputs WHERE target IN ({marks}) ORDER BY id DESC"
                for values in connection.execute(query, batch):
                    row = _Row(*values)
                    rows.setdefault(row.target, []).append(row)
            return rows

        return self._use(work, {})

    def _note(self, learnt: _Learnt) -> None:
        """Store what is known now, so that the next lookup is quick."""

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                # Only the newest version may be known by its time: another may be on its way.
                connection.executemany(
                    "UPDATE outputs SET mtime_ns = ?1 WHERE id = ?2"
                    " AND id = (SELECT max(id) FROM outputs WHERE target = ?3)",
                    learnt.outputs,
                )
                connection.executemany(
                    "UPDATE outputs SET source_mtime_ns = ? WHERE id = ?", learnt.sources
                )

        self._use(work, None)

    def _use(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do something with the connection; after damage once more, with a new index."""
        with self._lock:
            for _ in range(2):
                if self._connection is None:
                    break
                try:
                    return work(self._connection)
                except sqlite3.Error as error:
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
                        self.warning = (
                            f"{self.path} could not be used for a while: {error}; a later run may"
                            " not recognise some of these outputs"
                        )
                        break
                    self._recover(error)
            return otherwise

    def _recover(self, error: Exception) -> None:
        """Set a damaged index aside and begin a new one; do without one that fails otherwise."""
        self.close()
        if not is_damage(error):
            self.warning = (
                f"no record is kept of what is done, {self.path} cannot be used: {error}; "
                "a later run may not recognise these outputs"
            )
            return
        try:
            self._connection, aside = replace_damaged(self.path)
        except (OSError, sqlite3.Error) as second:
            self._recover(second if not is_damage(second) else OSError(str(second)))
            return
        if aside is not None:
            self.warning = (
                f"the record of earlier outputs was damaged and is set aside as {aside}; "
                "outputs made before now are not recognised"
            )


def _key(path: Path) -> bytes:
    """What identifies a place: the real folder and the name in it, which may be a link."""
    return _keys([path])[0]


def _keys(paths: Iterable[Path]) -> list[bytes]:
    """`_key` of many, resolving each folder once."""
    folders: dict[Path, Path] = {}
    keys = []
    for path in paths:
        parent = path.parent
        if parent not in folders:
            folders[parent] = Path(os.path.realpath(parent))
        keys.append(os.fsencode(os.path.normcase(folders[parent] / path.name)))
    return keys


def _judge(
    target: Path, source: _Photo, fingerprint: str, rows: list[_Row], learnt: _Learnt
) -> Verdict:
    """Compare a target with all that was ever intended for it."""
    if not os.path.lexists(target):
        return Verdict.MISSING
    versions = _intact(target, rows, learnt)
    if not versions:
        return Verdict.FOREIGN
    ours = [row for row in versions if row.fingerprint == fingerprint]
    return Verdict.SAME if _made_of(source, ours, learnt) else Verdict.DIFFERENT


def _intact(target: Path, rows: list[_Row], learnt: _Learnt) -> list[_Row]:
    """The versions that a file is, byte for byte; by size and time if they are known to tell."""
    try:
        status = target.lstat()
        rows = [row for row in rows if row.size == status.st_size]
        if not rows or not stat.S_ISREG(status.st_mode):
            return []
        found = next((row.digest for row in rows if row.mtime_ns == status.st_mtime_ns), None)
        if found is None:
            with target.open("rb") as file:
                _, found = digest_file(file)
            same = next((row for row in rows if row.digest == found), None)
            if same is not None:
                learnt.outputs.append((status.st_mtime_ns, same.id, same.target))
    except OSError:
        return []
    return [row for row in rows if row.digest == found]


def _made_of(source: _Photo, rows: list[_Row], learnt: _Learnt) -> bool:
    """Whether one of these versions was made of what the source holds now."""
    try:
        found = source.identity
        if found is None:
            status = source.path.stat()
            rows = [row for row in rows if row.source_size == status.st_size]
            if not rows:
                return False
            known = (status.st_mtime_ns, source.key)
            if any((row.source_mtime_ns, row.source) == known for row in rows):
                return True
            found = identify(source.path)
    except (OSError, UnreadablePhoto):
        return False
    same = [row for row in rows if row.source_digest == found.digest]
    learnt.sources.extend((found.mtime_ns, row.id) for row in same)
    return bool(same)


def _gone(target: Path, filled: dict[Path, bool]) -> bool:
    """Whether an output is gone for good, as far as its folder tells."""
    parent = target.parent
    if parent not in filled:
        try:
            with os.scandir(parent) as entries:
                filled[parent] = next(entries, None) is not None
        except OSError:
            filled[parent] = False
    return filled[parent] and not os.path.lexists(target)
