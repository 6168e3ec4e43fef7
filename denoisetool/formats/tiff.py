"""TIFF: tifffile for the pixels, our own directory code for tags and refusals."""

from __future__ import annotations

import io
import logging
from typing import Any, BinaryIO

import numpy as np

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import _common, exif, ifd, tiff_tags
from denoisetool.formats.base import MAX_SIDE, EncodeOptions, Format, Limits
from denoisetool.formats.tiff_tags import Page
from denoisetool.photo import Metadata, Photo

MAX_PAGES = 1000
CLASSIC_LIMIT = 3_900_000_000
"""Bytes of pixels from which a BigTIFF is written: 32-bit offsets end at 4 GiB."""

DEFLATE = 8
COMPRESSIONS = {1: 1, 5: 5, 8: 8, 32946: 8, 32773: 32773, 34925: 34925, 50000: 50000}
"""Lossless compressions -> the one they are written back with."""
PREDICTABLE = (5, 8, 34925, 50000)
READABLE = frozenset({*COMPRESSIONS, 7, 33003, 33005, 34712, 34887, 50001, 50002})
"""Compressions that are decoded at all."""

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
COLOUR_MODELS = {4: "transparency mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "ICCLab"} | {
    10: "ITULab",
    32844: "LogL",
    32845: "LogLuv",
}
SENSOR = (32803, 34892)
"""Photometric interpretations of raw files: colour filter array, linear raw."""


class Tiff(Format):
    """TIFF and BigTIFF, grey or RGB with or without alpha, 8 and 16 bits, half and single float."""

    name = "tiff"
    suffixes = (".tif", ".tiff")
    depths = (8, 16, 32)
    alpha = True
    longest = MAX_SIDE

    def sniff(self, head: bytes) -> bool:
        """Whether `head` starts as a TIFF file."""
        return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def size(self, data: bytes) -> tuple[int, int]:
        """(width, height) of the main picture, as stored. Raises UnreadablePhoto."""
        with _common.reading("tiff"):
            reader = ifd.Reader(data)
            page = Page(reader, reader.directory(reader.first))
            return page.width, page.height

    def decode(self, data: bytes, limits: Limits) -> Photo:
        """Decode a TIFF file; see `Format.decode`."""
        notes: list[str] = []
        with _common.reading("tiff"):
            reader = ifd.Reader(data)
            page, index = _main_page(reader, notes)
            _common.check_size(page.width, page.height, limits)
            _check_kind(page)
            page.check_segments()
            samples = _decode_pixels(data, page, index, notes)
            metadata, tags = tiff_tags.read_metadata(page, notes)
        extras: dict[str, Any] = {
            "tags": tags,
            "order": reader.order,
            "big": reader.big,
            "compression": COMPRESSIONS.get(page.compression, DEFLATE),
            "predictor": page.predictor != 1,
            "tile": page.tile,
            "half": page.bits == 16 and page.sample_format == 3,
            "extra": page.extra_samples[0] if page.extra_samples else UNASSOCIATED,
            "private": tiff_tags.only_tiff(tags),
        }
        if page.compression not in COMPRESSIONS:
            notes.append("The TIFF's lossy compression is replaced by a lossless one (Deflate).")
        mode = {PALETTE: "P", RGB: "RGB", YCBCR: "RGB"}.get(page.photometric, "L")
        return _common.build(
            samples,
            name="tiff",
            mode=mode + ("A" if page.extra_samples else ""),
            turned=exif.orientation_of(metadata.exif, metadata.xmp),
            metadata=metadata,
            extras=extras,
            notes=notes,
        )

    def encode(self, photo: Photo, out: BinaryIO, options: EncodeOptions) -> None:
        """Write a TIFF file; see `Format.encode`."""
        _common.check_holds(photo, self)
        _common.note_space(photo, "tiff")
        metadata = _common.kept_metadata(photo, options)
        directory, order = tiff_tags.directory_to_write(photo, metadata, strip=options.strip)
        samples = _common.stored_samples(photo, _common.stored_orientation(metadata))
        extras = photo.extras if photo.format == "tiff" else {}
        if extras.get("half"):
            samples = samples.astype(np.float16)
        big = bool(extras.get("big")) or samples.nbytes > CLASSIC_LIMIT
        with _common.writing("tiff"):
            coded = _encode_pixels(samples, photo, extras, metadata, order, big=big)
        del samples
        tiff_tags.replace_directory(coded, directory, order, big=big)
        out.write(coded.getbuffer())


def _main_page(reader: ifd.Reader, notes: list[str]) -> tuple[Page, int]:
    """The one full-size picture of the file and its number in the chain of directories.

    Raises:
        UnsupportedPhoto: several pictures, or a camera's raw file.
    """
    pages: list[Page] = []
    seen: set[int] = set()
    offset = reader.first
    while offset and offset not in seen and len(pages) < MAX_PAGES:
        seen.add(offset)
        pages.append(Page(reader, reader.directory(offset)))
        offset = pages[-1].directory.following
    inner = [sub for page in pages[:2] for sub in page.sub_pages()]
    if any(page.photometric in SENSOR or page.is_raw for page in (*pages, *inner)):
        raise UnsupportedPhoto(
            "a camera raw file", hint="develop it with a raw converter and give the TIFF or JPEG"
        )
    full = [(page, index) for index, page in enumerate(pages) if not page.is_reduced]
    if not full:
        raise UnsupportedPhoto(
            "a TIFF that holds only previews, such as a camera raw file",
            hint="develop it with a raw converter and give the TIFF or JPEG",
        )
    if len(full) > 1:
        raise UnsupportedPhoto(
            f"a TIFF of {len(full)} pages", hint="split it into one file per page"
        )
    if len(pages) > 1 or full[0][0].sub_pages():
        notes.append("The previews inside the TIFF are left out.")
    return full[0]


