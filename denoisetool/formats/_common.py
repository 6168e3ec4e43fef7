"""What every adapter shares: size checks, error translation, splitting and joining alpha."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisetool.errors import (
    DenoiseError,
    PhotoError,
    PhotoTooLarge,
    UnreadablePhoto,
    UnsupportedPhoto,
)
from denoisetool.formats import exif, orientation, resized
from denoisetool.formats.base import MAX_SIDE, EncodeOptions, Format, Limits
from denoisetool.photo import Metadata, Photo

Array = npt.NDArray[Any]

HOLDERS = {
    ("u1", False): "JPEG, PNG, TIFF, WebP, AVIF or BMP",
    ("u1", True): "PNG, TIFF, WebP, AVIF or BMP",
    ("u2", False): "PNG, TIFF or AVIF",
    ("u2", True): "PNG, TIFF or AVIF",
    ("f4", False): "TIFF",
    ("f4", True): "TIFF",
}
"""(sample type, has alpha) -> the formats that can hold such a picture."""

TITLES = {
    "jpeg": "JPEG",
    "png": "PNG",
    "tiff": "TIFF",
    "webp": "WebP",
    "avif": "AVIF",
    "bmp": "BMP",
}


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a decoding library raises into UnreadablePhoto; MemoryError passes."""
    with _refusing(UnreadablePhoto, f"the {TITLES[name]} file is damaged"):
        yield


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn an encoding library's refusal into UnsupportedPhoto. Not for writing to disk."""
    with _refusing(UnsupportedPhoto, f"{TITLES[name]} cannot hold this picture"):
        yield


