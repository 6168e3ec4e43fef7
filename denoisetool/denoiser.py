"""Photo to photo: noise found (finder.py), colour locked, noise subtracted.

A model whose card has a scale also enlarges. Its noise is as large as the result, and what it is
taken from is the photo's bicubic enlargement; detail that was added is in it, negative, and cannot
be told from noise. So nothing is said about how much noise there was, and no photo is too clean for
it, no texture bounds it, and there is no second pass. It can have another denoiser before it, which
knows noise better; what that one finds is enlarged and counts as noise, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from denoisetool import bias, bicubic, clipping, color, metrics, noise
from denoisetool.color import Float
from denoisetool.errors import UnsupportedPhoto
from denoisetool.finder import Finder, NoiseEstimator, share
from denoisetool.lanes import CALLER, Lanes
from denoisetool.photo import Half, Photo, Pixels

COARSE = 16


@dataclass(slots=True)
class Report:
    """What denoising did to one photo.

    Attributes:
        noise: estimated rms of the photo's noise, in levels of 255; None where it is not known.
        scale: how many times larger the photo became on each side.
        clean: whether there was next to none, so that the photo was left as it is.
        model: name of the model, where it is not the run's own.
        kind: the kind of that noise, `camera`, `white` or `own`; None when the model does not ask.
        shift_mean: CIEDE2000 between the 16 x 16-boxed pictures before and after, mean; pixels are
            those of the photo, and before is its enlargement where it was enlarged.
        shift_p95: the same, 95th percentile.
        changed: whether any sample changed.
        notes: sentences about what had to be done otherwise than planned.
    """

    noise: float | None = 0.0
    scale: int = 1
    model: str | None = None
    kind: str | None = None
    clean: bool = False
    shift_mean: float = 0.0
    shift_p95: float = 0.0
    changed: bool = False
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note, unless it is there."""
        if text not in self.notes:
            self.notes.append(text)


Rest = Callable[[bool], Report]
"""The part of denoising that needs no model, to be called once, in any thread, with whether the
engine's lanes are free for it; else the thread does it alone."""


class Denoises(ABC):
    """What takes the noise out of photos: a `Denoiser`, or something that chooses among some."""

    @abstractmethod
    def begin(self, photo: Photo, progress: Callable[[float], None] | None = None) -> Rest:
        """Do the model's part of `denoise`; until the rest was done the photo is not to be used."""

    def denoise(self, photo: Photo, progress: Callable[[float], None] | None = None) -> Report:
        """Take the noise out of `photo`, in place (its pixels; alpha is enlarged at most).

        Args:
            photo: the photo; its pixels are changed, or become larger ones.
            progress: called with the share of the photo done so far, 0..1.

        Raises:
            UnsupportedPhoto: samples that are not finite, unless the photo is left as it is.
            ImplausibleResult: the model gives nonsense for this photo, in float32 too.
        """
        return self.begin(photo, progress)(True)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The noise of a photo.

    Attributes:
        noise: float16, (H, W, C) or as much larger as the model makes it.
        told: levels of the photo's noise, see `Finder.told`; none if it is enlarged.
        locked: (h, w, C) float32 means over cells of what something before the model found of it,
            whose colours are locked; None if there is none.
    """

    noise: Half
    told: Sequence[Float] = ()
    locked: Float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How the noise that was found in a photo is taken out.

    Attributes:
        drift: what the colour lock takes out of the noise.
        bound: factors on what is left; None if it is within its bounds everywhere.
        level: rms of the photo's noise, in levels of 255; 0 after the first pass.
        clean: whether there is next to none.
        clipped: standard deviation of the noise before it was clipped, as a share of white; 0 if
            it was not. Else what clipping had hidden was added to the noise.
    """

    drift: color.CoarseField
    bound: color.CoarseField | None
    level: float
    clean: bool
    clipped: float


