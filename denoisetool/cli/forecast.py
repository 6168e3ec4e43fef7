"""What a dry run can say about space and time, and the memory of speeds behind it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from denoisetool import files
from denoisetool.batch import Batch
from denoisetool.errors import OutputError
from denoisetool.events import Forecast, Summary
from denoisetool.pipeline import Job
from denoisetool.session import Session
from denoisetool.settings import folder

BYTES_PER_PIXEL = {"jpeg": 0.6, "png": 2.5, "tiff": 3.0, "webp": 0.4, "avif": 0.3, "bmp": 3.0}
"""What a clean 8-bit photo takes in each format, where another one is written than was read."""
SMALLEST_SAMPLE = 1.0
"""Megapixels below which a run says nothing about the speed."""


def forecast(batch: Batch, session: Session) -> Forecast:
    """Space and time that a batch needs, as far as they are known."""
    free = None
    if batch.jobs:
        with contextlib.suppress(OutputError):
            free = files.free_bytes(batch.jobs[0].target.parent)
    speed = _speeds().get(_key(session))
    return Forecast(
        denoise=len(batch.jobs),
        skip=len(batch.skipped),
        refuse=len(batch.failed),
        megapixels=round(batch.megapixels, 3),
        bytes=round(sum(_bytes(job) for job in batch.jobs)),
        free_bytes=free,
        seconds=round(batch.megapixels / speed, 1) if speed else None,
        ignored=len(batch.ignored),
    )


def remember_speed(session: Session, summary: Summary) -> None:
    """Keep the measured speed for the next forecast; worth nothing if it fails."""
    if summary.megapixels < SMALLEST_SAMPLE or summary.seconds <= 0:
        return
    known = _speeds() | {_key(session): round(summary.megapixels / summary.seconds, 4)}
    with contextlib.suppress(Exception), files.atomic_write(_path(), overwrite=True) as out:
        out.write(json.dumps(known).encode())


def _bytes(job: Job) -> float:
    if job.format is not None and job.format != "keep":
        return job.megapixels * job.scale**2 * 1e6 * BYTES_PER_PIXEL[job.format]
    try:
        return job.source.stat().st_size * job.scale**2
    except OSError:
        return 0.0


def _key(session: Session) -> str:
    settings = session.settings
    return f"{session.entry.card.weights_sha256[:16]} {settings.device} {settings.precision}"


def _speeds() -> dict[str, float]:
    """Megapixels a second by model, device and precision; {} if the file is missing or odd."""
    try:
        known = json.loads(_path().read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in known.items() if float(value) > 0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _path() -> Path:
    return folder("cache") / "speed.json"
