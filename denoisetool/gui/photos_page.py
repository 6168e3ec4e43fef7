"""The page of photos: a queue on the left, before and after, the controls on the right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListView,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from denoisetool.gui.background import Background
from denoisetool.gui.child import Worker
from denoisetool.gui.controls import Controls
from denoisetool.gui.empty import EmptyState
from denoisetool.gui.looker import Looker
from denoisetool.gui.photo_list import Item, PhotoDelegate, PhotoModel
from denoisetool.gui.preferences import Preferences
from denoisetool.gui.runner import Runner
from denoisetool.gui.viewer import STEP, Viewer
from denoisetool.gui.widgets import Banner, primary, quiet


class PhotosPage(QWidget):
    """Photos, from dropping them to opening the folder of the results.

    Signals:
        message: a sentence for the status bar.
        progressed: share done and seconds left; a share below 0 means that nothing runs.
    """

    message = Signal(str)
    progressed = Signal(float, float)

    def __init__(self, worker: Worker, preferences: Preferences) -> None:
        super().__init__()
        self._preferences = preferences
        self._inputs: list[Path] = []
        self._removed: set[Path] = set()
        self._round = self._looking = 0
        self._finder = Background(1, self)
        self.model = PhotoModel(preferences.get("max_megapixels"), self)
        self.controls = Controls(preferences)
        self.banner = Banner()
        self.viewer = Viewer()
        self.runner = Runner(worker, self.model, preferences, self)
        self.looker = Looker(self.viewer, worker, preferences, self)
        self._build()
        self.runner.changed.connect(self._phase_changed)
        self.runner.moved.connect(self.progressed)
        self.runner.finished.connect(self._finished)
        self.runner.failed.connect(self._run_failed)
        self.looker.told.connect(self._about.setText)
        worker.died.connect(self._worker_died)
        self._phase_changed()

    # -- building -------------------------------------------------------------------------------

    def _build(self) -> None:
        self.model.ratio = self.devicePixelRatioF()
        self._stack = QStackedWidget()
        self._empty = EmptyState(self.choose_photos, self.choose_folder)
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self._view_side())
        middle = QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self._stack, 1)
        self._queue = self._queue_side()
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(self._queue)
        self.splitter.addWidget(middle)
        self.splitter.addWidget(self._control_side())
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([260, 700, 310])
        self.splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)
        self._queue.hide()

    def _queue_side(self) -> QWidget:
        self.list = QListView()
        self.list.setModel(self.model)
        self.list.setItemDelegate(PhotoDelegate(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setFrameShape(QListView.Shape.NoFrame)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setSelectionMode(QListView.SelectionMode.ExtendedSelection)
        self.list.setAccessibleName(self.tr("Photos"))
        self.list.selectionModel().currentChanged.connect(self._selected)
        remove = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.list)
        remove.setContext(Qt.ShortcutContext.WidgetShortcut)
        remove.activated.connect(self.remove_selected)
        self._add = QPushButton(self.tr("Add…"))
        self._add.setToolTip(self.tr("Add photos to the queue (Ctrl+O)"))
        self._add.clicked.connect(self.choose_photos)
        self._remove = QPushButton(self.tr("Remove"))
        self._remove.setToolTip(self.tr("Take the selected photos out of the queue; files stay"))
        self._remove.clicked.connect(self.remove_selected)
        self._clear = QPushButton(self.tr("Clear"))
        self._clear.clicked.connect(self.clear)
        self._count = quiet(QLabel())
        self._count.setWordWrap(False)
        buttons = QHBoxLayout()
        for button in (self._add, self._remove, self._clear):
            buttons.addWidget(button)
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(10, 12, 6, 10)
        column.addWidget(self._count)
        column.addWidget(self.list, 1)
        column.addLayout(buttons)
        side.setMinimumWidth(230)
        return side

    def _view_side(self) -> QWidget:
        self._about = quiet(QLabel())
        self._about.setWordWrap(False)
        self._about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._divider = QSlider(Qt.Orientation.Horizontal)
        self._divider.setRange(0, 100)
        self._divider.setValue(50)
        self._divider.setAccessibleName(self.tr("Divider between before and after"))
        self._divider.setToolTip(self.tr("Before and after"))
        self._divider.setFixedWidth(130)
        self._divider.valueChanged.connect(lambda value: self.viewer.set_divider(value / 100))
        self.viewer.divided.connect(lambda share: self._divider.setValue(round(share * 100)))
        self._zoom = QLabel()
        self._zoom.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._zoom.setMinimumWidth(self.fontMetrics().horizontalAdvance("1600 %") + 6)
        self.viewer.looked.connect(
            lambda: self._zoom.setText(self.tr("%d %%") % round(self.viewer.zoom * 100))
        )
        row = QHBoxLayout()
        row.setContentsMargins(12, 6, 12, 6)
        row.addWidget(self._about, 1)
        row.addWidget(self._divider)
        row.addSpacing(10)
        for text, tip, act in (
            (self.tr("Fit"), self.tr("Show the whole photo (0)"), self.viewer.fit),
            ("1:1", self.tr("Pixel for pixel (1)"), lambda: self.viewer.set_zoom(1.0)),
            ("−", self.tr("Smaller (-)"), lambda: self.viewer.set_zoom(self.viewer.zoom / STEP)),
            ("+", self.tr("Larger (+)"), lambda: self.viewer.set_zoom(self.viewer.zoom * STEP)),
        ):
            button = QToolButton()
            button.setText(text)
            button.setToolTip(tip)
            button.setAutoRaise(True)
            button.setAccessibleName(tip)
            button.clicked.connect(act)
            if text == "+":
                row.addWidget(self._zoom)
            row.addWidget(button)
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.viewer, 1)
        column.addLayout(row)
        return side

    def _control_side(self) -> QWidget:
        self.start_button = primary(QPushButton(self.tr("Denoise")))
        self.start_button.setToolTip(self.tr("Denoise all photos of the queue (Ctrl+Return)"))
        self.start_button.clicked.connect(self.start)
        self.pause_button = QPushButton(self.tr("Pause"))
        self.pause_button.setCheckable(True)
        self.pause_button.toggled.connect(self._pause)
        self.stop_button = QPushButton(self.tr("Stop"))
        self.stop_button.clicked.connect(self.runner.stop)
        self.open_button = QPushButton(self.tr("Open the results"))
        self.open_button.clicked.connect(self.open_results)
        row = QHBoxLayout()
        row.addWidget(self.pause_button)
        row.addWidget(self.stop_button)
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.controls, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(16, 10, 16, 12)
        foot.setSpacing(8)
        foot.addWidget(self.start_button)
        foot.addLayout(row)
        foot.addWidget(self.open_button)
        column.addLayout(foot)
        return side

    # -- what the user does ---------------------------------------------------------------------

    def add(self, paths: Sequence[Path]) -> None:
        """Put photos, and what is in folders, into the queue."""
        fresh = [path for path in paths if path not in self._inputs]
        self._removed -= {
            gone for gone in self._removed for path in paths
            if gone == path or gone.is_relative_to(path)
        }  # fmt: skip
        self._inputs += fresh
        if paths:
            self._stack.setCurrentIndex(1)
            self._queue.show()
            self.message.emit(self.tr("Looking for photos…"))
            todo, asked = list(paths), self._round
            self._looking += 1
            self._finder.run(lambda: self._find(todo, asked), partial(self._found, asked))

    def choose_photos(self) -> None:
        """Ask for photos."""
        names, _ = QFileDialog.getOpenFileNames(
            self, self.tr("Add photos"), self._last_folder(),
            self.tr("Photos (*.jpg *.jpeg *.png *.tif *.tiff *.webp *.avif *.bmp);;All files (*)"),
        )  # fmt: skip
        if names:
            self._preferences.window.setValue("photos", str(Path(names[0]).parent))
            self.add([Path(name) for name in names])

    def choose_folder(self) -> None:
        """Ask for a folder of photos."""
        name = QFileDialog.getExistingDirectory(self, self.tr("Add a folder"), self._last_folder())
        if name:
            self._preferences.window.setValue("photos", name)
            self.add([Path(name)])

    def remove_selected(self) -> None:
        """Take the selected photos out of the queue."""
        if self.runner.busy:
            return
        rows = [index.data(Qt.ItemDataRole.UserRole) for index in self.list.selectedIndexes()]
        gone = {item.path for item in rows}
        self._removed |= gone
        self._inputs = [path for path in self._inputs if path not in gone]
        self.model.remove(gone)
        self._after_removal()

    def clear(self) -> None:
        """Take all photos out of the queue, and add none that are still looked for."""
        if not self.runner.busy:
            if self._looking:
                self.message.emit("")
            self._round += 1
            self._looking = 0
            self.model.remove({item.path for item in self.model.items})
            self._after_removal()

    def start(self) -> None:
        """Denoise the queue."""
        if self.runner.busy or not self.model.items:
            return
        self.banner.hide()
        self._preferences.save()
        controls = self.controls
        self.runner.start(self._inputs, self._removed, controls.output, controls.existing)

    def open_results(self) -> None:
        """Open the folder that results are in."""
        target = self.looker.target or next(
            (item.target for item in self.model.items if item.state == "done"), None
        )
        folder = Path(self.controls.output) if self.controls.output else None
        if folder is None and target is not None:
            folder = target.parent
        if folder is None or not folder.is_dir():
            self.message.emit(self.tr("There are no results yet."))
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def close_down(self) -> None:
        """The window is closing."""
        self._finder.close()
        self.model.close()
        self.looker.close()

    # -- what happens ---------------------------------------------------------------------------

    def _find(self, paths: list[Path], asked: int) -> list[Item]:
        """The photos behind paths, as long as they are wanted; in a thread."""
        from denoisetool import files, formats

        megapixels = [0.0]

        def sniff(head: bytes) -> str | None:
            found = formats.sniff(head)
            try:
                width, height = found.size(head) if found else (0, 0)
            except Exception:  # noqa: BLE001 - the size is only for show
                width, height = 0, 0
            megapixels[0] = width * height / 1e6
            return found.name if found else None

        items: list[Item] = []
        for found in files.walk(paths, sniff=sniff, unsupported=formats.unsupported_kind):
            if asked != self._round:  # cleared: what is added next must not wait for this
                break
            if isinstance(found, files.Source):
                items.append(Item(found.path, megapixels[0]))
            elif isinstance(found, files.Problem):
                items.append(Item(found.path, state="failed", reason=str(found.error.what)))
        return items

    def _found(self, asked: int, items: list[Item] | None, error: Exception | None) -> None:
        if asked != self._round:
            return
        self._looking -= 1
        added = self.model.add(items or ())
        many = self.tr("1 photo added") if added == 1 else self.tr("%d photos added") % added
        text = many if items else self.tr("No photos were found there")
        self.message.emit(str(error) if error is not None else text)
        if not self.model.items:
            self._after_removal()
        elif not self.list.currentIndex().isValid():
            first = QItemSelectionModel.SelectionFlag.ClearAndSelect
            self.list.selectionModel().setCurrentIndex(self.model.index(0, 0), first)
        self._phase_changed()

    def _selected(self, current: QModelIndex, _previous: QModelIndex) -> None:
        item = current.data(Qt.ItemDataRole.UserRole) if current.isValid() else None
        self.looker.show(item)

    def _after_removal(self) -> None:
        if not self.model.items:
            self.banner.hide()
            self.looker.show(None)
            if not self._looking:
                self._inputs, self._removed = [], set()
                self._stack.setCurrentIndex(0)
                self._queue.hide()
        self._phase_changed()

    def _pause(self, on: bool) -> None:
        self.pause_button.setText(self.tr("Go on") if on else self.tr("Pause"))
        if self.runner.busy and (self.runner.phase == "paused") != on:
            self.runner.pause(on)

    def _phase_changed(self) -> None:
        phase, count = self.runner.phase, len(self.model.items)
        busy = phase != "idle"
        self.start_button.setEnabled(not busy and count > 0)
        self.pause_button.setEnabled(phase in ("running", "paused"))
        self.stop_button.setEnabled(busy)
        self.stop_button.setText(self.tr("Stop now") if phase == "stopping" else self.tr("Stop"))
        for button in (self._remove, self._clear):
            button.setEnabled(not busy)
        if not busy:
            self.pause_button.setChecked(False)
            self.progressed.emit(-1.0, -1.0)
        self._count.setText(self.tr("%d photos") % count if count != 1 else self.tr("1 photo"))

    def _finished(self, summary: dict[str, Any]) -> None:
        parts = [self.tr("%d done") % summary["done"]]
        for key, text in (("skipped", self.tr("%d skipped")), ("failed", self.tr("%d failed")),
                          ("left", self.tr("%d not begun"))):  # fmt: skip
            if summary.get(key):
                parts.append(text % summary[key])
        said = ", ".join(parts)
        self.message.emit(said)
        if summary["failed"]:
            self.banner.show_text(
                self.tr("%s. The reasons stand in the queue.") % said,
                self.tr("Try those again"), self.runner.again,
            )  # fmt: skip
        if self.looker.item is not None:
            self.looker.show_result(self.looker.item)
        self.looker.refresh()

    def _run_failed(self, text: str, again: bool) -> None:
        if again:
            self.banner.show_text(text, self.tr("Try again"), self.runner.again)
        else:
            self.banner.show_text(text)

    def _worker_died(self, why: str) -> None:
        if self.banner.isHidden():
            text = self.tr("The preview was interrupted: the worker ended unexpectedly. %s") % why
            self.banner.show_text(text, self.tr("Try again"), self.looker.refresh)

    def _last_folder(self) -> str:
        return str(self._preferences.window.value("photos", ""))