@dataclass(slots=True)
class Denoiser(Denoises):
    """Takes the noise out of photos with one engine and one set of wishes.

    Attributes:
        engine: estimates the noise of tiles.
        strength: 0..2; the second unit is a second pass over the result of the first, or nothing
            where the photo is enlarged.
        luma: 0..1, share of the brightness noise to remove.
        chroma: 0..1, share of the colour noise to remove.
        color_lock: whether coarse colour is held (see color.py).
        tile: tile side in pixels, None for what the free memory suggests.
        fallback: gives the engine for a photo that the first one has no memory for.
        only: the kind of noise that all photos have, if the model knows it; None to look.
        first: what goes over a photo before a model that enlarges.
    """

    engine: NoiseEstimator
    strength: float = 1.0
    luma: float = 1.0
    chroma: float = 1.0
    color_lock: bool = True
    tile: int | None = None
    fallback: Callable[[], NoiseEstimator] | None = None
    only: str | None = None
    first: Denoises | None = None

    def begin(self, photo: Photo, progress: Callable[[float], None] | None = None) -> Rest:
        """See `Denoises`."""
        if self.engine.card.scale > 1 or not self._idle:
            check_finite(photo, self.engine.card.scale, self.engine.lanes)
        if self.engine.card.scale > 1:
            return self._enlarge(photo, self.engine.card.scale, progress)
        report = Report()
        if self._idle:
            return lambda _: report
        coarse: Float | None = None
        number, strength = 0, self.strength
        if strength > 1:
            known = self.estimate(photo, report, share(progress, 0, 1 / 2))
            coarse = metrics.box_reduce(photo.pixels, COARSE, self.engine.lanes)
            self._take_out(photo, known, coarse, 1.0, report, 0, self.engine.lanes)
            number, strength, progress = 1, strength - 1, share(progress, 1 / 2, 1 / 2)
            del known  # two bytes a sample: gone before the next pass, or the encoder, needs room
        known = self.estimate(photo, report, progress)

        def rest(alone: bool) -> Report:
            lanes = self.engine.lanes if alone else CALLER
            before = metrics.box_reduce(photo.pixels, COARSE, lanes) if coarse is None else coarse
            self._take_out(photo, known, before, strength, report, number, lanes)
            report.kind = noise.spoken(report.kind)
            if report.changed:
                after = metrics.box_reduce(photo.pixels, COARSE, lanes)
                report.shift_mean, report.shift_p95 = _shift(before, after, photo.peak)
            return report

        return rest

    @property
    def finder(self) -> Finder:
        """What finds the noise that is taken out."""
        return Finder(self.engine, self.tile, self.fallback, self.only)

    @property
    def _idle(self) -> bool:
        """Whether no noise is to be taken out."""
        return self.strength == 0 or self.luma == self.chroma == 0

    def _enlarge(self, photo: Photo, scale: int, progress: Callable[[float], None] | None) -> Rest:
        """`begin` with a model that enlarges. The colour lock sees the same parts as without."""
        report = Report(noise=None, scale=scale, changed=True)
        known = None if self._idle else self.estimate(photo, report, progress)

        def rest(alone: bool) -> Report:
            lanes = self.engine.lanes if alone else CALLER
            if known is None:
                photo.pixels = bicubic.enlarged(photo.pixels, scale, photo.peak, lanes)
            else:
                self._take_from_enlarged(photo, known, report, lanes)
            if photo.alpha is not None:
                alpha = photo.alpha[..., None]
                photo.alpha = bicubic.enlarged(alpha, scale, photo.peak, lanes)[..., 0]
                if photo.alpha.dtype.kind == "f":
                    photo.alpha = photo.alpha.clip(0, 1)
            photo.scale *= scale
            return report

        return rest

    def _take_from_enlarged(
        self, photo: Photo, known: Estimate, report: Report, lanes: Lanes
    ) -> None:
        """Give a photo the pixels of its enlargement less the noise of that, colour locked."""
        small, peak, found, scale = photo.pixels, photo.peak, known.noise, report.scale
        cell, width = scale * COARSE, scale * photo.width
        mean, power = color.cells(found, lanes, cell)
        drift = color.drift(mean, power, width, cell, locked=known.locked)
        before = np.empty_like(mean)

        def source(top: int, bottom: int) -> Float:
            rows = bicubic.rows(small, scale, top, bottom)
            shown = np.clip(rows, 0, peak) if small.dtype.kind == "u" else rows
            coarse = metrics.box_reduce(shown, cell)
            before[top // cell : -(-bottom // cell)] = coarse  # bands are whole cells
            return rows

        large: Pixels = np.empty(found.shape, small.dtype)
        noise.subtract(
            large, found, peak,
            strength=min(1.0, self.strength), luma=self.luma, chroma=self.chroma,
            drift=drift if self.color_lock else None, source=source, lanes=lanes,
        )  # fmt: skip
        photo.pixels = large
        after = metrics.box_reduce(large, cell, lanes)
        report.shift_mean, report.shift_p95 = _shift(before, after, peak)

    def _take_out(
        self, photo: Photo, known: Estimate, coarse: Float, strength: float, report: Report,
        number: int, lanes: Lanes,
    ) -> None:  # fmt: skip
        """Subtract the noise, colour locked and bounded; first, note how much there was.

        A photo with next to none is left alone, unless more than usual is asked for.
        """
        rules = self.rules(photo, known, coarse, report.kind, number, lanes)
        if number == 0:
            report.noise = rules.level
        report.clean = self.strength <= 1 and rules.clean
        if report.clean:
            return
        changed = noise.subtract(
            photo.pixels, known.noise, photo.peak,
            strength=strength, luma=self.luma, chroma=self.chroma,
            drift=rules.drift if self.color_lock else None, bound=rules.bound, lanes=lanes,
        )  # fmt: skip
        report.changed = report.changed or changed

    def rules(
        self, photo: Photo, known: Estimate, coarse: Float, kind: str | None, number: int,
        lanes: Lanes,
    ) -> Rules:  # fmt: skip
        """What follows from the noise that was found, for how it is taken out.

        What clipping has hidden of white noise is added to it.

        Args:
            photo: whose noise it is, with what is still in it.
            known: its noise, from `estimate`; changed in place.
            coarse: the photo as it was given, boxed to `COARSE`.
            kind: of the noise.
            number: of this pass over the photo, from 0.
            lanes: what does it; those of the engine may be busy.
        """
        found = known.noise
        mean, power = color.cells(found, lanes)
        explained = None
        if kind not in (None, "white"):
            sigma = np.sqrt(np.maximum(power - np.square(mean), 0))
            explained = bias.explained(photo.pixels, coarse, sigma, photo.peak, lanes)
        drift = color.drift(mean, power, photo.width, kind=kind, explained=explained)
        bound = noise.bounded(power, coarse, photo.peak, photo.width)
        level = noise.level(known.told, power) if number == 0 else 0.0
        clipped = 0.0
        if kind == "white":
            clipped = clipping.unclipped(photo.pixels, found, level, photo.peak)
        if clipped:
            clipping.undo(photo.pixels, found, clipped, photo.peak, lanes)
        return Rules(drift, bound, 255 * level, noise.is_clean(power), clipped)

    def estimate(
        self, photo: Photo, report: Report, progress: Callable[[float], None] | None = None
    ) -> Estimate:
        """The whole picture's noise.

        Where something goes first, that is what it found, enlarged, and what is found after it.

        Args:
            photo: the photo, which stays as it is.
            report: told what had to be done otherwise, and the kind of noise unless it knows it.
            progress: called with the share done so far.

        Raises:
            ImplausibleResult: nonsense, in float32 too, or no memory for the smallest tile.
        """
        if self.first is None:
            found = self.finder.find(photo, report, progress)
            enlarged = self.engine.card.scale > 1
            return Estimate(found, () if enlarged else self.finder.told(photo, report.kind))
        cleaned = replace(photo, pixels=photo.pixels.copy())
        told = self.first.denoise(cleaned, share(progress, 0, 1 / 4))
        found = self.finder.find(cleaned, report, share(progress, 1 / 4, 3 / 4))
        locked = self._add(found, photo, cleaned) if told.changed else None
        report.noise, report.kind, report.model = told.noise, told.kind, told.model
        for text in told.notes:
            report.note(text)
        return Estimate(found, locked=locked)

    def _add(self, found: Half, photo: Photo, cleaned: Photo) -> Float:
        """Add the enlarged difference of two photos to a noise estimate, in place.

        Returns its means over cells.
        """
        removed = np.subtract(photo.pixels, cleaned.pixels, dtype=np.float32)
        removed = (removed / photo.peak).astype(np.float16)
        scale = self.engine.card.scale
        cell = scale * COARSE
        rows, columns = (-(-side // COARSE) for side in (photo.height, photo.width))
        means = np.empty((rows, columns, photo.channels), np.float32)

        def work(row: int) -> None:
            top, bottom = row * cell, min((row + 1) * cell, len(found))
            more = bicubic.rows(removed, scale, top, bottom)
            means[row] = metrics.box_reduce(more, cell)[0]
            found[top:bottom] += more.astype(np.float16)

        self.engine.lanes.each(work, range(rows))
        return means


def check_finite(photo: Photo, scale: int, lanes: Lanes = CALLER) -> None:
    """Refuse a float photo with NaN or infinite samples, which would spread.

    Args:
        photo: the photo.
        scale: how many times larger it is to become; its alpha counts if that is more than once.
        lanes: what works on bands of rows side by side.

    Raises:
        UnsupportedPhoto: there are such samples.
    """

    def check(top: int) -> None:
        for samples in (photo.pixels, photo.alpha if scale > 1 else None):
            if samples is not None and not np.isfinite(samples[top : top + noise.BAND]).all():
                raise UnsupportedPhoto(
                    "some samples are NaN or infinite",
                    hint="replace them with the program that the file comes from",
                )

    if photo.pixels.dtype.kind == "f":
        lanes.each(check, range(0, photo.height, noise.BAND))


def _shift(before: Float, after: Float, peak: float) -> tuple[float, float]:
    """Mean and 95th percentile of CIEDE2000 between two boxed pictures; float ones clipped."""
    first, second = (np.clip(picture, 0, peak) for picture in (before, after))
    return metrics.coarse_ciede2000(first, second, factor=1, peak=peak)
