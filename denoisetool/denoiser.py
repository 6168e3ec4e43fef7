"""Photo to photo: tiles through the engine, noise blended, colour locked, noise subtracted.

A model whose card has a scale also enlarges. Its noise is as large as the result, and what it is
taken from is the photo's bicubic enlargement; detail that was added is in it, negative, and cannot
be told from noise. So nothing is said about how much noise there was, and no photo is too clean for
it, no texture bounds it, and there is no second pass. It can have another denoiser before it, which
knows noise better; what that one finds is enlarged and counts as noise, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from denoisetool import bicubic, clipping, color, metrics, noise, tiling
from denoisetool.engine import OutOfMemoryError
from denoisetool.errors import ImplausibleResult, UnsupportedPhoto
from denoisetool.formats.exif import shot
from denoisetool.lanes import CALLER, Lanes
from denoisetool.modelcard import OWN, SOFT, ModelCard
from denoisetool.photo import Half, Photo, Pixels
from denoisetool.settings import BY_NAME

Float = npt.NDArray[np.float32]
HUGE, HUGE_SHARE = np.float16(0.5).view(np.uint16), 0.15
"""A tile is nonsense when more than this share of its noise is beyond half of the whole range:
white noise with a standard deviation of 90 of 255 is, which no camera makes."""
INFINITE = np.float16(np.inf).view(np.uint16)
SMALLEST_TILE = int(BY_NAME["tile"].low or 1)
"""Side in pixels down to which tiles are halved when memory runs out: the least to be asked for."""
COARSE = 16
KIND_WINDOWS, LEVEL_WINDOWS, WINDOW = 4, 16, 128
"""How many windows at most, of which side in pixels, show what kind of noise a photo has, and how
much."""


class NoiseEstimator(Protocol):
    """What the denoiser needs of an engine; tests put fakes here.

    Attributes:
        card: the model's card.
        batch: how many tiles it wants at once.
        lanes: the threads from which it may be called at the same time.
        kinds: kinds of noise it has experts for; empty when it has one net for all.
    """

    card: ModelCard
    batch: int
    lanes: Lanes
    kinds: tuple[str, ...]

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        """Float16 noise of float32 (h, w, C) tiles, by the card's scale larger.

        Raises OutOfMemoryError.
        """
        ...

    def exact_noise(self, tile: Float, kind: str | None = None) -> Half:
        """The same for one tile in the most careful arithmetic."""
        ...

    def levels(self, tiles: list[Float], kind: str | None = None) -> list[Float]:
        """Noise levels in [0, 1] all over each tile as the net sees them; none if it does not.

        Raises OutOfMemoryError.
        """
        ...

    def tile_side(self) -> int:
        """Side of a tile that fits into the free memory now."""
        ...


class Denoises(Protocol):
    """What takes the noise out of photos: a `Denoiser`, or something that chooses among some."""

    def denoise(self, photo: Photo, progress: Callable[[float], None] | None = None) -> Report:
        """See `Denoiser.denoise`."""
        ...


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """The noise of a photo.

    Attributes:
        noise: float16, (H, W, C) or as much larger as the model makes it.
        locked: (h, w, C) float32 means over cells of what something before the model found of it,
            whose colours are locked; None if there is none.
    """

    noise: Half
    locked: Float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How the noise that was found in a photo is taken out.

    Attributes:
        drift: what the colour lock takes out of the noise.
        bound: factors on what is left; None if it is within its bounds everywhere.
        level: rms of the photo's noise, in levels of 255; 0 after the first pass.
        clean: whether there is next to none.
        clipped: whether what clipping had hidden was added to it.
    """

    drift: color.CoarseField
    bound: color.CoarseField | None
    level: float
    clean: bool
    clipped: bool


