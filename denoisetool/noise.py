"""What is done with an estimated noise field: scaled by the user's wishes, measured, subtracted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisetool.color import CoarseField, Float
from denoisetool.lanes import CALLER, Lanes
from denoisetool.modelcard import SOFT
from denoisetool.photo import Half, Pixels, in_depth, widened

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of R', G' and B' in luma Y' (ITU-R BT.709)."""
SHADES, FEW = 24, 24
"""Steps of brightness that are looked at apart, and the cells one needs; where it has fewer, the
next ones speak too."""
USUAL, SHADE_SHARE = 14, 0.25
"""Percentile of the cells that stands for the noise of a step; and the least a step is allowed, as
a share of the whole photo's."""
BOUND = 1.15
"""How many times the usual noise may be taken away."""
WHITE_SHARE, WHITE_LEAST = 0.8, 1.5 / 255
"""Share of the noise that the net for white noise must find too, and the least noise there must be.
It finds 0.04 to 0.73 of the noise of cameras, 0.83 to 1.31 of white noise of 5 levels and more."""
SHARP = 0.36
"""Sharpness from which a photo is not soft. `nam` has 0.26 to 0.31, `polyu` 0.26 to 0.40 (but for
5 %), and Kodak with the noise of either 0.36 to 0.54."""
QUIETEST, SOFT_LEAST = 20, 0.65 / 255
"""Percentile that stands for where least noise was found in a photo, and how much there says that
noise is everywhere; what looks like noise is not. It is 1.2 to 3.3 of 255 in `nam`, 0.65 and more
in 77 of 100 of `polyu`, and 0.59 and less in the clean photos of both, 125 with one exception."""
TOLD_SHARE, TOLD_LEAST = 0.52, 0.25 / 255
"""If this share was found of the noise that is told, on the whole, so much is enough there. Of what
is no noise less is found: of the skin of an orange, which has the 0.59, at most 0.50."""
SOFT_CELL = 4
"""Side in pixels of the cells for it."""
CLEAN, CLEAN_SHARE = 0.65 / 255, 90
"""A photo is clean when this percentile of its cells has less noise than this. Rounding to 8 bits
alone makes 0.3 of 255; the least noisy of 125 real noisy photos has 0.71, the next one 1.14."""
MOST_LEVEL = 1.7
"""Most noise that a photo is said to have, as a multiple of what was found. On `nam` and `polyu`
the true one is 1.3 and 1.8 times that, in the middle. On sharp photos without noise the estimator
alone says 5 of 255, where 1.5 are found."""
BAND = 64
"""Rows worked on at once: their float copies stay in the cache."""


def bounded(power: Float, coarse: Float, peak: float, width: int) -> CoarseField | None:
    """Keep what is taken away within what the noise of the photo allows.

    A camera's noise depends on the brightness, not on the place. Where much more is found than
    elsewhere at the same brightness, a texture was taken for noise: a mesh, a fabric, small print.

    Args:
        power: (h, w, C) mean squares of the noise estimate over cells, from `color.cells`.
        coarse: (h, w, C) the picture boxed the same way, in its own depth.
        peak: 255, 65535 or 1.0.
        width: columns of the picture.

    Returns:
        Factors of at most 1 for the noise; None if it is within the bounds everywhere.
    """
    found = np.sqrt(power.mean(2))
    shade = np.clip(coarse.mean(2) / peak * SHADES, 0, SHADES - 1).astype(np.intp)
    allowed = np.full(SHADES, SHADE_SHARE * np.percentile(found, USUAL))
    for index in np.unique(shade):
        apart = np.abs(shade - index)
        near = next((r for r in range(SHADES) if (apart <= r).sum() >= FEW), SHADES)
        allowed[index] = max(allowed[index], np.percentile(found[apart <= near], USUAL))
    gain = np.minimum(1, BOUND * allowed[shade] / np.maximum(found, 1e-6))
    if gain.min() >= 1:
        return None
    gains = np.repeat(gain[..., None].astype(np.float32), power.shape[2], 2)
    return CoarseField(gains, width)


def kind_of(power: Mapping[str, float]) -> str:
    """Which expert a photo is for.

    A net that knows nothing but white noise leaves correlated noise alone, as it would a texture.
    So noise is white where that net finds about as much as the net for cameras does.

    Args:
        power: mean square of the noise that the experts `camera` and `white` find in the same
            parts of the photo.

    Returns:
        `camera` or `white`.
    """
    camera, white = power["camera"] ** 0.5, power["white"] ** 0.5
    return "white" if camera >= WHITE_LEAST and white >= WHITE_SHARE * camera else "camera"


