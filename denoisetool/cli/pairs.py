"""Which photo of one folder belongs to which of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from denoisetool import files, formats
from denoisetool.errors import DenoiseError, NoInputError, UsageError

Key = Callable[[files.Source], str]

HOW_MATCHED = (
    "photos belong together that have the same place and name, whatever their suffix;"
    " `photo_clean` belongs to `photo`"
)


@dataclass(slots=True)
class Pairs:
    """What belongs together.

    Attributes:
        pairs: first photo and second photo.
        notes: sentences for the user about what was left out.
        problems: photos that cannot be read at all.
    """

    pairs: list[tuple[Path, Path]]
    notes: list[str] = field(default_factory=list)
    problems: list[DenoiseError] = field(default_factory=list)


def are_folders(first: Path, second: Path) -> bool:
    """Whether two names on the command line are two folders, and not two files.

    Raises:
        NoInputError: one of them is not there.
        UsageError: one is a folder and the other is not.
    """
    for path in (first, second):
        if not path.exists():
            raise NoInputError("no such file or folder", path=path, hint="check the spelling")
    if first.is_dir() and second.is_dir():
        return True
    if first.is_file() and second.is_file():
        return False
    what = "a photo and a folder cannot be compared"
    raise UsageError(what, path=first, hint="give two photos, or two folders")


def photos_of(folder: Path, result: Pairs, exclude: Sequence[Path] = ()) -> list[files.Source]:
    """Photos of a folder in natural order; what is wrong with others goes to `result`.

    Args:
        folder: it.
        result: whose problems are added to.
        exclude: folders that are not entered.

    Raises:
        NoInputError: there is no photo.
    """

    def sniff(head: bytes) -> str | None:
        found = formats.sniff(head)
        return None if found is None else found.name

    sources = []
    for found in files.walk(
        [folder], sniff=sniff, unsupported=formats.unsupported_kind, exclude=exclude
    ):
        if isinstance(found, files.Source):
            sources.append(found)
        elif isinstance(found, files.Problem):
            result.problems.append(found.error)
    if not sources:
        hint = str(result.problems[-1]) if result.problems else ""
        raise NoInputError("no photo here", path=folder, hint=hint)
    return sources


def full_name(source: files.Source) -> str:
    """Its place below the folder that was named."""
    return str(source.relative)


def stem(source: files.Source) -> str:
    """The same without the suffix of a photo."""
    return str(source.relative.parent / files.split_suffix(source.relative.name)[0])


def find_results(photos: Path, results: Path) -> Pairs:
    """Photos and what was made of them: two files, or two folders that mirror each other.

    Names are matched by the rules of `HOW_MATCHED`, the closest match first. Each photo and each
    result is used once, and a name that could mean two is left out rather than guessed. Both may be
    the same folder, where results lie beside their photos.

    Raises:
        NoInputError: one of the two is not there, or no names match.
        UsageError: a photo and a folder, or a photo and itself.
    """
    if not are_folders(photos, results):
        if photos.samefile(results):
            what = "this is one and the same file, before and after"
            raise UsageError(what, path=results, hint="give the photo, then its result")
        return Pairs([(photos, results)])
    found = Pairs([])
    beside = photos.samefile(results)
    left = photos_of(photos, found, () if beside else (results,))
    right = left if beside else photos_of(results, found, (photos,))
    rules = _RULES[-1:] if beside else _RULES
    for photo_key, result_key in rules:
        matched = _matched(left, right, photo_key, result_key)
        found.pairs += [(first.path, second.path) for first, second in matched]
        used = {source.path for pair in matched for source in pair}
        left = [source for source in left if source.path not in used]
        right = [source for source in right if source.path not in used]
    if not found.pairs:
        hint = f"{HOW_MATCHED}; give the two files themselves where names differ"
        raise NoInputError(f"no photo of {photos} has its result here", path=results, hint=hint)
    if beside:
        left = [source for source in left if not stem(source).endswith(_BESIDE)]
    for alone, where in ((left, results), ([] if beside else right, photos)):
        if alone:
            names = ", ".join(full_name(source) for source in alone[:3])
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            found.notes.append(f"left out, with no partner in {where}: {names}{more}")
    return found


def _matched(
    left: list[files.Source], right: list[files.Source], left_key: Key, right_key: Key
) -> list[tuple[files.Source, files.Source]]:
    """The pairs whose keys are equal and stand for one photo on either side."""
    keys = [files.fold(left_key(source)) for source in left]
    others = [files.fold(right_key(source)) for source in right]
    count, other_count = Counter(keys), Counter(others)
    by_key = dict(zip(others, right, strict=True))
    return [
        (source, by_key[key])
        for source, key in zip(left, keys, strict=True)
        if count[key] == other_count[key] == 1 and by_key[key].path != source.path
    ]


_BESIDE = files.NAME_BESIDE.format(stem="")


def _beside(source: files.Source) -> str:
    """The stem of the result that lies beside its photo."""
    return stem(source) + _BESIDE


_RULES: tuple[tuple[Key, Key], ...] = (
    (full_name, full_name),
    (full_name, stem),  # a.png -> a.png.webp, where a.jpg has the name a.webp
    (stem, stem),
    (_beside, stem),
)
