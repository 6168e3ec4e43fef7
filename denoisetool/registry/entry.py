"""One model as the registry sees it, sound or broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from denoisetool import modelcard
from denoisetool.errors import DenoiseError, ModelError
from denoisetool.modelcard import ModelCard
from denoisetool.registry import check
from denoisetool.registry.places import RECIPES, Origin


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the registry.

    Attributes:
        name: what it is called by: the name of its folder.
        card: its card, under that name; an empty one when the card cannot be read.
        folder: where it lies.
        origin: `user` (fine-tuned, hand-made), `installed`, or `bundled` with the program.
        problem: why it cannot be used; None for a sound model.
        notes: sentences for the user about how it got here.
    """

    name: str
    card: ModelCard
    folder: Path
    origin: Origin
    problem: DenoiseError | None = None
    notes: tuple[str, ...] = ()

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / modelcard.WEIGHTS_FILE

    @property
    def recipe(self) -> Path:
        """The recipe it was trained by; it may be missing."""
        return self.folder / modelcard.RECIPE_FILE


def look(folder: Path, origin: Origin) -> Entry:
    """The entry of one folder; whatever is wrong with it becomes its `problem`."""
    name = folder.name
    problem: DenoiseError | None = None
    card = ModelCard(name=name, title="", net="", net_args={}, weights_sha256="")
    try:
        card = dataclasses.replace(read_card(folder), name=name)
        if not (folder / modelcard.WEIGHTS_FILE).is_file():
            raise ModelError("the weights are missing", path=folder / modelcard.WEIGHTS_FILE)
    except DenoiseError as error:
        problem = error
    return Entry(name, card, folder, origin, problem)


def read_card(folder: Path) -> ModelCard:
    """The card of a folder; any way in which it is wrong is a ModelError."""
    try:
        return modelcard.load(folder)
    except (ValueError, TypeError) as error:
        what = f"the model card has a value of the wrong kind: {error}"
        raise ModelError(what, path=folder / modelcard.CARD_FILE) from error


def verify(card: ModelCard, weights: Path, digest: Callable[[Path], str]) -> None:
    """Check the structure of the weights, and with `digest` that they are those of the card.

    Raises:
        ModelError: missing, damaged or different weights.
    """
    check.weights_header(weights)
    try:
        found = digest(weights)
    except OSError as error:
        raise ModelError(f"the weights cannot be read: {error.strerror}", path=weights) from error
    promised = card.weights_sha256.lower()
    if found != promised:
        what = f"the weights are not those of the card: sha256 {found[:12]}…, not {promised[:12]}…"
        raise ModelError(what, path=weights, hint="get the model again")


def check_name(name: str) -> None:
    """Raise ModelError unless `name` can be a model's name."""
    if not check.is_safe_name(name) or name == RECIPES:
        hint = "lower-case letters, digits, '-', '_' and '.', at most 64"
        raise ModelError(f"{name!r} cannot be the name of a model", hint=hint)
