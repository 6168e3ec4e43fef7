"""What the precision probe found on this machine, so that it runs once and not every time."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from denoisetool import files
from denoisetool.errors import DenoiseError

PROBES = "precision.json"


def recall(cache: Path | None, key: str) -> float | None:
    """What the probe found last time, if that is known."""
    difference = None if cache is None else _known(cache / PROBES).get(key)
    return difference if isinstance(difference, float) else None


def remember(cache: Path | None, key: str, difference: float) -> None:
    """Keep what the probe found; an unwritable cache costs a moment at the next start."""
    if cache is None:
        return
    path = cache / PROBES
    known = json.dumps(_known(path) | {key: difference})
    with contextlib.suppress(DenoiseError), files.atomic_write(path, overwrite=True) as out:
        out.write(known.encode())


def _known(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
