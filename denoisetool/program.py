"""This program as a process: the words that start it once more, its command line or its window.

A bundle has two programs in one folder. Windows and macOS take `denoisetool` and `Denoisetool` for
one name, so the window is called `DenoisetoolWindow` there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONSOLE = "denoisetool"
WORKER = "--worker"
"""The one word after which the command serves a window on its standard streams."""


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


def give_way() -> None:
    """Let every other program go first; for the rest of this process."""
    if hasattr(os, "nice"):
        os.nice(15)
    elif sys.platform == "win32":
        import ctypes

        below_normal = 0x4000
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
