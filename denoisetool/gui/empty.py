"""What is seen before there are photos."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from denoisetool.gui.widgets import quiet


class EmptyState(QWidget):
    """An invitation to drop photos, with buttons for those who would rather not."""

    def __init__(self, photos: Callable[[], None], folder: Callable[[], None]) -> None:
        super().__init__()
        title = QLabel(self.tr("Drop photos or folders here"))
        font = title.font()
        font.setPointSizeF(font.pointSizeF() * 1.6)
        title.setFont(font)
        title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        below = quiet(QLabel(self.tr("JPEG, PNG, TIFF, WebP, AVIF and BMP. The originals are "
                                     "never changed.")))  # fmt: skip
        below.setAlignment(Qt.AlignmentFlag.AlignCenter)
        choose = QPushButton(self.tr("Choose photos…"))
        choose.clicked.connect(photos)
        choose_folder = QPushButton(self.tr("Choose a folder…"))
        choose_folder.clicked.connect(folder)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(choose)
        row.addWidget(choose_folder)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(40, 40, 40, 40)
        column.setSpacing(14)
        column.addStretch(3)
        column.addWidget(_Frame(), 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(title)
        column.addWidget(below)
        column.addSpacing(8)
        column.addLayout(row)
        column.addStretch(4)

    def paintEvent(self, event: QPaintEvent) -> None:
        """A dashed line around the place to drop on."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        ink.setAlphaF(0.22)
        painter.setPen(QPen(ink, 1.5, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(18, 18, -18, -18), 12, 12)


class _Frame(QWidget):
    """A photo, half noisy and half clean, in a few strokes."""

    def sizeHint(self) -> QSize:
        """Its size."""
        return QSize(108, 84)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        ink.setAlphaF(0.55)
        painter.setPen(QPen(ink, 2.4))
        box = QRectF(self.rect()).adjusted(4, 4, -4, -4)
        painter.drawRoundedRect(box, 9, 9)
        middle = box.center().x()
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Highlight), 2.4))
        painter.drawLine(int(middle), int(box.top()) - 3, int(middle), int(box.bottom()) + 3)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ink)
        for number in range(70):  # the same dots each time: the R2 sequence spreads them evenly
            x = box.left() + 8 + (number * 0.7548777 % 1) * (middle - box.left() - 14)
            y = box.top() + 8 + (number * 0.5698403 % 1) * (box.height() - 16)
            painter.drawEllipse(QRectF(x, y, 1.9, 1.9))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(ink, 2.4))
        painter.drawArc(QRectF(middle + 12, box.top() + 14, 18, 18), 0, 360 * 16)
        base = box.bottom() - 12
        hill = [(8, 0), (24, -20), (33, -10), (40, 0)]
        painter.drawPolyline([QPointF(middle + x, base + y) for x, y in hill])
