"""The loop of the watch, without a process of its own."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any, cast

import pytest

from denoisetool.watch import Options, Watcher
from denoisetool.watch import watcher as module


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_signal_that_takes_longer_than_a_tick_is_not_the_last_thing_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.2)
    stop, rescued = threading.Event(), threading.Event()
    watcher = Watcher(
        [], Options(), make=cast("Any", None), settings="", show=lambda _: None, stop=stop
    )

    def slowly(*_: object) -> None:
        stop.set()
        time.sleep(0.4)

    def rescue() -> None:
        rescued.set()
        watcher._post(lambda: None)

    before = signal.signal(signal.SIGALRM, slowly)
    timer = threading.Timer(20.0, rescue)
    timer.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        watcher.run()
    finally:
        timer.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not rescued.is_set()
