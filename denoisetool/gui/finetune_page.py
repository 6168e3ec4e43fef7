"""A model of one's own, from pairs of photos: which pairs are taken, progress, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

from denoisetool.gui.child import Child
from denoisetool.gui.preferences import Preferences
from denoisetool.gui.runner import sentence
from denoisetool.gui.times import time_left
from denoisetool.gui.watch_page import fill, plain
from denoisetool.gui.widgets import Banner, FolderField, heading, primary, quiet


class FinetunePage(QWidget):
    """Runs `denoisetool finetune` and shows what it says.

    Signals:
        message: a sentence for the status bar.
        progressed: share done and seconds left; a share below 0 means that nothing runs.
        installed: there is a new model.
    """

    message = Signal(str)
    progressed = Signal(float, float)
    installed = Signal()

    def __init__(self, preferences: Preferences, program: Sequence[str] | None = None) -> None:
        super().__init__()
        self._preferences, self._program = preferences, program
        self._child: Child | None = None
        self._trying = self._stopping = False
        self._rows: list[tuple[str, str, str, str]] = []
        self._report = ""
        self._told = False
        self._build()
        self._refresh()

    @property
    def running(self) -> bool:
        """Whether a child is at work."""
        return self._child is not None

    # -- building -------------------------------------------------------------------------------

    def _build(self) -> None:
        tr, window = self.tr, self._preferences.window
        self.folder = FolderField(tr("Folder of pairs"), tr("Folder of pairs"), self._last)
        self.folder.set_text(str(window.value("pairs", "")))
        self.folder.chosen.connect(self._folder_chosen)
        self.look_button = QPushButton(tr("Show the pairs"))
        self.look_button.setToolTip(tr("Look which pairs would be taken; trains nothing"))
        self.look_button.clicked.connect(lambda: self._begin(trying=True))
        self.start_button = primary(QPushButton(tr("Fine-tune")))
        self.start_button.clicked.connect(lambda: self._begin(trying=False))
        self.stop_button = QPushButton(tr("Stop"))
        self.stop_button.clicked.connect(self.stop)
        row = QHBoxLayout()
        row.addWidget(self.start_button)
        row.addWidget(self.look_button)
        row.addWidget(self.stop_button)
        row.addStretch(1)
        self.banner = Banner()
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels([tr("Scene"), tr("Photos"), tr("Taken"), tr("Why")])
        self.table.setAccessibleName(tr("Pairs, taken and rejected"))
        plain(self.table)
        self.table.setColumnWidth(0, 160)
        self.table.setColumnWidth(1, 300)
        self.table.setColumnWidth(2, 170)
        self._sum = quiet(QLabel())
        self._bar = QProgressBar(textVisible=False, maximum=1000)
        self._bar.setAccessibleName(tr("Progress of the training"))
        self._step = quiet(QLabel())
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 16)
        column.setSpacing(12)
        column.addWidget(heading(tr("Teach the model your camera")))
        column.addWidget(quiet(QLabel(tr(
            "Two or more photos of the same scene, right after each other, teach it the noise of"
            " your camera. Some pairs are held back: a model that is no better on them than the one"
            " it began with is never installed."
        ))))  # fmt: skip
        column.addWidget(self.folder)
        column.addLayout(row)
        column.addWidget(self.banner)
        column.addWidget(self._result_box())
        column.addWidget(self._bar)
        column.addWidget(self._step)
        column.addWidget(self.table, 1)
        column.addWidget(self._sum)

    def _result_box(self) -> QFrame:
        self.result = QFrame()
        self.result.setFrameShape(QFrame.Shape.StyledPanel)
        self._headline = heading("")
        self._headline.setWordWrap(True)
        font = self._headline.font()
        font.setPointSizeF(font.pointSizeF() * 1.25)
        self._headline.setFont(font)
        self._figure = QLabel(wordWrap=True)
        self._why = quiet(QLabel())
        self.report_button = QPushButton(self.tr("Open the report"))
        self.report_button.clicked.connect(self._open)
        words = QVBoxLayout()
        words.setSpacing(4)
        for label in (self._headline, self._figure, self._why):
            words.addWidget(label)
        layout = QHBoxLayout(self.result)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.addLayout(words, 1)
        layout.addWidget(self.report_button)
        self.result.hide()
        return self.result

    # -- what the user does ---------------------------------------------------------------------

    def add(self, paths: Sequence[Path]) -> None:
        """A folder was dropped."""
        for path in paths:
            if path.is_dir() and not self.running:
                self.folder.set_text(str(path))
                self._folder_chosen(str(path))
                return

    def stop(self) -> None:
        """End the training; nothing is installed."""
        if self._child is not None:
            self._stopping = True
            self._child.stop()
            self._refresh()

    def close_down(self) -> None:
        """The window is closing."""
        if self._child is not None:
            self._child.ended.disconnect(self._ended)
            self._child.stop()
            if not self._child.wait(3000):
                self._child.kill()
                self._child.wait(1000)

    def _begin(self, *, trying: bool) -> None:
        if self.running or not self.folder.text():
            return
        self.banner.hide()
        self.result.hide()
        self._preferences.save()
        self._rows, self._trying, self._stopping, self._told = [], trying, False, False
        fill(self.table, [])
        self._sum.setText("")
        self._step.setText(self.tr("Looking at the pairs…"))
        words = ["finetune", self.folder.text(), "--json"]
        if trying:
            words.append("--dry-run")
        self._child = child = Child(words, self._program, self)
        child.heard.connect(self._hear)
        child.ended.connect(self._ended)
        child.start()
        self._refresh()

    # -- what happens ---------------------------------------------------------------------------

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "pair":
            self._pair(event)
        elif kind == "pairs":
            text = self.tr("%d pairs taken, %d rejected") % (event["taken"], event["rejected"])
            how = f" – {event['how']}" if event.get("how") else ""
            self._sum.setText(text + how)
        elif kind == "finetuning":
            self._training(event)
        elif kind == "finetuned":
            self._finished(event)
        elif kind == "error":
            self._told = True
            self.banner.show_text(sentence(event))
        elif kind == "notice":
            self.message.emit(str(event.get("text", "")))

    def _pair(self, event: dict[str, Any]) -> None:
        taken = self.tr("no")
        if event.get("taken"):
            taken = self.tr("yes")
            if event.get("held_out"):
                taken = self.tr("held back, as a test")
        names = ", ".join(Path(photo).name for photo in event.get("photos", ()))
        self._rows.append((str(event.get("scene", "")), names, taken, event.get("reason") or ""))
        fill(self.table, self._rows)

    def _training(self, event: dict[str, Any]) -> None:
        step, steps = int(event["step"]), max(1, int(event["steps"]))
        self._bar.setMaximum(1000)
        self._bar.setValue(round(1000 * step / steps))
        text = self.tr("Step %d of %d") % (step, steps)
        gain = event.get("gain_db")
        if gain is not None:
            text += self.tr(", better by %.2f dB so far") % gain
        eta = event.get("eta_seconds")
        if eta is not None:
            text += ", " + time_left(float(eta))
        self._step.setText(text)
        self.progressed.emit(step / steps, -1.0 if eta is None else float(eta))

    def _finished(self, event: dict[str, Any]) -> None:
        self._told = True
        self._report = str(event.get("report") or "")
        installed = bool(event.get("installed"))
        if installed:
            self._headline.setText(self.tr("The model “%s” is installed.") % event.get("name", ""))
        else:
            self._headline.setText(self.tr("No model was installed."))
        gain, low, high = (event.get(key) for key in ("gain_db", "low_db", "high_db"))
        if gain is not None:
            text = self.tr("On the pairs that were held back it is %+.2f dB against the old model")
            text %= gain
            if low is not None and high is not None:
                text += self.tr(" (between %+.2f and %+.2f dB)") % (low, high)
            self._figure.setText(text + ".")
        self._figure.setVisible(gain is not None)
        self._why.setText(str(event.get("why") or ""))
        self.report_button.setVisible(bool(self._report))
        self.result.show()
        if installed:
            self.installed.emit()

    def _ended(self, code: int, why: str) -> None:
        child, self._child = self._child, None
        said = child.said.strip().splitlines()[-1:] if child is not None else []
        if child is not None:
            child.deleteLater()
        if not self._told and not self._stopping and (code or why):
            text = why or " ".join(said) or self.tr("It ended with code %d.") % code
            self.banner.show_text(
                self.tr("The fine-tuning ended unexpectedly. %s") % text, self.tr("Try again"),
                lambda: self._begin(trying=self._trying),
            )  # fmt: skip
        self._step.setText(self.tr("Stopped; nothing was installed.") if self._stopping else "")
        self.progressed.emit(-1.0, -1.0)
        self._refresh()

    def _refresh(self) -> None:
        ready = not self.running and bool(self.folder.text())
        self.start_button.setEnabled(ready)
        self.look_button.setEnabled(ready)
        self.stop_button.setEnabled(self.running and not self._stopping)
        self.folder.setEnabled(not self.running)
        self._bar.setVisible(self.running and not self._trying)
        if self.running:
            self._bar.setMaximum(0)
        self._step.setVisible(bool(self._step.text()))

    def _folder_chosen(self, text: str) -> None:
        self._preferences.window.setValue("pairs", text)
        self._refresh()

    def _open(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._report))

    def _last(self) -> str:
        return self.folder.text()
