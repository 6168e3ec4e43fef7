"""Engines without a net, for everything around the model; and a few ways to misbehave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from denoisetool.denoiser import Denoiser
from denoisetool.engine import Choice, OutOfMemoryError
from denoisetool.lanes import CALLER
from denoisetool.modelcard import ModelCard
from denoisetool.photo import Half

Float = npt.NDArray[np.float32]
CARD = ModelCard(
    name="fake", title="No net at all", net="unet", net_args={}, weights_sha256="0" * 64,
    stride=8, overlap=8,
)  # fmt: skip


class IdentityEngine:
    """Finds no noise."""

    kinds: tuple[str, ...] = ()

    def __init__(self, *given: object) -> None:
        scale = given[0].scale if given and isinstance(given[0], ModelCard) else 1
        self.card, self.batch, self.lanes = replace(CARD, scale=scale), 1, CALLER
        self.choice = Choice("cpu", "fp32", "this is a fake")

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        return [self.large(np.zeros(tile.shape, np.float16)) for tile in tiles]

    def large(self, noise: Half) -> Half:
        """As much larger as the card says."""
        return noise.repeat(self.card.scale, 0).repeat(self.card.scale, 1)

    def exact_noise(self, tile: Float, kind: str | None = None) -> Half:
        return self.noise([tile], kind)[0]

    def levels(self, tiles: list[Float], kind: str | None = None) -> list[Float]:
        return []

    def tile_side(self) -> int:
        return 512


class SmoothingEngine(IdentityEngine):
    """Takes whatever differs from the mean of the four neighbours for noise."""

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        return [self.large((tile - self._mean(tile)).astype(np.float16)) for tile in tiles]

    @staticmethod
    def _mean(tile: Float) -> Float:
        padded = np.pad(tile, ((1, 1), (1, 1), (0, 0)), mode="reflect")
        total = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        return np.asarray(total / 4, np.float32)


class NaNEngine(IdentityEngine):
    """Gives nonsense, in float32 too."""

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        return [np.full(tile.shape, np.nan, np.float16) for tile in tiles]


class OutOfMemoryEngine(SmoothingEngine):
    """Has memory for tiles of at most `side` pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        if max(max(tile.shape[:2]) for tile in tiles) > self.side:
            raise OutOfMemoryError
        return super().noise(tiles, kind)

    def tile_side(self) -> int:
        return 1024


class GatedEngine(SmoothingEngine):
    """Waits at every photo until the test lets it on."""

    def __init__(self, gate: Callable[[], None], *given: object) -> None:
        super().__init__(*given)
        self.gate = gate

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        self.gate()
        return super().noise(tiles, kind)


class SlowEngine(GatedEngine):
    """Takes its time for each tile."""

    def __init__(self, seconds: float, *given: object) -> None:
        super().__init__(lambda: time.sleep(seconds), *given)


class PoisonedEngine(SlowEngine):
    """Is killed by tiles over a side, as by a system that is out of memory."""

    def __init__(self, seconds: float, side: int) -> None:
        super().__init__(seconds)
        self.side = side

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        if max(tiles[0].shape[:2]) > self.side:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().noise(tiles, kind)


class BrokenEngine(IdentityEngine):
    """Raises what it is given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        raise self.error


def loads(engine: IdentityEngine, strength: float = 1.0) -> Callable[[], Denoiser]:
    """What `Pipeline.load` wants."""
    return lambda: Denoiser(engine, strength=strength, color_lock=False)
