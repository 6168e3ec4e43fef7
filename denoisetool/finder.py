"""What noise a whole photo has: of which kind, how much, and where.

An engine knows tiles of a size that fits into its memory. Here their noise is blended over the
photo; memory that runs out, and nonsense, are dealt with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from denoisetool import noise, tiling
from denoisetool.color import CoarseField, cells
from denoisetool.engine import Float, OutOfMemoryError
from denoisetool.errors import ImplausibleResult
from denoisetool.formats.exif import shot
from denoisetool.lanes import Lanes
from denoisetool.metrics import box_reduce
from denoisetool.modelcard import OWN, SOFT, ModelCard
from denoisetool.photo import Half, Photo, Pixels, widened
from denoisetool.settings import BY_NAME

HUGE, HUGE_SHARE = np.float16(0.5).view(np.uint16), 0.15
"""A tile is nonsense when more than this share of its noise is beyond half of the whole range:
white noise with a standard deviation of 90 of 255 is, which no camera makes."""
INFINITE = np.float16(np.inf).view(np.uint16)
SMALLEST_TILE = int(BY_NAME["tile"].low or 1)
"""Side in pixels down to which tiles are halved when memory runs out: the least to be asked for."""
KIND_WINDOWS, LEVEL_WINDOWS, WINDOW = 4, 16, 128
"""How many windows at most, of which side in pixels, show what kind of noise a photo has, and how
much."""
AGAIN_BY = {"camera": 4}
"""How many times smaller on each side a photo is looked at again, by the kind of its noise, for the
colours of what was left. At full size blotches of colour pass for parts of the picture; made
smaller they are as fine as noise usually is, and the net tells them by the level that it sees
there. Of brightness it finds rather texture. (Soft photos have such looks in their expert.)"""


class NoiseEstimator(Protocol):
    """What finding noise needs of an engine; tests put fakes here.

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


class Told(Protocol):
    """What is told how a photo's noise was found: a report.

    Attributes:
        kind: of the noise, for those who know it; else it is set.
    """

    kind: str | None

    def note(self, text: str) -> None:
        """Something had to be done otherwise than planned."""
        ...


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds the noise of photos with one engine.

    Attributes:
        engine: estimates the noise of tiles.
        tile: tile side in pixels, None for what the free memory suggests.
        fallback: gives the engine for a photo that the first one has no memory for.
        only: the kind of noise that all photos have, if the model knows it; None to look.
    """

    engine: NoiseEstimator
    tile: int | None = None
    fallback: Callable[[], NoiseEstimator] | None = None
    only: str | None = None

    def find(
        self, photo: Photo, report: Told, progress: Callable[[float], None] | None = None
    ) -> Half:
        """The whole picture's noise; halves the tile, then changes engine, if memory runs out.

        Args:
            photo: the photo, which stays as it is.
            report: told what had to be done otherwise, and the kind of noise unless it knows it.
            progress: called with the share done so far.

        Returns:
            Float16, (H, W, C) or as much larger as the model makes it.

        Raises:
            ImplausibleResult: nonsense, in float32 too, or no memory for the smallest tile.
        """
        engine, halved = self.engine, False
        side = self.tile or engine.tile_side()
        while True:
            try:
                found = self._looked(engine, photo, side, report, progress)
            except (OutOfMemoryError, MemoryError):
                smaller = _smaller(photo, side, engine.card, report.kind)
                if smaller is not None:
                    side, halved = smaller, True
                elif self.fallback is not None and engine is self.engine:
                    engine = self.fallback()
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

    def context(self, kind: str | None) -> int:
        """Pixels around a part of a photo that its noise of this kind depends on."""
        return self.engine.card.overlap_for(kind) * (1 + AGAIN_BY.get(kind or "", 0))

    def _looked(
        self, engine: NoiseEstimator, photo: Photo, side: int, report: Told,
        progress: Callable[[float], None] | None,
    ) -> Half:  # fmt: skip
        """The whole picture's noise, of its kind, and what a second look finds of colours."""
        report.kind = report.kind or self.kind(photo, engine)
        by = AGAIN_BY.get(report.kind or "")
        if by is None or photo.channels != 3:
            return self._blended(engine, photo, side, report, progress)
        most = 1 / (1 + by**-2)
        found = self._blended(engine, photo, side, report, share(progress, 0, most))
        small = replace(photo, pixels=_cleaned(photo, found, by, engine.lanes), alpha=None)
        more = widened(self._blended(engine, small, side, report, share(progress, most, 1 - most)))
        more -= (more @ noise.LUMA)[..., None]
        field = CoarseField(more, photo.width, cell=by)

        def add(top: int) -> None:
            band = widened(found[top : top + noise.BAND])  # NumPy's own sums of float16 are slow
            band += field.band(top, top + len(band))
            found[top : top + noise.BAND] = band

        engine.lanes.each(add, range(0, photo.height, noise.BAND))
        return found

    def _blended(
        self, engine: NoiseEstimator, photo: Photo, side: int, report: Told,
        progress: Callable[[float], None] | None,
    ) -> Half:  # fmt: skip
        card, kind = engine.card, report.kind
        height, width, channels = photo.pixels.shape
        total = np.zeros((card.scale * height, card.scale * width, channels), np.float16)
        tiles, done, turn = _tiles(photo, side, card, kind), 0, threading.Lock()
        early: dict[int, list[Half]] = {}

        def run(first: int) -> None:
            nonlocal done
            part = tiles[first : first + engine.batch]
            inputs = [_window(photo.pixels, tile, photo.peak, card) for tile in part]
            results = zip(inputs, engine.noise(inputs, kind), strict=True)
            checked = [_checked(engine, given, found, report, photo) for given, found in results]
            with turn:
                early[first] = checked
                while done in early:  # in order: sums of several ramps round by it
                    for found in early.pop(done):
                        tiling.blend(total, found, tiles[done].enlarged(card.scale))
                        done += 1
                    if progress is not None:
                        progress(done / len(tiles))

        engine.lanes.each(run, range(0, len(tiles), engine.batch))
        return total

    def kind(self, photo: Photo, engine: NoiseEstimator | None = None) -> str | None:
        """The kind of noise: the one that was told, or that of the camera the model was made for.

        Else it is what the other experts find in windows all over the photo that decides.
        """
        engine = engine or self.engine
        if not engine.kinds:
            return None
        if self.only in engine.kinds:
            return self.only
        if OWN in engine.kinds:
            how = shot(photo.metadata.exif)
            if engine.card.made_for(how.camera, how.iso):
                return OWN
        count = min(KIND_WINDOWS, 2 + int(4 * photo.megapixels))  # a small photo must not pay more
        windows = _samples(photo, engine.card, count)
        power = {kind: np.zeros(len(windows)) for kind in ("camera", "white")}

        def measure(index: int) -> None:
            for kind in power:
                found = engine.noise([windows[index]], kind)[0].astype(np.float32)
                power[kind][index] = np.square(found).mean()

        engine.lanes.each(measure, range(len(windows)))
        kind = noise.kind_of({kind: float(values.mean()) for kind, values in power.items()})
        if SOFT in engine.kinds and kind == "camera" and _soft(photo, engine):
            return SOFT
        return kind

    def told(self, photo: Photo, kind: str | None) -> list[Float]:
        """Noise levels all over a photo as the engine sees them in windows, as a share of white.

        Nothing if it sees none, or has no memory: then the photo itself was done elsewhere.

        Args:
            photo: as it was given.
            kind: of its noise.
        """
        try:
            return _levels(self.engine, _samples(photo, self.engine.card, LEVEL_WINDOWS), kind)
        except (OutOfMemoryError, MemoryError):
            return []


