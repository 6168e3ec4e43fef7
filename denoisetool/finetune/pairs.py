"""Which photos of a folder show the same scene: named so, lying so, or taken so."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np

from denoisetool import files, formats, metrics
from denoisetool.errors import DenoiseError, NoInputError
from denoisetool.formats.base import Limits
from denoisetool.formats.exif import Shot, shot
from denoisetool.photo import Photo

CLEAN_WORDS = ("clean", "gt", "truth", "mean", "target", "reference")
NOISY_WORDS = ("noisy", "noise", "input", "real", "raw")
SHAPES = (
    "scene1_a.jpg and scene1_b.jpg; two folders with the same names (a/ and b/, or noisy/ and"
    " clean/); a folder for each scene; or any photos with --find-bursts"
)
MOST_FRAMES = 6
"""Frames of one scene that are used: of more, all ordered pairs would only repeat each other."""
BURST_SECONDS = 3.0
"""Longest time between the beginnings of two photos of one burst, beside their exposures."""
ALIKE = 0.9
"""Least correlation of two coarse pictures of one burst."""

_Key = tuple[Path, str]
_WORD = re.compile(r"^(?P<scene>.+?)[ _.\-]+(?P<frame>[a-z]|\d{1,2}|[a-z]{2,9})$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scene:
    """Photos of one scene.

    Attributes:
        name: what to call it.
        frames: noisy photos of it, in order.
        clean: a photo of it without noise; None where there are only noisy ones.
    """

    name: str
    frames: tuple[Path, ...]
    clean: Path | None = None

    def pairs(self) -> list[tuple[Path, Path]]:
        """Input and target: every frame with the clean photo, or with every other frame."""
        if self.clean is not None:
            return [(frame, self.clean) for frame in self.frames]
        return list(permutations(self.frames, 2))


@dataclass(slots=True)
class Found:
    """What a folder holds.

    Attributes:
        how: the shape it has, in words.
        scenes: scenes with two photos or more.
        rejected: (name, photos, reason) of what was left out.
        supervised: whether the targets are clean photos.
    """

    how: str
    scenes: list[Scene] = field(default_factory=list)
    rejected: list[tuple[str, tuple[Path, ...], str]] = field(default_factory=list)

    @property
    def supervised(self) -> bool:
        """Whether the targets are clean photos."""
        return bool(self.scenes) and all(scene.clean is not None for scene in self.scenes)


def find(folder: Path, *, bursts: bool = False) -> Found:
    """The scenes of a folder, in whichever of the known shapes it has.

    Args:
        folder: the user's.
        bursts: look at times, cameras and pictures instead of names.

    Raises:
        NoInputError: there is no such folder, no photo in it, or none that belongs to another.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "there is no such folder"
        raise NoInputError(what, path=folder, hint=f"give a folder of pairs: {SHAPES}")
    rejected: list[tuple[str, tuple[Path, ...], str]] = []
    photos = list(_photos(folder, rejected))
    if len(photos) < 2:
        count = "one photo" if photos else "no photo"
        what = f"there is {count} here; it takes two photos of the same scene"
        hint = f"{rejected[0][1][0]}: {rejected[0][2]}" if rejected else f"shapes: {SHAPES}"
        raise NoInputError(what, path=folder, hint=hint)
    shapes: list[Callable[[Path, list[Path]], Found | None]] = (
        [_bursts] if bursts else [_two_folders, _scene_folders, _suffixes]
    )
    for shape in shapes:
        found = shape(folder, photos)
        if found is not None and found.scenes:
            found.rejected = rejected + found.rejected
            return found
    what = f"no two of the {len(photos)} photos here belong together by "
    raise NoInputError(
        what + ("time, camera and picture" if bursts else "their names"),
        path=folder,
        hint="bursts need EXIF times at most 3 s apart, of one camera" if bursts
        else f"these shapes are understood: {SHAPES}",
    )  # fmt: skip


