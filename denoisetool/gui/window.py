"""The window: three pages, a status bar, and what it remembers of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QTimer
from PySide6.QtGui import (
    QAction,
    QCloseEvent,
    QDragEnterEvent,
    QDropEvent,
    QKeySequence,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QLabel,
    QMainWindow,
    QMessageBox,
    QProgressBar,
    QTabWidget,
)

from denoisetool.gui.background import Background
from denoisetool.gui.child import Worker
from denoisetool.gui.finetune_page import FinetunePage
from denoisetool.gui.photos_page import PhotosPage
from denoisetool.gui.preferences import Preferences
from denoisetool.gui.times import time_left
from denoisetool.gui.watch_page import WatchPage


class Window(QMainWindow):
    """The main window.

    Args:
        photos: files and folders to open.
        program: how child processes are started; None for this program.
    """

    def __init__(self, photos: Sequence[str] = (), program: Sequence[str] | None = None) -> None:
        super().__init__()
        self.setWindowTitle("denoisetool")
        self.setAcceptDrops(True)
        self._begun = False
        self.preferences = Preferences(self)
        self.worker = Worker(program, self)
        self._background = Background(1, self)
        self.photos = PhotosPage(self.worker, self.preferences)
        self.watch = WatchPage(self.preferences, program)
        self.finetune = FinetunePage(self.preferences, program)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName(self.tr("Pages"))
        self.tabs.addTab(self.photos, self.tr("Photos"))
        self.tabs.addTab(self.watch, self.tr("Watch a folder"))
        self.tabs.addTab(self.finetune, self.tr("Fine-tune"))
        self.tabs.currentChanged.connect(self._turned)
        self.setCentralWidget(self.tabs)
        self._add_status()
        self._add_menus()
        self._connect()
        self._restore()
        if photos:
            self.open([Path(photo) for photo in photos])

    # -- building -------------------------------------------------------------------------------

    def _add_status(self) -> None:
        bar = self.statusBar()
        self.progress = QProgressBar(maximum=1000, textVisible=False)
        self.progress.setFixedWidth(180)
        self.progress.setAccessibleName(self.tr("Progress"))
        self.eta = QLabel()
        self.device = QLabel()
        self.device.setContentsMargins(8, 0, 8, 0)
        self.device.setAccessibleName(self.tr("Device"))
        for part in (self.progress, self.eta, self.device):
            bar.addPermanentWidget(part)
        self.progress.hide()

    def _add_menus(self) -> None:
        tr, key = self.tr, QKeySequence.StandardKey
        file = self.menuBar().addMenu(tr("&File"))
        self._action(file, tr("&Add photos…"), key.Open, self.photos.choose_photos)
        self._action(file, tr("Add a &folder…"), "Ctrl+Shift+O", self.photos.choose_folder)
        file.addSeparator()
        self._action(file, tr("Open the &results"), "Ctrl+R", self.photos.open_results)
        file.addSeparator()
        self._action(file, tr("&Quit"), key.Quit, self.close)
        run = self.menuBar().addMenu(tr("&Queue"))
        self._action(run, tr("&Denoise"), "Ctrl+Return", self.photos.start)
        pause = self.photos.pause_button
        self._action(run, tr("&Pause or go on"), "Ctrl+P", pause.click)
        self._action(run, tr("&Stop"), "Ctrl+.", self.photos.stop_button.click)
        view = self.menuBar().addMenu(tr("&View"))
        viewer = self.photos.viewer
        self._action(view, tr("Whole photo"), "Ctrl+0", viewer.fit)
        self._action(view, tr("Pixel for pixel"), "Ctrl+1", lambda: viewer.set_zoom(1.0))
        view.addSeparator()
        for number, name in enumerate((tr("Photos"), tr("Watch a folder"), tr("Fine-tune"))):
            turn = f"Alt+{number + 1}"
            self._action(view, name, turn, lambda *_, n=number: self.tabs.setCurrentIndex(n))
        about = self.menuBar().addMenu(tr("&Help"))
        self._action(about, tr("&About denoisetool"), None, self._about)

    def _action(self, menu: Any, text: str, keys: Any, do: Any) -> None:
        action = QAction(text, self)
        if keys is not None:
            action.setShortcut(QKeySequence(keys))
        action.triggered.connect(lambda *_: do())
        menu.addAction(action)

    def _connect(self) -> None:
        self.worker.heard.connect(self._hear)
        say = self.statusBar().showMessage
        for page in (self.photos, self.watch, self.finetune):
            page.message.connect(say)
        self.photos.progressed.connect(self._show_progress)
        self.finetune.progressed.connect(self._show_progress)
        self.finetune.installed.connect(lambda: self.worker.ask("models"))
        self.photos.runner.finished.connect(lambda _: QApplication.alert(self))
        self.preferences.failed.connect(self._settings_failed)
        if self.preferences.problem:
            self._settings_failed(self.preferences.problem)

    def _restore(self) -> None:
        kept = self.preferences.window
        self.resize(1240, 800)
        geometry, splitter = kept.value("geometry"), kept.value("splitter")
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        if isinstance(splitter, QByteArray):
            self.photos.splitter.restoreState(splitter)
        self.tabs.setCurrentIndex(int(str(kept.value("page", 0))))

    # -- what happens ---------------------------------------------------------------------------

    def open(self, paths: Sequence[Path]) -> None:
        """Open files and folders."""
        self.tabs.setCurrentWidget(self.photos)
        self.photos.add([path.expanduser().absolute() for path in paths])

    def showEvent(self, event: QShowEvent) -> None:
        """Once it is seen, load the model, so that the first preview does not wait for it."""
        super().showEvent(event)
        if not self._begun:
            self._begun = True
            QTimer.singleShot(200, self, self._warm)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Files are welcome."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Files go to the page that is seen."""
        paths = [Path(u.toLocalFile()) for u in event.mimeData().urls() if u.isLocalFile()]
        event.acceptProposedAction()
        page = self.tabs.currentWidget()
        if isinstance(page, (WatchPage, FinetunePage)):
            page.add(paths)
        else:
            self.open(paths)

    def closeEvent(self, event: QCloseEvent) -> None:
        """End the children, after a question if they are at work; remember how it looked."""
        if self._at_work() and not self._sure():
            event.ignore()
            return
        kept = self.preferences.window
        kept.setValue("geometry", self.saveGeometry())
        kept.setValue("splitter", self.photos.splitter.saveState())
        kept.setValue("page", self.tabs.currentIndex())
        kept.sync()
        self.preferences.save()
        self._background.close()
        self.photos.close_down()
        self.watch.close_down()
        self.finetune.close_down()
        self.worker.close()
        event.accept()

    def _at_work(self) -> bool:
        return self.photos.runner.busy or self.watch.running or self.finetune.running

    def _sure(self) -> bool:
        ask = QMessageBox.question(
            self, self.tr("Quit?"),
            self.tr("Photos are being worked on. What is finished is kept, and the rest can be done"
                    " the next time."),
            QMessageBox.StandardButton.Close | QMessageBox.StandardButton.Cancel,
        )  # fmt: skip
        return ask == QMessageBox.StandardButton.Close

    def _warm(self) -> None:
        self._background.run(_import_more, lambda *_: None)
        self.worker.ask("models")
        self.worker.ask("warm", settings=self.preferences.request())

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "models":
            self.photos.controls.set_models(event["models"])
        elif event["event"] == "start":
            kind = str(event["device"]).partition(":")[0].upper()
            name = f"{kind} · {event['precision']} · {event['model']}"
            self.device.setText(name)
            self.device.setToolTip(str(event["reason"]))
        elif event["event"] == "error" and event.get("about") == "preview":
            self.device.setToolTip(str(event.get("what", "")))

    def _show_progress(self, share: float, left: float) -> None:
        self.progress.setVisible(share >= 0)
        self.progress.setValue(round(max(0.0, share) * 1000))
        self.eta.setText(time_left(left) if share >= 0 and left >= 0 else "")

    def _settings_failed(self, text: str) -> None:
        self.photos.banner.show_text(self.tr("The settings: %s") % text)

    def _turned(self, _page: int) -> None:
        self.watch.shown(self.tabs.currentWidget() is self.watch)

    def _about(self) -> None:
        from denoisetool import __version__

        QMessageBox.about(
            self, self.tr("About denoisetool"),
            self.tr("denoisetool %s\n\nTakes the noise out of photographs. The originals are never"
                    " changed, and nothing leaves this computer.") % __version__,
        )  # fmt: skip


def _import_more() -> None:
    """Import what saving a setting and opening a photo need, so that neither waits for it."""
    import tomlkit  # noqa: F401

    from denoisetool import formats  # noqa: F401
    from denoisetool.files import config  # noqa: F401
