"""The application around the window: theme, language, and its end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QLibraryInfo, QLocale, QObject, QTranslator
from PySide6.QtGui import QFileOpenEvent, QIcon
from PySide6.QtWidgets import QApplication

from denoisetool.gui import check
from denoisetool.gui.window import Window

ICON = Path(__file__).parents[1] / "icon.png"
TRANSLATIONS = Path(__file__).parent / "translations"
"""Where translations lie: `denoisetool_de.qm` and so on."""


def application() -> QApplication:
    """The one application of this process, set up."""
    known = QApplication.instance()
    if isinstance(known, QApplication):
        return known
    app = QApplication(sys.argv[:1])
    app.setApplicationName("denoisetool")
    app.setDesktopFileName("denoisetool")
    app.setWindowIcon(QIcon(str(ICON)))
    if sys.platform not in ("win32", "darwin"):
        app.setStyle("Fusion")  # follows the light or dark scheme everywhere, as the others do
    places = (
        ("denoisetool", str(TRANSLATIONS)),
        ("qtbase", QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)),
    )
    for name, place in places:
        translator = QTranslator(app)
        if translator.load(QLocale(), name, "_", place):
            app.installTranslator(translator)
    return app


def run(photos: Sequence[str] = ()) -> int:
    """Show the window until it is closed; the exit code."""
    app = application()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the terminal it was started from
    window = Window(photos)
    opener = _Opener(window)
    app.installEventFilter(opener)
    window.show()
    if check.VARIABLE in os.environ:
        check.Check(window)
    return app.exec()


class _Opener(QObject):
    """Opens what macOS hands to a running application: photos dropped onto its icon."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window = window

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take files; all else goes its way."""
        if isinstance(event, QFileOpenEvent) and event.file():
            self._window.open([Path(event.file())])
            return True
        return super().eventFilter(watched, event)
