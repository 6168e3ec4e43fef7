"""Small parts of the pages."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)


def heading(text: str) -> QLabel:
    """The title of a group of controls."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def quiet(label: QLabel) -> QLabel:
    """A label that speaks less loudly, and may take several lines."""
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    label.setWordWrap(True)
    return label


def rule() -> QFrame:
    """A thin line between groups."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Plain)
    line.setForegroundRole(QPalette.ColorRole.Midlight)
    return line


def primary(button: QPushButton) -> QPushButton:
    """The button that a page is about."""
    button.setStyleSheet(
        "QPushButton { background: palette(highlight); color: palette(highlighted-text);"
        " border: none; border-radius: 5px; padding: 8px 16px; font-weight: 600; }"
        "QPushButton:disabled { background: palette(midlight); color: palette(mid); }"
        "QPushButton:focus { outline: none; border: 2px solid palette(text); padding: 6px 14px; }"
    )
    return button


class PercentSlider(QWidget):
    """A slider with a number beside it, both in percent.

    Signals:
        moved: the user changed it; its share, 1 being 100 %.
    """

    moved = Signal(float)

    def __init__(self, name: str, most: int, help_text: str) -> None:
        super().__init__()
        self._label = QLabel(name)
        self._slider = QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, most)
        self._slider.setPageStep(10)
        self._number = QSpinBox(minimum=0, maximum=most, suffix=" %")
        self._number.setKeyboardTracking(False)
        self._label.setBuddy(self._number)
        for part in (self._slider, self._number):
            part.setAccessibleName(name)
            part.setAccessibleDescription(help_text)
            part.setToolTip(help_text)
        self._label.setToolTip(help_text)
        top = QHBoxLayout()
        top.addWidget(self._label, 1)
        top.addWidget(self._number)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(self._slider)
        self._slider.valueChanged.connect(self._follow)
        self._number.valueChanged.connect(self._slider.setValue)

    def set_share(self, share: float) -> None:
        """Show a value without telling that it was moved."""
        with QSignalBlocker(self._slider), QSignalBlocker(self._number):
            self._slider.setValue(round(share * 100))
            self._number.setValue(round(share * 100))

    def _follow(self, value: int) -> None:
        with QSignalBlocker(self._number):
            self._number.setValue(value)
        self.moved.emit(value / 100)


class FolderField(QWidget):
    """A folder that is typed or chosen.

    Signals:
        chosen: another folder, as text.
    """

    chosen = Signal(str)

    def __init__(self, name: str, placeholder: str, remembered: Callable[[], str]) -> None:
        super().__init__()
        self._name, self._remembered = name, remembered
        self._edit = QLineEdit(placeholderText=placeholder, clearButtonEnabled=True)
        self._edit.setAccessibleName(name)
        self._button = QPushButton(self.tr("Choose…"))
        self._button.setAccessibleName(self.tr("Choose: %s") % name)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit, 1)
        layout.addWidget(self._button)
        self._edit.editingFinished.connect(lambda: self.chosen.emit(self.text()))
        self._edit.textChanged.connect(lambda text: None if text else self.chosen.emit(""))
        self._button.clicked.connect(self._choose)
        self.setFocusProxy(self._edit)

    def text(self) -> str:
        """The folder; empty if there is none."""
        return self._edit.text().strip()

    def set_text(self, text: str) -> None:
        """Show a folder."""
        if text != self._edit.text():
            self._edit.setText(text)
            self._edit.setCursorPosition(0)

    def _choose(self) -> None:
        found = QFileDialog.getExistingDirectory(
            self, self._name, self.text() or self._remembered()
        )
        if found:
            self.set_text(found)
            self.chosen.emit(found)


class Banner(QFrame):
    """A message across the page, with what can be done about it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self.setBackgroundRole(QPalette.ColorRole.AlternateBase)
        self._text = QLabel(wordWrap=True)
        self._text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.action = QPushButton()
        self._close = QPushButton(self.tr("Dismiss"))
        self._close.setFlat(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(14, 8, 8, 8)
        layout.addWidget(self._text, 1)
        layout.addWidget(self.action)
        layout.addWidget(self._close)
        self._close.clicked.connect(self.hide)
        self.action.clicked.connect(self._act)
        self._do: Callable[[], None] | None = None
        self.hide()

    @property
    def text(self) -> str:
        """What it says."""
        return self._text.text()

    def show_text(self, text: str, action: str = "", do: Callable[[], None] | None = None) -> None:
        """Say something; `do` is done when the button `action` is pressed."""
        self._text.setText(text)
        self._text.setAccessibleName(text)
        self.action.setText(action)
        self.action.setVisible(do is not None)
        self._do = do
        self.show()

    def _act(self) -> None:
        self.hide()
        if self._do is not None:
            self._do()
