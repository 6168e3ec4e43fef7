from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from denoisetool import errors, events
from denoisetool.errors import DenoiseError, ModelError, explain
from denoisetool.events import (
    Forecast,
    Notice,
    Outcome,
    Planned,
    Start,
    Summary,
    Watching,
    WatchStatus,
)

COMMON = {"v", "event"}
KEYS = {
    "start": {"device", "precision", "reason", "model", "photos", "scale"},
    "planned": {"source", "target", "action", "reason", "megapixels", "scale"},
    "forecast": {
        *("denoise", "skip", "refuse", "megapixels", "bytes", "free_bytes", "seconds", "ignored"),
    },
    "photo": {
        *("source", "target", "status", "reason", "error", "megapixels", "seconds", "noise"),
        *("noise_kind", "model", "clean", "shift_mean", "shift_p95", "changed", "notes", "digest"),
        *("scale", "width", "height"),
    },
    "summary": {
        *("done", "skipped", "failed", "ignored", "megapixels", "seconds", "interrupted"),
        *("exit_code", "left"),
    },
    "watching": {"folder", "output", "mode", "reason"},
    "notice": {"kind", "text", "path"},
    "status": {
        *("folder", "output", "alive", "pid", "host", "started", "heartbeat", "mode", "seen"),
        *("done", "failed", "waiting", "gone", "per_hour", "working", "failures"),
    },
    "error": {"kind", "what", "path", "hint", "exit_code"},
}
"""What programs rely on: keys may be added here, none may ever go while `v` is 1."""

EXAMPLES: list[events.Event] = [
    Start("cpu", "bf16", "no GPU", "fast", 3),
    Planned(Path("a"), Path("b"), "denoise", megapixels=1.0),
    Forecast(1, 2, 3, 4.0, 5, None, None),
    Outcome(Path("a"), Path("b"), "done", notes=["one"]),
    Summary(1, 2, 3, 4, 5.0, 6.0),
    Watching(Path("a"), Path("b"), "polling", "as asked"),
    Notice("disk_full", "no space is left", Path("a")),
    WatchStatus(
        Path("a"),
        Path("b"),
        True,
        1,
        "here",
        1.0,
        2.0,
        "events",
        3,
        2,
        1,
        0,
        0,
        2,
        [],
        [],
    ),
    events.problem(ModelError("gone", path="m", hint="get it")),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: type(e).__name__)
def test_keys_are_stable(event: events.Event) -> None:
    line = events.to_json(event)
    body = json.loads(line)
    assert body["v"] == 1
    assert set(body) == COMMON | KEYS[body["event"]]
    assert "\n" not in line
    assert line.isascii()


def test_every_event_is_tested() -> None:
    assert {json.loads(events.to_json(event))["event"] for event in EXAMPLES} == set(KEYS)


def test_odd_values_stay_json() -> None:
    body = json.loads(
        events.record("odd", inf=math.inf, nan=math.nan, path=Path("a/b"), many=(1, Path("c")),
                      nested={"x": -math.inf, 1: None}, yes=True),
        parse_constant=pytest.fail,
    )  # fmt: skip
    assert body == {
        "v": 1, "event": "odd", "inf": None, "nan": None, "path": "a/b", "many": [1, "c"],
        "nested": {"x": None, "1": None}, "yes": True,
    }  # fmt: skip


def test_a_name_that_is_no_text_survives() -> None:
    import os

    path = Path(os.fsdecode(b"caf\xe9\n.jpg"))
    line = events.to_json(Outcome(path, None, "done"))
    assert os.fsencode(json.loads(line)["source"]) == b"caf\xe9\n.jpg"


def all_errors(kind: type[DenoiseError] = DenoiseError) -> list[type[DenoiseError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in all_errors(sub))]


def test_exit_codes_are_stable() -> None:
    codes = {
        kind.__name__: kind.exit_code for kind in all_errors() if kind.__module__ == errors.__name__
    }
    assert codes == {
        "DenoiseError": 1, "PhotoError": 1, "UnreadablePhoto": 1, "UnsupportedPhoto": 1,
        "PhotoTooLarge": 1, "ImplausibleResult": 1, "OutputExists": 1, "UsageError": 2,
        "NoInputError": 3, "ModelError": 4, "DeviceError": 5, "OutputError": 6, "DiskFull": 6,
    }  # fmt: skip


def test_an_error_says_what_where_and_what_next() -> None:
    error = ModelError("gone", path="m.toml", hint="get it again")
    assert str(error) == "m.toml: gone (get it again)"
    assert error.kind == "ModelError"
    assert str(ModelError("gone")) == "gone"


def test_explain() -> None:
    assert explain(ModelError("gone", path="m")) == ("gone [m]", "ModelError")
    assert explain(ModelError("gone", path="m"), known=[Path("m")]) == ("gone", "ModelError")
    assert explain(MemoryError())[1] == "MemoryError"
    text, kind = explain(ValueError("a\nb"))
    assert "unexpected ValueError: a b" in text
    assert kind == "UnexpectedError"