@dataclass(slots=True)
class Denoiser:
    """Takes the noise out of photos with one engine and one set of wishes.

    Attributes:
        engine: estimates the noise of tiles.
        strength: 0..2; the second unit is a second pass over the result of the first, or nothing
            where the photo is enlarged.
        luma: 0..1, share of the brightness noise to remove.
        chroma: 0..1, share of the colour noise to remove.
        color_lock: whether coarse colour is held (see color.py).
        tile: tile side in pixels, None for what the free memory suggests.
        fallback: makes an engine for a photo that the first one has no memory for.
        second: that engine, once it was needed.
        own: whether all photos are of the camera that the model was fine-tuned for.
        first: what goes over a photo before a model that enlarges.
    """

    engine: NoiseEstimator
    strength: float = 1.0
    luma: float = 1.0
    chroma: float = 1.0
    color_lock: bool = True
    tile: int | None = None
    fallback: Callable[[], NoiseEstimator] | None = None
    second: NoiseEstimator | None = None
    own: bool = False
    first: Denoises | None = None

    def denoise(self, photo: Photo, progress: Callable[[float], None] | None = None) -> Report:
        """Take the noise out of `photo`, in place (its pixels; alpha is enlarged at most).

        Args:
            photo: the photo; its pixels are changed, or become larger ones.
            progress: called with the share of the photo done so far, 0..1.

        Raises:
            UnsupportedPhoto: samples that are not finite, unless the photo is left as it is.
            ImplausibleResult: the model gives nonsense for this photo, in float32 too.
        """
        if self.engine.card.scale > 1 or not self._idle:
            check_finite(photo, self.engine.card.scale, self.engine.lanes)
        if self.engine.card.scale > 1:
            return self._enlarge(photo, self.engine.card.scale, progress)
        report = Report()
        if self._idle:
            return report
        before = metrics.box_reduce(photo.pixels, COARSE, self.engine.lanes)
        passes = [min(1.0, self.strength)] + ([self.strength - 1] if self.strength > 1 else [])
        for number, strength in enumerate(passes):
            found = self.estimate(photo, report, progress, number, len(passes)).noise
            self._take_out(photo, found, before, strength, report, number)
            if report.clean:
                break
            del found  # two bytes a sample: gone before the next pass, or the encoder, needs room
        report.kind = noise.spoken(report.kind)
        if report.changed:
            after = metrics.box_reduce(photo.pixels, COARSE, self.engine.lanes)
            report.shift_mean, report.shift_p95 = _shift(before, after, photo.peak)
        return report

    @property
    def _idle(self) -> bool:
        """Whether no noise is to be taken out."""
        return self.strength == 0 or self.luma == self.chroma == 0

    def _enlarge(
        self, photo: Photo, scale: int, progress: Callable[[float], None] | None
    ) -> Report:
        """`denoise` with a model that enlarges. The colour lock sees the same parts as without."""
        report, lanes = Report(noise=None, scale=scale, changed=True), self.engine.lanes
        small, peak, cell = photo.pixels, photo.peak, scale * COARSE
        if self._idle:
            photo.pixels = bicubic.enlarged(small, scale, peak, lanes)
        else:
            known = self.estimate(photo, report, progress)
            found, width = known.noise, scale * photo.width
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
            del found, known
            photo.pixels = large
            after = metrics.box_reduce(large, cell, lanes)
            report.shift_mean, report.shift_p95 = _shift(before, after, peak)
        if photo.alpha is not None:
            photo.alpha = bicubic.enlarged(photo.alpha[..., None], scale, peak, lanes)[..., 0]
            if photo.alpha.dtype.kind == "f":
                photo.alpha = photo.alpha.clip(0, 1)
        photo.scale *= scale
        return report

    def _take_out(
        self, photo: Photo, found: Half, coarse: Float, strength: float, report: Report,
        number: int,
    ) -> None:  # fmt: skip
        """Subtract the noise, colour locked and bounded; first, note how much there was.

        A photo with next to none is left alone, unless more than usual is asked for.
        """
        lanes = self.engine.lanes
        rules = self.rules(photo, found, coarse, report.kind, number, lanes)
        if number == 0:
            report.noise = rules.level
        report.clean = self.strength <= 1 and rules.clean
        if report.clean:
            return
        changed = noise.subtract(
            photo.pixels, found, photo.peak,
            strength=strength, luma=self.luma, chroma=self.chroma,
            drift=rules.drift if self.color_lock else None, bound=rules.bound, lanes=lanes,
        )  # fmt: skip
        report.changed = report.changed or changed

    def rules(
        self, photo: Photo, found: Half, coarse: Float, kind: str | None, number: int,
        lanes: Lanes,
    ) -> Rules:  # fmt: skip
        """What follows from the noise that was found, for how it is taken out.

        What clipping has hidden of white noise is added to it.

        Args:
            photo: whose noise it is, with what is still in it.
            found: its noise, from `estimate`; changed in place.
            coarse: the photo as it was given, boxed to `COARSE`.
            kind: of the noise.
            number: of this pass over the photo, from 0.
            lanes: what does it; those of the engine may be busy.
        """
        mean, power = color.cells(found, lanes)
        clipped = None
        if kind not in (None, "white"):
            sigma = np.sqrt(np.maximum(power - np.square(mean), 0))
            clipped = clipping.explained(photo.pixels, coarse, sigma, photo.peak, lanes)
        drift = color.drift(mean, power, photo.width, kind=kind, explained=clipped)
        bound = noise.bounded(power, coarse, photo.peak, photo.width)
        level = self.level(photo, kind, power) if number == 0 else 0.0
        undone = kind == "white" and clipping.undo(photo.pixels, found, level, photo.peak, lanes)
        return Rules(drift, bound, 255 * level, noise.is_clean(power), undone)

    def estimate(
        self, photo: Photo, report: Report, progress: Callable[[float], None] | None = None,
        number: int = 0, passes: int = 1,
    ) -> Estimate:  # fmt: skip
        """The whole picture's noise.

        Where something goes first, that is what it found, enlarged, and what is found after it.

        Args:
            photo: the photo, which stays as it is.
            report: told what had to be done otherwise, and the kind of noise unless it knows it.
            progress: called with the share done so far.
            number: of this pass over the photo, from 0.
            passes: how many there are.

        Raises:
            ImplausibleResult: nonsense, in float32 too, or no memory for the smallest tile.
        """
        if self.first is None:
            return Estimate(self._estimate(photo, report, progress, number, passes))
        cleaned = replace(photo, pixels=photo.pixels.copy())
        told = self.first.denoise(cleaned, None if progress is None else lambda s: progress(s / 4))
        after = None if progress is None else lambda s: progress((1 + 3 * s) / 4)
        found = self._estimate(cleaned, report, after, number, passes)
        locked = self._add(found, photo, cleaned) if told.changed else None
        report.noise, report.kind, report.model = told.noise, told.kind, told.model
        for text in told.notes:
            report.note(text)
        return Estimate(found, locked)

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

    def _estimate(
        self, photo: Photo, report: Report, progress: Callable[[float], None] | None,
        number: int, passes: int,
    ) -> Half:  # fmt: skip
        """`estimate` by the engine alone; halves the tile, then changes engine."""
        engine, halved = self.engine, False
        side = self.tile or engine.tile_side()
        while True:
            try:
                found = self._blended(engine, photo, side, report, progress, number, passes)
            except (OutOfMemoryError, MemoryError):
                smaller = _smaller(photo, side, engine.card, report.kind)
                if smaller is not None:
                    side, halved = smaller, True
                elif self.fallback is not None and engine is self.engine:
                    self.second = engine = self.second or self.fallback()
                    side, halved = self.tile or engine.tile_side(), False
                    report.note("the device's memory ran out; done on the CPU instead")
                else:
                    raise ImplausibleResult(
                        "not enough memory for even the smallest tile",
                        hint="close other programs and run again",
                    ) from None
            else:
                if halved:
                    report.note(f"memory ran out; tiles of {side} pixels were used")
                return found

    def _blended(
        self, engine: NoiseEstimator, photo: Photo, side: int, report: Report,
        progress: Callable[[float], None] | None, number: int, passes: int,
    ) -> Half:  # fmt: skip
        card = engine.card
        kind = report.kind = report.kind or self.kind(photo, engine)
        height, width, channels = photo.pixels.shape
        total = np.zeros((card.scale * height, card.scale * width, channels), np.float16)
        tiles, done, turn = _tiles(photo, side, card, kind), 0, threading.Lock()

        def run(part: list[tiling.Tile]) -> None:
            nonlocal done
            inputs = [self._window(photo.pixels, tile, photo.peak, card) for tile in part]
            results = engine.noise(inputs, kind)
            for tile, given, found in zip(part, inputs, results, strict=True):
                checked = self._checked(engine, given, found, report, photo)
                with turn:  # neighbours share their ramps
                    tiling.blend(total, checked, tile.enlarged(card.scale))
            with turn:
                done += len(part)
                if progress is not None:
                    progress((number + done / len(tiles)) / passes)

        starts = range(0, len(tiles), engine.batch)
        engine.lanes.each(run, [tiles[i : i + engine.batch] for i in starts])
        return total

    def kind(self, photo: Photo, engine: NoiseEstimator | None = None) -> str | None:
        """The kind of noise: that of the camera, if the model was made for it.

        Else it is what the other experts find in windows all over the photo that decides.
        """
        engine = engine or self.engine
        if not engine.kinds:
            return None
        if OWN in engine.kinds:
            how = shot(photo.metadata.exif)
            if self.own or engine.card.made_for(how.camera, how.iso):
                return OWN
        count = min(KIND_WINDOWS, 2 + int(4 * photo.megapixels))  # a small photo must not pay more
        windows = self._samples(photo, engine.card, count)
        power = {kind: np.zeros(len(windows)) for kind in ("camera", "white")}

        def measure(index: int) -> None:
            for kind in power:
                found = engine.noise([windows[index]], kind)[0].astype(np.float32)
                power[kind][index] = np.square(found).mean()

        engine.lanes.each(measure, range(len(windows)))
        kind = noise.kind_of({kind: float(values.mean()) for kind, values in power.items()})
        if SOFT in engine.kinds and kind == "camera" and self._soft(photo, engine):
            return SOFT
        return kind

    def _soft(self, photo: Photo, engine: NoiseEstimator) -> bool:
        """Whether a photo with a camera's noise is soft, by windows all over it."""
        windows = self._samples(photo, engine.card, LEVEL_WINDOWS)
        clean = list(windows)

        def look(index: int) -> None:
            found = engine.noise([windows[index]], "camera")[0]
            clean[index] = windows[index] - found.astype(np.float32)

        engine.lanes.each(look, range(len(windows)))
        return noise.is_soft(clean, _levels(engine, windows, "camera"))

    def level(self, photo: Photo, kind: str | None, power: Float) -> float:
        """Rms of a photo's noise as a share of white, see `noise.level`.

        Args:
            photo: as it was given.
            kind: of its noise.
            power: (h, w, C) mean squares of the noise that was found, from `color.cells`.
        """
        windows = self._samples(photo, self.engine.card, LEVEL_WINDOWS)
        try:
            told = _levels(self.engine, windows, kind)
        except (OutOfMemoryError, MemoryError):  # the photo itself was done elsewhere
            told = []
        return noise.level(told, power)

    def _samples(self, photo: Photo, card: ModelCard, count: int) -> list[Float]:
        """At most so many different windows from all over a photo."""
        chosen = tiling.samples(photo.height, photo.width, WINDOW, count, card.stride)
        unlike = dict.fromkeys(chosen)
        return [self._window(photo.pixels, tile, photo.peak, card) for tile in unlike]

    def _window(self, pixels: Pixels, tile: tiling.Tile, peak: float, card: ModelCard) -> Float:
        window = tiling.extract(pixels, tile, peak)
        if window.shape[2] == card.channels:
            return window
        if card.channels == 3:
            return np.repeat(window, 3, axis=2)
        return np.asarray(window.mean(2, keepdims=True, dtype=np.float32))

    def _checked(
        self, engine: NoiseEstimator, given: Float, found: Half, report: Report, photo: Photo
    ) -> Half:
        """A tile's noise with the photo's channels, redone in float32 where it is nonsense."""
        if not plausible(found):
            found = engine.exact_noise(given, report.kind)
            if not plausible(found):
                raise ImplausibleResult(
                    f"model {engine.card.name!r} gives non-finite or absurd values for this photo",
                    hint="try another --model; please report it with the photo",
                )
            report.note("a part was redone in fp32 after an implausible result")
        if found.shape[2] == photo.channels:
            return found
        if photo.channels == 1:
            return np.asarray(found.mean(2, keepdims=True, dtype=np.float32), np.float16)
        return np.repeat(found, 3, axis=2)


