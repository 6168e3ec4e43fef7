"""Which face a start shows: the command line or the window.

The console program is the command line, as installed; only when it is started by a double click,
with nothing to do and no console to say so on, it opens the window. The window program opens the
photos that were dropped on it; given anything else, it is the command line. In a bundle the program
at hand starts the other one; where Python runs, both are here.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from denoisetool import program
from denoisetool.errors import DenoiseError, UsageError


def console() -> NoReturn:
    """Run the console program and exit."""
    _settle_in()
    if len(sys.argv) == 1 and program.has_window() and started_by_click():
        _leave_console()
        if program.is_bundle():
            _become(program.window())
        sys.exit(open_window([]))
    _command_line()


def window() -> NoReturn:
    """Run the window program and exit."""
    _settle_in()
    photos = photos_in(sys.argv[1:])
    if photos is not None:
        sys.exit(open_window(photos))
    if program.is_bundle():
        _become([*program.command(), *sys.argv[1:]])
    _command_line()


def photos_in(words: Sequence[str]) -> list[str] | None:
    """The photos and folders that a start of the window names; None if it is no such start.

    File managers give full paths, or `file:` addresses. Anything else must be there to be a photo:
    options and commands are for the command line.
    """
    paths = [_path(word) for word in words if not word.startswith("-psn_")]  # an old Finder's
    return paths if all(Path(path).is_absolute() or _is_there(path) for path in paths) else None


def _path(word: str) -> str:
    parts = urlsplit(word) if word.startswith("file:") else None
    if parts is None or parts.netloc not in ("", "localhost"):
        return word
    return url2pathname(parts.path)


def _is_there(word: str) -> bool:
    return not word.startswith("-") and Path(word).exists()


def started_by_click(
    platform: str = sys.platform, environment: Mapping[str, str] | None = None
) -> bool:
    """Whether nobody sees, or reads, what a command line would say, but somebody has a screen."""
    if platform == "win32":
        return _processes_on_console() <= 1 and not any(_is_pipe(number) for number in (1, 2))
    environment = os.environ if environment is None else environment
    if not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        return False
    return not any(_is_read(number) for number in (0, 1, 2))


def _is_read(number: int) -> bool:
    """Whether a terminal is at a standard stream, or a program at the other end of it."""
    return os.isatty(number) or (number > 0 and _is_pipe(number))


def _is_pipe(number: int) -> bool:
    """Whether a stream goes to another program."""
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False


def _processes_on_console() -> int:
    """How many processes share our console: 1 where Explorer made it for us, 0 without one."""
    if sys.platform == "win32":
        import ctypes

        return int(ctypes.windll.kernel32.GetConsoleProcessList((ctypes.c_uint * 2)(), 2))
    return 0


def _leave_console() -> None:
    """Take away the black window that came with a double click."""
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.FreeConsole()


def open_window(photos: Sequence[str]) -> int:
    """Show the window with these photos in it; the exit code."""
    try:
        gui = import_module("denoisetool.gui")
        return int(gui.main(photos))
    except DenoiseError as error:
        _tell(str(error))
        return error.exit_code
    except ImportError as error:
        if error.name != "denoisetool.gui":
            raise
        _tell("this program was built without the window")
        return UsageError.exit_code


def _tell(text: str) -> None:
    """Say something to a person who may have no console."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {text}\n")
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.user32.MessageBoxW(None, text, "Denoisetool", 0x10)


def _become(command: list[str]) -> NoReturn:
    """Go on as another program, with this one's standard streams."""
    if os.name == "posix":
        os.execv(command[0], command)
    quiet = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # of Windows: no black window
    sys.exit(subprocess.run(command, check=False, creationflags=quiet).returncode)


def _command_line() -> NoReturn:
    from denoisetool.cli import main

    if not program.is_bundle():
        main(open_window)
    elif not program.has_window():
        main()
    else:
        main(lambda photos: _become([*program.window(), *map(os.path.abspath, photos)]))
    raise AssertionError("the command line ends with an exit code")


def _settle_in() -> None:
    """Mend what the way this was started leaves wrong.

    A windowed program has no standard streams: what is written then goes nowhere. And on Linux a
    bundle's start sets the place of its libraries for all children, where the system's own programs
    would take them for theirs.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    if program.is_bundle() and sys.platform.startswith("linux"):
        before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
        os.environ.pop("LD_LIBRARY_PATH", None)
        if before is not None:
            os.environ["LD_LIBRARY_PATH"] = before


if __name__ == "__main__":
    window()
