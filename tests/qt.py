"""What the window's tests need of Qt; importing it skips a module where there can be no window."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
LIMIT = 90.0
"""Seconds after which what should have happened will not."""


def _why_not() -> str:
    """Why no window can be had here; empty if one can."""
    test = "from PySide6.QtWidgets import QApplication; QApplication([])"
    done = subprocess.run([sys.executable, "-c", test], capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["it crashed"])[-1] if done.returncode else ""


if reason := _why_not():
    pytest.skip(f"Qt's widgets do not work here: {reason}", allow_module_level=True)

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl  # noqa: E402
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage, QKeyEvent  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from PySide6.QtWidgets import QApplication, QWidget  # noqa: E402

from denoisetool.gui.app import application  # noqa: E402
from denoisetool.gui.window import Window  # noqa: E402

__all__ = [
    "QApplication", "QDropEvent", "QImage", "QKeyEvent", "QMimeData", "QPoint", "QPointF", "QTest",
    "QUrl", "QWidget", "Qt", "Window", "application", "drop", "until", "wait",
]  # fmt: skip


def until(condition: Callable[[], object], what: str = "") -> None:
    """Let the window go on until something is so. (QTest.qWait lets no thread of ours go on.)"""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, what
        wait(0.005)


def wait(seconds: float) -> None:
    """Let the window go on for a while."""
    end = time.monotonic() + seconds
    while True:
        application().processEvents()
        if time.monotonic() >= end:
            return
        time.sleep(0.003)


def drop(widget: QWidget, *paths: Path) -> None:
    """Drop files onto a widget."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    way = (data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    entering = QDragEnterEvent(QPoint(20, 20), Qt.DropAction.CopyAction, *way)
    QApplication.sendEvent(widget, entering)
    assert entering.isAccepted()
    event = QDropEvent(QPointF(20, 20), Qt.DropAction.CopyAction, *way)
    QApplication.sendEvent(widget, event)
    assert event.isAccepted()
