"""Child processes that speak JSON lines: the command itself, and the worker behind the window."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal

from denoisetool.program import WORKER, command

TAIL = 4000
"""Characters kept of what a child says to people."""
PATIENCE = 15_000
"""Milliseconds that a child has to finish the photo in hand when it is told to stop."""


class Child(QObject):
    """A process of this program.

    Args:
        words: what follows the program's name on its command line.
        program: the program; None for this one.
        parent: the object that it ends with.

    Signals:
        heard: each JSON line, as a dictionary.
        ended: exit code, and why if it did not end by itself; else an empty text.
    """

    heard = Signal(dict)
    ended = Signal(int, str)

    def __init__(
        self, words: Sequence[str], program: Sequence[str] | None = None,
        parent: QObject | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self.said = ""
        self._chunks: list[bytes] = []
        self._over = False
        self._process = QProcess(self)
        whole = [*(program or command()), *words]
        self._process.setProgram(whole[0])
        self._process.setArguments(whole[1:])
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONUNBUFFERED", "1")
        self._process.setProcessEnvironment(environment)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.readyReadStandardError.connect(self._hear)
        self._process.finished.connect(self._finished)
        self._process.errorOccurred.connect(self._failed)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    @property
    def pid(self) -> int:
        """Its process number; 0 if it does not run."""
        return self._process.processId()

    def start(self) -> None:
        """Begin."""
        self._process.start()

    def send(self, **request: Any) -> None:
        """Write one JSON line to it."""
        self._process.write(json.dumps(request).encode("ascii") + b"\n")

    def finish(self) -> None:
        """Close its standard input, after which a worker ends."""
        self._process.closeWriteChannel()

    def stop(self) -> None:
        """Have it finish what is in hand; if that takes too long, end it. Nothing is lost."""
        if not self.running:
            return
        if sys.platform == "win32":  # no console, no signal: it is built to be ended at any moment
            self._process.kill()
            return
        self._process.terminate()
        QTimer.singleShot(PATIENCE, self, self.kill)

    def kill(self) -> None:
        """End it at once."""
        if self.running:
            self._process.kill()

    def wait(self, milliseconds: int) -> bool:
        """Wait for its end, without the window going on; whether it came."""
        return not self.running or self._process.waitForFinished(milliseconds)

    def _read(self) -> None:
        chunk = bytes(self._process.readAllStandardOutput().data())
        if b"\n" not in chunk:  # in the middle of a preview, which is megabytes long
            self._chunks.append(chunk)
            return
        *lines, rest = b"".join([*self._chunks, chunk]).split(b"\n")
        self._chunks = [rest]
        for line in lines:
            try:
                found = json.loads(line)
            except ValueError:
                continue  # something a library printed
            if isinstance(found, dict) and "event" in found:
                self.heard.emit(found)

    def _hear(self) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
        self.said = (self.said + text)[-TAIL:]

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._hear()
        crashed = status == QProcess.ExitStatus.CrashExit
        self._end(-1 if crashed else code, self._cause(code) if crashed else "")

    def _failed(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._end(-1, self.tr("It could not be started: %s.") % self._process.errorString())

    def _end(self, code: int, why: str) -> None:
        if not self._over:
            self._over = True
            self.ended.emit(code, why)

    def _cause(self, code: int) -> str:
        if code == getattr(signal, "SIGKILL", 9):
            return self.tr("It was killed, most likely because the memory ran out.")
        return self.tr("It crashed.")


class Worker(QObject):
    """The process that holds the model, started when it is first needed and again after it died.

    Signals:
        heard: what it says.
        died: it ended without being asked to; why.
    """

    heard = Signal(dict)
    died = Signal(str)

    def __init__(self, program: Sequence[str] | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._program = program
        self._child: Child | None = None
        self._number = 0

    @property
    def pid(self) -> int:
        """Its process number; 0 if there is none."""
        return self._child.pid if self._child is not None else 0

    def ask(self, request: str, **body: Any) -> int:
        """Send a request; its number, which answers carry as `request`."""
        if self._child is None:
            self._child = Child([WORKER], self._program, self)
            self._child.heard.connect(self.heard)
            self._child.ended.connect(self._ended)
            self._child.start()
        self._number += 1
        self._child.send(request=request, id=self._number, **body)
        return self._number

    def tell(self, request: str, **body: Any) -> None:
        """Send a request that is worth nothing to a process that is not there."""
        if self._child is not None:
            self._child.send(request=request, **body)

    def restart(self) -> None:
        """End it; the next request starts another one."""
        if self._child is not None:
            child, self._child = self._child, None
            child.ended.disconnect(self._ended)
            child.heard.disconnect(self.heard)
            child.ended.connect(child.deleteLater)
            child.finish()

    def close(self, milliseconds: int = 4000) -> None:
        """End it for good; what it is writing is finished first, if that is quick."""
        child, self._child = self._child, None
        if child is not None:
            child.ended.disconnect(self._ended)
            child.finish()
            if not child.wait(milliseconds):
                child.kill()
                child.wait(1000)

    def _ended(self, code: int, why: str) -> None:
        child, self._child = self._child, None
        last = ""
        if child is not None:
            lines = child.said.strip().splitlines()
            last = lines[-1] if lines else ""
            child.deleteLater()
        self.died.emit(why or last or self.tr("It ended with code %d.") % code)
