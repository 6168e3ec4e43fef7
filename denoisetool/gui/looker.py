"""Which photo is looked at: it is decoded here, and its preview is asked of the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QRect, QTimer, Signal

from denoisetool.gui.background import Background
from denoisetool.gui.child import Worker
from denoisetool.gui.photo_list import Item
from denoisetool.gui.pictures import Picture, from_reply, load
from denoisetool.gui.preferences import Preferences
from denoisetool.gui.runner import sentence
from denoisetool.gui.viewer import Viewer
from denoisetool.modelcard import SCALES

ASK_AFTER = 20
"""Milliseconds after the last change before a preview is asked for."""
ON_LOOK = ("model", "scale", "device", "precision", "strength", "luma", "chroma", "color_lock",
           "tile")  # fmt: skip
MOST_RESULT = 100.0
"""Megapixels of an enlarged result beyond which the preview is shown and not the result."""


class Looker(QObject):
    """Keeps the view of one photo up to date.

    Signals:
        told: what is to be said about the preview, for the line below the view.
        shown: a preview arrived.
    """

    told = Signal(str)
    shown = Signal()

    def __init__(
        self, viewer: Viewer, worker: Worker, preferences: Preferences, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer, self._worker, self._preferences = viewer, worker, preferences
        self._background = Background(1, self)
        self._item: Item | None = None
        self._picture: Picture | None = None
        self._asked = self._got = 0
        self._result = False
        self.exact = False
        self._timer = QTimer(self, singleShot=True, interval=ASK_AFTER)
        self._timer.timeout.connect(self._ask)
        viewer.looked.connect(self._look)
        preferences.changed.connect(self._setting_changed)
        worker.heard.connect(self._hear)
        worker.died.connect(self._died)

    def close(self) -> None:
        """Decode nothing more."""
        self._background.close()

    @property
    def item(self) -> Item | None:
        """The photo that is looked at."""
        return self._item

    def show(self, item: Item | None) -> None:
        """Look at another photo."""
        if item is self._item:
            return
        self._item, self._picture, self._result = item, None, False
        self._got = self._asked
        self._viewer.show_picture(None)
        self._viewer.show_note(self.tr("Opening…") if item is not None else "")
        self.told.emit("")
        if item is not None:
            limit = self._preferences.get("max_megapixels")
            path = item.path
            self._background.run(
                lambda: load(path, limit), lambda found, error: self._loaded(item, found, error),
                first=True,
            )  # fmt: skip

    def show_result(self, item: Item) -> None:
        """Show what a run made of the photo, if it is the one that is looked at."""
        if item is not self._item or self._picture is None or item.state != "done":
            return
        target = item.target
        if target is None:
            return
        own = self._picture.width * self._picture.height / 1e6
        limit = min(self._preferences.get("max_megapixels"), max(own, MOST_RESULT))
        self._background.run(
            lambda: load(target, limit), lambda found, _: self._result_loaded(item, found)
        )

    def refresh(self) -> None:
        """Ask for the preview again."""
        if self._picture is not None and not self._result:
            self._timer.start()

    # -- events ---------------------------------------------------------------------------------

    def _loaded(self, item: Item, picture: Picture | None, error: Exception | None) -> None:
        if item is not self._item:
            return
        if picture is None:
            why = getattr(error, "what", error)
            self._viewer.show_note(self.tr("This photo cannot be shown: %s") % why)
            return
        self._picture = picture
        self._viewer.show_note("")
        self._viewer.show_picture(picture)
        if item.state == "done" and item.target is not None:
            self.show_result(item)

    def _result_loaded(self, item: Item, picture: Picture | None) -> None:
        own = self._picture
        if item is not self._item or own is None or picture is None:
            return
        sizes = [(scale * own.width, scale * own.height) for scale in SCALES]
        if (picture.width, picture.height) in sizes:
            self._result = True
            self._viewer.show_after(picture)
            self._viewer.show_note("")
            self.told.emit(self.tr("The result in %s") % item.target)

    def _setting_changed(self, name: str) -> None:
        if name in ON_LOOK and self._picture is not None:
            self._result = False
            self._timer.start()

    def _look(self) -> None:
        if self._picture is not None and not self._result:
            self._timer.start()

    def _ask(self) -> None:
        """Ask for what is seen now."""
        part, reduce = self._viewer.seen()
        if self._item is None or part.isEmpty():
            return
        self._asked = self._worker.ask(
            "preview", photo=str(self._item.path), reduce=reduce, enlarge=self._viewer.detail,
            part=[part.x(), part.y(), part.width(), part.height()],
            settings=self._preferences.request(),
        )  # fmt: skip

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if self._item is None:
            return
        own = event.get("photo") == str(self._item.path)
        if kind == "preview" and own and event["request"] > self._got:
            self._show(event)
        elif kind == "measuring" and own:
            if not self._viewer.has_result:
                share = round(event["share"] * 100)
                self._viewer.show_note(self.tr("Looking through the photo… %d %%") % share)
        elif kind == "measured" and own:
            self.refresh()
        elif kind == "error" and event.get("about") == "preview":
            self._viewer.show_patch(None)
            self._viewer.show_note("")
            self.told.emit(self.tr("No preview: %s") % sentence(event))

    def _show(self, event: dict[str, Any]) -> None:
        self._got = event["request"]
        if event["data"] is None:
            self._viewer.show_patch(None)
            later = event["why"] == "later"
            text = self.tr("Looking through the photo…") if later else self.tr(
                "Zoom in to see the result of so large a photo"
            )  # fmt: skip
            self._viewer.show_note(text)
            return
        if self._result:
            return
        image = from_reply(event, None if self._picture is None else self._picture.profile)
        left, top, width, height = event["part"]
        step = max(1, round(width / image.width()))
        if image.width() <= width:  # else a model enlarged it
            width, height = image.width() * step, image.height() * step
        self._viewer.show_patch(image, QRect(left, top, width, height))
        self._viewer.show_note("")
        self.exact = bool(event["exact"])
        self.told.emit(self._words(event))
        self.shown.emit()

    def _words(self, event: dict[str, Any]) -> str:
        """A line about what is seen."""
        if event["scale"] > 1:
            text: str = self.tr("Enlarged %d times") % event["scale"]
            return text if event["exact"] else text + self.tr(" (preview, close to the result)")
        if not event["noise"]:
            return ""
        if event["clean"]:
            return self.tr("This photo is clean already: it will be left as it is.")
        text = self.tr("Noise: %.1f levels of 255") % event["noise"]
        if event.get("noise_kind"):
            kinds = {"camera": self.tr("of a camera"), "white": self.tr("white")}
            text += ", " + kinds.get(event["noise_kind"], str(event["noise_kind"]))
        return text if event["exact"] else text + self.tr(" (preview, close to the result)")

    def _died(self, _why: str) -> None:
        if self._picture is not None:  # else the note says why there is none
            self._viewer.show_note("")

    @property
    def target(self) -> Path | None:
        """The result of the photo that is looked at."""
        return None if self._item is None else self._item.target
