"""Hints from the system about what happens in a folder, and whether hints still come.

Hints may be wrong, late, doubled or missing: nothing may depend on them but the time at which a
photo is found. What is behind them dies in many ways while it looks alive, so it is asked often.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["file", "closed", "folder", "lost"]


class Hint(NamedTuple):
    """Something may have happened.

    Attributes:
        kind: a file appeared or changed; a file was closed after writing; a folder appeared; or
            events were lost, and nobody knows which.
        root: the watched folder.
        path: the file or folder.
    """

    kind: Kind
    root: Path
    path: Path


Tell = Callable[[Hint], None]
_LOGGER = "watchdog"
_STOP_SECONDS = 5.0
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "webdav", "davfs", "9p"),
    *("afs", "ceph", "glusterfs", "lustre", "ncpfs", "vboxsf", "prl_fs", "virtiofs", "drvfs"),
    *("fuse.sshfs", "fuse.rclone", "fuse.davfs2", "fuse.glusterfs", "fuse.s3fs", "fuse.gvfsd-fuse"),
    *("fuse.vmhgfs-fuse", "fuse.smbnetfs", "fuse.curlftpfs"),
}


class Observer:
    """Hints about one folder.

    Args:
        root: the folder; it must be there.
        tell: called with each hint, from other threads.
        recursive: whether subfolders count.

    Raises:
        OSError: the system has no more watches to give, or the folder is gone.
    """

    def __init__(self, root: Path, tell: Tell, *, recursive: bool) -> None:
        from watchdog import events
        from watchdog.observers import Observer as SystemObserver

        self._identity = identity(root)
        self._root = root
        handler = _handler(root, tell)
        wanted = [
            events.FileCreatedEvent, events.FileMovedEvent, events.FileClosedEvent,
            events.DirCreatedEvent, events.DirMovedEvent,
        ]  # fmt: skip
        if not sys.platform.startswith("linux"):  # no event tells there that a file was closed
            wanted.append(events.FileModifiedEvent)
        self._overflow = _Overflow(lambda: tell(Hint("lost", root, root)))
        logging.getLogger(_LOGGER).addHandler(self._overflow)
        # It warns, with pages of its insides, of folders that it comes to know twice.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        self._observer: Any = SystemObserver()
        try:
            self._observer.schedule(handler, str(root), recursive=recursive, event_filter=wanted)
            self._observer.start()
        except BaseException:
            self.stop()
            raise

    def problem(self) -> str | None:
        """Why no hints come any more; None if all is well."""
        if self._identity != identity(self._root):
            return "the folder was replaced"
        if not self._observer.is_alive():
            return "the observer died"
        emitters = list(self._observer.emitters)
        if not emitters or not all(emitter.is_alive() for emitter in emitters):
            return "the source of events died"
        # Linux: a thread of its own reads what the system sends, and the library never asks for it.
        reader = getattr(self._observer, "_inotify_fd", None)
        if reader is not None and not reader.is_alive():
            return "the reader of events died"
        return None

    def stop(self) -> None:
        """End it; safe where it has died already, and where it hangs."""
        logging.getLogger(_LOGGER).removeHandler(self._overflow)
        # The library waits for its threads without a limit.
        ending = threading.Thread(target=self._end, name="unobserve", daemon=True)
        ending.start()
        ending.join(_STOP_SECONDS)

    def _end(self) -> None:
        for step in (self._observer.stop, self._observer.join):
            with contextlib.suppress(Exception):
                step()


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one in its place; None while there is none."""
    try:
        status = folder.stat()
        if not os.path.isdir(folder):  # noqa: PTH112 - raises nothing
            return None
    except OSError:
        return None
    return status.st_dev, status.st_ino


def network_kind(folder: Path) -> str | None:
    """The kind of network file system a folder is on, which sends no events; None if on none."""
    real = Path(os.path.realpath(folder))
    if sys.platform == "win32":
        import ctypes

        remote = 4
        kind = ctypes.windll.kernel32.GetDriveTypeW(f"{real.anchor}")
        return "network drive" if real.anchor.startswith("\\\\") or kind == remote else None
    best, found = -1, ""
    for place, kind in _mounts():
        if real.is_relative_to(place) and len(place.parts) >= best:
            best, found = len(place.parts), kind
    return found if found in _NETWORK else None


def out_of_watches(probe: Path) -> str:
    """Why subfolders may be without a watch, unnoticed: the library is silent about those.

    Args:
        probe: any folder that is there, and that is not watched.

    Returns:
        Half a sentence; empty if one more watch is to be had, or where there is no limit.
    """
    if not sys.platform.startswith("linux"):
        return ""
    from watchdog.observers import inotify_c

    descriptor = inotify_c.inotify_init()
    if descriptor < 0:
        return ""
    try:
        mask = inotify_c.InotifyConstants.IN_MOVE_SELF
        if inotify_c.inotify_add_watch(descriptor, os.fsencode(probe), mask) < 0:
            return "the system's limit of watches is reached"
        return ""
    finally:
        os.close(descriptor)


def _mounts() -> list[tuple[Path, str]]:
    """Where file systems are mounted, and their kinds."""
    mounts = []
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            text = Path("/proc/self/mountinfo").read_text(
                encoding="utf-8", errors="surrogateescape"
            )
            for line in text.splitlines():
                before, _, after = line.partition(" - ")
                place = (
                    before.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
                )
                mounts.append((Path(place), after.split()[0]))
    else:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            ran = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5)
            for line in ran.stdout.splitlines():
                place, _, kind = line.partition(" on ")[2].rpartition(" (")
                mounts.append((Path(place), kind.split(",")[0].strip(")")))
    return mounts


def _handler(root: Path, tell: Tell) -> Any:
    from watchdog import events

    class Handler(events.FileSystemEventHandler):
        """Turns events into hints."""

        def on_any_event(self, event: Any) -> None:
            place = event.dest_path or event.src_path
            path = Path(os.fsdecode(place))
            kind: Kind = "folder" if event.is_directory else "file"
            if event.event_type == events.EVENT_TYPE_CLOSED:
                kind = "closed"
            tell(Hint(kind, root, path))

    return Handler()


class _Overflow(logging.Handler):
    """Hears of lost events, which the library tells in its log alone."""

    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._lost = lost

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        """Anything that the library warns of may mean lost events."""
        self._lost()
