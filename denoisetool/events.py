"""What the program says while it works: one versioned JSON object per line with `--json`.

Additive only: keys are added, never renamed or removed, within one version. Every object has
`v` and `event`. Numbers: seconds, megapixels, bytes; noise in levels of 255; colour in CIEDE2000;
what is infinite or undefined is null. File names that are no valid Unicode keep their odd bytes as
lone surrogates (`\udc80` to `\udcff`, PEP 383).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from denoisetool.errors import DenoiseError, explain

VERSION = 1
Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Start:
    """Where and how the batch is computed.

    Attributes:
        device: `cpu`, `cuda:0`, ...; precision: `fp32`, `bf16` or `fp16`; reason: why these.
        model: its name.
        photos: how many are to be done; megapixels is known only photo by photo.
        scale: how many times larger results are on each side.
    """

    device: str
    precision: str
    reason: str
    model: str
    photos: int
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be done with one photo (`--dry-run`).

    `megapixels` is its size before, and `scale` how many times larger it would become on each side.
    """

    source: Path
    target: Path | None
    action: Literal["denoise", "skip", "refuse"]
    reason: str = ""
    megapixels: float = 0.0
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """The end of a dry run: what the real one would do and need.

    Attributes:
        denoise, skip, refuse: how many photos.
        megapixels: what the model would have to do.
        bytes: what the outputs will take, roughly; free_bytes: what is free there, if known.
        seconds: how long it will take, roughly; None where nothing was measured yet.
        ignored: files passed over that are no photos.
    """

    denoise: int
    skip: int
    refuse: int
    megapixels: float
    bytes: int
    free_bytes: int | None
    seconds: float | None
    ignored: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of one photo.

    Attributes:
        source: the photo; target: what was written, None if nothing was planned.
        status: done, skipped or failed; reason: why, unless done.
        error: the error's kind, a stable word (see errors.py), for failures.
        megapixels: its size.
        scale: how many times larger it became on each side.
        width, height: size in pixels of the result, upright; None if there is none.
        seconds: time of decode, denoise and encode, summed.
        noise: estimated noise that was removed at strength 1, rms in levels of 255; None where it
            is not known, as of an enlarged photo.
        noise_kind: `camera`, `white` or `own`; None when the model does not tell them apart.
        model: name of a model fine-tuned for its camera, if one was used.
        clean: True when there was next to no noise and the photo was left as it is.
        shift: CIEDE2000 between the coarse pictures before and after, mean and p95.
        changed: False when the file was copied as it is, since no pixel changed.
        notes: sentences about what could not be kept or had to be done otherwise.
        digest: hash of the photo's file content (BLAKE2b, 256 bits, hex), once it was read.
    """

    source: Path
    target: Path | None
    status: Status
    reason: str = ""
    error: str | None = None
    megapixels: float = 0.0
    seconds: float = 0.0
    noise: float | None = None
    noise_kind: str | None = None
    model: str | None = None
    clean: bool = False
    shift_mean: float | None = None
    shift_p95: float | None = None
    changed: bool = True
    notes: list[str] = field(default_factory=list)
    digest: str | None = None
    scale: int = 1
    width: int | None = None
    height: int | None = None

    def fail(self, error: BaseException) -> None:
        """Turn this into the outcome of a photo that could not be done."""
        self.status = "failed"
        self.reason, self.error = explain(error, known=(self.source, self.target))


def failure(source: Path, target: Path | None, error: BaseException) -> Outcome:
    """The outcome of a photo that failed before it was begun."""
    outcome = Outcome(source, target, "failed")
    outcome.fail(error)
    return outcome


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a batch.

    Attributes:
        done, skipped, failed: photos with an outcome; left: those that were not begun, because the
            run was interrupted or the disk was full.
        ignored: files passed over that are no photos.
        megapixels: what was done, in seconds of wall time.
        interrupted: whether somebody asked to stop before all was done.
        exit_code: what the process will exit with.
    """

    done: int
    skipped: int
    failed: int
    ignored: int
    megapixels: float
    seconds: float
    interrupted: bool = False
    exit_code: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class Watching:
    """A folder is being watched from now on.

    Attributes:
        folder: it; output: where its results go, None for the neighbour that `folder` names.
        mode: `events` or `polling`; reason: why polling, if it is that.
    """

    folder: Path
    output: Path | None
    mode: Literal["events", "polling", "once"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened to a watch that concerns no single photo, or a step after one.

    Attributes:
        kind: a stable word, such as `disk_full`, `folder_gone`, `overflow`, `worker_died`.
        text: a sentence for people; path: the file or folder concerned.
    """

    kind: str
    text: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """How a watch stands (`watch DIR --status`). seen = done + failed + waiting.

    Attributes:
        folder: the watched folder; output: where its results go.
        alive: whether its watcher runs; pid, host, started: which, and since when (Unix time).
        heartbeat: seconds since it last said that it is well; None if it never did.
        gone: photos that were taken away before they were done; they are not among the seen.
        per_hour: photos finished within the last hour.
        working: what is in hand, with the seconds since it was begun.
        failures: path and reason of every photo that cannot be done.
    """

    folder: Path
    output: Path | None
    alive: bool
    pid: int | None
    host: str
    started: float | None
    heartbeat: float | None
    mode: str
    seen: int
    done: int
    failed: int
    waiting: int
    gone: int
    per_hour: int
    working: list[dict[str, Any]]
    failures: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Problem:
    """The command failed as a whole."""

    kind: str
    what: str
    path: Path | None
    hint: str
    exit_code: int


Event = Start | Planned | Forecast | Outcome | Summary | Watching | Notice | WatchStatus | Problem
_NAMES: dict[type, str] = {
    Start: "start", Planned: "planned", Forecast: "forecast", Outcome: "photo",
    Summary: "summary", Watching: "watching", Notice: "notice", WatchStatus: "status",
    Problem: "error",
}  # fmt: skip


def problem(error: Exception) -> Problem:
    """The event for an error that ended the command, expected or not."""
    if isinstance(error, DenoiseError):
        return Problem(error.kind, error.what, error.path, error.hint, error.exit_code)
    what, kind = explain(error)
    return Problem(kind, what, None, "", 1)


def to_json(event: Event, **more: Any) -> str:
    """One line of JSON for an event, with more keys at its end if wanted; see `record`."""
    return record(_NAMES[type(event)], **asdict(event), **more)


def record(event: str, **body: Any) -> str:
    """One line of JSON, ASCII only, so that any pipe carries it; no line feed at the end."""
    return json.dumps({"v": VERSION, "event": event, **_plain(body)}, allow_nan=False)


def _plain(value: Any) -> Any:
    """Only what JSON knows: paths as text, numbers that are none as null."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)
