"""Bring a model into the registry: fetched if need be, checked, then placed in one rename."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from denoisetool.errors import ModelError
from denoisetool.modelcard import WEIGHTS_FILE, ModelCard
from denoisetool.registry import check, disk, download, pack
from denoisetool.registry.entry import Entry, check_name, look, read_card, verify
from denoisetool.registry.places import Origin, Places


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a model shall go.

    Attributes:
        places: the registry's folders.
        lookup: the entry that has a name now, or None.
        name: what to call it; None for the card's name.
        replace: whether it may take the place of a model of that name.
        origin: `user` or `installed`.
        accept: refuses a sound model that is of no use here, with a ModelError.
    """

    places: Places
    lookup: Callable[[str], Entry | None]
    name: str | None
    replace: bool
    origin: Origin
    accept: Callable[[ModelCard, Path], None] | None = None

    def place(self, source: Path) -> Entry:
        """Put the model of a folder or pack into the registry.

        Raises:
            ModelError: not a sound model, or its name is impossible or taken. OutputError.
        """
        shelf = self.places.shelf(self.origin)
        with disk.locked_shelf(shelf):
            with disk.writing(shelf):
                staging = Path(tempfile.mkdtemp(prefix=disk.STAGING, dir=shelf))
            try:
                folder = staging / "model"
                folder.mkdir()
                pack.copy_model(source, folder)
                target = shelf / self._checked_name(folder, source)
                with disk.writing(target):
                    disk.swap_in(folder, target, staging, keep=self.origin == "user")
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return look(target, self.origin)

    def _checked_name(self, folder: Path, source: Path) -> str:
        """The name of the sound and welcome model in `folder`. Raises ModelError."""
        try:
            card = read_card(folder)
            verify(card, folder / WEIGHTS_FILE, check.sha256_of)
            if self.accept is not None:
                self.accept(card, folder)
        except ModelError as error:
            error.path = source  # not the temporary copy
            raise
        name = self.name or card.name
        check_name(name)
        present = self.lookup(name)
        if present is not None and not self.replace:
            what = f"there is a model {name!r} already ({present.origin})"
            raise ModelError(
                what,
                path=present.folder,
                hint="--replace takes its place, --name gives another name",
            )
        if present is not None and present.origin == "user" != self.origin:
            what = f"your own model {name!r} would hide the installed one"
            raise ModelError(what, path=present.folder, hint="give another name, or remove yours")
        return name


def from_url(url: str, placing: Placing, progress: download.Progress | None) -> Entry:
    """Download a pack and place its model; see `Registry.install`."""
    address, _, fragment = url.partition("#")
    digest = _digest_in(fragment) if fragment else download.published_digest(address)
    part = download.Part(placing.places.downloads, address)
    with disk.lock(part.lock, "another process is downloading this model"):
        download.fetch(part, sha256=digest, progress=progress)
        try:
            entry = placing.place(part.path)
        except ModelError as error:
            if error.path == part.path:
                error.what, error.path = f"{address}: {error.what}", None
            raise
        finally:
            part.discard()
    if digest is not None:
        return entry
    note = "no checksum was given for the download; the weights match their own card"
    return dataclasses.replace(entry, notes=(note,))


def _digest_in(fragment: str) -> str:
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if found is None:
        hint = "write #sha256= and the 64 hex digits of the pack"
        raise ModelError(f"{fragment!r} is not a checksum", hint=hint)
    return found[1].lower()
