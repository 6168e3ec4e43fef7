"""Work in threads, whose results arrive in the window's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, QRunnable, Qt, QThreadPool, Signal

Done = Callable[[Any, Exception | None], None]


class _Task(QRunnable):
    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        self._work()


class Background(QObject):
    """A few threads for decoding and looking through folders.

    Args:
        threads: how many.
        parent: the object that it ends with.
    """

    _arrived = Signal(object)

    def __init__(self, threads: int = 1, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(threads)
        self._closed = False
        self._arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def run(self, work: Callable[[], Any], done: Done, *, first: bool = False) -> None:
        """Do `work` in a thread, then call `done` with its result, or None and its error.

        Args:
            work: must not touch a widget.
            done: called in the window's thread.
            first: before what waits already.
        """

        def task() -> None:
            result, failed = None, None
            if self._closed:
                return
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - whoever asked decides
                failed = error
            self._tell(lambda: done(result, failed))

        self._pool.start(_Task(task), 1 if first else 0)

    def tell(self, call: Callable[[], None]) -> None:
        """From a thread: have something called in the window's thread."""
        self._tell(call)

    def close(self) -> None:
        """Begin nothing new, wait for what is under way, deliver nothing more."""
        self._closed = True
        self._pool.clear()
        self._pool.waitForDone()

    def _tell(self, call: Callable[[], None]) -> None:
        if not self._closed:
            self._arrived.emit(call)

    def _deliver(self, call: Callable[[], None]) -> None:
        if not self._closed:
            call()
