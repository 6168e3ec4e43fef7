"""Ctrl-C and SIGTERM: the first finishes the photo in hand, the second aborts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MESSAGE = "finishing the photo in hand; once more aborts it"


class Interrupts:
    """How a run was asked to stop.

    Attributes:
        stop: set at the first Ctrl-C or SIGTERM; the second raises KeyboardInterrupt, and more
            change nothing: what tidies up must not be interrupted.
        signal: number of the signal that asked first, 0 if none.
        aborted: whether there was a second.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.signal = 0
        self.aborted = False

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def interruptible(message: str = MESSAGE, *, quiet: bool = False) -> Iterator[Interrupts]:
    """Within the block, signals are told to the `Interrupts` yielded.

    A signal that is ignored, as in a background job of a shell script, stays ignored.
    """
    state = Interrupts()

    def handle(number: int, _frame: FrameType | None) -> None:
        if state.aborted:
            return
        if state.signal:
            state.aborted = True
            raise KeyboardInterrupt
        state.signal = number
        state.stop.set()
        if not quiet:
            _tell(message)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(message: str) -> None:
    """Past Python's own buffers, in which the interrupted code may be writing right now."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), f"{clear}{message}\n".encode())