@contextmanager
def _refusing(kind: type[PhotoError], what: str) -> Iterator[None]:
    """The libraries signal trouble with a dozen unrelated exception types, so all are taken.

    struct, zlib, SyntaxError, EOFError and RuntimeError are among them.
    """
    try:
        yield
    except (DenoiseError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise kind(f"{what}: {reason}") from error


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse an absurd or too large picture, or one that will be, before it is decoded.

    Raises:
        UnreadablePhoto: no width or no height.
        PhotoTooLarge: more pixels than `limits` allows, or a side over `MAX_SIDE`.
    """
    if width <= 0 or height <= 0:
        raise UnreadablePhoto(f"the header says {width} x {height} pixels")
    width, height = width * limits.scale, height * limits.scale
    megapixels = width * height / 1e6
    has = "the picture has" if limits.scale == 1 else f"enlarged {limits.scale} times it has"
    if megapixels > limits.megapixels:
        raise PhotoTooLarge(
            f"{has} {megapixels:.1f} megapixels ({width} x {height}),"
            f" over the limit of {limits.megapixels:g} megapixels",
            hint=f"raise the limit with --max-megapixels {math.ceil(megapixels)}",
        )
    if max(width, height) > MAX_SIDE:
        raise PhotoTooLarge(
            f"{has} {megapixels:.1f} megapixels ({width} x {height}),"
            f" over the limit of {MAX_SIDE} pixels a side",
            hint="--max-megapixels does not raise this one; cut the picture into parts",
        )


def check_holds(photo: Photo, target: Format, scale: int = 1) -> None:
    """Refuse to write a depth, an alpha channel or a size that `target` cannot hold.

    Args:
        photo: the photo.
        target: the format.
        scale: how many times larger on each side the photo will be when it is written.

    Raises:
        UnsupportedPhoto: with a hint naming the formats that can.
    """
    depth = photo.pixels.dtype.itemsize * 8
    kind = photo.pixels.dtype.str[1:]
    title = TITLES[target.name]
    hint = f"write it as {HOLDERS.get((kind, photo.alpha is not None), 'TIFF')}"
    if depth not in target.depths:
        word = "floating-point" if kind == "f4" else f"{depth}-bit"
        raise UnsupportedPhoto(f"{title} cannot hold a {word} picture", hint=hint)
    if photo.alpha is not None and not target.alpha:
        raise UnsupportedPhoto(f"{title} cannot hold an alpha channel", hint=hint)
    if max(photo.width, photo.height) * scale > target.longest:
        size = f"{photo.width * scale} x {photo.height * scale} pixels"
        what = f"{title} holds up to {target.longest} pixels a side, and this would be {size}"
        raise UnsupportedPhoto(what, hint="write it as PNG or TIFF")


def build(
    samples: Array,
    *,
    name: str,
    mode: str,
    turned: int,
    metadata: Metadata,
    extras: dict[str, Any],
    notes: list[str],
) -> Photo:
    """Make a Photo of stored samples, copying them only where they must be split or turned.

    Args:
        samples: (H, W) or (H, W, 1..4) as stored; the 2nd or 4th channel is alpha.
        name: the format's name.
        mode: the source's colour mode in words.
        turned: EXIF orientation to undo.
        metadata: what travels along.
        extras: private to the format.
        notes: sentences for the user.
    """
    if samples.ndim == 2:
        samples = samples[:, :, np.newaxis]
    alpha = None
    if samples.shape[2] in (2, 4):
        alpha = orientation.undo(samples[:, :, -1], turned)
        samples = samples[:, :, :-1]
    return Photo(
        pixels=orientation.undo(samples, turned),
        alpha=alpha,
        format=name,
        mode=mode,
        orientation=turned,
        metadata=metadata,
        extras=extras,
        notes=notes,
    )


def stored_samples(photo: Photo, turned: int) -> Array:
    """The samples as the file stores them: (H, W, C), alpha last, turned back by `turned`.

    A view of the photo where nothing has to be joined or turned.
    """
    pixels = orientation.redo(photo.pixels, turned)
    if photo.alpha is None:
        return pixels
    return np.concatenate([pixels, orientation.redo(photo.alpha, turned)[:, :, np.newaxis]], axis=2)


def kept_metadata(photo: Photo, options: EncodeOptions, turned: int | None = None) -> Metadata:
    """The metadata to write: all of it, or with `strip` only the colour profile and the density.

    Where a photo was enlarged, what EXIF and XMP say of its size is what it has now. The density
    stays: as many dots an inch make a larger print.

    Args:
        photo: the photo.
        options: how it is written.
        turned: how the file stores it, if its orientation is not told by EXIF or XMP.
    """
    kept = photo.metadata
    if options.strip:
        return Metadata(icc=kept.icc, dpi=kept.dpi)
    if photo.scale == 1:
        return kept
    turned = stored_orientation(kept) if turned is None else turned
    sides = (photo.width, photo.height)
    size = resized.Size(*(sides if turned < 5 else sides[::-1]), photo.scale)
    return replace(kept, exif=resized.exif(kept.exif, size), xmp=resized.xmp(kept.xmp, size))


def stored_orientation(metadata: Metadata) -> int:
    """The orientation a viewer of the written file will apply, read from the metadata itself.

    Taken from what is written rather than from `Photo.orientation`, so that stripped files and
    files converted from AVIF (which turns pictures by other means) show upright too.
    """
    return exif.orientation_of(metadata.exif, metadata.xmp)


def per_metre(dpi: tuple[float, float]) -> tuple[int, int]:
    """A density in dots a metre, as PNG and BMP store it: 1 to 2**31 - 1."""
    across, down = (min(max(round(value / 0.0254), 1), 0x7FFFFFFF) for value in dpi)
    return across, down


def note(photo: Photo, sentence: str) -> None:
    """Add a sentence for the user, once."""
    if sentence not in photo.notes:
        photo.notes.append(sentence)


def colour_numbers(photo: Photo) -> dict[str, int]:
    """What names the colour space of a photo from AVIF or PNG where no profile does; {} for sRGB.

    The arguments `primaries` and `transfer`, one byte each, of which the other format is to have
    the same. A space that has no such numbers is noted by `note_space`.
    """
    numbers: dict[str, int] = photo.extras.get("colour", {})
    if (
        photo.metadata.icc
        or not photo.extras.get("space")
        or max(numbers.values(), default=0) > 255
    ):
        return {}
    return numbers


def note_space(photo: Photo, name: str) -> None:
    """Tell the user that the target format cannot hold the colour space that no profile tells."""
    space = photo.extras.get("space")
    if space and not photo.metadata.icc:
        what = f"{TITLES[name]} cannot hold the colour space ({space}) without a profile"
        note(photo, f"{what}; left out, so its colours look different.")


def note_dropped(photo: Photo, metadata: Metadata, name: str, *kinds: str, strip: bool) -> None:
    """Tell the user, in one sentence, what of the metadata the target format cannot hold.

    Args:
        photo: the photo; what only its own format can hold is named in its `extras["private"]`.
        metadata: what is to be written.
        name: the target format's name.
        kinds: attributes of Metadata that have no place in it.
        strip: the user wants no metadata, so that what is private is no loss.
    """
    words = {
        "exif": "EXIF",
        "icc": "ICC profile",
        "xmp": "XMP",
        "iptc": "IPTC",
        "comment": "comment",
    }
    lost = [words[kind] for kind in kinds if getattr(metadata, kind)]
    if photo.format != name and not strip:
        lost += photo.extras.get("private", [])
    if lost:
        note(photo, f"{TITLES[name]} cannot hold {' and '.join(lost)}; left out.")
