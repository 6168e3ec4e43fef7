r"""The process behind a window: requests in, events out, one JSON object per line each.

The window asks on standard input: `{"request": NAME, "id": N, ...}`. What it is told on standard
output are the events of `--json` and a few more, each with the `request` that it belongs to.

    models                                    -> models: name, title, origin and problem of each
    warm     settings                         -> start: the model is loaded, where and how
    run      photos, output, without, overwrite, skip_existing, settings
                                              -> planned..., start, progress..., photo..., summary
    pause    on                               the run waits before the next tile, or goes on
    stop     abort                            it ends after the photo in hand; at once
    preview  photo, part [left, top, width, height], reduce, enlarge, settings
                                              -> preview: 8-bit samples of it in base64, boxed by
                                                 `reduce`, with at most `enlarge` samples for one
                                                 on a side where the model enlarges; or `why` not:
                                                 `later`, `too_large`
                                              -> measuring..., measured: ask again, it is exact now

`settings` are those of the command by name, `auto` for what it decides itself. Whatever goes wrong
with a request is an `error` event with `about`. The end of standard input ends the process.

turns.py     who may use the engine next            engines.py   the model that is loaded
photos.py    runs                                   previews.py  previews
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from denoisetool import events

LAST_WAIT = 3.0
"""Seconds that photos which are being written have when the window is gone."""


def main() -> int:
    """Serve on the standard streams until the window is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the window, which ends this
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints is not for the window
    serve(sys.stdin.buffer, out)
    return 0


def serve(lines: Iterable[bytes], out: BinaryIO) -> None:
    """Do what the lines ask for, until they end.

    Args:
        lines: requests; what is none is answered with an error.
        out: where events go.
    """
    from denoisetool.server.engines import Engines
    from denoisetool.server.photos import Runs
    from denoisetool.server.previews import Previews
    from denoisetool.server.turns import Turns

    say = _Voice(out)
    turns, engines = Turns(), Engines(say)
    runs = Runs(say, engines, turns)
    previews = Previews(say, engines, turns, lambda: runs.busy)

    def run(request: dict[str, Any]) -> None:
        previews.rest()
        runs.start(request)

    server: dict[str, Callable[[dict[str, Any]], None]] = {
        "models": lambda request: say("models", models=_models(), request=request.get("id")),
        "warm": previews.ask,
        "preview": previews.ask,
        "run": run,
        "pause": lambda request: runs.pause(bool(request.get("on"))),
        "stop": lambda _: runs.stop(),
        "abort": lambda _: runs.abort(),
    }
    for line in lines:
        number, name = None, ""
        try:
            request = json.loads(line)
            number, name = request.get("id"), request["request"]
            server[name](request)
        except Exception as error:  # noqa: BLE001 - the window is told, whatever it is
            say(events.problem(error), request=number, about=name)
    runs.abort()
    previews.rest()
    runs.join(LAST_WAIT)


class _Voice:
    """Writes events, whole lines only, from any thread."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._lock = out, threading.Lock()

    def __call__(self, event: events.Event | str, **more: Any) -> None:
        known = not isinstance(event, str)
        line = events.to_json(event, **more) if known else events.record(event, **more)  # type: ignore[arg-type]
        data = memoryview(line.encode("ascii") + b"\n")
        with self._lock, contextlib.suppress(OSError, ValueError):  # the window is gone: see lines
            while data:
                data = data[self._out.write(data) :]


def _models() -> list[dict[str, Any]]:
    """The models there are."""
    from denoisetool.registry import Registry

    return [
        {
            "name": entry.name, "title": entry.card.title, "origin": entry.origin,
            "problem": None if entry.problem is None else str(entry.problem),
        }
        for entry in Registry().list()
    ]  # fmt: skip
