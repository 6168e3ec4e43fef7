"""Using the window without a person, to see that one that was built works.

`packaging/smoke.py` sets the variable, opens the window with a photo, and looks at what comes out.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, QTimer

from denoisetool.gui.window import Window

VARIABLE = "DENOISETOOL_WINDOW_CHECK"
"""A folder: the photos that were opened are denoised into it, and the window closes."""
LOOK_MILLISECONDS = 100


class Check(QObject):
    """Chooses the folder, presses the button when the photos are there, and leaves at the end.

    The exit code is 0 if all photos were done, else 1, with the reason on standard error.
    """

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window, self._page = window, window.photos
        self._page.controls.folder.set_text(os.environ[VARIABLE])
        self._page.runner.finished.connect(self._finished)
        self._page.runner.failed.connect(lambda text, _again: self._leave(1, text))
        self._timer = QTimer(self, interval=LOOK_MILLISECONDS)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def _look(self) -> None:
        if self._page.model.items and self._page.start_button.isEnabled():
            self._timer.stop()
            self._page.start_button.click()

    def _finished(self, summary: dict[str, Any]) -> None:
        done = summary["done"] == len(self._page.model.items)
        self._leave(int(not done), "" if done else str(summary))

    def _leave(self, code: int, text: str) -> None:
        if text:
            sys.stderr.write(text + "\n")
        self._window.close()
        QCoreApplication.exit(code)
