"""Work in threads, whose results arrive in the window's own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal

Done = Callable[[Any, Exception | None], None]
PATIENCE = 1.0
"""Seconds that the window's end waits for work under way: a disk far away may not answer."""


class Background(QObject):
    """A few threads for decoding and looking through folders.

    Args:
        threads: how many.
        parent: the object that it ends with.
    """

    _arrived = Signal(object)

    def __init__(self, threads: int = 1, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._waiting: deque[tuple[Callable[[], Any], Done]] = deque()
        self._idle = 0
        self._closed = False
        self._change = threading.Condition()
        self._arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def run(self, work: Callable[[], Any], done: Done, *, first: bool = False) -> None:
        """Do `work` in a thread, then call `done` with its result, or None and its error.

        Args:
            work: must not touch a widget.
            done: called in the window's thread.
            first: before what waits already.
        """
        with self._change:
            (self._waiting.appendleft if first else self._waiting.append)((work, done))
            if self._idle < len(self._waiting) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name="background", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._change.notify()

    def close(self) -> None:
        """Begin nothing new, wait a moment for what is under way, deliver nothing more."""
        with self._change:
            self._closed = True
            self._waiting.clear()
            self._change.notify_all()
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._change:
                self._idle += 1
                self._change.wait_for(lambda: self._waiting or self._closed)
                self._idle -= 1
                if self._closed:
                    return
                work, done = self._waiting.popleft()
            result, failed = None, None
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - whoever asked decides
                failed = error
            if not self._closed:
                self._arrived.emit((done, result, failed))
            del work, done, result, failed

    def _deliver(self, arrived: tuple[Done, Any, Exception | None]) -> None:
        if not self._closed:
            done, result, failed = arrived
            done(result, failed)