def _check_kind(page: Page) -> None:
    """Refuse what would not come back as it was."""
    hint = "convert it to 8 or 16-bit RGB or grey TIFF first"
    if page.bits == 1 and page.samples == 1:
        raise UnsupportedPhoto(
            "a black-and-white (1 bit) picture has no tones to denoise", hint="leave it as it is"
        )
    if page.photometric in COLOUR_MODELS and (page.photometric, page.compression) != (YCBCR, 7):
        model = COLOUR_MODELS[page.photometric]
        raise UnsupportedPhoto(
            f"{model} pictures are not supported",
            hint="convert it to RGB with its colour profile first",
        )
    if page.photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, YCBCR):
        raise UnsupportedPhoto(f"a TIFF of colour model {page.photometric}", hint=hint)
    if page.compression not in READABLE:
        raise UnsupportedPhoto(f"a TIFF with compression {page.compression}", hint=hint)
    if (page.bits, page.sample_format) not in ((8, 1), (16, 1), (16, 3), (32, 3)):
        kind = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(page.sample_format, "complex")
        raise UnsupportedPhoto(f"a TIFF of {page.bits}-bit {kind} samples", hint=hint)
    if len(set(page.all_bits)) > 1:
        raise UnsupportedPhoto("a TIFF with channels of different depths", hint=hint)
    if page.photometric == PALETTE and (page.bits, page.samples) != (8, 1):
        raise UnsupportedPhoto("a TIFF with a palette of more than 8 bits", hint=hint)
    if page.photometric == MIN_IS_WHITE and page.sample_format == 3:
        raise UnsupportedPhoto("a floating-point TIFF where 0 is white", hint=hint)
    base = 3 if page.photometric in (RGB, YCBCR) else 1
    if page.samples - base not in (0, 1) or page.fill_order != 1 or page.depth != 1:
        raise UnsupportedPhoto(
            f"a TIFF of {page.samples} channels",
            hint="save it with the picture's own channels and at most one alpha",
        )


def _decode_pixels(data: bytes, page: Page, index: int, notes: list[str]) -> _common.Array:
    """(H, W) or (H, W, C) samples in native byte order: uint8, uint16 or float32."""
    import tifffile

    logging.getLogger("tifffile").disabled = True
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        samples: _common.Array = file.pages[index].asarray(squeeze=False)
    samples = _interleave(samples, page)
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32, copy=False)
    elif not samples.dtype.isnative:
        samples = samples.astype(samples.dtype.newbyteorder("="))
    if page.photometric == MIN_IS_WHITE:
        peak = samples.dtype.type(np.iinfo(samples.dtype).max)
        samples[:, :, 0] = peak - samples[:, :, 0]
        notes.append("The picture, stored as a negative (0 is white), is written as a positive.")
    elif page.photometric == PALETTE:
        samples = page.palette()[samples[:, :, 0]]
        notes.append("The palette picture is written as full colour.")
    if page.extra_samples[:1] == (ASSOCIATED,) and not _is_opaque(samples):
        raise UnsupportedPhoto(
            "a TIFF whose colours are multiplied by its transparency (associated alpha)",
            hint="save it with straight (unassociated) alpha or flatten it first",
        )
    return samples


def _interleave(samples: _common.Array, page: Page) -> _common.Array:
    """(H, W, C), contiguous, from tifffile's (separate samples, depth, H, W, samples)."""
    samples = samples.reshape(samples.shape[0], *samples.shape[-3:])
    samples = samples[0] if len(samples) == 1 else np.moveaxis(samples[:, :, :, 0], 0, 2)
    expected = (page.height, page.width, page.samples)
    if samples.shape != expected:
        raise UnreadablePhoto(f"the TIFF file is damaged: {samples.shape} is not {expected}")
    return np.ascontiguousarray(samples)


def _is_opaque(samples: _common.Array) -> bool:
    peak = np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1.0
    return bool((samples[:, :, -1] == peak).all())


def _encode_pixels(
    samples: _common.Array,
    photo: Photo,
    extras: dict[str, Any],
    metadata: Metadata,
    order: ifd.Order,
    *,
    big: bool,
) -> io.BytesIO:
    """A TIFF file of these samples with only the tags that describe them and their density."""
    import tifffile

    compression = extras.get("compression", DEFLATE)
    predict = extras.get("predictor", True) and compression in PREDICTABLE
    predictor = (3 if samples.dtype.kind == "f" else 2) if predict else 1
    arguments: dict[str, Any] = {}
    if extras.get("tile"):
        arguments["tile"] = extras["tile"]
    if photo.alpha is not None:
        arguments["extrasamples"] = (extras.get("extra", UNASSOCIATED),)
    if metadata.dpi:
        density = tuple(min(value, 0xFFFFFFFF) for value in metadata.dpi)
        arguments |= {"resolution": density, "resolutionunit": 2}
    if samples.shape[2] == 1:
        samples = samples[:, :, 0]
    coded = io.BytesIO()
    with tifffile.TiffWriter(coded, bigtiff=big, byteorder=order) as file:
        file.write(
            samples,
            photometric=RGB if photo.channels == 3 else MIN_IS_BLACK,
            planarconfig=None if samples.ndim == 2 else 1,
            compression=compression,
            predictor=predictor,
            metadata=None,
            software=False,
            **arguments,
        )
    return coded
