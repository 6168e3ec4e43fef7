"""The queue: photos with a small picture, their state, and the reason for failures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import (
    QAbstractListModel,
    QLocale,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
)
from PySide6.QtGui import QColor, QIcon, QImage, QPainter, QPalette, QPixmap
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from denoisetool.gui.background import Background
from denoisetool.gui.pictures import thumbnail

Index = QModelIndex | QPersistentModelIndex
State = Literal["new", "waiting", "working", "done", "skipped", "failed"]
SIDE = 56
"""Side of a small picture, in pixels of the window."""
REMEMBERED = 2000
"""Small pictures that are kept."""
DOTS = {"done": QColor(52, 168, 83), "failed": QColor(217, 72, 59)}


@dataclass(slots=True)
class Item:
    """A photo of the queue.

    Attributes:
        path: the photo; megapixels: its size, 0 if it is not known.
        state: what became of it; reason: why it was skipped or failed.
        share: how much of it is done.
        target: its result, or where it will be.
        crashes: how often the worker ended while it was in hand.
        notes: what could not be kept as it was.
    """

    path: Path
    megapixels: float = 0.0
    state: State = "new"
    reason: str = ""
    share: float = 0.0
    target: Path | None = None
    crashes: int = 0
    notes: list[str] = field(default_factory=list)


class PhotoModel(QAbstractListModel):
    """The photos of the queue, in their order."""

    def __init__(self, megapixels: float, parent: Any = None) -> None:
        super().__init__(parent)
        self.items: list[Item] = []
        self._rows: dict[str, int] = {}
        self._small: OrderedDict[str, QIcon | None] = OrderedDict()
        self._background = Background(1, self)
        self._limit = megapixels
        self.ratio = 1.0

    def close(self) -> None:
        """Make no more small pictures."""
        self._background.close()

    def add(self, items: Iterable[Item]) -> int:
        """Add those that are not there; how many."""
        fresh = list({str(i.path): i for i in items if str(i.path) not in self._rows}.values())
        if fresh:
            first = len(self.items)
            self.beginInsertRows(QModelIndex(), first, first + len(fresh) - 1)
            for number, item in enumerate(fresh, first):
                self._rows[str(item.path)] = number
            self.items.extend(fresh)
            self.endInsertRows()
        return len(fresh)

    def remove(self, paths: set[Path]) -> None:
        """Take photos out of the queue."""
        self.beginResetModel()
        self.items = [item for item in self.items if item.path not in paths]
        self._rows = {str(item.path): number for number, item in enumerate(self.items)}
        self.endResetModel()

    def find(self, path: str) -> Item | None:
        """The item of a photo."""
        row = self._rows.get(path)
        return None if row is None else self.items[row]

    def touched(self, item: Item) -> None:
        """An item was changed: draw it again."""
        index = self.index(self._rows[str(item.path)], 0)
        self.dataChanged.emit(index, index)

    def all_touched(self) -> None:
        """All items were changed."""
        if self.items:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.items) - 1, 0))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's
        """How many photos there are."""
        return 0 if parent.isValid() else len(self.items)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What is shown of a photo."""
        item = self.items[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return item.path.name
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join([str(item.path), self.words(item), *item.notes])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{item.path.name}: {self.words(item)}"
        if role == Qt.ItemDataRole.DecorationRole:
            return self._picture(item)
        if role == Qt.ItemDataRole.UserRole:
            return item
        return None

    def words(self, item: Item) -> str:
        """The state of a photo in words."""
        if item.state == "failed":
            return self.tr("Failed: %s") % item.reason
        if item.state == "skipped":
            return self.tr("Skipped: %s") % item.reason
        if item.state == "working":
            return self.tr("%d %%") % round(item.share * 100)
        if item.state == "done":
            return item.reason or self.tr("Done")
        if item.state == "waiting":
            return self.tr("Waiting")
        if not item.megapixels:
            return ""
        digits = 1 if item.megapixels >= 1 else 2
        return self.tr("%s MP") % QLocale().toString(item.megapixels, "f", digits)

    def _picture(self, item: Item) -> QIcon | None:
        """A photo's small picture, which is made when it is first asked for."""
        key = str(item.path)
        if key in self._small:
            self._small.move_to_end(key)
            return self._small[key]
        self._small[key] = None
        while len(self._small) > REMEMBERED:
            self._small.popitem(last=False)
        side, limit = round(SIDE * self.ratio), self._limit
        self._background.run(
            lambda: thumbnail(item.path, side, limit),
            lambda image, _: self._made(key, image), first=True,
        )  # fmt: skip
        return None

    def _made(self, key: str, image: QImage | None) -> None:
        if image is None:
            return
        pixmap = QPixmap.fromImage(image)
        pixmap.setDevicePixelRatio(self.ratio)
        self._small[key] = QIcon(pixmap)
        row = self._rows.get(key)
        if row is not None:
            self.touched(self.items[row])


class PhotoDelegate(QStyledItemDelegate):
    """Draws a row: picture, name, state."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        """Room for the picture and two lines."""
        return QSize(220, max(SIDE + 12, 2 * option.fontMetrics.height() + 24))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Draw it."""
        style = option.widget.style()
        item: Item = index.data(Qt.ItemDataRole.UserRole)
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        box: QRect = option.rect
        palette: QPalette = option.palette
        panel = QStyle.PrimitiveElement.PE_PanelItemViewItem
        painter.save()
        painter.setClipRect(box)
        style.drawPrimitive(panel, option, painter, option.widget)
        square = QRect(box.left() + 8, box.center().y() - SIDE // 2 + 1, SIDE, SIDE)
        icon = index.data(Qt.ItemDataRole.DecorationRole)
        if icon is None:
            painter.fillRect(square, palette.color(QPalette.ColorRole.Midlight))
        else:
            icon.paint(painter, square)
        role = QPalette.ColorRole.HighlightedText if chosen else QPalette.ColorRole.Text
        ink = palette.color(role)
        line = option.fontMetrics.height()
        left, width = square.right() + 11, box.right() - square.right() - 20
        top = box.center().y() - line - (line // 2 if item.state == "failed" else 1)
        elided = option.fontMetrics.elidedText
        painter.setPen(ink)
        name = elided(item.path.name, Qt.TextElideMode.ElideMiddle, width)
        painter.drawText(QRect(left, top, width, line), int(Qt.AlignmentFlag.AlignLeft), name)
        below = QRect(left, top + line + (1 if item.state == "failed" else 4), width, line)
        if item.state == "working":
            self._bar(painter, below, item.share, palette, chosen=chosen)
        else:
            self._words(painter, below, index, item, ink, elided)
        painter.restore()

    def _words(
        self, painter: QPainter, box: QRect, index: Index, item: Item, ink: QColor, elided: Any
    ) -> None:
        model = index.model()
        assert isinstance(model, PhotoModel)
        text, dot = model.words(item), DOTS.get(item.state)
        if dot is not None:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(dot)
            painter.drawEllipse(box.left(), box.center().y() - 3, 8, 8)
            box = box.adjusted(14, 0, 0, 0)
        soft = QColor(ink)
        soft.setAlphaF(0.68)
        painter.setPen(soft)
        flags = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        width = box.width()
        if item.state == "failed":  # a reason has two lines
            flags |= int(Qt.TextFlag.TextWordWrap)
            box, width = box.adjusted(0, 0, 0, box.height()), round(width * 1.7)
        painter.drawText(box, flags, elided(text, Qt.TextElideMode.ElideRight, width))

    def _bar(
        self, painter: QPainter, box: QRect, share: float, palette: QPalette, *, chosen: bool
    ) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        track = QRect(box.left(), box.center().y() - 2, box.width() - 8, 5)
        ground = QColor(palette.color(QPalette.ColorRole.Text))
        ground.setAlphaF(0.15)
        painter.setBrush(ground)
        painter.drawRoundedRect(track, 2.5, 2.5)
        role = QPalette.ColorRole.HighlightedText if chosen else QPalette.ColorRole.Highlight
        painter.setBrush(palette.color(role))
        full = QRect(track)
        full.setWidth(max(5, round(track.width() * share)))
        painter.drawRoundedRect(full, 2.5, 2.5)
