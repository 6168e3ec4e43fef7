"""Which loss fits what is wrong with the photos, seen from the differences of pairs.

L2 finds the mean of all that a target could be, L1 the median, L0 the mode (Lehtinen et al. 2018,
section 3). For cameras' noise, which is zero on average, the mean is right. For text or things that
cover less than half of a place the median is, and for pixels replaced at random the mode.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from denoisetool.finetune.dataset import Views

Loss = Literal["l2", "l1", "l0"]
CELL = 16
SPREAD = 40.0
"""Ratio of the 99th to the 15th percentile of differences in a cell above which some are outliers:
13.6 for a Gaussian."""
SHARE = 0.08
"""Share of the cells with outliers above which noise alone does not explain them."""
CLUSTERED = 1.4
"""How much likelier than elsewhere in its cell an outlier is beside another one, above which they
belong to things; 1 for pixels at random."""
LOOKED_AT = 16


def choose(views: Views) -> Loss:
    """The loss for some pairs."""
    cells, clusters = [], []
    for index in range(0, len(views), max(1, len(views) // LOOKED_AT)):
        noisy, target, counts = views.one(index)
        difference = np.abs(noisy - target).max(2)
        spread, outliers = _outliers(difference, np.asarray(counts.all(2)))
        cells.append(spread)
        if outliers.any():
            clusters.append(_clustering(outliers))
    if not cells or float(np.concatenate(cells).mean()) < SHARE:
        return "l2"
    return "l1" if float(np.mean(clusters)) > CLUSTERED else "l0"


def _outliers(
    difference: npt.NDArray[np.float32], counts: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which cells have outliers, among those that count; and which pixels they are."""
    rows, columns = (n // CELL for n in difference.shape)
    window = np.s_[: rows * CELL, : columns * CELL]

    def split(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        shaped = plane[window].reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3)
        return np.asarray(shaped.reshape(rows, columns, CELL * CELL))

    values, known = split(difference), split(counts.astype(np.float32)).min(2) > 0
    low, high = np.percentile(values, [15, 99], axis=2)
    low = np.maximum(low, 0.5 / 255)
    wide = (high > SPREAD * low) & known
    limit = np.repeat(np.repeat(SPREAD / 4 * low, CELL, 0), CELL, 1)
    inside = np.repeat(np.repeat(wide, CELL, 0), CELL, 1)
    return wide[known], (difference[window] > limit) & inside


def _clustering(outliers: npt.NDArray[np.bool_]) -> float:
    """How often the neighbours of an outlier are outliers, by how often its cell's pixels are."""
    rows, columns = (n // CELL for n in outliers.shape)
    cells = outliers.reshape(rows, CELL, columns, CELL).mean((1, 3))
    density = np.repeat(np.repeat(cells, CELL, 0), CELL, 1)[outliers].mean()
    padded = np.pad(outliers.astype(np.float64), 1)
    height, width = outliers.shape
    around = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    beside = (np.asarray(around)[outliers] - 1).mean() / 8
    return float(beside / density)
