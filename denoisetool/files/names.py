"""Spelling rules: which endings mean a photo, how names sort, and when two names are one."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif", ".bmp"})
"""Endings by which a user believes a file to be a photo."""

_PICTURE_SUFFIXES = PHOTO_SUFFIXES | {
    *(".jpe", ".jfif", ".jif", ".dib", ".gif", ".heic", ".heif", ".jxl", ".jp2"),
    *(".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
}
_DIGITS = re.compile(r"([0-9]+)")

NaturalKey = tuple[tuple[tuple[int, int, str], ...], str]


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name into stem and suffix, where only the ending of a picture is a suffix.

    `a.JPG` is `a` and `.JPG`; `holiday.2024` is all stem, so that a change of format gives
    `holiday.2024.png` and not `holiday.png`.
    """
    stem, dot, ending = name.rpartition(".")
    if stem and f".{ending.lower()}" in _PICTURE_SUFFIXES:
        return stem, dot + ending
    return name, ""


def fold(text: str) -> str:
    """What two names have in common if some file system takes them for the same one.

    Case and Unicode composition are dropped (canonical caseless matching), since macOS and Windows
    disks, and most network shares, ignore the former and some the latter.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", decomposed.casefold())


def is_folder(path: Path) -> bool:
    """Whether this is a folder; unlike `Path.is_dir` it says no where it may not look."""
    return os.path.isdir(path)  # noqa: PTH112


def natural_key(name: str) -> NaturalKey:
    """Sort key that puts `img2` before `img10` and `B` between `a` and `c`; total and stable."""
    parts: list[tuple[int, int, str]] = []
    for position, part in enumerate(_DIGITS.split(name.casefold())):
        if position % 2:
            digits = part.lstrip("0")
            parts.append((0, len(digits), digits))
        elif part:
            parts.append((1, 0, part))
    return tuple(parts), name
