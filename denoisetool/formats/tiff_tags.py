"""TIFF tags: what a page is, what of it travels as metadata, and how it is put back."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Collection
from typing import Any

import numpy as np

from denoisetool.errors import UnreadablePhoto
from denoisetool.formats import _common, ifd
from denoisetool.formats.ifd import Directory, Entry, Order
from denoisetool.photo import Metadata, Photo

XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
DESCRIPTION, SOFTWARE = 270, 305
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
DENSITY = (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
LAYERS = 37724
MAX_SMALL_TILE = 1 << 22
"""Pixels of a tile that are believed even where the picture itself is much smaller."""
GEOGRAPHY = frozenset({33550, 33922, 34264})
"""GeoTIFF's size and place of the pixels, which an enlarged picture has no more."""
GEO_KEYS = frozenset({34735, 34736, 34737})
"""Its coordinate system."""
COLORIMETRY = frozenset({301, 318, 319})
"""What an ICC profile says better: transfer function, white point and primaries."""
DNG_VERSION = 50706
JPEG, JPEG_END = 7, b"\xff\xd9"
RAW_COMPRESSIONS = frozenset({32767, 32769, 34713, 65000, 65535, 52546})
"""Sony, packed, Nikon, Kodak and Pentax raw, and JPEG XL in DNG."""

SHAPE = frozenset({254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280})
SHAPE |= {281, 284, 288, 289, 290, 291, 292, 293, 297, 317, 320, 321, 322, 323, 324, 325, 330}
SHAPE |= {332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 343, 344, 345, 346, 347}
SHAPE |= {*range(512, 533), 32997, 32998, LAYERS}
"""Tags that describe how pixels are stored: the encoder writes its own."""

DESCRIPTIVE = frozenset({269, 270, 271, 272, 274, 282, 283, 285, 296, 305, 306, 315, 316, 33432})
DESCRIPTIVE |= {18246, 18249, 40091, 40092, 40093, 40094, 40095}
"""Tags of the first directory that EXIF knows too, and that therefore go over to other formats."""


