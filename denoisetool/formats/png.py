"""PNG: libpng (imagecodecs) for the pixels of every depth, our own chunk splice for the rest."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import _common, exif
from denoisetool.formats import png_chunks as pc
from denoisetool.formats.base import MAX_SIDE, EncodeOptions, Format, Limits
from denoisetool.photo import Metadata, Photo

LEVEL = 6
"""zlib level, libpng's own default."""

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
MODES = {GREY: "L", RGB: "RGB", PALETTE: "P", GREY_ALPHA: "LA", RGB_ALPHA: "RGBA"}

COLOUR = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs"})
"""Chunks that say how to show the pixels: they stay when metadata is stripped."""

TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt", b"tIME", b"oFFs", b"pCAL", b"sCAL", b"sTER"})
SIGNED = "Content credentials (C2PA) are left out: they vouch for the unprocessed picture."
MAX_RATIO = 1032
"""No zlib stream grows by more than this."""


class Png(Format):
    """PNG, grey or RGB, with or without alpha, 8 and 16 bits; palettes become RGB."""

    name = "png"
    suffixes = (".png",)
    depths = (8, 16)
    alpha = True
    longest = MAX_SIDE

    def sniff(self, head: bytes) -> bool:
        """Whether `head` starts as a PNG file."""
        return head.startswith(pc.SIGNATURE)

    def size(self, data: bytes) -> tuple[int, int]:
        """(width, height) from the header. Raises UnreadablePhoto."""
        if len(data) < 33 or data[12:16] != b"IHDR":
            raise UnreadablePhoto("the PNG file has no header")
        width, height = struct.unpack_from(">II", data, 16)
        return width, height

    def decode(self, data: bytes, limits: Limits) -> Photo:
        """Decode a PNG file; see `Format.decode`."""
        width, height = self.size(data)
        _common.check_size(width, height, limits)
        depth, kind = data[24], data[25]
        if depth == 1:
            raise UnsupportedPhoto(
                "a black-and-white (1 bit) picture has no tones to denoise",
                hint="leave it as it is",
            )
        if len(data) * MAX_RATIO < width * height * depth // 8:
            raise UnreadablePhoto("the PNG file is cut short: too little data for its size")
        chunks = list(pc.walk(data))
        if any(k == b"acTL" and struct.unpack(">I", p[:4].rjust(4))[0] > 1 for k, p in chunks):
            raise UnsupportedPhoto("an animation (APNG)", hint="export its frames as pictures")
        with _common.reading("png"):
            key = None if kind == PALETTE else next((p for k, p in chunks if k == b"tRNS"), None)
            samples = _decode_pixels(data, with_transparency=kind == PALETTE)
            if key is not None:
                samples = _apply_colour_key(samples, key, depth)
        if samples.shape[:2] != (height, width):
            raise UnreadablePhoto("the PNG file is damaged: its size changes")
        notes: list[str] = []
        mode = MODES.get(kind, "RGB")
        if kind == PALETTE:
            notes.append("The palette picture is written as full colour.")
        elif depth < 8:
            notes.append(f"The {depth}-bit grey picture is written with 8 bits.")
        if key is not None:
            notes.append("The transparent colour is written as an alpha channel.")
        plain = kind != PALETTE and depth >= 8 and key is None
        metadata, kept = _read_metadata(chunks, notes, plain=plain)
        colour, space = pc.read_colour(chunks)
        return _common.build(
            samples,
            name="png",
            mode=mode,
            turned=exif.orientation_of(metadata.exif, metadata.xmp),
            metadata=metadata,
            extras={
                "chunks": kept,
                "colour": colour,
                "space": space,
                "private": ["PNG text"] if _has_text(kept, metadata) else [],
            },
            notes=notes,
        )

    def encode(self, photo: Photo, out: BinaryIO, options: EncodeOptions) -> None:
        """Write a PNG file; see `Format.encode`."""
        import imagecodecs

        _common.check_holds(photo, self)
        metadata = _common.kept_metadata(photo, options)
        samples = _common.stored_samples(photo, _common.stored_orientation(metadata))
        if samples.shape[2] == 1:
            samples = samples[:, :, 0]
        with _common.writing("png"):
            coded = imagecodecs.png_encode(samples, level=LEVEL, out=_most(samples))
        del samples
        before, after = _metadata_chunks(photo, metadata, strip=options.strip)
        out.write(coded[:33])
        for part in before:
            out.write(part)
        out.write(memoryview(coded)[33:-12])
        for part in after:
            out.write(part)
        out.write(coded[-12:])


def _most(samples: _common.Array) -> int:
    """More bytes than a PNG of these samples takes: incompressible ones grow by 0.2 per cent.

    Each row has a filter byte; zlib's stored blocks and the IDAT chunks have their headers.
    imagecodecs' own estimate lacks the filter bytes, and narrow pictures fail with it.
    """
    filtered = samples.nbytes + len(samples)
    return filtered + filtered // 64 + 4096