def _photos(folder: Path, rejected: list[tuple[str, tuple[Path, ...], str]]) -> Iterator[Path]:
    """All photos under a folder in natural order; what is damaged goes to `rejected`."""

    def sniff(head: bytes) -> str | None:
        found = formats.sniff(head)
        return None if found is None else found.name

    for found in files.walk([folder], sniff=sniff, unsupported=formats.unsupported_kind):
        if isinstance(found, files.Source):
            yield found.path
        elif isinstance(found, files.Problem):
            path = found.error.path or folder
            rejected.append((path.name, (path,), found.error.what))


def _stem(path: Path) -> str:
    return files.fold(files.split_suffix(path.name)[0])


def _two_folders(folder: Path, photos: list[Path]) -> Found | None:
    """a/ and b/ with the same names, or noisy/ and clean/."""
    homes = sorted({path.relative_to(folder).parts[0] for path in photos})
    if len(homes) != 2 or any((folder / home).is_file() for home in homes):
        return None
    sides = [
        {
            (path.relative_to(folder / home).parent, _without_role(_stem(path))): path
            for path in photos
            if path.is_relative_to(folder / home)
        }
        for home in homes
    ]
    common = [key for key in sides[0] if key in sides[1]]
    if not common:
        return None
    clean = [home.lower() in CLEAN_WORDS for home in homes]
    if clean[0] == clean[1] and not _across(sides, common[0]):
        return None
    if clean[0] != clean[1]:
        noisy, truth = (sides[1], sides[0]) if clean[0] else (sides[0], sides[1])
        found = Found(f"folders {homes[clean[0]]}/ and {homes[clean[1]]}/: noisy and clean")
        found.scenes = [Scene(str(k[0] / k[1]), (noisy[k],), truth[k]) for k in common]
    else:
        found = Found(f"folders {homes[0]}/ and {homes[1]}/ with the same names")
        found.scenes = [Scene(str(k[0] / k[1]), (sides[0][k], sides[1][k])) for k in common]
    for one in sides:
        found.rejected += [
            (path.name, (path,), "no partner of its name in the other folder")
            for key, path in one.items()
            if key not in common
        ]
    return found


def _across(sides: list[dict[_Key, Path]], key: _Key) -> bool:
    """Whether photos of one name are more alike than neighbours: else each folder is a scene."""
    pictures = {
        p: q for p, q in ((p, _coarse(p)) for p in (sides[0][key], sides[1][key])) if q is not None
    }
    if len(pictures) < 2:
        return True
    first, second = pictures.values()
    for side in sides:
        other = next((path for name, path in side.items() if name != key), None)
        beside = None if other is None else _coarse(other)
        mine = pictures[side[key]]
        if beside is not None and correlation(mine, beside) > correlation(first, second):
            return False
    return True


def _coarse(path: Path) -> metrics.Float32 | None:
    """The thumbnail of a photo; None where it cannot be read."""
    try:
        return thumbnail(formats.read(path, Limits()))
    except DenoiseError:
        return None


def _without_role(stem: str) -> str:
    """A stem without a last word that says noisy or clean: `01_noise` and `01_gt` are `01`."""
    match = _WORD.match(stem)
    return match["scene"] if match and match["frame"] in (*CLEAN_WORDS, *NOISY_WORDS) else stem


def _scene_folders(folder: Path, photos: list[Path]) -> Found | None:
    """One folder per scene."""
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in photos:
        groups[path.parent].append(path)
    if folder in groups or all(len(group) < 2 for group in groups.values()):
        return None
    found = Found("a folder for each scene")
    for home, group in groups.items():
        _add(found, str(home.relative_to(folder)), [(_stem(path), path) for path in group])
    return found


def _suffixes(folder: Path, photos: list[Path]) -> Found | None:
    """scene_a and scene_b, scene_1 and scene_2, scene_noisy and scene_clean."""
    groups: dict[tuple[Path, str], list[tuple[str, Path]]] = defaultdict(list)
    for path in photos:
        match = _WORD.match(_stem(path))
        key, frame = (match["scene"], match["frame"]) if match else (_stem(path), "")
        groups[path.parent, key].append((frame, path))
    found = Found("names that differ in their last word")
    for (home, name), group in groups.items():
        _add(found, str((home / name).relative_to(folder)), group)
    return found


