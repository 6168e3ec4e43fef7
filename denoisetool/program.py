"""This program as a process: the words that start it once more, its command line or its window.

A bundle has two programs in one folder. Windows and macOS take `denoisetool` and `Denoisetool` for
one name, so the window is called `DenoisetoolWindow` there.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

CONSOLE = "denoisetool"
WORKER = "--worker"
"""The one word after which the command serves a window on its standard streams."""

TUNABLES, NO_CACHE = "GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"
"""What the GNU C library reads when a process starts, and that threads keep no freed pieces there.
"""


def window_name(platform: str = sys.platform) -> str:
    """The name of a bundle's window program, without `.exe`."""
    return "Denoisetool" if platform.startswith("linux") else "DenoisetoolWindow"


def is_bundle() -> bool:
    """Whether this is one of the two programs of a bundle, where there is no Python to run."""
    return bool(getattr(sys, "frozen", False))


def command() -> list[str]:
    """The words that start the command as a child, from Python and from a bundle."""
    return [_beside(CONSOLE)] if is_bundle() else [sys.executable, "-m", "denoisetool"]


def window() -> list[str]:
    """The words that start the window; the photos to open follow them."""
    if is_bundle():
        return [_beside(window_name())]
    silent = Path(sys.executable).with_name("pythonw.exe")  # on Windows, without a black window
    return [str(silent if silent.is_file() else sys.executable), "-m", "denoisetool.launch"]


def has_window() -> bool:
    """Whether there is a window to start; a bundle may have been made without it."""
    return window() != command()


def _beside(name: str) -> str:
    """A program of this bundle; the running one where the bundle was made without it."""
    own = Path(sys.executable)
    other = own.with_name(name + own.suffix)
    return str(other if other.is_file() else own)


def start_over() -> None:
    """Start this process again, in its place, where the system then treats its memory better.

    Each buffer between a net's layers is cut to begin at a multiple of 64 bytes. Linux's usual C
    library lets the thread keep the snippets for itself, so that the next buffer of that size does
    not fit in there any more: a batch grew to 1.2 GB instead of 1.0, and touching new memory took
    4 % of its time. That can only be told to it before it starts. Call this first of all.
    """
    told = os.environ.get(TUNABLES, "")
    if not sys.platform.startswith("linux") or NO_CACHE in told or is_bundle():
        return
    os.environ[TUNABLES] = f"{told}:{NO_CACHE}" if told else NO_CACHE
    with contextlib.suppress(OSError):  # it works as it is, too
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


_codes: list[int] = []
"""What `leave` was called with."""


def end_at_once() -> None:
    """Have `leave` end this process without taking apart first what the system takes back anyway.

    With a model in memory that saves a tenth of a second. Threads are still waited for, and what
    was registered for the end after this call is called.
    """

    def end() -> None:
        if _codes:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(_codes[-1])

    atexit.register(end)


def leave(code: int) -> NoReturn:
    """End this process with an exit code."""
    _codes.append(code)
    sys.exit(code)


def give_way() -> None:
    """Let every other program go first; for the rest of this process."""
    if hasattr(os, "nice"):
        os.nice(15)
    elif sys.platform == "win32":
        import ctypes

        below_normal = 0x4000
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
