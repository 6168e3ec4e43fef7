"""A photo that is being looked at: any part of it denoised, again and again, as wishes change.

The noise of a part is estimated once; other wishes only take it out anew. What a full run decides
from the whole photo (the colour lock, the bounds of the change, whether the photo is clean) is
first guessed from the part, and exact once `measure` has been through the whole photo. The second
pass of a strength above 1 is always bounded by what its part tells, and so is what goes before a
model that enlarges in photos too large to keep their noise. With such a model, what is shown is as
much larger than the part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisetool import bicubic, clipping, color, metrics, noise
from denoisetool.color import CELL, CoarseField, Float
from denoisetool.denoiser import COARSE, Denoiser, Estimate, Report, check_finite
from denoisetool.lanes import Lanes
from denoisetool.photo import Half, Photo, Pixels, in_depth

Array = npt.NDArray[Any]
KEPT = 32.0
"""Megapixels up to which the noise of a whole photo is kept: 6 bytes a pixel."""


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a photo, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int

    @property
    def megapixels(self) -> float:
        """Its size in millions of pixels."""
        return self.width * self.height / 1e6

    @property
    def cells(self) -> Part:
        """Where it is in a grid of cells, if it begins with one."""
        left, top = self.left // CELL, self.top // CELL
        right, bottom = -(-(self.left + self.width) // CELL), -(-(self.top + self.height) // CELL)
        return Part(left, top, right - left, bottom - top)

    def within(self, photo: Photo) -> Part:
        """What of it lies in the photo."""
        left, top = max(0, self.left), max(0, self.top)
        right = min(photo.width, self.left + self.width)
        bottom = min(photo.height, self.top + self.height)
        return Part(left, top, max(0, right - left), max(0, bottom - top))

    def grown(self, margin: int, photo: Photo) -> Part:
        """It with a margin around, widened to whole cells, as far as the photo goes."""
        left, top = (max(0, start - margin) // CELL * CELL for start in (self.left, self.top))
        right = -(-(self.left + self.width + margin) // CELL) * CELL
        bottom = -(-(self.top + self.height + margin) // CELL) * CELL
        return Part(left, top, right - left, bottom - top).within(photo)

    def enlarged(self, scale: int) -> Part:
        """Where it is in the photo's enlargement."""
        return Part(scale * self.left, scale * self.top, scale * self.width, scale * self.height)

    def holds(self, other: Part) -> bool:
        """Whether all of another part lies in this one."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.left + other.width <= self.left + self.width
            and other.top + other.height <= self.top + self.height
        )

    def of(self, picture: Array, origin: Part | None = None) -> Array:
        """This part of (H, W, C), which begins at the photo's corner or at that of `origin`."""
        left, top = self.left, self.top
        if origin is not None:
            left, top = left - origin.left, top - origin.top
        return picture[top : top + self.height, left : left + self.width]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How much is to be taken out; see `denoiser.Denoiser`."""

    strength: float = 1.0
    luma: float = 1.0
    chroma: float = 1.0
    color_lock: bool = True

    @property
    def nothing(self) -> bool:
        """Whether the photo stays as it is."""
        return self.strength == 0 or self.luma == self.chroma == 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of a photo, denoised.

    Attributes:
        pixels: (H, W, C) in the photo's own depth, larger than the part if the model enlarges.
        exact: whether a full run gives the same, up to the last rounding.
        noise: estimated rms, in levels of 255; of the photo if exact, else of the part;
            None if it is not known.
        kind: of that noise, `camera`, `white` or `own`; None when the model does not ask.
        clean: whether the photo is left alone, since it has next to no noise.
    """

    pixels: Pixels
    exact: bool
    noise: float | None
    kind: str | None
    clean: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """The noise of a part, and what follows from it for how it is taken out.

    Attributes:
        part: which part; noise: its noise, None where only what follows is kept.
        drift: what the colour lock takes out of the noise; bound: factors on what is left.
        rms: of the noise, in levels of 255, None if it is not known; clean: whether there is next
            to none; clipped: see `Rules`.
        settled: whether all that is from the whole photo, as in a full run.
    """

    part: Part
    noise: Half | None
    drift: CoarseField
    bound: CoarseField | None
    rms: float | None
    clean: bool
    clipped: float = 0.0
    settled: bool = False


