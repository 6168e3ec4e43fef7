"""The registry itself: which models there are, and how they come and go."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from denoisetool import settings
from denoisetool.errors import ModelError, UsageError
from denoisetool.modelcard import CARD_FILE, ModelCard
from denoisetool.registry import check, disk
from denoisetool.registry.entry import Entry, check_name, look, verify
from denoisetool.registry.places import RECIPES, Origin, Places

Progress = Callable[[int, int | None], None]


class Registry:
    """The models in some `Places`; the user's own win over installed, those over bundled ones."""

    def __init__(self, places: Places | None = None) -> None:
        self.places = places or Places.default()
        self._memory = check.DigestMemory(self.places.digests)

    def list(self) -> list[Entry]:
        """All models by name, also broken ones, each with its problem; hidden ones left out."""
        found: dict[str, Entry] = {}
        for origin, shelf in self.places.shelves:
            for folder in _folders(shelf):
                if folder.name not in found:
                    found[folder.name] = look(folder, origin)
        return [found[name] for name in sorted(found)]

    def names(self) -> tuple[str, ...]:
        """Names of all models, sorted, also of broken ones."""
        return tuple(entry.name for entry in self.list())

    def find(self, name: str | Path) -> Entry:
        """The model called `name`, or lying in the folder `name`.

        Raises:
            ModelError: unknown (with the nearest names), or broken.
        """
        entry = self._entry(str(name)) or self._at(Path(name))
        if entry is None:
            raise self._unknown(str(name))
        if entry.problem is not None:
            raise entry.problem
        return entry

    def verify(self, entry: Entry) -> None:
        """Check that the weights are whole and the ones the card speaks of.

        Unchanged weights are not read again: their checksum is remembered in the cache folder.

        Raises:
            ModelError: missing, damaged or different weights.
        """
        if entry.problem is not None:
            raise entry.problem
        verify(entry.card, entry.weights, self._memory.digest)

    def install(
        self,
        source: str | Path,
        *,
        name: str | None = None,
        replace: bool = False,
        offline: bool = False,
        user: bool = False,
        progress: Progress | None = None,
        accept: Callable[[ModelCard, Path], None] | None = None,
    ) -> Entry:
        """Put a model into the registry, after checking it.

        Args:
            source: a model folder, a .zip or .tar.gz pack of one, or the http(s) address of a
                pack, optionally with `#sha256=HEX` at its end.
            name: what to call it; the card's name by default.
            replace: put it in place of a model of the same name; a bundled one is only hidden.
            offline: never use the network; so does `DENOISETOOL_OFFLINE`.
            user: put it among the user's own models instead of the installed ones.
            progress: told of a download, with bytes received and bytes expected (or None).
            accept: shown the card and folder of the sound model before it is placed; refuses it
                with a ModelError.

        Raises:
            ModelError: not a sound model, the name is taken or impossible, or unreachable.
            OutputError: the registry's folders cannot be written.
        """
        from denoisetool.registry import install as installer  # archives, http: 40 ms

        if name is not None:
            check_name(name)
        origin: Origin = "user" if user else "installed"
        placing = installer.Placing(self.places, self._entry, name, replace, origin, accept)
        if re.match(r"https?://", str(source), re.IGNORECASE):
            if offline or _offline_by_environment():
                what = f"{source} was not downloaded: the network is switched off"
                raise ModelError(what, hint="without --offline, and DENOISETOOL_OFFLINE unset")
            return installer.from_url(str(source), placing, progress)
        if not Path(source).exists():
            hint = "give a model folder, a .zip or .tar.gz pack, or an http(s) address of a pack"
            raise ModelError("there is no such model folder or pack", path=source, hint=hint)
        return placing.place(Path(source))

    def remove(self, name: str) -> None:
        """Delete an installed model or one of the user's own.

        Raises:
            ModelError: unknown. UsageError: it came with the program. OutputError: in use or
                not permitted.
        """
        entry = self._entry(name)
        if entry is None:
            raise self._unknown(name)
        if entry.origin == "bundled":
            raise UsageError(f"the model {name!r} came with the program and cannot be removed")
        shelf = self.places.shelf(entry.origin)
        with disk.locked_shelf(shelf), disk.writing(entry.folder):
            going = Path(tempfile.mkdtemp(prefix=disk.STAGING, dir=shelf))
            entry.folder.rename(going / "removed")
            shutil.rmtree(going)

    def rollback(self, name: str) -> Entry:
        """Bring back what one of the user's own models replaced; the two change places.

        Also brings back one that was kept when its successor was removed.

        Raises:
            ModelError: nothing was replaced by it. OutputError: in use or not permitted.
        """
        check_name(name)
        shelf = self.places.shelf("user")
        target = shelf / name
        kept = disk.previous(target)
        if not kept.is_dir():
            hint = "only a fine-tuned model that took the place of another can be rolled back"
            raise ModelError(f"no earlier version of {name!r} is kept", hint=hint)
        with disk.locked_shelf(shelf), disk.writing(target):
            staging = Path(tempfile.mkdtemp(prefix=disk.STAGING, dir=shelf))
            coming = staging / "coming"
            kept.rename(coming)
            disk.swap_in(coming, target, staging, keep=True)
            shutil.rmtree(staging)
        return look(target, "user")

    def export(self, name: str, out: IO[bytes]) -> Entry:
        """Write a model as a pack that `install` takes, into an open file.

        Raises:
            ModelError: unknown or damaged.
        """
        from denoisetool.registry import pack

        entry = self.find(name)
        self.verify(entry)
        pack.write(entry.folder, name, out)
        return entry

    def _entry(self, name: str) -> Entry | None:
        """The winning entry of that name, broken or not."""
        if not name or name.startswith(".") or Path(name).name != name:
            return None
        for origin, shelf in self.places.shelves:
            if (shelf / name).is_dir():
                return look(shelf / name, origin)
        return None

    def _at(self, folder: Path) -> Entry | None:
        """The entry of a model folder given by its path."""
        if not (folder / CARD_FILE).is_file():
            return None
        folder = folder.resolve()
        for origin, shelf in self.places.shelves:
            if folder.parent == shelf.resolve():
                return look(folder, origin)
        return look(folder, "user")

    def _unknown(self, name: str) -> ModelError:
        if os.sep in name or "/" in name:
            return ModelError("there is no model in this folder", path=name)
        names = self.names()
        near = difflib.get_close_matches(name, names, n=3)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        else:
            hint = f"there are {', '.join(names)}" if names else "no model is installed"
        return ModelError(f"there is no model {name!r}", hint=hint)


def _folders(shelf: Path) -> list[Path]:
    """Model folders in a shelf that may be missing or unreadable."""
    try:
        return [
            path for path in shelf.iterdir()
            if path.is_dir() and not path.name.startswith(".") and path.name != RECIPES
        ]  # fmt: skip
    except OSError:
        return []


def _offline_by_environment() -> bool:
    setting = settings.find("offline")
    value = os.environ.get(setting.variable)
    return bool(value) and bool(setting.parse(value))
