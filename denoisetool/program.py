"""This program as a process: the words that start it once more, and letting others go first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

WORKER = "--worker"
"""The one word after which the command serves a window on its standard streams."""


def command() -> list[str]:
    """The words that start the command as a child, from Python and from a bundle.

    In a bundle there is no Python to run. Of its two programs the one with a console's streams is
    taken where it lies beside the running one, since a window's program may have none.
    """
    if not getattr(sys, "frozen", False):
        return [sys.executable, "-m", "denoisetool"]
    own = Path(sys.executable)
    console = own.with_name("denoisetool" + own.suffix)
    return [str(console if console.is_file() else own)]


def give_way() -> None:
    """Let every other program go first; for the rest of this process."""
    if hasattr(os, "nice"):
        os.nice(15)
    elif sys.platform == "win32":
        import ctypes

        below_normal = 0x4000
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
