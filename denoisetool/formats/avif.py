"""AVIF: libavif (imagecodecs) for the pixels of 8, 10 and 12 bits, our own boxes for the rest."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np

from denoisetool.errors import UnsupportedPhoto
from denoisetool.formats import _common, avif_splice, cicp, exif
from denoisetool.formats import avif_boxes as ab
from denoisetool.formats.base import MAX_SIDE, EncodeOptions, Format, Limits
from denoisetool.formats.signatures import brands
from denoisetool.photo import Metadata, Photo

DEFAULT_QUALITY = 95
LOSSLESS = 100
SPEED = 8
"""libavif's 0 (slowest) to 10: below 8 a photo takes minutes on a laptop for a few per cent."""

DEEPEST = 12
IDENTITY = 0
"""Matrix coefficients that mean RGB without conversion, which encoders use for lossless files."""
PIXEL_FORMATS = {(0, 0): "444", (1, 0): "422", (1, 1): "420"}


class Avif(Format):
    """AVIF still pictures, grey or RGB with or without alpha; 10 and 12 bits become uint16.

    Deep samples are scaled to the full range of uint16 and back to the file's own depth, which is
    exact both ways.
    """

    name = "avif"
    suffixes = (".avif", ".avifs")
    depths = (8, 16)
    alpha = True
    longest = MAX_SIDE

    def sniff(self, head: bytes) -> bool:
        """Whether `head` starts as an AVIF file."""
        return bool({b"avif", b"avis"} & set(brands(head)))

    def size(self, data: bytes) -> tuple[int, int]:
        """(width, height) of the primary picture, as stored. Raises UnreadablePhoto."""
        with _common.reading("avif"):
            return ab.parse(data).size()

    def decode(self, data: bytes, limits: Limits) -> Photo:
        """Decode an AVIF file; see `Format.decode`."""
        with _common.reading("avif"):
            contents = ab.parse(data)
            width, height = contents.size()
            coding = contents.coding()
        _common.check_size(width, height, limits)
        if contents.is_sequence or brands(data[:512])[:1] == [b"avis"]:
            raise UnsupportedPhoto(
                "an animation (AVIF sequence)", hint="export its frames as pictures"
            )
        if contents.of(contents.primary, b"clap"):
            raise UnsupportedPhoto(
                "an AVIF picture with a hidden crop (clean aperture)", hint="export it as PNG first"
            )
        with _common.reading("avif"):
            samples = _decode_pixels(data, _bits(coding))
            if samples.shape[:2] != (height, width):
                raise ValueError("the picture is not of the size the header says")
        notes: list[str] = []
        if any(item.kind == b"tmap" for item in contents.items.values()):
            notes.append("Left out the gain map of this file.")
        if samples.ndim == 2:
            samples = samples[:, :, np.newaxis]
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
        return _common.build(
            samples,
            name="avif",
            mode=mode,
            turned=contents.orientation(),
            metadata=_read_metadata(contents, data),
            extras=_coding(contents, coding),
            notes=notes,
        )

    def encode(self, photo: Photo, out: BinaryIO, options: EncodeOptions) -> None:
        """Write an AVIF file; see `Format.encode`."""
        import imagecodecs

        _common.check_holds(photo, self)
        turned = 1 if options.strip else photo.orientation
        metadata = _common.kept_metadata(photo, options, turned)
        _common.note_dropped(photo, metadata, "avif", "iptc", "comment", strip=options.strip)
        extras = photo.extras if photo.format == "avif" else {}
        colour = extras.get("colour") or _common.colour_numbers(photo)
        if not extras and not colour:
            _common.note_space(photo, "avif")
        samples = _common.stored_samples(photo, turned)
        bits = 8
        if samples.dtype == np.uint16:
            bits = extras.get("bits", DEEPEST)
            samples = _scaled(samples, 65535, (1 << bits) - 1)
            if not extras:
                _common.note(photo, "AVIF holds 12 of the 16 bits per channel.")
        quality = LOSSLESS if extras.get("lossless") else DEFAULT_QUALITY
        with _common.writing("avif"):
            coded = imagecodecs.avif_encode(
                samples[:, :, 0] if samples.shape[2] == 1 else samples,
                level=quality if options.quality is None else options.quality,
                speed=SPEED,
                bitspersample=bits,
                **({"pixelformat": extras.get("pixels", "444")} if photo.channels == 3 else {}),
                **colour,
            )
            parts = avif_splice.add_metadata(
                bytes(coded), exif=metadata.exif, xmp=metadata.xmp, icc=metadata.icc, turned=turned
            )
        for part in parts:
            out.write(part)


def _bits(coding: bytes) -> int:
    """Bits per sample of an AV1 configuration record (AV1-ISOBMFF, 2.3.3)."""
    if not coding[2] & 0x40:
        return 8
    return 12 if coding[2] & 0x20 else 10


def _decode_pixels(data: bytes, bits: int) -> _common.Array:
    import imagecodecs

    samples: _common.Array = imagecodecs.avif_decode(data, index=0)
    if bits == 8:
        if samples.dtype != np.uint8:
            raise ValueError(f"samples of type {samples.dtype} where 8 bits were announced")
        return samples
    return _scaled(samples, (1 << bits) - 1, 65535)


def _scaled(samples: _common.Array, peak: int, new_peak: int) -> _common.Array:
    """uint16 samples of 0..peak brought to 0..new_peak, rounded, through a table."""
    values = np.arange(65536, dtype=np.uint64)
    table = np.minimum((values * new_peak + peak // 2) // peak, new_peak).astype(np.uint16)
    return table[samples]


def _coding(contents: ab.Contents, coding: bytes) -> dict[str, Any]:
    """How the source was coded, for writing it back the same way."""
    colour: dict[str, int] = {}
    space = ""
    lossless = False
    for body in contents.of(contents.primary, b"colr"):
        if body[:4] == b"nclx" and len(body) >= 10:
            primaries, transfer, matrix = struct.unpack_from(">HHH", body, 4)
            lossless = matrix == IDENTITY
            colour = {"primaries": primaries, "transfer": transfer}
            space = cicp.name(primaries, transfer)
    shift = (coding[2] >> 3 & 1, coding[2] >> 2 & 1)
    return {
        "bits": _bits(coding),
        "pixels": PIXEL_FORMATS.get(shift, "444"),
        "colour": colour,
        "space": space,
        "lossless": lossless,
    }


def _read_metadata(contents: ab.Contents, data: bytes) -> Metadata:
    block = ab.read_block(contents, data, b"Exif")
    if block is not None:
        # The payload starts with the offset of the TIFF header after it.
        block = block[4 + int.from_bytes(block[:4], "big") :]
    profiles = [
        body[4:]
        for body in contents.of(contents.primary, b"colr")
        if body[:4] in (b"prof", b"rICC") and len(body) > 4
    ]
    return Metadata(
        exif=exif.without_prefix(block),
        icc=profiles[0] if profiles else None,
        xmp=ab.read_block(contents, data, b"mime", ab.XMP_TYPE),
    )