def _add(found: Found, name: str, group: list[tuple[str, Path]]) -> None:
    """A scene of some photos; a stem or word that says clean makes its photo the target."""
    clean = [path for word, path in group if _last_word(word) in CLEAN_WORDS]
    noisy = [path for _, path in group if path not in clean]
    if not noisy or len(group) < 2:
        found.rejected.append((name, tuple(p for _, p in group), "it has no partner"))
    elif len(clean) > 1:
        found.rejected.append((name, tuple(clean), "more than one photo is called clean"))
    else:
        for path in noisy[MOST_FRAMES:]:
            why = f"there are {MOST_FRAMES} frames of this scene already"
            found.rejected.append((name, (path,), why))
        found.scenes.append(Scene(name, tuple(noisy[:MOST_FRAMES]), clean[0] if clean else None))


def _last_word(stem: str) -> str:
    match = _WORD.match(stem)
    return match["frame"].lower() if match else stem.lower()


def _bursts(folder: Path, photos: list[Path]) -> Found | None:
    """Photos taken right after each other, of one camera, one setting and alike."""
    found = Found("bursts, by time, camera, exposure and picture")
    shots: list[tuple[Shot, Path]] = []
    for path in photos:
        how = shot_of(path)
        if how.taken is None:
            found.rejected.append((path.name, (path,), "it does not tell when it was taken"))
        else:
            shots.append((how, path))
    shots.sort(
        key=lambda item: (item[0].camera or "", item[0].taken, files.natural_key(item[1].name))
    )
    for group in _runs(shots, _same_burst):
        alike = _alike([path for _, path in group])
        for path in (path for _, path in group if path not in alike):
            found.rejected.append((path.name, (path,), "no other photo was taken like it then"))
        if len(alike) > 1:
            name = str(alike[0].relative_to(folder))
            _add(found, name, [("", path) for path in alike])
    return found


def _runs(
    shots: list[tuple[Shot, Path]], same: Callable[[Shot, Shot], bool]
) -> Iterator[list[tuple[Shot, Path]]]:
    """Cut a list where two neighbours are not the same."""
    run: list[tuple[Shot, Path]] = []
    for item in shots:
        if run and not same(run[-1][0], item[0]):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def _same_burst(first: Shot, second: Shot) -> bool:
    if first.taken is None or second.taken is None or first.camera != second.camera:
        return False
    if first.iso != second.iso:
        return False
    exposures = (first.seconds or 0.0), (second.seconds or 0.0)
    if min(exposures) > 0 and max(exposures) > 1.3 * min(exposures):
        return False
    return (second.taken - first.taken).total_seconds() <= BURST_SECONDS + exposures[0]


def _alike(paths: list[Path]) -> list[Path]:
    """Those of a run of photos that show what the first of them that has a like one shows."""
    if len(paths) < 2:
        return []
    looked = {path: _coarse(path) for path in paths}
    coarse = {path: seen for path, seen in looked.items() if seen is not None}
    left = list(coarse)
    for index, first in enumerate(left):
        like = [p for p in left[index:] if correlation(coarse[first], coarse[p]) >= ALIKE]
        if len(like) > 1:
            return like
    return []


def thumbnail(photo: Photo, side: int = 64) -> metrics.Float32:
    """The grey picture in boxes, at most `side` of them along the longer side; (h, w), 0..1."""
    factor = max(1, -(-max(photo.height, photo.width) // side))
    boxed = metrics.box_reduce(photo.pixels, factor).mean(2) / photo.peak
    return np.asarray(boxed, np.float32)


def correlation(first: metrics.Float32, second: metrics.Float32) -> float:
    """Pearson's r of two pictures of one shape; 0 for two of different shapes."""
    if first.shape != second.shape:
        return 0.0
    a, b = (values - values.mean() for values in (first, second))
    scale = float(np.sqrt(np.square(a).mean() * np.square(b).mean()))
    return float((a * b).mean()) / scale if scale > 1e-9 else 0.0


def shot_of(path: Path) -> Shot:
    """How a photo was taken; nothing where it cannot be read."""
    try:
        return shot(formats.read(path, Limits()).metadata.exif)
    except DenoiseError:
        return Shot()
