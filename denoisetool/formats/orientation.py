"""The eight EXIF orientations (Exif 2.32, tag 274) as array operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def _turn(stored: Array, orientation: int) -> Array:
    """A view of `stored` (H, W, ...) as orientation says it is to be shown."""
    match orientation:
        case 2:
            return stored[:, ::-1]
        case 3:
            return stored[::-1, ::-1]
        case 4:
            return stored[::-1]
        case 5:
            return stored.swapaxes(0, 1)
        case 6:
            return np.rot90(stored, -1)
        case 7:
            return stored.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            return np.rot90(stored, 1)
        case _:
            return stored


def undo(stored: Array, orientation: int) -> Array:
    """Make a stored picture upright.

    Args:
        stored: (H, W) or (H, W, C).
        orientation: EXIF orientation; anything but 2..8 counts as 1.

    Returns:
        C-contiguous; `stored` itself where it is upright and contiguous already.
    """
    return np.ascontiguousarray(_turn(stored, orientation))


def redo(upright: Array, orientation: int) -> Array:
    """The inverse of `undo`: turn an upright picture back to how the file stores it."""
    return np.ascontiguousarray(_turn(upright, INVERSE.get(orientation, 1)))


def compose(quarter_turns: int, mirror: int | None) -> int:
    """The EXIF orientation equal to HEIF's `irot` followed by `imir` (ISO/IEC 23008-12, 6.5).

    Args:
        quarter_turns: anti-clockwise turns by 90 degrees.
        mirror: None, 0 (top and bottom change places) or 1 (left and right do).
    """
    probe = np.arange(6).reshape(2, 3)
    shown = np.rot90(probe, quarter_turns)
    if mirror is not None:
        shown = shown[::-1] if mirror == 0 else shown[:, ::-1]
    for orientation in range(1, 9):
        if np.array_equal(_turn(probe, orientation), shown):
            return orientation
    return 1


TO_HEIF: dict[int, tuple[int, int | None]] = {
    1: (0, None),
    2: (0, 1),
    3: (2, None),
    4: (0, 0),
    5: (1, 0),
    6: (3, None),
    7: (3, 0),
    8: (1, None),
}
"""EXIF orientation -> (quarter turns, mirror), the inverse of `compose`."""
