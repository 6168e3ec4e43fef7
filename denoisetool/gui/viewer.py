"""Before and after, divided by a line that can be moved; zoom and pan."""

from __future__ import annotations

import math

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from denoisetool.gui.pictures import Picture

LARGEST = 16.0
"""Device pixels that a pixel of the photo is shown with at most."""
GRIP = 14
"""Pixels around the divider in which it can be taken hold of."""
STEP = 1.25
GROUND = QColor(54, 54, 56)
"""What is around a photo, in light and in dark themes: a grey that leaves its colours alone."""


class Viewer(QWidget):
    """Shows a photo before and after, left and right of a divider.

    Zoom is in device pixels of the screen per pixel of the photo, so that 1 is 100 % on any screen.
    A result may be larger than the photo: it lies over it all the same.

    Signals:
        looked: another part of the photo, or another size of it, is seen.
        divided: the divider was moved; its share of the width.
    """

    looked = Signal()
    divided = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("Before and after"))
        self.setAccessibleDescription(
            self.tr("Arrow keys move the divider, with Shift the photo; plus, minus, 0 and 1 zoom.")
        )
        self._before: Picture | None = None
        self._after: Picture | None = None
        self._patch: tuple[QImage, QRect] | None = None
        self._zoom, self._fit = 1.0, True
        self._center = QPointF()
        self._share = 0.5
        self._held: str = ""
        self._last = QPointF()
        self._note = ""

    # -- what is shown --------------------------------------------------------------------------

    def show_picture(self, picture: Picture | None, *, keep_view: bool = False) -> None:
        """Show another photo, all of it unless `keep_view`."""
        self._before, self._after, self._patch = picture, None, None
        if picture is not None and not keep_view:
            self._center = QPointF(picture.width / 2, picture.height / 2)
            self._fit = True
        self._settle()

    def show_after(self, picture: Picture | None) -> None:
        """Show a whole result."""
        self._after, self._patch = picture, None
        self.update()

    def show_patch(self, image: QImage | None, part: QRect | None = None) -> None:
        """Show the result of a part of the photo; `image` may be smaller or larger than it."""
        self._patch = None if image is None or part is None else (image, part)
        if image is not None:
            self._after = None
        self.update()

    def show_note(self, text: str) -> None:
        """Say something over the photo; nothing for an empty text."""
        if text != self._note:
            self._note = text
            self.update()

    @property
    def has_result(self) -> bool:
        """Whether anything is shown right of the divider but the photo itself."""
        return self._after is not None or self._patch is not None

    # -- where one looks ------------------------------------------------------------------------

    @property
    def zoom(self) -> float:
        """Device pixels per pixel of the photo."""
        return self._zoom

    @property
    def detail(self) -> int:
        """How many pixels of a larger result can be seen for one of the photo, on a side."""
        return next((count for count in (1, 2) if self._zoom <= count), 4)

    @property
    def divider(self) -> float:
        """Where the divider is, as a share of the width."""
        return self._share

    def set_divider(self, share: float) -> None:
        """Move the divider."""
        share = min(1.0, max(0.0, share))
        if share != self._share:
            self._share = share
            self.update()
            self.divided.emit(share)

    def fit(self) -> None:
        """Show the whole photo."""
        self._fit = True
        self._settle()

    def set_zoom(self, zoom: float, at: QPointF | None = None) -> None:
        """Zoom, with the pixel of the photo at a point of the view staying there."""
        if self._before is None:
            return
        at = at if at is not None else QPointF(self.width() / 2, self.height() / 2)
        pixel = self._to_photo(at)
        self._fit = False
        self._zoom = min(LARGEST, max(min(self._fitting(), 1.0) / 2, zoom))
        away = (at - QPointF(self.width() / 2, self.height() / 2)) / self._scale()
        self._center = pixel - away
        self._settle()

    def seen(self) -> tuple[QRect, int]:
        """The part of the photo that is seen, and by how much a copy of it may be reduced."""
        picture = self._before
        if picture is None:
            return QRect(), 1
        step = 1 << self._level(picture)
        first = self._to_photo(QPointF(0, 0))
        last = self._to_photo(QPointF(self.width(), self.height()))
        left, top = (max(0, math.floor(v / step) * step) for v in (first.x(), first.y()))
        right = min(picture.width, math.ceil(last.x() / step) * step)
        bottom = min(picture.height, math.ceil(last.y() / step) * step)
        return QRect(left, top, max(0, right - left), max(0, bottom - top)), step

    def _fitting(self) -> float:
        picture = self._before
        assert picture is not None
        ratio = self.devicePixelRatioF()
        return min(
            self.width() * ratio / picture.width, self.height() * ratio / picture.height, 1.0
        )

    def _settle(self) -> None:
        """Keep the photo in the view, and tell that another part is seen."""
        picture = self._before
        if picture is not None:
            if self._fit:
                self._zoom = self._fitting()
            half = QPointF(self.width(), self.height()) / 2 / self._scale()
            self._center = QPointF(
                _inside(self._center.x(), half.x(), picture.width),
                _inside(self._center.y(), half.y(), picture.height),
            )
        self.update()
        self.looked.emit()

    def _scale(self) -> float:
        """Logical pixels of the view per pixel of the photo."""
        return self._zoom / self.devicePixelRatioF()

    def _origin(self) -> QPointF:
        """Where the photo's corner is in the view, on a whole pixel of the screen."""
        ratio = self.devicePixelRatioF()
        corner = QPointF(self.width() / 2, self.height() / 2) - self._center * self._scale()
        return QPointF(round(corner.x() * ratio) / ratio, round(corner.y() * ratio) / ratio)

    def _to_photo(self, point: QPointF) -> QPointF:
        return (point - self._origin()) / self._scale()

    def _level(self, picture: Picture) -> int:
        """Which of the smaller copies is the next larger one to what is seen."""
        own = self._before or picture
        zoom = self._zoom * own.width / picture.width
        return 0 if zoom >= 1 else min(len(picture.levels) - 1, int(math.log2(1 / zoom) + 1e-6))

    # -- drawing --------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the photo, the result, the divider and what is said."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), GROUND)
        picture = self._before
        if picture is None:
            self._draw_note(painter)
            return
        smooth = QPainter.RenderHint.SmoothPixmapTransform
        painter.setRenderHint(smooth, self._zoom < 2 and self._zoom != 1)
        self._draw(painter, picture)
        if self.has_result:
            line = round(self._share * self.width())
            painter.save()
            painter.setClipRect(QRect(line, 0, self.width() - line, self.height()))
            if self._after is not None:
                self._draw(painter, self._after)
            elif self._patch is not None:
                self._draw_patch(painter, *self._patch)
            painter.restore()
            self._draw_divider(painter, line)
        self._draw_note(painter)

    def _draw(self, painter: QPainter, picture: Picture) -> None:
        level = self._level(picture)
        image, scale = picture.levels[level], self._scale()
        seen, _ = self.seen()
        own = self._before or picture
        across, down = image.width() / own.width, image.height() / own.height
        source = QRectF(
            seen.x() * across, seen.y() * down, seen.width() * across, seen.height() * down
        )
        corner = self._origin() + QPointF(seen.x(), seen.y()) * scale
        painter.drawImage(
            QRectF(corner.x(), corner.y(), seen.width() * scale, seen.height() * scale),
            image, source,
        )  # fmt: skip

    def _draw_patch(self, painter: QPainter, image: QImage, part: QRect) -> None:
        scale = self._scale()
        corner = self._origin() + QPointF(part.x(), part.y()) * scale
        painter.drawImage(
            QRectF(corner.x(), corner.y(), part.width() * scale, part.height() * scale), image
        )

    def _draw_divider(self, painter: QPainter, line: int) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(0, 0, 0, 110), 3))
        painter.drawLine(line, 0, line, self.height())
        painter.setPen(QPen(QColor(255, 255, 255, 230), 1))
        painter.drawLine(line, 0, line, self.height())
        middle = QPointF(line, self.height() / 2)
        painter.setPen(QPen(QColor(0, 0, 0, 90), 1))
        painter.setBrush(QColor(255, 255, 255, 235))
        painter.drawEllipse(middle, 15, 15)
        painter.setPen(QPen(QColor(60, 60, 60), 1.8, Qt.PenStyle.SolidLine,
                            Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))  # fmt: skip
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for side in (-1, 1):
            tip = middle + QPointF(side * 8.5, 0)
            painter.drawPolyline([tip + QPointF(-side * 4, -4), tip, tip + QPointF(-side * 4, 4)])
        self._pill(painter, self.tr("Before"), QPoint(12, 12), line - 12)
        self._pill(painter, self.tr("After"), QPoint(line + 12, 12), self.width() - 12)

    def _draw_note(self, painter: QPainter) -> None:
        if not self._note:
            return
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        most = QRect(0, 0, min(self.width() - 60, 460), self.height())
        text = self.fontMetrics().boundingRect(most, int(flags), self._note)
        box = QRect(0, 0, text.width() + 32, text.height() + 16)
        box.moveCenter(self.rect().center())
        if self._before is not None:
            box.moveBottom(self.height() - 18)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(20, 20, 20, 170))
        painter.drawRoundedRect(box, 16, 16)
        painter.setPen(QColor(255, 255, 255, 235))
        painter.drawText(box.adjusted(16, 8, -16, -8), int(flags), self._note)

    def _pill(self, painter: QPainter, text: str, corner: QPoint, limit: int) -> None:
        """A word on a dark ground, if there is room for it left of `limit`."""
        metrics = self.fontMetrics()
        size = QSize(metrics.horizontalAdvance(text) + 20, metrics.height() + 8)
        if corner.x() + size.width() > limit:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRect(corner, size)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(20, 20, 20, 170))
        painter.drawRoundedRect(box, size.height() / 2, size.height() / 2)
        painter.setPen(QColor(255, 255, 255, 235))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    # -- hands ----------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another part of the photo is seen."""
        self._settle()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take hold of the divider or of the photo."""
        if self._before is not None and event.button() == Qt.MouseButton.LeftButton:
            self._held = "divider" if self._near(event.position()) else "photo"
            self._last = event.position()
            self._show_cursor(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move what is held."""
        at = event.position()
        if self._held == "divider":
            self.set_divider(at.x() / max(1, self.width()))
        elif self._held == "photo":
            self._move(at - self._last)
            self._last = at
        self._show_cursor(at)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let go."""
        self._held = ""
        self._show_cursor(event.position())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """To 100 % and back."""
        if self._before is not None and not self._near(event.position()):
            if self._fit:
                self.set_zoom(1.0, event.position())
            else:
                self.fit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom at the pointer."""
        self.set_zoom(self._zoom * STEP ** (event.angleDelta().y() / 120), event.position())
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Everything that hands can do, with keys."""
        key, shift = event.key(), event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        ways = {Qt.Key.Key_Left: (1, 0), Qt.Key.Key_Right: (-1, 0),
                Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1)}  # fmt: skip
        way = ways.get(Qt.Key(key))
        if way is not None and (shift or way[1]):
            self._move(QPointF(*way) * 80)
        elif way is not None:
            self.set_divider(self._share - way[0] * 0.02)
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.set_zoom(self._zoom * STEP)
        elif key == Qt.Key.Key_Minus:
            self.set_zoom(self._zoom / STEP)
        elif key == Qt.Key.Key_0:
            self.fit()
        elif key == Qt.Key.Key_1:
            self.set_zoom(1.0)
        else:
            super().keyPressEvent(event)

    def _move(self, by: QPointF) -> None:
        self._center -= by / self._scale()
        self._settle()

    def _near(self, point: QPointF) -> bool:
        return self.has_result and abs(point.x() - self._share * self.width()) <= GRIP

    def _show_cursor(self, at: QPointF) -> None:
        if self._before is None:
            self.unsetCursor()
        elif self._held == "divider" or (not self._held and self._near(at)):
            self.setCursor(Qt.CursorShape.SplitHCursor)
        elif self._held == "photo":
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        else:
            self.setCursor(Qt.CursorShape.OpenHandCursor)


def _inside(center: float, half: float, length: int) -> float:
    """A center from which no more than needed is seen beyond the photo."""
    if 2 * half >= length:
        return length / 2
    return min(length - half, max(half, center))
