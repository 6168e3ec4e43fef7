"""The mean that a camera's noise has in a developed photo.

A sensor's noise has none. Two things give it one on the way to the file: what is below black was
cut off, so that the darkest parts come out too bright; and the tone curve is bent, steepest in the
dark, so that what is darker by chance loses more than what is brighter gains. Strong noise makes
shadows too dark by several levels, each colour by as much as it was amplified: a tint.

A net that has learned what cameras do finds that mean with the noise. Here is how large it may be,
so that the colour lock does not take it for an error of the net. From what the file shows nothing
exact follows, other than for noise that came after the curve, see `clipping`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from denoisetool.clipping import normal, shares
from denoisetool.color import Float
from denoisetool.lanes import CALLER, Lanes
from denoisetool.photo import Pixels

FAR = 3
"""Standard deviations from the end of the scale beyond which next to nothing is clipped."""
MOST_CUT = 0.25
"""Standard deviations above the mean of the noise at which it is taken to be cut off at most: six
of ten samples. Where there are more, little can be told from them."""
BEND = (2.2 - 1) / 2
"""How much too dark noise makes a part, as a multiple of its variance by the value of the part:
what follows from the curve y = x ** (1 / 2.2), to the second order in the noise. By night, in
`tests.bench.phone`, `fast` gains 1.1 dB by it, and the coarse colour comes out closer to the truth;
on `nam` and `polyu`, whose noise is mild, it changes 0.001 dB."""
MOST_BENT = 0.5
"""The most of that as a multiple of the standard deviation; in deep shadows it is not exact."""


def explained(
    pixels: Pixels, coarse: Float, sigma: Float, peak: float, lanes: Lanes = CALLER
) -> tuple[Float, Float] | None:
    """Between what the mean of a camera's noise may lie.

    Args:
        pixels: (H, W, C), noisy, in their own depth.
        coarse: (h, w, C) their means over cells, in the same unit.
        sigma: (h, w, C) standard deviation of the noise over cells, in units of `peak`.
        peak: value of white.
        lanes: what works on rows of cells side by side.

    Returns:
        The lowest, not above 0, and the highest, not below, (h, w, C) in units of `peak`. None for
        float pictures, which have no ends, and whose curve is not known.
    """
    if pixels.dtype.kind != "u":
        return None
    reach = FAR * peak * sigma
    rows = np.flatnonzero(((coarse < reach) | (coarse > peak - reach)).any((1, 2)))
    lowest = -np.minimum(BEND * np.square(sigma) * peak / np.maximum(coarse, 1), MOST_BENT * sigma)
    highest = np.zeros_like(sigma)
    if len(rows):
        dark, light = (np.interp(shares(pixels, (end,), rows, lanes), *MEANS) for end in (0, peak))
        lowest[rows] -= sigma[rows] * light
        highest[rows] = sigma[rows] * dark
    return lowest, highest


def _means() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of normal noise that are cut off at one end, and the mean that it has then.

    The second as a multiple of the standard deviation that it has then.
    """
    level = np.linspace(-4, MOST_CUT, 100)  # of the end, in standard deviations above the mean
    share, density = normal(level), np.exp(-np.square(level) / 2) / math.sqrt(2 * math.pi)
    mean = density + level * share
    after = mean - level  # what is above the end, from there
    power = (np.square(level) + 1) * (1 - share) - level * density
    return share, mean / np.sqrt(power - np.square(after))


MEANS = _means()
