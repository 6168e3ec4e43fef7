"""Change the registry's folders so that neither a second process nor a crash does harm."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from filelock import FileLock, Timeout

from denoisetool.errors import ModelError, OutputError

STAGING = ".incoming-"
REPLACED = "replaced-"
_LOCK_SECONDS = 600.0


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Failures of the file system in the block become OutputError about `place`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", path=place) from error


def write_all(out: FileIO, data: bytes) -> None:
    """Write all of `data` to an unbuffered file. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]


@contextmanager
def lock(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file `path`, after waiting for another process for ten minutes at most.

    Raises:
        ModelError: still held; says `busy`. OutputError: the file cannot be made.
    """
    held = FileLock(path, timeout=_LOCK_SECONDS)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire()
        except Timeout as error:
            raise ModelError(busy, path=path, hint="wait for it, or end it") from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def locked_shelf(shelf: Path) -> Iterator[None]:
    """Nobody else changes `shelf` meanwhile, and what a killed process left there is cleared."""
    with lock(shelf / ".lock", "another process is changing the models"):
        with writing(shelf):
            for left in shelf.glob(f"{STAGING}*"):
                for model in left.glob(f"{REPLACED}*"):  # killed between taking out and putting in
                    target = shelf / model.name.removeprefix(REPLACED)
                    if not target.exists():
                        model.rename(target)
                shutil.rmtree(left, ignore_errors=True)
        yield


def swap_in(folder: Path, target: Path, staging: Path, *, keep: bool = False) -> None:
    """Rename `folder` to `target`; a model there moves to `staging`, or back if that fails.

    Args:
        folder: the new model.
        target: where it shall be.
        staging: on the same shelf.
        keep: keep the model that was there, for `Registry.rollback`, in place of one kept before.

    Raises:
        OSError: nothing has changed.
    """
    old = staging / f"{REPLACED}{target.name}"
    if target.exists():
        target.rename(old)
    try:
        folder.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    if keep and old.exists():
        kept = previous(target)
        kept.parent.mkdir(exist_ok=True)
        if kept.exists():
            kept.rename(staging / "older")
        old.rename(kept)


def previous(target: Path) -> Path:
    """Where the model is kept that a model replaced."""
    return target.parent / ".previous" / target.name
