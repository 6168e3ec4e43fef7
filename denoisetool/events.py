"""What the program says while it works: one versioned JSON object per line with `--json`.

Additive only: keys are added, never renamed or removed, within one version. Every object has
`v` and `event`. Numbers: seconds, megapixels, bytes; noise in levels of 255; colour in CIEDE2000.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from denoisetool.errors import DenoiseError

VERSION = 1
Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Start:
    """Where and how the batch is computed.

    Attributes:
        device: `cpu`, `cuda:0`, ...; precision: `fp32`, `bf16` or `fp16`; reason: why these.
        model: its name.
        photos: how many are to be done; megapixels is known only photo by photo.
    """

    device: str
    precision: str
    reason: str
    model: str
    photos: int


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be done with one photo (`--dry-run`)."""

    source: Path
    target: Path | None
    action: Literal["denoise", "skip", "refuse"]
    reason: str = ""
    megapixels: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What became of one photo.

    Attributes:
        source: the photo; target: what was written, None if nothing was planned.
        status: done, skipped or failed; reason: why, unless done.
        error: the error's kind, a stable word (see errors.py), for failures.
        megapixels: its size.
        seconds: time of decode, denoise and encode, summed.
        noise: estimated noise that was removed at strength 1, rms in levels of 255.
        shift: CIEDE2000 between the coarse pictures before and after, mean and p95.
        changed: False when the file was copied as it is, since no pixel changed.
        notes: sentences about what could not be kept or had to be done otherwise.
    """

    source: Path
    target: Path | None
    status: Status
    reason: str = ""
    error: str | None = None
    megapixels: float = 0.0
    seconds: float = 0.0
    noise: float | None = None
    shift_mean: float | None = None
    shift_p95: float | None = None
    changed: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a batch."""

    done: int
    skipped: int
    failed: int
    ignored: int
    megapixels: float
    seconds: float
    interrupted: bool = False
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """The command failed as a whole."""

    kind: str
    what: str
    path: Path | None
    hint: str
    exit_code: int


Event = Start | Planned | Outcome | Summary | Problem
_NAMES: dict[type, str] = {
    Start: "start", Planned: "planned", Outcome: "photo", Summary: "summary", Problem: "error",
}  # fmt: skip


def problem(error: DenoiseError) -> Problem:
    """The event for an error that ended the command."""
    return Problem(error.kind, error.what, error.path, error.hint, error.exit_code)


def to_json(event: Event) -> str:
    """One line of JSON, ASCII only, so that any pipe carries it; no line feed at the end."""
    body: dict[str, Any] = {"v": VERSION, "event": _NAMES[type(event)], **asdict(event)}
    return json.dumps(body, default=str)
