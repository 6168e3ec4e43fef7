"""From settings to a ready pipeline: which model, which device, which limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache

from denoisetool import files
from denoisetool.denoiser import Denoiser, Denoises, Report, Rest
from denoisetool.engine import Choice, Engine, expected_gpu, prepare
from denoisetool.errors import ModelError, UsageError
from denoisetool.events import Start
from denoisetool.formats.base import EncodeOptions, Limits
from denoisetool.formats.exif import shot
from denoisetool.photo import Photo
from denoisetool.pipeline import Pipeline
from denoisetool.registry import Entry, Registry
from denoisetool.settings import Settings, folder

PREFERRED = {1: ("fast", "balanced", "best"), 2: ("upscale-x2",), 4: ("upscale-x4",)}
"""Models that `auto` picks from for each scale, the first that is there."""
ON_GPU = {"cuda": ("best", "balanced"), "mps": ("balanced",), "xpu": ("balanced",)}
"""Those that go before them on a GPU: the best one costs thirty times as much as the first, which
small GPUs that share the computer's memory take too long for."""


@dataclass(slots=True)
class Session:
    """Everything one command needs, made from its settings. torch is not loaded before a photo is.

    Attributes:
        settings: the resolved settings.
        registry: where models are.
        announce: told where and how the model runs, once it is loaded.
        entry: the chosen model.
        tuned: models that are taken instead for photos of the cameras they were fine-tuned for.
        engine: the engine, once it was needed; one that is there already can be given.
        first: who takes the noise out before an enlarging model that was not named; None for none.

    Raises:
        ModelError: the model is unknown or its card is damaged, or none has this scale.
        UsageError: the named model has another scale, or the strength is too much for enlarging.
    """

    settings: Settings
    registry: Registry = field(default_factory=Registry)
    announce: Callable[[Choice, Entry], None] | None = None
    entry: Entry = field(init=False)
    tuned: list[Entry] = field(init=False)
    engine: Engine | None = None
    first: Session | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.entry = self._pick()
        if self.entry.problem is not None:
            raise self.entry.problem
        if self.scale > 1 and self.settings.strength > 1:
            what = f"strength {self.settings.strength:g} takes a second pass, which model"
            what += f" {self.entry.name!r} does not make, since it enlarges"
            raise UsageError(what, hint="use a --strength of at most 1 with it")
        self.tuned = self._tuned()
        if self.scale > 1 and self.settings.model == "auto":
            plain = replace(self.settings, scale=1, strength=1.0, luma=1.0, chroma=1.0)
            with suppress(ModelError):  # without a denoiser it does all by itself
                self.first = Session(plain, self.registry)
        prepare()  # before there are threads

    @property
    def scale(self) -> int:
        """How many times larger on each side results are."""
        return self.entry.card.scale

    def verify(self) -> None:
        """Check that the model's weights are whole; quick where they were checked before.

        Raises:
            ModelError: missing, damaged or different weights.
        """
        self.registry.verify(self.entry)
        if self.first is not None:
            self.first.verify()

    @property
    def fingerprint(self) -> str:
        """Stands for everything that decides what an output looks like."""
        own = self.settings.fingerprint(self.entry.card.weights_sha256)
        if self.scale > 1:
            own += f" scale={self.scale}"
        if self.first is not None:
            own += f" first={self.first.entry.card.weights_sha256[:8]}"
        tuned = self.tuned if self.first is None else self.first.tuned
        others = [entry.card.weights_sha256[:8] for entry in tuned]
        return f"{own} tuned={','.join(others)}" if others else own

    def pipeline(self, index: files.Index | None = None) -> Pipeline:
        """A pipeline with these settings."""
        settings = self.settings
        return Pipeline(
            load=self.chooser,
            limits=Limits(megapixels=settings.max_megapixels, scale=self.scale),
            options=EncodeOptions(quality=settings.quality, strip=settings.strip),
            fingerprint=self.fingerprint,
            index=index,
            threads=settings.jobs or max(2, min(4, (os.cpu_count() or 2) // 2)),
        )

    def chooser(self) -> Denoises:
        """What denoises every photo with the model that is right for it; loads torch.

        Raises: as `denoiser`.
        """
        own = self.denoiser()
        if not self.tuned:
            return own
        return ByCamera(own, self.tuned, self.denoiser_with)

    def denoiser(self) -> Denoiser:
        """A denoiser with these settings; loads torch and the model, unless it has an engine.

        Raises:
            DeviceError: the named device or precision is not to be had.
            ModelError: the weights are damaged or do not fit the card.
        """
        if self.engine is None:
            self.engine = self._engine(self.entry)
        if self.announce is not None:
            self.announce(self.engine.choice, self.entry)
        made = self._with(self.entry, self.engine)
        made.first = None if self.first is None else self.first.chooser()
        return made

    def denoiser_with(self, entry: Entry) -> Denoiser:
        """A denoiser with these settings and another model; loads it. Raises: as `denoiser`."""
        return self._with(entry, self._engine(entry))

    def _engine(self, entry: Entry) -> Engine:
        """What runs a model here, after a look at its weights."""
        self.registry.verify(entry)
        device, precision = self.settings.device, self.settings.precision
        return Engine(entry.card, entry.folder, device, precision, folder("cache"))

    def _with(self, entry: Entry, engine: Engine) -> Denoiser:
        """A denoiser with some model."""
        settings = self.settings
        on_gpu = engine.choice.device != "cpu"
        return Denoiser(
            engine,
            strength=settings.strength,
            luma=settings.luma,
            chroma=settings.chroma,
            color_lock=settings.color_lock,
            tile=settings.tile,
            fallback=cache(lambda: engine.on_cpu(entry.folder)) if on_gpu else None,
        )

    def _pick(self) -> Entry:
        """The named model, or for `auto` the best one of the wanted scale."""
        settings = self.settings
        if settings.model == "auto":
            return self._best(settings.scale or 1)
        entry = self.registry.find(settings.model)
        if settings.scale not in (None, entry.card.scale):
            raise self._other_scale(entry, settings.scale)
        return entry

    def _best(self, scale: int) -> Entry:
        """The model to take for a scale where none is named. Raises ModelError."""
        entries = {entry.name: entry for entry in self.registry.list()}
        fitting = [
            entry for entry in entries.values()
            if entry.problem is None and entry.card.scale == scale and not entry.card.cameras
        ]  # fmt: skip
        gpu = expected_gpu(self.settings.device) if scale == 1 else None
        larger = ON_GPU.get(gpu, ()) if gpu else ()
        for name in (*larger, *PREFERRED[scale]):
            if name in entries and (entries[name] in fitting or entries[name].problem is not None):
                return entries[name]
        broken = [entry for entry in entries.values() if entry.problem is not None]
        if fitting or (broken and scale == 1):
            return (fitting or broken)[0]  # a broken one tells what is wrong with it
        what = "no model is installed"
        if scale > 1:
            what = f"no model that enlarges {scale} times is installed"
        raise ModelError(what, hint="`denoisetool models install PATH-OR-URL` installs one")

    def _other_scale(self, entry: Entry, scale: int | None) -> UsageError:
        """Why a named model cannot be used, and what can."""
        own = entry.card.scale
        does = f"enlarges {own} times" if own > 1 else "does not enlarge"
        hint = f"use a --scale of {own}, or leave it out"
        try:
            hint = f"use --model {self._best(scale or 1).name}; or {hint}"
        except ModelError as error:
            hint = f"{hint}; {error.what}"
        return UsageError(f"model {entry.name!r} {does}, and scale is {scale}", hint=hint)

    def _tuned(self) -> list[Entry]:
        """Sound models made for some camera, the newest first."""
        if self.settings.model != "auto" or not self.settings.camera_models or self.scale > 1:
            return []
        found = [
            entry for entry in self.registry.list()
            if entry.problem is None and entry.card.cameras and entry.card.scale == 1
        ]  # fmt: skip
        return sorted(found, key=lambda entry: entry.weights.stat().st_mtime_ns, reverse=True)


def fitting(entries: Sequence[Entry], photo: Photo) -> Entry | None:
    """The first model made for a photo's camera and ISO; None if there is none."""
    how = shot(photo.metadata.exif)
    return next((e for e in entries if e.card.made_for(how.camera, how.iso)), None)


@dataclass(slots=True)
class ByCamera(Denoises):
    """Denoises each photo with the model fine-tuned for its camera, or else with the usual one.

    Attributes:
        usual: for all other photos.
        entries: models with cameras in their cards; the first that fits is taken.
        make: makes the denoiser of one of them.
        ready: those that were made.
    """

    usual: Denoiser
    entries: Sequence[Entry]
    make: Callable[[Entry], Denoiser]
    ready: dict[str, Denoiser] = field(default_factory=dict)

    def begin(self, photo: Photo, progress: Callable[[float], None] | None = None) -> Rest:
        """See `Denoises`; the report names a model that is not the usual one.

        A model that cannot be loaded is told, and the usual one is taken.
        """
        trouble: list[str] = []
        entry = fitting(self.entries, photo)
        while entry is not None and entry.name not in self.ready:
            try:
                self.ready[entry.name] = self.make(entry)
            except ModelError as error:
                self.entries = [e for e in self.entries if e is not entry]
                trouble.append(f"the model for its camera cannot be used: {error}")
                entry = fitting(self.entries, photo)
        chosen = self.usual if entry is None else self.ready[entry.name]
        begun = chosen.begin(photo, progress)

        def rest(alone: bool) -> Report:
            report = begun(alone)
            if entry is not None:
                report.model = entry.name
            report.notes += trouble
            return report

        return rest


def start_event(choice: Choice, entry: Entry, photos: int) -> Start:
    """The event that tells what `announce` was told; `photos` are to be done, if that is known."""
    card = entry.card
    return Start(choice.device, choice.precision, choice.reason, card.name, photos, card.scale)
