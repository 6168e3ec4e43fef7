"""The model card: what `model.toml` says about the weights that lie beside it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from denoisetool.errors import ModelError

CARD_FILE = "model.toml"
WEIGHTS_FILE = "weights.safetensors"
RECIPE_FILE = "recipe.toml"
CARD_VERSION = 1
LARGEST_STRIDE = 512
"""Pixels beyond which a stride is nonsense: tiles have three times its side at least."""
SCALES = (1, 2, 4)
"""How many times larger on each side a model may make photos."""
OWN = "own"
"""The kind of noise of the cameras that a model was fine-tuned for, and its expert's name."""
SOFT = "soft"
"""The kind of noise that a camera leaves in soft photos, where some models look twice."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model described as a value; nothing is ever guessed from a file name.

    Attributes:
        name: registry name: lower-case letters, digits, `-`, `_` and `.`.
        title: one line for people.
        net: architecture name known to `nets.build`.
        net_args: keyword arguments of that net.
        channels: 3 (RGB) or 1 (grey).
        stride: height and width of a tile must be multiples of this.
        receptive_radius: pixels on each side that can influence an output pixel (0 = unknown).
        overlap: pixels by which neighbouring tiles overlap, at least the radius that matters.
        scale: how many times larger on each side the result is: 1, 2 or 4.
        overlaps: the same for experts, by kind of noise, that need another overlap.
        strides: the same for experts that take tiles in smaller steps than the net as a whole.
        sigma_range: noise standard deviations (of 255) the model was trained for.
        color_space: what the samples mean; `sRGB` for 8-bit photos as cameras write them.
        kmac_per_pixel: cost in thousand multiply-accumulates per pixel.
        bytes_per_pixel: memory in float32 at the worst moment, per pixel of a tile that goes in
            (0 = unknown).
        parameters: number of weights.
        weights_sha256: hex digest of the weights file.
        licence: licence of the weights.
        training_data: what it was trained on, with licences.
        scores: measured scores, one table per test set.
        provenance: recipe, seed, steps, pixels seen, parent.
        cameras: what it was fine-tuned for: tables with `camera`, as in `formats.exif.Shot`, and
            `iso`, the least and the most.
    """

    name: str
    title: str
    net: str
    net_args: dict[str, Any]
    weights_sha256: str
    channels: int = 3
    stride: int = 1
    receptive_radius: int = 0
    overlap: int = 0
    scale: int = 1
    overlaps: dict[str, int] = field(default_factory=dict)
    strides: dict[str, int] = field(default_factory=dict)
    sigma_range: tuple[float, float] = (0.0, 50.0)
    color_space: str = "sRGB"
    kmac_per_pixel: float = 0.0
    bytes_per_pixel: float = 0.0
    parameters: int = 0
    licence: str = "unknown"
    training_data: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    cameras: list[dict[str, Any]] = field(default_factory=list)

    def overlap_for(self, kind: str | None) -> int:
        """Pixels by which tiles overlap in a photo with this kind of noise."""
        return self.overlaps.get(kind or "", self.overlap)

    def stride_for(self, kind: str | None) -> int:
        """What the sides of tiles are multiples of in a photo with this kind of noise."""
        return self.strides.get(kind or "", self.stride)

    def made_for(self, camera: str | None, iso: int | None) -> bool:
        """Whether it was fine-tuned for this camera at about this ISO, within a stop.

        One whose pairs did not tell their camera is made for all.
        """
        return not self.cameras or any(
            table.get("camera") == camera and _within(table.get("iso"), iso)
            for table in self.cameras
        )


def _within(span: Any, iso: int | None) -> bool:
    """Whether an ISO lies in a range, or a stop beside it; without a range every one does."""
    if not isinstance(span, list) or len(span) != 2 or iso is None:
        return span is None
    return bool(span[0] / 2 <= iso <= span[1] * 2)


def parse(text: str, path: Path | None = None) -> ModelCard:
    """Read a card from the text of a `model.toml`.

    Raises:
        ModelError: not TOML, a newer card version, a required key missing, or a value of the wrong
            kind; the message names the key.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"the model card is not valid TOML: {error}", path=path) from error
    version = data.pop("card_version", None)
    if version != CARD_VERSION:
        raise ModelError(
            f"model card version {version!r} is not supported (this program reads {CARD_VERSION})",
            path=path,
            hint="update denoisetool, or get the model again",
        )
    known = ModelCard.__dataclass_fields__
    for key in ("name", "title", "net", "net_args", "weights_sha256"):
        if key not in data:
            raise ModelError(f"the model card lacks {key!r}", path=path)
    kinds: dict[str, type | tuple[type, ...]] = {
        "name": str, "title": str, "net": str, "net_args": dict, "weights_sha256": str,
        "channels": int, "stride": int, "receptive_radius": int, "overlap": int, "scale": int,
        "overlaps": dict, "strides": dict, "sigma_range": list, "color_space": str,
        "kmac_per_pixel": (int, float), "bytes_per_pixel": (int, float), "parameters": int,
        "licence": str, "training_data": list, "scores": dict, "provenance": dict, "cameras": list,
    }  # fmt: skip
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            continue  # cards are additive: an older program ignores what it does not know
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise ModelError(f"the model card's {key!r} has the wrong kind of value", path=path)
        values[key] = value
    if "sigma_range" in values:
        bounds = values["sigma_range"]
        if len(bounds) != 2 or not all(type(v) in (int, float) for v in bounds):
            raise ModelError("the model card's 'sigma_range' must be two numbers", path=path)
        values["sigma_range"] = (float(bounds[0]), float(bounds[1]))
    if not all(type(v) is int and v >= 0 for v in values.get("overlaps", {}).values()):
        raise ModelError("the model card's 'overlaps' must be whole numbers", path=path)
    strides = [values.get("stride", 1), *values.get("strides", {}).values()]
    if not all(type(v) is int and 1 <= v <= LARGEST_STRIDE for v in strides):
        what = f"the model card's strides must be whole numbers from 1 to {LARGEST_STRIDE}"
        raise ModelError(what, path=path)
    if not all(isinstance(table, dict) for table in values.get("cameras", [])):
        raise ModelError("the model card's 'cameras' must be tables", path=path)
    card = ModelCard(**values)
    possible = card.channels in (1, 3) and card.scale in SCALES
    if not (possible and card.overlap >= 0 and card.bytes_per_pixel >= 0):
        what = "the model card's channels, scale, overlap or memory is impossible"
        raise ModelError(what, path=path)
    return card


def load(folder: Path) -> ModelCard:
    """Read the card of the model in `folder`. Raises ModelError."""
    path = folder / CARD_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelError(
            "no model card here", path=path, hint="`denoisetool models list`"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"the model card cannot be read: {error}", path=path) from error
    return parse(text, path)
