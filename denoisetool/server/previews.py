"""Previews: the part of a photo that is looked at, as it will be."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from denoisetool import events, formats, metrics
from denoisetool.formats.base import Limits
from denoisetool.photo import Photo, in_8_bits
from denoisetool.preview import KEPT, Part, Preview, Shown, Wishes
from denoisetool.server.engines import Engines, session_for
from denoisetool.server.photos import Say
from denoisetool.server.turns import LOOK, MEASURE, Aborted, Turns, User
from denoisetool.session import Session, fitting

QUICK = 6.0
"""Megapixels of a part up to which it is shown before the whole photo was gone through."""
TELL_EVERY = 0.1
QUICK_ENLARGED = 1.5
"""The same with a model that enlarges. The whole photo is not gone through with one."""
MEASURE_TILE = 512
"""Side of the tiles in which a whole photo is gone through: nobody waits long for such a one."""


class Previews:
    """Answers requests in a thread, the latest only; meanwhile goes through the whole photo.

    Args:
        say: tells an event, with the keys given to it by name.
        engines: whence the model comes.
        turns: for it.
        busy: whether a run is under way, which has the machine to itself.
    """

    def __init__(self, say: Say, engines: Engines, turns: Turns, busy: Callable[[], bool]) -> None:
        self._say, self._engines, self._turns, self._busy = say, engines, turns, busy
        self._change = threading.Condition()
        self._wanted: dict[str, Any] | None = None
        self._photo: tuple[object, Photo] | None = None
        self._preview: tuple[object, Preview] | None = None
        self._measurer: User | None = None
        threading.Thread(target=self._serve, name="preview", daemon=True).start()

    def ask(self, request: dict[str, Any]) -> None:
        """Show something; what was asked before and is not begun is not shown any more."""
        with self._change:
            if "photo" in request or self._wanted is None:  # any preview loads the model, too
                self._wanted = request
            self._change.notify()

    def rest(self) -> None:
        """Stop going through the whole photo, for a run."""
        measurer, self._measurer = self._measurer, None  # whose thread may end meanwhile
        if measurer is not None:
            measurer.abort()

    def _serve(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._wanted is not None)
                request, self._wanted = self._wanted, None
            assert request is not None
            try:
                self._answer(request)
            except Exception as error:  # noqa: BLE001 - the window is told, whatever it is
                self._say(events.problem(error), request=request.get("id"), about="preview")

    def _answer(self, request: dict[str, Any]) -> None:
        session = session_for(request.get("settings", {}))
        if "photo" not in request:  # only to have the model loaded
            self._engines.denoiser(session, User(self._turns, LOOK))
            return
        preview, session = self._for(Path(request["photo"]), session)
        part = Part(*map(int, request["part"])).within(preview.photo)
        settings = session.settings
        wishes = Wishes(settings.strength, settings.luma, settings.chroma, settings.color_lock)
        enlarges = preview.scale > 1
        most = QUICK_ENLARGED if enlarges else QUICK
        large = part.megapixels > most and not wishes.nothing and not preview.all_kept
        if large and (enlarges or preview.photo.megapixels > KEPT):
            self._reply(request, preview, part, None, "too_large")
            return
        if large:
            self._reply(request, preview, part, None, "later")
        else:
            with self._quiet():
                shown = preview.show(part, wishes)
            self._reply(request, preview, part, shown, "")
        if not (enlarges or preview.measured or wishes.nothing or self._busy()):
            self._measure(str(request["photo"]), preview, session)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Within the block nobody goes through the whole photo: it is waited for."""
        measurer = self._measurer
        if measurer is not None:
            measurer.hold(True)
        try:
            yield
        finally:
            if measurer is not None:
                measurer.hold(False)

    def _for(self, path: Path, session: Session) -> tuple[Preview, Session]:
        """The photo with its model, and the session with that model.

        What was there of the last photo is let go first.
        """
        status = path.stat() if path.exists() else None
        key: tuple[object, ...] = (path, status and (status.st_mtime_ns, status.st_size))
        if self._photo is None or self._photo[0] != key:
            self.rest()
            self._photo = self._preview = None
            limits = Limits(session.settings.max_megapixels)
            self._photo = (key, formats.read(path, limits))
        entry = fitting(session.tuned, self._photo[1])
        if entry is not None:
            session = Session(replace(session.settings, model=entry.name))
        settings, entry = session.settings, session.entry
        key = (*key, entry.card.weights_sha256, settings.device, settings.precision, settings.tile)
        if session.first is not None:  # which goes over the photo with its own colour lock
            key = (*key, settings.color_lock)
        if self._preview is None or self._preview[0] != key:
            self.rest()
            self._preview = None
            denoiser = self._engines.denoiser(session, User(self._turns, LOOK))
            self._preview = (key, Preview(self._photo[1], denoiser))
        return self._preview[1], session

    def _measure(self, name: str, preview: Preview, session: Session) -> None:
        """Go through the whole photo, in a thread, unless that is under way."""
        if self._measurer is not None:
            return
        self._measurer = user = User(self._turns, MEASURE)
        denoiser = replace(self._engines.denoiser(session, user), tile=MEASURE_TILE)
        told = 0.0

        def progress(share: float) -> None:
            nonlocal told
            if time.monotonic() - told >= TELL_EVERY:
                told = time.monotonic()
                self._say("measuring", photo=name, share=round(share, 4))

        def work() -> None:
            try:
                preview.measure(progress, denoiser)
            except Aborted:
                return
            except Exception as error:  # noqa: BLE001 - the window is told, whatever it is
                self._say(events.problem(error), about="preview")
            else:
                self._say("measured", photo=name)
            finally:
                if self._measurer is user:
                    self._measurer = None

        threading.Thread(target=work, name="measure", daemon=True).start()

    def _reply(
        self, request: dict[str, Any], preview: Preview, part: Part, shown: Shown | None, why: str
    ) -> None:
        """Send a part as 8-bit samples, boxed to the scale that was asked for."""
        body: dict[str, Any] = {"data": None, "why": why}
        if shown is not None:
            pixels = in_8_bits(shown.pixels, preview.photo.peak)
            factor = max(1, int(request.get("reduce", 1))) * preview.scale
            factor //= min(preview.scale, max(1, int(request.get("enlarge", 1))))
            if factor > 1:
                pixels = np.rint(metrics.box_reduce(pixels, factor)).astype(np.uint8)
            height, width, channels = pixels.shape
            data = base64.b64encode(pixels.tobytes()).decode("ascii")
            body = {
                "data": data, "why": why, "width": width, "height": height, "channels": channels,
                "exact": shown.exact, "noise_kind": shown.kind, "clean": shown.clean,
                "noise": None if shown.noise is None else round(shown.noise, 3),
                "scale": preview.scale,
            }  # fmt: skip
        self._say(
            "preview", request=request.get("id"), photo=request["photo"],
            part=[part.left, part.top, part.width, part.height], **body,
        )  # fmt: skip