class Page:
    """One directory read as a picture. Raises ValueError where a needed tag is absent or absurd."""

    def __init__(self, reader: ifd.Reader, directory: Directory) -> None:
        self.reader = reader
        self.directory = directory
        self.width, self.height = self._one(256, 0), self._one(257, 0)
        self.samples = self._one(277, 1)
        self.all_bits = self._all(258) or (1,)
        self.bits = self.all_bits[0]
        self.sample_format = self._one(339, 1)
        self.compression = self._one(259, 1)
        self.photometric = self._one(262, -1)
        self.predictor = self._one(317, 1)
        self.fill_order = self._one(266, 1)
        self.depth = self._one(32997, 1)
        self.planar = self._one(284, 1)
        self.extra_samples = self._all(338)
        if not self.extra_samples and self.samples in (2, 4) and self.photometric in (0, 1, 2):
            self.extra_samples = (0,)
        self.is_reduced = bool(self._one(254, 0) & 1) or self._one(255, 1) == 2
        self.is_raw = DNG_VERSION in directory.entries or self.compression in RAW_COMPRESSIONS
        sides = (self._one(323, 0), self._one(322, 0))
        self.tile = sides if all(sides) and not any(side % 16 for side in sides) else None

    def _all(self, tag: int) -> tuple[int, ...]:
        return self.reader.numbers(self.directory.entries.get(tag))

    def _one(self, tag: int, default: int) -> int:
        values = self._all(tag)
        return values[0] if values else default

    def sub_pages(self) -> list[Page]:
        """The directories that tag 330 points to; those that cannot be read are skipped."""
        found = []
        for offset in self._all(ifd.SUB_IFDS)[:16]:
            try:
                found.append(Page(self.reader, self.reader.directory(offset)))
            except ValueError:
                continue
        return found

    def check_segments(self) -> None:
        """Make sure that every strip or tile is there and inside the file.

        Raises:
            UnreadablePhoto: some are missing: the decoder would fill them with black.
        """
        tiled = 322 in self.directory.entries
        offsets, counts = self._all(324 if tiled else 273), self._all(325 if tiled else 279)
        if tiled:
            across, down = self._one(322, 0), self._one(323, 0)
            if not 0 < across * down <= max(4 * self.width * self.height, MAX_SMALL_TILE):
                raise UnreadablePhoto("the TIFF file is damaged: its tiles have an absurd size")
            needed = math.ceil(self.width / across) * math.ceil(self.height / down)
        else:
            rows = min(self._one(278, self.height), self.height)
            needed = math.ceil(self.height / rows) if rows else 0
        needed *= self.samples if self.planar == 2 else 1
        if not needed or len(offsets) < needed or len(counts) < needed:
            raise UnreadablePhoto("the TIFF file is damaged: parts of the picture are missing")
        size = len(self.reader.data)
        for offset, count in zip(offsets[:needed], counts[:needed], strict=True):
            if not offset or not count or offset + count > size:
                raise UnreadablePhoto(
                    "the TIFF file is cut short: parts of the picture are missing"
                )
            end = self.reader.data[max(offset, offset + count - 64) : offset + count]
            if self.compression == JPEG and JPEG_END not in bytes(end):
                raise UnreadablePhoto(
                    "the TIFF file is damaged: part of its JPEG data is cut short"
                )
        total = self.width * self.height * self.samples * self.bits // 8
        if self.compression == 1 and sum(counts) < total:
            raise UnreadablePhoto("the TIFF file is cut short: too little data for its size")

    def palette(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The colour map as (256, 3) uint8. Raises UnreadablePhoto where it is not of that size."""
        colours = np.array(self._all(320), np.uint16)
        if colours.size != 768:
            raise UnreadablePhoto("the TIFF file is damaged: its palette is incomplete")
        # Some old writers filled in 8-bit values.
        shift = 8 if colours.max() > 255 else 0
        return np.ascontiguousarray((colours >> shift).reshape(3, 256).T.astype(np.uint8))


def read_metadata(page: Page, notes: list[str]) -> tuple[Metadata, dict[int, Entry]]:
    """(metadata, tags that only TIFF knows) of a page.

    The descriptive tags, the EXIF and the GPS directory become an EXIF block, which is what other
    formats can carry and what `directory_to_write` takes apart again.
    """
    entries, reader = page.directory.entries, page.reader
    described = Directory(
        entries={tag: entry for tag, entry in entries.items() if tag in DESCRIPTIVE},
        children=page.directory.children,
    )
    found = described.entries or described.children
    if page.directory.lost:
        notes.append("Part of the EXIF data is damaged; left out.")
    if LAYERS in entries:
        notes.append("Photoshop layers are left out; the flattened picture is processed.")
    named = {XMP, ICC, *DESCRIPTIVE}
    tags = {
        tag: entry
        for tag, entry in entries.items()
        if tag not in SHAPE and tag not in named and entry.type not in (13, 18)
    }
    values = {tag: entries[tag].value for tag in (XMP, PHOTOSHOP, ICC, IPTC) if tag in entries}
    resources = values.get(PHOTOSHOP)
    if resources is None and IPTC in values:
        resources = _as_resource(values[IPTC])
    metadata = Metadata(
        exif=ifd.block(_classic(described), reader.order) if found else None,
        icc=values.get(ICC) or None,
        xmp=values.get(XMP) or None,
        iptc=resources,
        dpi=_density(page),
    )
    return metadata, tags


def only_tiff(tags: Collection[int]) -> list[str]:
    """What to call those of the tags of TIFF that other formats have no place for."""
    kinds = (("place on the map (GeoTIFF)", GEOGRAPHY | GEO_KEYS), ("colorimetry", COLORIMETRY))
    words = [word for word, of in kinds if not of.isdisjoint(tags)]
    known = {IPTC, PHOTOSHOP}.union(*(of for _, of in kinds))
    return words if known.issuperset(tags) else [*words, "tags of TIFF's own"]


def _classic(directory: Directory) -> Directory:
    """The directory without fields of 8-byte integers, which only BigTIFF knows."""
    entries = {tag: e for tag, e in directory.entries.items() if e.type < 16}
    return Directory(entries, {tag: _classic(c) for tag, c in directory.children.items()})


def _as_resource(iptc: bytes) -> bytes:
    """IPTC records as the Photoshop image resource 0x0404 that JPEG carries them in."""
    padding = b"\0" * (len(iptc) % 2)
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + padding


def _density(page: Page) -> tuple[float, float] | None:
    entries, reader = page.directory.entries, page.reader
    across, down = (reader.ratios(entries.get(tag)) for tag in (X_RESOLUTION, Y_RESOLUTION))
    unit = (reader.numbers(entries.get(RESOLUTION_UNIT)) or (2,))[0]
    if not across or not down or unit not in (2, 3) or min(across[0], down[0]) <= 0:
        return None
    scale = 2.54 if unit == 3 else 1.0
    return across[0] * scale, down[0] * scale


def directory_to_write(photo: Photo, metadata: Metadata, *, strip: bool) -> tuple[Directory, Order]:
    """The tags to add to a written file, and the byte order they are in.

    A damaged EXIF block costs only itself.
    """
    extras = photo.extras if photo.format == "tiff" else {}
    order: Order = extras.get("order", "<")
    directory = Directory()
    if metadata.exif:
        try:
            reader = ifd.Reader(metadata.exif)
            directory = reader.directory(reader.first)
            order = reader.order
        except ValueError:
            _common.note(photo, "The EXIF data is damaged; left out.")
    directory.following = 0
    directory.entries = {
        tag: entry
        for tag, entry in directory.entries.items()
        if tag not in SHAPE and entry.type not in (13, 18)
    }
    tags: dict[int, Entry] = {} if strip else extras.get("tags", {})
    if photo.scale > 1 and not GEOGRAPHY.isdisjoint(tags):
        tags = {tag: entry for tag, entry in tags.items() if tag not in GEOGRAPHY}
        _common.note(photo, "Where its pixels are on the map (GeoTIFF) is left out.")
    directory.entries |= tags
    blobs = [(XMP, 1, metadata.xmp), (ICC, 7, metadata.icc)]
    if not tags.keys() & {IPTC, PHOTOSHOP}:
        blobs.append((PHOTOSHOP, 7, metadata.iptc))
    comment = (metadata.comment or b"").rstrip(b"\0") + b"\0"
    described = directory.entries.get(DESCRIPTION)
    if metadata.comment and described is None:
        blobs.append((DESCRIPTION, 2, comment))
    lost = ("comment",) if described is not None and described.value != comment else ()
    _common.note_dropped(photo, metadata, "tiff", *lost, strip=strip)
    for tag, kind, blob in blobs:
        if blob:
            directory.entries[tag] = Entry(kind, len(blob), blob)
    return directory, order


def replace_directory(file: io.BytesIO, directory: Directory, order: Order, *, big: bool) -> None:
    """Give a one-page TIFF file a first directory that also has these tags.

    The new directory goes to the end of the file and the header points to it. Tags that describe
    the pixels stay as the encoder wrote them.
    """
    with file.getbuffer() as view:
        reader = ifd.Reader(view)
        merged = reader.directory(reader.first)
        del reader
    merged.entries |= {tag: e for tag, e in directory.entries.items() if tag not in SHAPE}
    merged.children = directory.children
    end = file.seek(0, io.SEEK_END)
    file.write(b"\0" * (-end % 16))
    where = file.tell()
    if not big and where > 0xFFFF0000:
        raise ValueError("the file is too large for classic TIFF")
    file.write(ifd.serialise(merged, order, where, big=big))
    file.seek(8 if big else 4)
    file.write(struct.pack(order + ("Q" if big else "I"), where))
