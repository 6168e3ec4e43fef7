"""Where every output goes, all of it decided before any of it is written.

Places:

- `-o FOLDER`: the tree of each input folder is mirrored below it (`photos/a/b.jpg` of `photos/` is
  `FOLDER/a/b.jpg`), the trees of several input folders are merged, a named file lands at the top.
  `-o` means a folder if it exists as one, ends in a slash, or does not end like a photo.
- `-o FILE`: for one named file, if `-o` ends like a photo or exists and is no folder.
- no `-o`: `photo_clean.jpg` beside `photo.jpg`; `photos-clean/` next to the folder `photos/`.

Names:

- A name stays as it is, to the letter, unless `--name` or `--format` say otherwise: catalogues and
  links refer to it. A PNG named `a.jpg` stays `a.jpg` (and stays a PNG).
- With a format asked for, an ending that already means this format keeps its spelling (`.JPG`,
  `.jpeg`); the ending of any other picture is replaced; to anything else the new one is added.
- A template has the fields `{stem}`, `{name}` (stem and new suffix), `{suffix}`, `{parent}` (name
  of the folder the photo is in) and `{index}` (1, 2, ... in sorted order; `{index:04}` pads). The
  suffix is added unless the template ends in `{suffix}` or `{name}`. It may hold a `/` to make a
  subfolder, but never leads out of the output folder.

Collisions: two targets collide when a disk that ignores case or Unicode composition would take them
for one. One photo keeps the name: the one whose name does not change, else the first in sorted
order (by place below the input folder, then by input folder). For every other the first of these
that is free is taken:

1. where only the suffixes differed, all of its own name: `a.png` as WebP gives `a.png.webp`;
2. the name of its input folder, or of the folder of a named file: `IMG_1 (card2).jpg`;
3. a number: `a (2).jpg`.

The first two depend on that photo alone, so they stay the same as the set of photos grows; and no
photo ever loses a name to one that had to give way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from denoisetool.errors import DenoiseError, OutputError, OutputExists, UsageError
from denoisetool.files.atomic import is_temporary
from denoisetool.files.names import (
    PHOTO_SUFFIXES,
    NaturalKey,
    fold,
    is_folder,
    natural_key,
    split_suffix,
)
from denoisetool.files.sources import Problem, Source
from denoisetool.files.template import FIELDS_HINT, Template

NAME_BESIDE = "{stem}_clean"
"""Template for outputs that land in the same folder as their photo, where none was given."""

_LONGEST_NAME = 255
_PLAIN = Template.parse("{stem}")
_BESIDE = Template.parse(NAME_BESIDE)

Suffixes = Callable[[Source], Sequence[str]]
Claimed = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where outputs go, as far as the command line alone decides it.

    Attributes:
        folder: outputs go below this folder.
        file: the one output is this file.
        exclude: the folders that `walk` must not enter, so that no output is read again.

    With neither folder nor file, outputs go beside what was named.
    """

    folder: Path | None = None
    file: Path | None = None
    exclude: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """One photo and the file it becomes; `note` tells why, where that is not the obvious name."""

    source: Source
    target: Path
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """All outputs of one run, in sorted order, and the photos that cannot have one."""

    outputs: tuple[Planned, ...]
    problems: tuple[Problem, ...] = ()

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """The folders that outputs go to, each once: where leftovers may be."""
        return tuple(dict.fromkeys(planned.target.parent for planned in self.outputs))


def destination(inputs: Sequence[Path], output: str | Path | None) -> Destination:
    """Decide what `-o` means, before any folder is read.

    Args:
        inputs: the files and folders named.
        output: what was given to `-o`, as a string where a slash at its end is to count.

    Raises:
        UsageError: one file to hold several photos, or a folder that cannot have a neighbour.
    """
    if output is None:
        beside = (_neighbour(path) for path in inputs if is_folder(path))
        return Destination(exclude=tuple(dict.fromkeys(beside)))
    path = Path(output)
    if _means_folder(str(output), path):
        real = os.path.realpath(path)
        in_place = all(os.path.realpath(item) == real for item in inputs)
        return Destination(folder=path, exclude=() if in_place else (path,))
    if len(inputs) == 1 and not is_folder(inputs[0]):
        return Destination(file=path)
    hint = (
        "give a folder"
        if os.path.lexists(path)
        else f"for a folder of this name, write {path}{os.sep}"
    )
    raise UsageError("several photos cannot go into one file", path=path, hint=hint)


