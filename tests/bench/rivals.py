"""Other people's denoisers on the same pictures, each with the settings that suit it best.

A rival that wants to be told the noise is told it: sigma itself for Gaussian noise, and for cameras
the one of a few values that gives the best mean over the set, which nobody knows beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Method = Callable[[npt.NDArray[np.float32], float], Picture]
"""A noisy picture in levels, as float32, and the strength: what the method makes of it."""


def in_8_bits(levels: npt.NDArray[Any]) -> Picture:
    """Levels as a file of 8 bits has them: rounded and clipped."""
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def nlm(noisy: npt.NDArray[np.float32], strength: float) -> Picture:
    """OpenCV's non-local means; it takes 8 bits only."""
    import cv2

    given = in_8_bits(noisy)
    cleaned: Picture = cv2.fastNlMeansDenoisingColored(given, None, strength, strength, 7, 21)
    return cleaned


def bm3d(noisy: npt.NDArray[np.float32], strength: float) -> Picture:
    """CBM3D of Maekinen et al., the authors' own package."""
    import bm3d as package

    found = package.bm3d_rgb(noisy / 255, strength / 255)
    return in_8_bits(np.asarray(found) * 255)


RIVALS: dict[str, tuple[Method, Callable[[float | None], tuple[float, ...]]]] = {
    "nlm": (nlm, lambda sigma: (3, 5, 8) if sigma is None else (0.5 * sigma, 0.65 * sigma)),
    "bm3d": (bm3d, lambda sigma: (10, 15, 20) if sigma is None else (sigma,)),
}
"""What each is called, and the strengths to try: at a known sigma, or where nobody knows it."""
