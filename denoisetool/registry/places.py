"""Where models lie on this machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import denoisetool
from denoisetool import settings

Origin = Literal["user", "installed", "bundled"]
RECIPES = "recipes"
"""Folder beside the models of recipes that no shipped model was made with."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of the registry; none of them need exist.

    Attributes:
        data: the user's data folder; `models` in it holds fine-tuned and hand-made models.
        cache: the user's cache folder; `models` in it holds installed models, `downloads`
            unfinished downloads.
        bundled: folder of the models that came with the program; None if there is none.
    """

    data: Path
    cache: Path
    bundled: Path | None = None

    @classmethod
    def default(cls) -> Places:
        """This user's and this program's own folders (`DENOISETOOL_HOME` moves the user's)."""
        return cls(settings.folder("data"), settings.folder("cache"), bundled_models())

    @property
    def shelves(self) -> list[tuple[Origin, Path]]:
        """Folders of models, the first that has a name wins."""
        shelves: list[tuple[Origin, Path]] = [
            ("user", self.data / "models"),
            ("installed", self.cache / "models"),
        ]
        return shelves if self.bundled is None else [*shelves, ("bundled", self.bundled)]

    def shelf(self, origin: Origin) -> Path:
        """The folder of the models of one origin."""
        return dict(self.shelves)[origin]

    @property
    def downloads(self) -> Path:
        """Folder of unfinished downloads."""
        return self.cache / "downloads"

    @property
    def digests(self) -> Path:
        """File of checksums computed before."""
        return self.cache / "weights-sha256.json"


def bundled_models() -> Path | None:
    """The models shipped with the program: in a frozen bundle, a wheel, or a source checkout."""
    package = Path(denoisetool.__file__).parent
    candidates = [package / "_models"]
    frozen = getattr(sys, "_MEIPASS", None)
    if frozen is not None:
        candidates.insert(0, Path(frozen) / "denoisetool" / "_models")
    if (package.parent / "pyproject.toml").is_file():
        candidates.append(package.parent / "models")
    return next((folder for folder in candidates if folder.is_dir()), None)