def plan(
    sources: Iterable[Source],
    where: Destination,
    *,
    name: str | None = None,
    suffixes: Suffixes | None = None,
    scale: int = 1,
    claimed: Claimed | None = None,
    beside: Iterable[Path] = (),
) -> Plan:
    """Give every photo a target of its own; the module's docstring has the rules.

    The result does not depend on the order of the sources. Photos whose target would be one of the
    inputs (by whatever name or link), or whose folder cannot exist, become problems.

    Args:
        sources: the photos, as `walk` found them.
        where: from `destination`.
        name: template; None is `{stem}`, and `{stem}_clean` beside a named file.
        suffixes: the endings, lower case with the dot, that mean the format a photo will be written
            in; the first is used for new names. None, or an empty sequence, keeps the name as is.
        scale: how many times larger results are, for templates that say so.
        claimed: tells for a `target_key` whether it belongs to a photo of an earlier plan.
        beside: inputs that get no output, such as unreadable ones; they are not replaced either.

    Raises:
        UsageError: a template that cannot be used.
    """
    ordered = sorted(sources, key=_sort_key)
    template = None if name is None else Template.parse(name)
    if template is not None and len(ordered) > 1 and not template.has_fields:
        raise UsageError(f"--name {name!r}: every photo would get this name", hint=FIELDS_HINT)
    if where.file is not None:
        if template is not None:
            raise UsageError("--name and a file name for -o say the same thing twice")
        wishes = [_Wish(source, where.file.parent, (where.file.name,)) for source in ordered]
        if len(wishes) > 1:
            raise UsageError("several photos cannot go into one file", path=where.file)
    else:
        namer = _Namer(where, template, suffixes, scale)
        wishes = [namer.wish(source, index) for index, source in enumerate(ordered, 1)]
    inputs = {(source.device, source.inode) for source in ordered}
    for path in beside:
        with contextlib.suppress(OSError):
            status = path.stat()
            inputs.add((status.st_dev, status.st_ino))
    return _settle(wishes, inputs, claimed)


def target_key(target: Path) -> str:
    """What two targets have in common if some disk would take them for one."""
    return _Settler().slot(target.parent, target.name).key


class _Wish(NamedTuple):
    """The names a photo would take, best first, each below `folder`; or why it can have none."""

    source: Source
    folder: Path
    names: tuple[str, ...]
    error: DenoiseError | None = None


@dataclass(slots=True)
class _Namer:
    """Names one photo at a time, without regard to the others."""

    where: Destination
    template: Template | None
    suffixes: Suffixes | None
    scale: int
    neighbours: dict[Path, Path] = field(default_factory=dict)

    def wish(self, source: Source, index: int) -> _Wish:
        """The names that a photo would take, best first."""
        own_name = source.path.name
        stem, suffix = split_suffix(own_name)
        asked = self.suffixes(source) if self.suffixes is not None else ()
        ending = suffix if not asked or suffix.lower() in asked else asked[0]
        folder = self.folder(source)
        values: dict[str, str | int] = {"stem": stem, "suffix": ending, "index": index}
        values["scale"] = self.scale
        values["parent"] = _folder_name(source.path.parent)
        template = self.template or self.default_template(source)
        label = values["parent"] if source.root is None else _folder_name(source.root)
        stems = [stem, own_name] if ending != suffix else [stem]
        names = []
        for each in stems:
            values["stem"], values["name"] = each, each + ending
            names.append(template.fill(values, ending))
        if "/" in names[0]:  # giving way must change the file's name, not its folder
            del names[1:]
        if label:
            names.append(tagged(names[0], str(label)))
        return _Wish(source, folder, tuple(names), _refusal(source, names[0]))

    def folder(self, source: Source) -> Path:
        """The folder that a photo's output goes to, before its template has a say."""
        if self.where.folder is not None:
            return self.where.folder / source.relative.parent
        if source.root is None:
            return source.path.parent
        if source.root not in self.neighbours:
            self.neighbours[source.root] = _neighbour(source.root)
        return self.neighbours[source.root] / source.relative.parent

    def default_template(self, source: Source) -> Template:
        """The template where none was given."""
        beside = self.where.folder is None and source.root is None
        return _BESIDE if beside else _PLAIN


class _Slot(NamedTuple):
    """A candidate: the target and what identifies it on any disk."""

    target: Path
    key: str


@dataclass(slots=True)
class _Settler:
    """Gives out targets, no two of which any disk could take for one."""

    claimed: Claimed | None = None
    taken: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    folder_keys: dict[Path, str] = field(default_factory=dict)

    def slot(self, folder: Path, name: str) -> _Slot:
        """The target for a name, which may have folders in it."""
        target = folder / name
        parent = target.parent
        key = self.folder_keys.get(parent)
        if key is None:
            real = Path(os.path.realpath(parent))
            key = self.folder_keys[parent] = fold(str(real))
            # No file may take the place of a folder.
            self.taken.update(fold(str(place)) for place in (real, *real.parents))
        return _Slot(target, f"{key}{os.sep}{fold(target.name)}")

    def free(self, slot: _Slot) -> bool:
        """Whether no other photo, of this plan or an earlier one, has this target."""
        return slot.key not in self.taken and not (self.claimed and self.claimed(slot.key))

    def give_way(self, wish: _Wish) -> _Slot:
        """The first free name for a photo that cannot have its first."""
        for name in wish.names[1:]:
            slot = self.slot(wish.folder, name)
            if self.free(slot) and len(os.fsencode(slot.target.name)) <= _LONGEST_NAME:
                return slot
        first = self.slot(wish.folder, wish.names[0])
        number = self.numbers.get(first.key, 2)
        while True:
            slot = self.slot(wish.folder, tagged(wish.names[0], str(number)))
            number += 1
            if self.free(slot):
                self.numbers[first.key] = number
                return slot


