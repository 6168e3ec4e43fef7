"""What may come after a photo is done: its original is moved away, and a command is run."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoisetool import files
from denoisetool.errors import (
    DenoiseError,
    OutputError,
    OutputExists,
    UnreadablePhoto,
    UsageError,
    explain,
)
from denoisetool.watch.folder import Folder

COMMAND_SECONDS = 600.0
"""A command that takes longer is ended: the next photos' commands wait for it."""
_APART: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)
"""A Ctrl-C in the terminal is for the watch, which lets the command come to its end."""
_CHANGED = "the original changed after it was read; it stays where it is"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do after a photo.

    Attributes:
        key: folder and number of the photo; name: `move` or `tell`.
        work: does it; returns where the original is now, if that changed.
    """

    key: tuple[Folder, int]
    name: str
    work: Callable[[], Path | None]


Stepped = Callable[[Step, Path | None, str], None]
"""Called with a step, where the original went, and what went wrong, if anything."""


class Finisher:
    """Takes steps one after the other in a thread of its own: a slow command delays no photo."""

    def __init__(self, stepped: Stepped) -> None:
        self._stepped = stepped
        self._steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="finish", daemon=True)
        self._thread.start()

    def take(self, step: Step) -> None:
        """Take a step when those before it are over."""
        self._steps.put(step)

    def stop(self, seconds: float) -> None:
        """End after the steps that wait, or after so many seconds: the next run takes the rest."""
        self._steps.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (step := self._steps.get()) is not None:
            moved, problem = None, ""
            try:
                moved = step.work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the photo itself is done
                problem = explain(error)[0]
            self._stepped(step, moved, problem)


def archive(source: Path, digest: str, place: Path) -> Path:
    """Move an original into an archive; nothing there is ever replaced.

    Args:
        source: the original.
        digest: hash of what was read of it; with another content it is not moved.
        place: where it should go; a number is added if the name is taken.

    Returns:
        Where it went.

    Raises:
        UnreadablePhoto: it changed, or cannot be read.
        OutputError: the archive cannot be written.
    """
    _require(source, digest)
    for number in range(1, 1_000_000):
        target = place if number == 1 else place.with_name(files.tagged(place.name, str(number)))
        try:
            _put(source, digest, target)
        except OutputExists:
            continue
        with _told(source):
            _leave(source, digest, target)
        return target
    raise OutputError("no name is free in the archive", path=place)


def trash(source: Path, digest: str) -> None:
    """Put an original into the user's trash; where there is none it stays where it is.

    Raises:
        UnreadablePhoto: it changed, or cannot be read.
        OutputError: there is no trash for it.
    """
    from send2trash import send2trash

    _require(source, digest)
    try:
        send2trash(str(source))
    except Exception as error:
        hint = "the original stays where it is; --archive FOLDER moves it instead"
        what = f"there is no trash for it: {error}"
        raise OutputError(what, path=source, hint=hint) from error


def run(command: Sequence[str], source: Path, output: Path) -> None:
    """Run the user's command for one finished photo, without a shell.

    `{source}` and `{output}` in its arguments are replaced; where neither is, the output is added
    as the last argument. What it prints goes to standard error.

    Raises:
        UsageError: it cannot be started, fails, or takes too long.
    """
    words = [w.replace("{source}", str(source)).replace("{output}", str(output)) for w in command]
    if words == list(command):
        words.append(str(output))
    try:
        ended = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=COMMAND_SECONDS,
            check=False, **_APART,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"--on-done {words[0]}: ended after {COMMAND_SECONDS:.0f} s") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"--on-done {words[0]}: {error}", hint="check the command") from error
    if ended.returncode:
        raise UsageError(f"--on-done {words[0]}: ended with code {ended.returncode}", path=output)


def _require(source: Path, digest: str) -> None:
    """Raise UnreadablePhoto unless the original is what was read."""
    if files.identify(source).digest.hex() != digest:
        raise UnreadablePhoto(_CHANGED, path=source)


def _put(source: Path, digest: str, target: Path) -> None:
    """Have the original at `target` too: as a link of it on the same disk, else as a copy."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(target.parent, error) from error
    if _holds(target, digest):
        return  # a kill came before the end of the old name
    try:
        target.hardlink_to(source)
    except FileExistsError as error:
        raise OutputExists("the name is taken", path=target) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise _unwritable(target, error) from error
    else:
        if not _holds(target, digest):  # something else took the name meanwhile
            target.unlink()
            raise UnreadablePhoto(_CHANGED, path=source)
        return
    with _told(source), source.open("rb") as original:
        before = os.fstat(original.fileno())
        with files.atomic_write(target, overwrite=False, copy_times=before) as copy:
            while chunk := original.read(1 << 20):
                copy.write(chunk)
            if files.digest_file(copy)[1].hex() != digest:
                raise UnreadablePhoto(_CHANGED, path=source)


def _holds(path: Path, digest: str) -> bool:
    with contextlib.suppress(UnreadablePhoto):
        return files.identify(path).digest.hex() == digest
    return False


def _leave(source: Path, digest: str, target: Path) -> None:
    """End the old name of an original that is at `target` now.

    The name may get new content at any moment. Where it can be renamed it is therefore taken away
    with whatever has it, looked at, and given back if it is something else.
    """
    aside = target.with_name(f"{target.name}.{secrets.token_hex(4)}.moving")
    try:
        source.rename(aside)
    except FileNotFoundError:
        return  # taken away
    except OSError:  # another disk
        _require(source, digest)
        source.unlink()
        return
    if not (_is(aside, target) or _holds(aside, digest)):
        try:
            source.hardlink_to(aside)
        except FileExistsError:
            what = f"the original is in the archive; what came after it is there as {aside.name}"
            raise UnreadablePhoto(what, path=source) from None
        except OSError:  # a disk without links
            aside.rename(source)
            return
    aside.unlink()


def _is(source: Path, target: Path) -> bool:
    with contextlib.suppress(OSError):
        return source.samefile(target)
    return False


@contextlib.contextmanager
def _told(source: Path) -> Iterator[None]:
    """Turn what the system says about the original into an error of ours."""
    try:
        yield
    except DenoiseError:
        raise
    except OSError as error:
        raise UnreadablePhoto(f"cannot be moved: {error.strerror or error}", path=source) from error


def _unwritable(target: Path, error: OSError) -> OutputError:
    what = f"the archive cannot be written: {error.strerror or error}"
    return OutputError(what, path=target, hint="the original stays where it is")
