"""Named stand-ins for the engine, so that tests see one thing at a time."""

from __future__ import annotations

import numpy as np

from denoisetool import bicubic
from denoisetool.engine import Float, OutOfMemoryError
from denoisetool.lanes import CALLER
from denoisetool.modelcard import ModelCard
from denoisetool.photo import Half

CARD = ModelCard(
    name="fake", title="A fake", net="none", net_args={}, weights_sha256="0" * 64,
    stride=8, overlap=8,
)  # fmt: skip


class ConstantEngine:
    """Finds the same noise everywhere; the identity model with its default 0."""

    kinds: tuple[str, ...] = ()

    def __init__(self, value: float = 0.0, card: ModelCard = CARD) -> None:
        self.card, self.value, self.batch, self.lanes = card, value, 1, CALLER
        self.calls: list[tuple[int, ...]] = []

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        self.calls += [tile.shape for tile in tiles]
        return [self.enlarged(np.full(tile.shape, self.value, np.float16)) for tile in tiles]

    def enlarged(self, noise: Half) -> Half:
        """As much larger as the card says."""
        scale = self.card.scale
        large = bicubic.rows(noise.astype(np.float32), scale, 0, scale * len(noise))
        return large.astype(np.float16)

    def exact_noise(self, tile: Float, kind: str | None = None) -> Half:
        return self.noise([tile], kind)[0]

    def levels(self, tiles: list[Float], kind: str | None = None) -> list[Float]:
        return []

    def tile_side(self) -> int:
        return 1024


class BlurEngine(ConstantEngine):
    """Takes what a 5 x 5 box blur removes for noise: local, so tiles can be compared."""

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        results = []
        for tile in tiles:
            padded = np.pad(tile, ((2, 2), (2, 2), (0, 0)), mode="edge")
            height, width = tile.shape[:2]
            total = sum(padded[y : y + height, x : x + width] for y in range(5) for x in range(5))
            results.append(self.enlarged((tile - total / 25).astype(np.float16)))
        return results


class ExpertEngine(ConstantEngine):
    """Finds different amounts of noise as one expert and as the other."""

    kinds: tuple[str, ...] = ("camera", "white")

    def __init__(self, camera: float, white: float, soft: float | None = None) -> None:
        super().__init__()
        self.found = {"camera": camera, "white": white}
        if soft is not None:
            self.kinds = (*self.kinds, "soft")
            self.found["soft"] = soft

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        self.calls += [tile.shape for tile in tiles]
        return [np.full(tile.shape, self.found[kind or "camera"], np.float16) for tile in tiles]


class OutOfMemoryEngine(BlurEngine):
    """Has memory for tiles up to a side, and no more."""

    def __init__(self, largest: int, card: ModelCard = CARD) -> None:
        super().__init__(card=card)
        self.largest = largest

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        self.calls += [tile.shape for tile in tiles]
        if max(tiles[0].shape) > self.largest:
            raise OutOfMemoryError
        return super().noise(tiles, kind)


class NaNEngine(ConstantEngine):
    """Gives NaN in its fast arithmetic, and in float32 too if it is `hopeless`."""

    def __init__(self, *, hopeless: bool, value: float = float("nan")) -> None:
        super().__init__()
        self.hopeless, self.bad = hopeless, value

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        return [np.full(tile.shape, self.bad, np.float16) for tile in tiles]

    def exact_noise(self, tile: Float, kind: str | None = None) -> Half:
        return np.full(tile.shape, self.bad if self.hopeless else 0.01, np.float16)
