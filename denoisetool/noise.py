"""What is done with an estimated noise field: scaled by the user's wishes, measured, subtracted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from denoisetool.color import Drift
from denoisetool.photo import Pixels

Half = npt.NDArray[np.float16]
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of R', G' and B' in luma Y' (ITU-R BT.709)."""
BAND = 256
"""Rows worked on at once, so that float copies stay small for any picture."""


def rms(noise: Half) -> float:
    """Root mean square of a noise field (H, W, C), in its own unit, over every fourth row."""
    rows = noise[len(noise) % 4 // 2 :: 4]
    total = 0.0
    for top in range(0, len(rows), BAND):
        part = rows[top : top + BAND].astype(np.float32)
        total += float(np.vdot(part, part))
    return float(np.sqrt(total / max(1, rows.size)))


def subtract(
    pixels: Pixels,
    noise: Half,
    peak: float,
    *,
    strength: float = 1.0,
    luma: float = 1.0,
    chroma: float = 1.0,
    drift: Drift | None = None,
) -> bool:
    """Take noise out of a picture, in place, rounded and clipped to its own depth.

    Args:
        pixels: (H, W, C), C = 1 or 3; changed in place. Float pictures are not clipped.
        noise: (H, W, C) in units of `peak`.
        peak: 255, 65535 or 1.0.
        strength: 0..1, the share of the noise to take out.
        luma: 0..1, share of the brightness part (BT.709 Y').
        chroma: 0..1, share of what is left when the brightness part is gone.
        drift: what is to be taken out of the noise first, to hold the colour.

    Returns:
        Whether any sample changed.
    """
    if strength == 0 or luma == chroma == 0:
        return False
    changed = False
    scale = np.float32(strength * peak)
    buffer: npt.NDArray[Any] = pixels
    for top in range(0, len(pixels), BAND):
        part = noise[top : top + BAND].astype(np.float32)
        if drift is not None:
            part -= drift.band(top, top + len(part))
        if part.shape[2] > 1 and luma != chroma:
            bright = (part @ LUMA)[..., None]
            part *= chroma * scale
            part += (luma - chroma) * scale * bright
        else:
            part *= luma * scale
        before = buffer[top : top + BAND]
        after: npt.NDArray[Any] = before.astype(np.float32)
        after -= part
        if before.dtype.kind == "u":
            np.rint(after, out=after)
            after = np.clip(after, 0, peak, out=after).astype(before.dtype)
        changed = changed or not np.array_equal(before, after)
        buffer[top : top + BAND] = after
    return changed