def _soft(photo: Photo, engine: NoiseEstimator) -> bool:
    """Whether a photo with a camera's noise is soft, by windows all over it."""
    windows = _samples(photo, engine.card, LEVEL_WINDOWS)
    clean, power = list(windows), list(windows)

    def look(index: int) -> None:
        found = engine.noise([windows[index]], "camera")[0]
        clean[index] = windows[index] - found.astype(np.float32)
        _, power[index] = cells(found, cell=noise.SOFT_CELL)

    engine.lanes.each(look, range(len(windows)))
    return noise.is_soft(clean, power, _levels(engine, windows, "camera"))


def _samples(photo: Photo, card: ModelCard, count: int) -> list[Float]:
    """At most so many different windows from all over a photo."""
    chosen = tiling.samples(photo.height, photo.width, WINDOW, count, card.stride)
    unlike = dict.fromkeys(chosen)
    return [_window(photo.pixels, tile, photo.peak, card) for tile in unlike]


def _window(pixels: Pixels, tile: tiling.Tile, peak: float, card: ModelCard) -> Float:
    window = tiling.extract(pixels, tile, peak)
    if window.shape[2] == card.channels:
        return window
    if card.channels == 3:
        return np.repeat(window, 3, axis=2)
    return np.asarray(window.mean(2, keepdims=True, dtype=np.float32))


def _checked(engine: NoiseEstimator, given: Float, found: Half, report: Told, photo: Photo) -> Half:
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


def _cleaned(photo: Photo, found: Half, by: int, lanes: Lanes) -> Float:
    """A photo without what was found, `by` times smaller: (h, w, C), nominally in [0, 1]."""
    rows, columns = (-(-side // by) for side in (photo.height, photo.width))
    small = np.empty((rows, columns, photo.channels), np.float32)

    def work(top: int) -> None:
        part = slice(top, top + noise.BAND)  # whole boxes
        cleaned = photo.pixels[part] / np.float32(photo.peak) - widened(found[part])
        boxed = box_reduce(cleaned, by)
        small[top // by :][: len(boxed)] = boxed

    lanes.each(work, range(0, photo.height, noise.BAND))
    return small


def _tiles(photo: Photo, side: int, card: ModelCard, kind: str | None) -> list[tiling.Tile]:
    """The tiles of a photo with this kind of noise, no larger than a square where that can be."""
    layout = (side, card.overlap_for(kind), card.stride_for(kind))
    return tiling.plan(photo.height, photo.width, *layout)


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


def plausible(found: Half) -> bool:
    """Whether a tile's noise is finite and no larger than noise can be."""
    bits = np.ascontiguousarray(found, np.float16).view(np.uint16)
    size = bits & np.uint16(0x7FFF)  # ordered as the magnitudes are, then inf, NaN
    if size.max(initial=0) >= INFINITE:
        return False
    return bool(np.count_nonzero(size > HUGE) <= HUGE_SHARE * size.size)


def share(
    progress: Callable[[float], None] | None, before: float, share: float
) -> Callable[[float], None] | None:
    """What is to be called with how much is done of a share of the work, after what was before."""
    return None if progress is None else lambda done: progress(before + share * done)
