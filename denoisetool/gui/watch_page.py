"""A folder that is watched: the same command, ledger and status as in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QListWidget,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from denoisetool.errors import DenoiseError
from denoisetool.events import WatchStatus
from denoisetool.gui.background import Background
from denoisetool.gui.child import Child
from denoisetool.gui.preferences import Preferences
from denoisetool.gui.runner import sentence
from denoisetool.gui.widgets import Banner, FolderField, heading, primary, quiet

LOOK_EVERY = 2000
"""Milliseconds between two looks at the ledger."""
KEPT_LINES = 300


class WatchPage(QWidget):
    """Watches one folder, and shows how its watch stands, whoever runs it."""

    message = Signal(str)

    def __init__(self, preferences: Preferences, program: Sequence[str] | None = None) -> None:
        super().__init__()
        self._preferences, self._program = preferences, program
        self._child: Child | None = None
        self._helper: Child | None = None
        self._stopping = False
        self._status: WatchStatus | None = None
        self._background = Background(1, self)
        self._build()
        self._timer = QTimer(self, interval=LOOK_EVERY)
        self._timer.timeout.connect(self._look)
        self._refresh()

    @property
    def running(self) -> bool:
        """Whether this window watches."""
        return self._child is not None

    # -- building -------------------------------------------------------------------------------

    def _build(self) -> None:
        tr, window = self.tr, self._preferences.window
        self.folder = FolderField(
            tr("Folder to watch"), tr("Photos that arrive here are denoised"), self._last
        )
        self.output = FolderField(
            tr("Folder for the results"), tr("Beside it: inbox-clean for inbox"), self._last
        )
        self.folder.set_text(str(window.value("watch", "")))
        self.output.set_text(str(window.value("watch_output", "")))
        self.folder.chosen.connect(self._folder_chosen)
        self.output.chosen.connect(lambda text: window.setValue("watch_output", text))
        self.deep = QCheckBox(tr("Subfolders too"))
        self.deep.setChecked(True)
        form = QFormLayout()
        form.setSpacing(10)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(tr("&Watch"), self.folder)
        form.addRow(tr("&Results"), self.output)
        form.addRow("", self.deep)
        self.start_button = primary(QPushButton(tr("Start watching")))
        self.start_button.clicked.connect(self.start)
        self.stop_button = QPushButton(tr("Stop watching"))
        self.stop_button.clicked.connect(self.stop)
        self.open_button = QPushButton(tr("Open the results"))
        self.open_button.clicked.connect(self._open)
        row = QHBoxLayout()
        row.addWidget(self.start_button)
        row.addWidget(self.stop_button)
        row.addWidget(self.open_button)
        row.addStretch(1)
        self.banner = Banner()
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 16)
        column.setSpacing(12)
        column.addWidget(heading(tr("Denoise whatever arrives in a folder")))
        column.addWidget(quiet(QLabel(tr(
            "What is there already is done too, with the noise settings of the page of photos. The"
            " originals stay as they are, and what was done once is not done again."
        ))))  # fmt: skip
        column.addLayout(form)
        column.addLayout(row)
        column.addWidget(self.banner)
        column.addLayout(self._figures())
        self._state = quiet(QLabel())
        column.addWidget(self._state)
        column.addWidget(self._lists(), 1)

    def _figures(self) -> QHBoxLayout:
        tr = self.tr
        self._numbers: dict[str, QLabel] = {}
        row = QHBoxLayout()
        row.setSpacing(36)
        names = {"seen": tr("Seen"), "done": tr("Done"), "waiting": tr("Waiting"),
                 "failed": tr("Failed"), "per_hour": tr("In the last hour")}  # fmt: skip
        for key, name in names.items():
            number = QLabel("–")
            font = number.font()
            font.setPointSizeF(font.pointSizeF() * 1.9)
            number.setFont(font)
            number.setAccessibleName(name)
            self._numbers[key] = number
            box = QVBoxLayout()
            box.setSpacing(0)
            box.addWidget(number)
            box.addWidget(quiet(QLabel(name)))
            row.addLayout(box)
        row.addStretch(1)
        return row

    def _lists(self) -> QTabWidget:
        tr = self.tr
        self.log = QListWidget()
        self.log.setAccessibleName(tr("What happened"))
        self.log.setSpacing(2)
        self.failures = QTableWidget(0, 2)
        self.failures.setHorizontalHeaderLabels([tr("Photo"), tr("Why it failed")])
        self.failures.setAccessibleName(tr("Photos that failed"))
        plain(self.failures)
        self.retry_button = QPushButton(tr("Try those again"))
        self.retry_button.clicked.connect(self._retry)
        failed = QWidget()
        column = QVBoxLayout(failed)
        column.setContentsMargins(0, 8, 0, 0)
        column.addWidget(self.failures)
        column.addWidget(self.retry_button, 0, Qt.AlignmentFlag.AlignLeft)
        tabs = QTabWidget()
        tabs.setDocumentMode(True)
        tabs.setAccessibleName(tr("Log and failures"))
        tabs.addTab(self.log, tr("What happened"))
        tabs.addTab(failed, tr("Failed"))
        return tabs

    # -- what the user does ---------------------------------------------------------------------

    def add(self, paths: Sequence[Path]) -> None:
        """A folder was dropped."""
        for path in paths:
            if path.is_dir() and not self.running:
                self.folder.set_text(str(path))
                self._folder_chosen(str(path))
                return

    def start(self) -> None:
        """Watch the folder that is named."""
        if self.running or not self.folder.text():
            return
        self.banner.hide()
        self._preferences.save()
        self._preferences.window.setValue("watch", self.folder.text())
        words = ["watch", self.folder.text(), "--json"]
        if self.output.text():
            words += ["-o", self.output.text().rstrip("/\\") + "/"]
        if not self.deep.isChecked():
            words.append("--no-recursive")
        self._child = child = Child(words, self._program, self)
        self._stopping = False
        child.heard.connect(self._hear)
        child.ended.connect(self._ended)
        child.start()
        self._timer.start()
        self._refresh()

    def stop(self) -> None:
        """Finish the photo in hand, then watch no longer."""
        if self._child is not None:
            self._stopping = True
            self._child.stop()
            self._refresh()

    def shown(self, on: bool) -> None:
        """The page is looked at, or not any more."""
        if on:
            self._look()
            self._timer.start()
        elif not self.running:
            self._timer.stop()

    def close_down(self) -> None:
        """The window is closing: the watch ends, and goes on from there the next time."""
        self._timer.stop()
        self._background.close()
        if self._child is not None:
            self._child.ended.disconnect(self._ended)
            self._child.stop()
            if not self._child.wait(3000):
                self._child.kill()
                self._child.wait(1000)

    # -- what happens ---------------------------------------------------------------------------

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "photo":
            name = Path(event["source"]).name
            text = {"done": self.tr("Done: %s"), "skipped": self.tr("Skipped: %s")}.get(
                event["status"], self.tr("Failed: %s")
            ) % name  # fmt: skip
            self._say(f"{text} – {event['reason']}" if event.get("reason") else text)
        elif kind == "watching":
            self._say(self.tr("Watching %s") % event["folder"])
        elif kind == "notice":
            self._say(str(event["text"]))
        elif kind == "error":
            self.banner.show_text(sentence(event))
        elif kind == "start":
            self._say(self.tr("The model %s runs on %s") % (event["model"], event["device"]))

    def _say(self, text: str) -> None:
        self.log.insertItem(0, text)
        while self.log.count() > KEPT_LINES:
            self.log.takeItem(self.log.count() - 1)

    def _ended(self, code: int, why: str) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.deleteLater()
        if not self._stopping:
            text = self.tr("The watch ended unexpectedly. %s") % why
            if self.banner.isHidden() or code == -1:
                self.banner.show_text(text, self.tr("Start it again"), self.start)
        self._look()
        self._refresh()

    def _retry(self) -> None:
        """Have the running watch try again what failed."""
        self._helper = Child(["watch", self.folder.text(), "--retry-failed"], self._program, self)
        self._helper.ended.connect(lambda *_: self._look())
        self._helper.start()

    def _look(self) -> None:
        """Look at the ledger, in a thread."""
        text = self.folder.text()
        if text:
            self._background.run(lambda: _status(Path(text)), self._seen)

    def _seen(self, status: WatchStatus | None, error: Exception | None) -> None:
        self._status = status
        if isinstance(error, DenoiseError) and not self.running:
            self._state.setText(str(error.what)[:1].upper() + str(error.what)[1:] + ".")
        self._refresh()

    def _refresh(self) -> None:
        status = self._status
        for key, label in self._numbers.items():
            label.setText("–" if status is None else str(getattr(status, key)))
        others = status is not None and status.alive and not self.running
        self.start_button.setEnabled(not self.running and not others and bool(self.folder.text()))
        self.stop_button.setEnabled(self.running)
        self.stop_button.setText(
            self.tr("Stopping…") if self.running and self._stopping else self.tr("Stop watching")
        )
        for field in (self.folder, self.output, self.deep):
            field.setEnabled(not self.running)
        if status is not None:
            self._state.setText(self._words(status, others=others))
            rows = [(str(each["path"]), str(each["reason"])) for each in status.failures]
            fill(self.failures, rows)
        self.retry_button.setEnabled(bool(status and status.alive and status.failures))

    def _words(self, status: WatchStatus, *, others: bool) -> str:
        if others:
            text = self.tr("Watched by process %d on %s, not by this window.")
            return text % (status.pid or 0, status.host)
        if not status.alive:
            return self.tr("Starting…") if self.running else self.tr("Not watched at the moment.")
        working = ", ".join(str(each["path"]) for each in status.working[:2])
        if working:
            return self.tr("Watching. In hand: %s") % working
        if status.mode == "polling":
            return self.tr("Watching, with a look through the folder every few seconds.")
        return self.tr("Watching.")

    def _folder_chosen(self, text: str) -> None:
        self._preferences.window.setValue("watch", text)
        self._status = None
        self._state.setText("")
        self._look()
        self._refresh()

    def _open(self) -> None:
        output = self.output.text() or (
            str(self._status.output) if self._status and self._status.output else ""
        )
        if output and Path(output).is_dir():
            QDesktopServices.openUrl(QUrl.fromLocalFile(output))
        else:
            self.message.emit(self.tr("There are no results yet."))

    def _last(self) -> str:
        return self.folder.text()


def _status(root: Path) -> WatchStatus:
    """How the watch of a folder stands; for a thread. Raises DenoiseError."""
    from denoisetool.watch import status

    return status(root.absolute())


def plain(table: QTableWidget) -> None:
    """A table to be read: whole rows, no grid, the last column takes what is left."""
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
    table.setShowGrid(False)
    table.setAlternatingRowColors(True)
    table.setWordWrap(False)
    table.setTabKeyNavigation(False)
    table.verticalHeader().hide()
    header = table.horizontalHeader()
    header.setHighlightSections(False)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setStretchLastSection(True)
    header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
    table.setColumnWidth(0, 240)


def fill(table: QTableWidget, rows: Sequence[Sequence[str]]) -> None:
    """Put rows into a table, if they are others than before."""
    key = [tuple(row) for row in rows]
    if table.property("rows") == repr(key):
        return
    table.setProperty("rows", repr(key))
    table.setRowCount(len(rows))
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            cell = QTableWidgetItem(text)
            cell.setToolTip(text)
            table.setItem(number, column, cell)
