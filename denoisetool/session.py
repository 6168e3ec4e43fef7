"""From settings to a ready pipeline: which model, which device, which limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from denoisetool import files
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Choice, Engine, prepare
from denoisetool.errors import ModelError
from denoisetool.events import Start
from denoisetool.formats.base import EncodeOptions, Limits
from denoisetool.pipeline import Pipeline
from denoisetool.registry import Entry, Registry
from denoisetool.settings import Settings, folder

PREFERRED = ("fast",)
"""Models that `auto` picks from, the first that is there."""


@dataclass(slots=True)
class Session:
    """Everything one command needs, made from its settings. torch is not loaded before a photo is.

    Attributes:
        settings: the resolved settings.
        registry: where models are.
        announce: told where and how the model runs, once it is loaded.
        entry: the chosen model.
        engine: the engine, once it was needed; one that is there already can be given.

    Raises:
        ModelError: the model is unknown or its card is damaged.
    """

    settings: Settings
    registry: Registry = field(default_factory=Registry)
    announce: Callable[[Choice, Entry], None] | None = None
    entry: Entry = field(init=False)
    engine: Engine | None = None

    def __post_init__(self) -> None:
        self.entry = self._pick()
        if self.entry.problem is not None:
            raise self.entry.problem
        prepare()  # before there are threads

    def verify(self) -> None:
        """Check that the model's weights are whole; quick where they were checked before.

        Raises:
            ModelError: missing, damaged or different weights.
        """
        self.registry.verify(self.entry)

    @property
    def fingerprint(self) -> str:
        """Stands for everything that decides what an output looks like."""
        return self.settings.fingerprint(self.entry.card.weights_sha256)

    def pipeline(self, index: files.Index | None = None) -> Pipeline:
        """A pipeline with these settings."""
        settings = self.settings
        return Pipeline(
            load=self.denoiser,
            limits=Limits(megapixels=settings.max_megapixels),
            options=EncodeOptions(quality=settings.quality, strip=settings.strip),
            fingerprint=self.fingerprint,
            index=index,
            threads=settings.jobs or max(2, min(4, (os.cpu_count() or 2) // 2)),
        )

    def denoiser(self) -> Denoiser:
        """A denoiser with these settings; loads torch and the model, unless it has an engine.

        Raises:
            DeviceError: the named device or precision is not to be had.
            ModelError: the weights are damaged or do not fit the card.
        """
        self.verify()
        settings, entry = self.settings, self.entry
        engine = self.engine
        if engine is None:
            self.engine = engine = Engine(
                entry.card, entry.folder, settings.device, settings.precision, folder("cache")
            )
        if self.announce is not None:
            self.announce(engine.choice, entry)
        on_gpu = engine.choice.device != "cpu"
        return Denoiser(
            engine,
            strength=settings.strength,
            luma=settings.luma,
            chroma=settings.chroma,
            color_lock=settings.color_lock,
            tile=settings.tile,
            fallback=(lambda: engine.on_cpu(entry.folder)) if on_gpu else None,
        )

    def _pick(self) -> Entry:
        if self.settings.model != "auto":
            return self.registry.find(self.settings.model)
        names = self.registry.names()
        for name in PREFERRED:
            if name in names:
                return self.registry.find(name)
        if names:
            return self.registry.find(names[0])
        raise ModelError(
            "no model is installed", hint="`denoisetool models install PATH-OR-URL` installs one"
        )


def start_event(choice: Choice, entry: Entry, photos: int) -> Start:
    """The event that tells what `announce` was told; `photos` are to be done, if that is known."""
    return Start(choice.device, choice.precision, choice.reason, entry.card.name, photos)