class Preview:
    """One photo with one model.

    Args:
        photo: the photo; it stays as it is.
        denoiser: whose engine and tiles are used; what it is to take out does not count.

    Attributes:
        scale: how many times larger on each side the model makes photos.
    """

    def __init__(self, photo: Photo, denoiser: Denoiser) -> None:
        self.photo, self._denoiser = photo, denoiser
        self.scale = denoiser.engine.card.scale
        self._lanes = Lanes(denoiser.engine.lanes.count)  # its own: the engine's may be busy
        self._kind: str | None = None
        self._asked = self._checked = False
        self._whole: _Found | None = None
        self._part: _Found | None = None

    @property
    def measured(self) -> bool:
        """Whether the whole photo was gone through."""
        return self._whole is not None

    @property
    def all_kept(self) -> bool:
        """Whether the noise of the whole photo is there, so that every part is quick to show."""
        return self._whole is not None and self._whole.noise is not None

    def measure(
        self, progress: Callable[[float], None] | None = None, denoiser: Denoiser | None = None
    ) -> None:
        """Go through the whole photo, so that parts of it are shown exactly.

        Args:
            progress: called with the share done; what it raises ends this.
            denoiser: does it, in a thread of its own, instead of the one that shows parts.

        Raises: as `Denoiser.denoise`.
        """
        self._check()
        photo, denoiser = self.photo, denoiser or self._denoiser
        found = denoiser.estimate(photo, Report(kind=self._kind_of_noise()), progress)
        part = Part(0, 0, photo.width, photo.height)
        whole = replace(self._follow(part, photo.pixels, found, denoiser), settled=True)
        kept = photo.megapixels * self.scale**2 <= KEPT
        self._whole = whole if kept else replace(whole, noise=None)

    def show(self, part: Part, wishes: Wishes) -> Shown:
        """A part of the photo as it will be.

        Args:
            part: which; it must lie in the photo.
            wishes: how much is to be taken out.

        Raises: as `Denoiser.denoise`, wherever in the photo the reason is.
        """
        photo, whole = self.photo, self._whole
        if self.scale > 1 or not wishes.nothing:
            self._check()
        if wishes.nothing:
            return Shown(self._before(part), True, 0.0, None, False)
        twice = wishes.strength > 1 and self.scale == 1
        area = part.grown(self._margin(), photo) if twice else part
        found = self._noise_of(area, whole)
        rules = whole or found
        kind = self._kind_of_noise()
        told = noise.spoken(kind)
        if whole is not None and whole.clean and not twice:
            return Shown(self._before(part), True, whole.rms, told, True)
        pixels = self._before(area)
        self._take_out(pixels, area, found, rules, wishes, min(1.0, wishes.strength))
        if twice:
            after = Photo(pixels, photo.format, photo.mode)
            again = self._denoiser.estimate(after, Report(kind=kind))
            second = self._follow(area, area.of(photo.pixels), again, self._denoiser, 1)
            self._take_out(pixels, area, second, second, wishes, wishes.strength - 1)
            pixels = part.of(pixels, area)
        exact = whole is not None and not twice
        if self._denoiser.first is not None:
            exact = exact and found is whole
        return Shown(pixels, exact, rules.rms, told, False)

    def _check(self) -> None:
        """Refuse what a full run refuses."""
        if not self._checked:
            check_finite(self.photo, self.scale, self._lanes)
            self._checked = True

    def _before(self, part: Part) -> Pixels:
        """A part of the photo as it is, or of its enlargement; a copy."""
        photo, scale = self.photo, self.scale
        if scale == 1:
            return part.of(photo.pixels).copy()
        return in_depth(self._enlarged(part.enlarged(scale)), photo.pixels.dtype, photo.peak)

    def _enlarged(self, part: Part) -> Float:
        """A part of the photo's enlargement, neither rounded nor clipped."""
        place = (part.top, part.left, part.height, part.width)
        return bicubic.window(self.photo.pixels, self.scale, *place)

    def _take_out(
        self, pixels: Pixels, area: Part, found: _Found, rules: _Found, wishes: Wishes,
        strength: float,
    ) -> None:  # fmt: skip
        """Subtract the noise of an area from its pixels, in place, by the rules of a part."""
        assert found.noise is not None
        area, known, origin = (p.enlarged(self.scale) for p in (area, found.part, rules.part))
        place = (area.top - origin.top, area.left - origin.left, area.width)
        drift, bound = rules.drift, rules.bound

        def source(top: int, bottom: int) -> Float:
            return self._enlarged(Part(area.left, area.top + top, area.width, bottom - top))

        noise.subtract(
            pixels, area.of(found.noise, known), self.photo.peak,
            strength=strength, luma=wishes.luma, chroma=wishes.chroma,
            drift=drift.part(*place) if wishes.color_lock else None,
            bound=None if bound is None else bound.part(*place),
            source=source if self.scale > 1 else None, lanes=self._lanes,
        )  # fmt: skip

    def _noise_of(self, area: Part, whole: _Found | None) -> _Found:
        """The noise of an area: known from the whole photo, from the last time, or estimated."""
        if whole is not None and whole.noise is not None:
            return whole
        known, white = self._part, self._kind_of_noise() == "white"
        usable = known is not None and (known.settled or whole is None or not white)
        if known is not None and usable and known.part.holds(area):
            return known
        part, margin = area.grown(0, self.photo), self._margin()
        if whole is not None and whole.clipped:
            margin = max(margin, 2 * CELL)  # what `undo` looks at
        seen = part.grown(margin, self.photo)
        window = Photo(seen.of(self.photo.pixels), self.photo.format, self.photo.mode)
        found = self._denoiser.estimate(window, Report(kind=self._kind_of_noise()))
        if whole is not None and whole.clipped:
            peak = self.photo.peak
            clipping.undo(window.pixels, found.noise, whole.clipped, peak, self._lanes)
        scale, locked = self.scale, found.locked
        own = Estimate(
            np.ascontiguousarray(part.enlarged(scale).of(found.noise, seen.enlarged(scale))),
            found.told,
            None if locked is None else part.cells.of(locked, seen.cells),
        )
        if whole is None:
            known = self._follow(part, part.of(self.photo.pixels), own, self._denoiser)
        else:
            known = replace(whole, part=part, noise=own.noise)
        self._part = known
        return known

    def _follow(
        self, part: Part, pixels: Pixels, known: Estimate, denoiser: Denoiser, number: int = 0
    ) -> _Found:
        """What follows from the noise of a part: how a denoiser takes it out in which pass."""
        lanes, scale, found = self._lanes, self.scale, known.noise
        if scale > 1:
            cell, width = scale * CELL, scale * part.width
            drift = color.drift(*color.cells(found, lanes, cell), width, cell, locked=known.locked)
            return _Found(part, found, drift, None, None, False)
        given = Photo(pixels, self.photo.format, self.photo.mode)
        coarse: Float = metrics.box_reduce(pixels, COARSE, lanes)
        rules = denoiser.rules(given, known, coarse, self._kind_of_noise(), number, lanes)
        return _Found(
            part, found, rules.drift, rules.bound, rules.level, rules.clean, rules.clipped
        )

    def _kind_of_noise(self) -> str | None:
        """The kind of noise, from windows all over the photo, as in a full run."""
        if not self._asked:
            self._kind, self._asked = self._denoiser.finder.kind(self.photo), True
        return self._kind

    def _margin(self) -> int:
        """Pixels of context that a part needs around it."""
        return self._denoiser.finder.context(self._kind_of_noise())