def _decode_pixels(data: bytes, *, with_transparency: bool) -> _common.Array:
    import imagecodecs

    kept = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | ({b"tRNS"} if with_transparency else set())
    parts = pc.pixels_only(data, frozenset(kept))
    samples: _common.Array = imagecodecs.png_decode(b"".join(parts))
    if samples.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"unexpected samples of type {samples.dtype}")
    return samples


def _apply_colour_key(samples: _common.Array, key: bytes, depth: int) -> _common.Array:
    """Append the alpha channel that a tRNS chunk of a grey or RGB picture stands for."""
    samples = samples[:, :, np.newaxis] if samples.ndim == 2 else samples
    channels = samples.shape[2]
    values = np.frombuffer(key[: 2 * channels], ">u2").astype(samples.dtype)
    if depth < 8:
        values = values * np.uint8(255 // ((1 << depth) - 1))
    peak = np.iinfo(samples.dtype).max
    visible = (samples != values).any(axis=2, keepdims=True)
    return np.concatenate([samples, visible * samples.dtype.type(peak)], axis=2)


def _read_metadata(
    chunks: list[pc.Chunk], notes: list[str], *, plain: bool
) -> tuple[Metadata, list[tuple[bytes, bytes, bool]]]:
    """(metadata, [(type, payload, after the pixels)] kept as they are)."""
    metadata = Metadata()
    kept: list[tuple[bytes, bytes, bool]] = []
    after = False
    for kind, payload in chunks:
        after = after or kind == b"IDAT"
        if kind == b"eXIf":
            metadata.exif = metadata.exif or exif.without_prefix(payload)
        elif kind == b"iCCP":
            metadata.icc = pc.read_icc(payload)
            if metadata.icc is None:
                notes.append("The ICC profile is damaged; left out.")
        elif kind == b"iTXt" and payload.startswith(pc.XMP_KEYWORD + b"\0"):
            metadata.xmp = metadata.xmp or pc.read_xmp(payload)
            if metadata.xmp is None:
                notes.append("The XMP packet is damaged; left out.")
        elif kind == b"caBX":
            notes.append(SIGNED)
        elif kind in COLOUR or kind in TEXT or (plain and kind in (b"sBIT", b"bKGD")):
            kept.append((kind, payload, after))
            if kind == b"pHYs" and len(payload) == 9 and payload[8] == 1:
                across, down = struct.unpack(">II", payload[:8])
                metadata.dpi = (across * 0.0254, down * 0.0254) if across and down else None
            elif kind == b"tEXt" and payload.startswith(b"Comment\0"):
                metadata.comment = metadata.comment or payload[8:]
    return metadata, kept


def _has_text(chunks: list[tuple[bytes, bytes, bool]], metadata: Metadata) -> bool:
    """Whether there is more text than the comment that other formats can hold too."""
    comment = (b"tEXt", b"Comment\0" + (metadata.comment or b""))
    texts = [c[:2] for c in chunks if c[0] in (b"tEXt", b"zTXt", b"iTXt")]
    return any(text != comment for text in texts)


def _metadata_chunks(
    photo: Photo, metadata: Metadata, *, strip: bool
) -> tuple[list[bytes], list[bytes]]:
    """The chunks to put (before, after) the pixels."""
    kept: list[tuple[bytes, bytes, bool]] = []
    if photo.format == "png" and "chunks" in photo.extras:
        kept = [c for c in photo.extras["chunks"] if not strip or c[0] in COLOUR]
        if photo.scale > 1 and any(kind == b"sCAL" for kind, _, _ in kept):
            kept = [c for c in kept if c[0] != b"sCAL"]
            _common.note(photo, "How large a pixel is in the world (sCAL) is left out.")
    else:
        if metadata.comment:
            text = metadata.comment.replace(b"\0", b" ").strip()
            kept.append((b"tEXt", b"Comment\0" + text, False))
        if metadata.dpi:
            density = struct.pack(">IIB", *_common.per_metre(metadata.dpi), 1)
            kept.append((b"pHYs", density, False))
        numbers = _common.colour_numbers(photo)
        if numbers:
            kept.append((b"cICP", bytes((*numbers.values(), 0, 1)), False))
        else:
            _common.note_space(photo, "png")
        _common.note_dropped(photo, metadata, "png", "iptc", strip=strip)
    before = [pc.chunk(kind, payload) for kind, payload, after in kept if not after]
    if metadata.icc:
        before.insert(0, pc.icc(metadata.icc))
    if metadata.exif:
        before.append(pc.chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        before.append(pc.xmp(metadata.xmp))
    return before, [pc.chunk(kind, payload) for kind, payload, after in kept if after]
