"""What a `Format` is: one file family that turns bytes into a `Photo` and a `Photo` into bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol

from denoisetool.photo import Photo

DEFAULT_MAX_MEGAPIXELS = 500.0
MAX_SIDE = 65_535
"""Longest side in pixels that is decoded or written."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a picture may be before it is refused instead of decoded.

    Attributes:
        megapixels: width times height over 1e6, checked from the header before pixels are decoded.
            The user raises it with `--max-megapixels`.
        scale: how many times larger on each side it will become; what it becomes is limited.
    """

    megapixels: float = DEFAULT_MAX_MEGAPIXELS
    scale: int = 1


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How a photo is written.

    Attributes:
        quality: 1..100 for lossy formats; None keeps the source's own tables and subsampling where
            the source was the same format, and means 95 otherwise.
        strip: leave EXIF, XMP, IPTC and comments out (the ICC profile stays: it is the colour).
    """

    quality: int | None = None
    strip: bool = False


class Format(Protocol):
    """One file family. It sees bytes and an open file, never the destination path.

    Attributes:
        name: `jpeg`, `png`, `tiff`, `webp`, `avif` or `bmp`.
        suffixes: lower-case file name endings with the dot; the first one is used for new names.
        depths: bits per sample that can be written (float TIFF is 32).
        alpha: whether an alpha channel can be written.
        longest: side in pixels that can be written.
    """

    name: str
    suffixes: tuple[str, ...]
    depths: tuple[int, ...]
    alpha: bool
    longest: int

    def sniff(self, head: bytes) -> bool:
        """Whether a file that starts with `head` (64 bytes or more) is of this family."""
        ...

    def size(self, data: bytes) -> tuple[int, int]:
        """(width, height) as stored, from the header alone. Raises UnreadablePhoto."""
        ...

    def decode(self, data: bytes, limits: Limits) -> Photo:
        """Decode a whole file.

        Raises:
            UnreadablePhoto: empty, truncated or damaged.
            UnsupportedPhoto: an animation, several pages, CMYK, bilevel, or another refused kind.
            PhotoTooLarge: more pixels than `limits` allows.
        """
        ...

    def encode(self, photo: Photo, out: BinaryIO, options: EncodeOptions) -> None:
        """Write `photo` to `out`, an open, seekable, empty binary file.

        Raises:
            UnsupportedPhoto: this depth or alpha does not fit; the hint names a format that does.
        """
        ...
