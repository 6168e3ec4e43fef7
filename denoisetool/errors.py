"""Everything that can go wrong, each with what happened, which file, and what to do next.

    DenoiseError               exit code 1
    ├── PhotoError             1   one photo cannot be done; the others go on
    │   ├── UnreadablePhoto        empty, truncated, damaged, gone, no permission
    │   ├── UnsupportedPhoto       a kind we refuse rather than mangle (animation, CMYK, ...)
    │   ├── PhotoTooLarge          over a stated limit; the hint says how to raise it
    │   ├── ImplausibleResult      the model gave non-finite or absurd pixels, in float32 too
    │   └── OutputExists           would overwrite, and nobody asked for that
    ├── UsageError             2   command line, settings or configuration
    ├── NoInputError           3   nothing readable among the inputs
    ├── ModelError             4   model missing, corrupt or unreachable
    ├── DeviceError            5   the requested device or precision is not available
    └── OutputError            6   output not writable
        └── DiskFull           6   no space left: nothing else can be written either

Interruption is not an error: the command line maps Ctrl-C to 130 and SIGTERM to 143.
The exit codes are stable: scripts may rely on them.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection
from pathlib import Path

EXIT_INTERRUPTED = 130


class DenoiseError(Exception):
    """Base of all expected failures.

    Attributes:
        what: one sentence, what happened; no trailing full stop.
        path: the file or folder concerned, if there is one.
        hint: what the user can do next, if anything.
        exit_code: what the process exits with when this ends it.
    """

    exit_code = 1

    def __init__(self, what: str, *, path: Path | str | None = None, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.path = None if path is None else Path(path)
        self.hint = hint

    @property
    def kind(self) -> str:
        """A stable word for machines: the class name."""
        return type(self).__name__

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path is not None else ""
        return f"{where}{self.what}" + (f" ({self.hint})" if self.hint else "")


class PhotoError(DenoiseError):
    """One photo cannot be done; the rest of the batch goes on."""


class UnreadablePhoto(PhotoError):
    """Empty, truncated, damaged, vanished or not permitted."""


class UnsupportedPhoto(PhotoError):
    """A kind of picture that is refused rather than mangled."""


class PhotoTooLarge(PhotoError):
    """Over a limit that the hint names."""


class ImplausibleResult(PhotoError):
    """The model gave non-finite or absurd values, also when redone in float32."""


class OutputExists(PhotoError):
    """The output is there already and overwriting was not asked for."""


class UsageError(DenoiseError):
    """Wrong command line, setting or configuration file."""

    exit_code = 2


class NoInputError(DenoiseError):
    """No readable photo among the inputs."""

    exit_code = 3


class ModelError(DenoiseError):
    """Model missing, corrupt or unreachable."""

    exit_code = 4


class DeviceError(DenoiseError):
    """The requested device or precision is not available."""

    exit_code = 5


class OutputError(DenoiseError):
    """The output cannot be written."""

    exit_code = 6


class DiskFull(OutputError):
    """No space is left, or the quota is used up; the next output would fare no better."""


def explain(error: BaseException, known: Collection[Path | None] = ()) -> tuple[str, str]:
    """Why one photo failed, in a sentence, and a stable word for the kind of failure.

    Args:
        error: what was raised.
        known: paths that the reader sees anyway and that need not be said again.
    """
    if isinstance(error, DenoiseError):
        where = f" [{error.path}]" if error.path is not None and error.path not in known else ""
        return error.what + where + (f" ({error.hint})" if error.hint else ""), error.kind
    if isinstance(error, MemoryError):
        return (
            "not enough memory for this photo (close other programs and run again)",
            "MemoryError",
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    what = f"unexpected {type(error).__name__}{place}: {' '.join(str(error).split())[:300]}"
    return f"{what} (this is a bug: please report it with the photo)", "UnexpectedError"