def _settle(wishes: list[_Wish], inputs: set[tuple[int, int]], claimed: Claimed | None) -> Plan:
    """Turn wishes into targets: first all who can have their first name, then the rest."""
    settler = _Settler(claimed)
    good = [wish for wish in wishes if wish.error is None]
    firsts = [settler.slot(wish.folder, wish.names[0]) for wish in good]
    keepers = _keepers(good, firsts, settler)
    settler.taken.update(firsts[index].key for index in keepers)
    places: dict[Path, DenoiseError | None] = {}
    outputs: list[Planned] = []
    problems = [Problem(wish.source.path, wish.error) for wish in wishes if wish.error]
    for index, wish in enumerate(good):
        slot, note = firsts[index], ""
        if index not in keepers:
            slot = settler.give_way(wish)
            settler.taken.add(slot.key)
            note = f"{firsts[index].target.name} is the output of another photo"
        error = _unusable(slot.target, inputs, places)
        if error is None:
            outputs.append(Planned(wish.source, slot.target, note))
        else:
            problems.append(Problem(wish.source.path, error))
    return Plan(tuple(outputs), tuple(problems))


def _keepers(wishes: list[_Wish], slots: list[_Slot], settler: _Settler) -> set[int]:
    """Who keeps its first name, by position: the unchanged name, else the first in order."""
    best: dict[str, int] = {}
    for index, (wish, slot) in enumerate(zip(wishes, slots, strict=True)):
        if not settler.free(slot):
            continue
        rival = best.get(slot.key)
        if rival is None or (
            _unchanged(wish, slot) and not _unchanged(wishes[rival], slots[rival])
        ):
            best[slot.key] = index
    return set(best.values())


def _unchanged(wish: _Wish, slot: _Slot) -> bool:
    """Whether a photo's output has the photo's own name."""
    return wish.source.path.name == slot.target.name


def _unusable(
    target: Path, inputs: set[tuple[int, int]], places: dict[Path, DenoiseError | None]
) -> DenoiseError | None:
    """Why nothing can be written there: the folder, or because it is an input."""
    parent = target.parent
    if parent not in places:
        places[parent] = _no_folder(parent)
    error = places[parent]
    if error is not None:
        return error
    if os.name != "nt" and len(os.fsencode(target.name)) > _LONGEST_NAME:
        return OutputError("the name of the output is too long", path=target, hint="see --name")
    try:
        status = target.stat()
    except OSError:
        return None
    if status.st_ino and (status.st_dev, status.st_ino) in inputs:
        hint = "choose another folder with -o, or another name with --name"
        return OutputExists("the output would replace an input", path=target, hint=hint)
    return None


def _no_folder(folder: Path) -> OutputError | None:
    """Why a folder neither is there nor can be made."""
    for place in (folder, *folder.parents):
        if not os.path.lexists(place):  # asked first: a worker may make the folder meanwhile
            continue
        if is_folder(place):
            return None
        hint = "choose another folder with -o"
        return OutputError("a file is in the way of this folder", path=place, hint=hint)
    return None


def _refusal(source: Source, name: str) -> DenoiseError | None:
    """Why the name that a template made of a photo's names cannot be used."""
    pieces = name.split("/")
    if any(piece in ("", ".", "..") for piece in pieces) or is_temporary(pieces[-1]):
        hint = "use another --name"
        return UsageError(f"the name {name!r} cannot be used", path=source.path, hint=hint)
    return None


def tagged(name: str, tag: str) -> str:
    """A name with a word in brackets before its suffix."""
    stem, suffix = split_suffix(name)
    return f"{stem} ({tag}){suffix}"


def _means_folder(text: str, path: Path) -> bool:
    """Whether `-o` is a folder."""
    if text.endswith(tuple({"/", os.sep})):
        return True
    if os.path.lexists(path):  # asked first: another run may make the folder meanwhile
        return is_folder(path)
    return split_suffix(path.name)[1].lower() not in PHOTO_SUFFIXES


def _plain_absolute(folder: Path) -> Path:
    """A folder by a name of its own: links are kept, a `..` is resolved."""
    return Path(os.path.realpath(folder)) if ".." in folder.parts else folder.absolute()


def _folder_name(folder: Path) -> str:
    """The name of a folder, also where it was spelled `.` or `..`; empty for the top of a disk."""
    return folder.name if folder.name not in ("", "..") else _plain_absolute(folder).name


def _neighbour(folder: Path) -> Path:
    """`photos-clean` for `photos`. Raises UsageError at the top of a disk."""
    named = folder if folder.name not in ("", "..") else _plain_absolute(folder)
    if not named.name:
        raise UsageError("there is no place next to this folder", path=folder, hint="use -o FOLDER")
    return named.with_name(f"{named.name}-clean")


def _sort_key(source: Source) -> tuple[tuple[NaturalKey, ...], NaturalKey]:
    """Sorted order: by place below the input folder, then by the whole path."""
    return tuple(map(natural_key, source.relative.parts)), natural_key(str(source.path))