def _tiles(photo: Photo, side: int, card: ModelCard, kind: str | None) -> list[tiling.Tile]:
    """The tiles of a photo with this kind of noise, no larger than a square where that can be."""
    return tiling.plan(photo.height, photo.width, side, card.overlap_for(kind), card.stride)


def _smaller(photo: Photo, side: int, card: ModelCard, kind: str | None) -> int | None:
    """A half of a side, or of that, with which a photo's tiles are smaller; None if none is."""

    def area(side: int) -> int:
        height, width = _tiles(photo, side, card, kind)[0].shape
        return height * width

    now = area(side)
    while side // 2 >= SMALLEST_TILE:
        side //= 2
        if area(side) < now:
            return side
    return None


def _levels(engine: NoiseEstimator, windows: list[Float], kind: str | None) -> list[Float]:
    """The levels that an engine sees in windows, in their order; none if it does not."""
    told: list[list[Float]] = [[] for _ in windows]

    def estimate(index: int) -> None:
        told[index] = engine.levels([windows[index]], kind)

    engine.lanes.each(estimate, range(len(windows)))
    return [level for levels in told for level in levels]


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


def plausible(found: Half) -> bool:
    """Whether a tile's noise is finite and no larger than noise can be."""
    bits = np.ascontiguousarray(found, np.float16).view(np.uint16)
    size = bits & np.uint16(0x7FFF)  # ordered as the magnitudes are, then inf, NaN
    if size.max(initial=0) >= INFINITE:
        return False
    return bool(np.count_nonzero(size > HUGE) <= HUGE_SHARE * size.size)


def _shift(before: Float, after: Float, peak: float) -> tuple[float, float]:
    """Mean and 95th percentile of CIEDE2000 between two boxed pictures; float ones clipped."""
    first, second = (np.clip(picture, 0, peak) for picture in (before, after))
    return metrics.coarse_ciede2000(first, second, factor=1, peak=peak)