def sharpness(parts: Sequence[Float]) -> float:
    """How much of what differs between pixels two apart differs between neighbours.

    It tells how fine the finest detail is, whatever the picture shows: a quarter where there is
    none, one where each pixel is another. Pixels farther apart tell less: stairs and print differ
    little there, and in a camera's own size look as sharp as Kodak's photos.

    Args:
        parts: of a photo without its noise, (H, W, C) in [0, 1], at least 3 pixels on each side.

    Returns:
        Mean square of the differences of neighbours, across and down, as a share of that of pixels
        two apart; to this half a level squared is added, for flat photos.
    """

    def differences(lag: int) -> float:
        sums = []
        for part in parts:
            inner = part[:-2, :-2]
            rows, columns = inner.shape[:2]
            down, across = part[lag : lag + rows, :columns], part[:rows, lag : lag + columns]
            sums.append(np.square(down - inner).mean() + np.square(across - inner).mean())
        return float(np.mean(sums))

    return differences(1) / (differences(2) + 0.5 / 255**2)


def is_soft(parts: Sequence[Float], power: Sequence[Float], told: Sequence[Float]) -> bool:
    """Whether a photo with a camera's noise is soft, as those in a camera's own size are.

    Args:
        parts: of the photo without its noise, as for `sharpness`.
        power: (h, w, C) mean squares of the noise that was found in them, over cells of
            `SOFT_CELL`, from `color.cells`.
        told: noise levels all over them, in [0, 1].
    """
    found = np.sqrt(_all([cells.mean(2) for cells in power]))
    believed = _rms(found) >= TOLD_SHARE * _rms(_all(told))
    least = TOLD_LEAST if believed else SOFT_LEAST
    return bool(np.percentile(found, QUIETEST) >= least) and sharpness(parts) < SHARP


def spoken(kind: str | None) -> str | None:
    """What a kind of noise is called where people or programs are told."""
    return "camera" if kind == SOFT else kind


def is_clean(power: Float) -> bool:
    """Whether there is next to no noise in all but a few cells of a photo.

    Args:
        power: (h, w, C) mean squares of the noise estimate over cells, from `color.cells`.
    """
    return bool(np.percentile(np.sqrt(power.mean(2)), CLEAN_SHARE) < CLEAN)


def level(told: Sequence[Float], power: Float) -> float:
    """How much noise a photo has. Nets take out less than they know to be there, to be safe.

    Args:
        told: levels all over parts of the photo, from the net's estimator; empty if it has none.
        power: (h, w, C) mean squares of the noise estimate over cells, from `color.cells`.

    Returns:
        Its rms, in the unit of `told`: what the estimator says where that is plausible, else what
        was found.
    """
    found = float(np.sqrt(power.mean()))
    if not told:
        return found
    return min(_rms(_all(told)), MOST_LEVEL * found)


def _all(parts: Sequence[Float]) -> Float:
    return np.concatenate([part.ravel() for part in parts])


def _rms(values: Float) -> float:
    return float(np.sqrt(np.square(values).mean()))


def subtract(
    pixels: Pixels,
    noise: Half,
    peak: float,
    *,
    strength: float = 1.0,
    luma: float = 1.0,
    chroma: float = 1.0,
    drift: CoarseField | None = None,
    bound: CoarseField | None = None,
    source: Callable[[int, int], Float] | None = None,
    lanes: Lanes = CALLER,
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
        bound: factors of at most 1 for what is then left of the noise.
        source: gives rows from one to another of the picture that the noise is in, as floats in
            the unit of `peak`, where `pixels` is only the place for the result.
        lanes: what works on bands of rows side by side.

    Returns:
        Whether any sample changed.
    """
    if strength == 0 or luma == chroma == 0:
        return False
    changed: list[int] = []
    scale = np.float32(strength * peak)

    def work(top: int) -> None:
        part = widened(noise[top : top + BAND])
        if drift is not None:
            part -= drift.band(top, top + len(part))
        if bound is not None:
            part *= bound.band(top, top + len(part))
        if part.shape[2] > 1 and luma != chroma:
            bright = (part @ LUMA)[..., None]
            part *= chroma * scale
            part += (luma - chroma) * scale * bright
        else:
            part *= luma * scale
        before: npt.NDArray[Any] = pixels[top : top + BAND]
        given = before.astype(np.float32) if source is None else source(top, top + len(before))
        given -= part
        after = in_depth(given, before.dtype, peak)
        if not changed and (source is not None or not np.array_equal(before, after)):
            changed.append(top)
        before[...] = after

    lanes.each(work, range(0, len(pixels), BAND))
    return bool(changed)
