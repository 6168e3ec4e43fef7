"""JPEG: Pillow for the pixels, our own marker splice for everything around them.

The decoder sees only the segments that make the picture, so damaged metadata cannot hurt it; the
encoder's output is put between the source's own segments, so metadata comes back byte for byte.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import _common, _pillow, exif
from denoisetool.formats import jpeg_segments as js
from denoisetool.formats.base import EncodeOptions, Format, Limits
from denoisetool.photo import Metadata, Photo

DEFAULT_QUALITY = 95
FULL_CHROMA_FROM = 90
"""Quality from which colour is written in full resolution (4:4:4)."""

KINDS = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC9: "arithmetic"} | {
    0xCA: "progressive arithmetic"
}
SUBSAMPLINGS: dict[tuple[tuple[int, int], ...], int] = {
    ((1, 1), (1, 1), (1, 1)): 0,
    ((2, 1), (1, 1), (1, 1)): 1,
    ((2, 2), (1, 1), (1, 1)): 2,
}
"""Sampling factors (horizontal, vertical) of the components -> Pillow's number for them."""

SIGNED = "Content credentials (C2PA) are left out: they vouch for the unprocessed picture."
OTHERS = "Left out the other pictures of this file (preview, gain map or second view)."


class Jpeg(Format):
    """JPEG (ITU-T T.81), 8 bits, grey or colour; multi-picture files give their first picture."""

    name = "jpeg"
    suffixes = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
    depths = (8,)
    alpha = False
    longest = 65500

    def sniff(self, head: bytes) -> bool:
        """Whether `head` starts as a JPEG file."""
        return head.startswith(b"\xff\xd8\xff")

    def size(self, data: bytes) -> tuple[int, int]:
        """(width, height) from the frame header. Raises UnreadablePhoto."""
        _, payload = js.parse(data, whole=False).frame()
        return int.from_bytes(payload[3:5], "big"), int.from_bytes(payload[1:3], "big")

    def decode(self, data: bytes, limits: Limits) -> Photo:
        """Decode a JPEG file; see `Format.decode`."""
        _common.check_size(*self.size(data), limits)
        _check_kind(*js.parse(data, whole=False).frame())
        layout = js.parse(data)
        needed = [(m, p) for m, p in layout.segments if _shapes_pixels(m, p)]
        head = b"\xff\xd8" + b"".join(js.segment(m, p) for m, p in needed)
        with _common.reading("jpeg"):
            image: Any = _pillow.open_image("jpeg", head + data[layout.scan : layout.end])
            extras = _coding(image)
            samples = _pillow.to_array(image)
        if _ends_in_padding(samples) and _is_short(samples, head, data[layout.scan : layout.end]):
            raise UnreadablePhoto("the JPEG file is damaged: the picture's last part is missing")
        notes: list[str] = []
        metadata, extras["segments"], extras["jfif"] = _read_metadata(layout.segments, notes)
        extras["private"] = _private(extras["segments"])
        trailer = data[layout.end :].strip(b"\0")
        if OTHERS not in notes and len(trailer) > 64:
            what = OTHERS if js.EXIF in trailer or b"\xff\xd8\xff" in trailer else ""
            notes.append(
                what or f"Left out {len(trailer)} bytes after the picture (such as video)."
            )
        return _common.build(
            samples,
            name="jpeg",
            mode="L" if samples.ndim == 2 else "RGB",
            turned=exif.orientation_of(metadata.exif, metadata.xmp),
            metadata=metadata,
            extras=extras,
            notes=notes,
        )

    def encode(self, photo: Photo, out: BinaryIO, options: EncodeOptions) -> None:
        """Write a JPEG file; see `Format.encode`."""
        _common.check_holds(photo, self)
        _common.note_space(photo, "jpeg")
        metadata = _common.kept_metadata(photo, options)
        _common.note_dropped(photo, metadata, "jpeg", strip=options.strip)
        samples = _common.stored_samples(photo, _common.stored_orientation(metadata))
        buffer = io.BytesIO()
        with _common.writing("jpeg"):
            settings = _settings(photo.extras if _is_own(photo) else {}, photo.channels, options)
            if settings["progressive"]:
                settings["extra"] = _pillow.Room(_most(samples.shape))
            image = _pillow.from_array(samples)
            image.save(buffer, "JPEG", **settings)
            del image, samples
        coded = buffer.getbuffer().toreadonly()
        layout = js.parse(bytes(coded[:4096]), whole=False)
        start = 2 + sum(4 + len(p) for m, p in layout.segments[:1] if m == js.APP0)
        out.write(b"\xff\xd8")
        for part in _metadata_segments(photo, metadata, strip=options.strip):
            out.write(part)
        out.write(coded[start:])


def _is_own(photo: Photo) -> bool:
    """Whether the photo came from `decode` here and carries what that found."""
    return photo.format == "jpeg" and "segments" in photo.extras


def _check_kind(marker: int, payload: bytes) -> None:
    """Refuse the JPEG processes and colour models that would not come back as they were."""
    precision, components = payload[0], payload[5]
    hint = "convert it to TIFF or an ordinary 8-bit JPEG first"
    if marker not in KINDS:
        raise UnsupportedPhoto("lossless or hierarchical JPEG is not supported", hint=hint)
    if precision != 8:
        raise UnsupportedPhoto(f"{precision}-bit JPEG is not supported", hint=hint)
    if components == 4:
        raise UnsupportedPhoto(
            "CMYK pictures are not supported",
            hint="convert it to RGB with its colour profile first",
        )
    if components not in (1, 3):
        raise UnsupportedPhoto(f"a JPEG of {components} components is not supported", hint=hint)


def _shapes_pixels(marker: int, payload: bytes) -> bool:
    """Whether the decoder needs this segment to get pixels and their colour model right."""
    if marker == js.APP0:
        return payload.startswith(js.JFIF)
    if marker == js.APP14:
        return payload.startswith(js.ADOBE)
    return marker != js.COM and not 0xE0 <= marker <= 0xEF


def _coding(image: Any) -> dict[str, Any]:
    """How the source was coded, for writing it back the same way."""
    tables = [image.quantization[component[3]] for component in image.layer]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    factors = tuple((component[1], component[2]) for component in image.layer)
    rgb = image.info.get("adobe_transform") == 0 and "jfif" not in image.info
    return {
        "qtables": [list(table) for table in tables],
        "subsampling": SUBSAMPLINGS.get(factors, 0),
        "progressive": bool(image.info.get("progressive")),
        "rgb": rgb and len(factors) == 3,
    }


def _ends_in_padding(samples: _common.Array) -> bool:
    """Whether the last corner is the exact mid-grey that decoders fill missing data with."""
    return bool((samples[-4:, -4:] == 128).all()) and bool((samples != 128).any())


def _is_short(samples: _common.Array, head: bytes, scan: bytes) -> bool:
    """Whether the coded picture ends before its last block.

    If so, more coded data before the end marker changes what is decoded there; if the grey is
    real, it does not.
    """
    with _common.reading("jpeg"):
        filler = bytes(range(1, 128)) * 64
        image = _pillow.open_image("jpeg", head + scan[:-2] + filler + scan[-2:])
        again = _pillow.to_array(image)
    return not np.array_equal(samples[-64:], again[-64:])


def _read_metadata(
    segments: list[js.Segment], notes: list[str]
) -> tuple[Metadata, list[js.Segment], bytes | None]:
    """(metadata, segments kept as they are, JFIF payload) of a file's header segments."""
    found: dict[str, list[bytes]] = {"exif": [], "xmp": [], "iptc": [], "icc": [], "comment": []}
    kept: list[js.Segment] = []
    jfif = None
    for marker, payload in segments:
        if marker == js.APP0 and payload.startswith(js.JFIF):
            jfif = jfif or payload
        elif marker == js.APP1 and payload.startswith(js.EXIF):
            found["exif"].append(payload[len(js.EXIF) :])
        elif marker == js.APP1 and payload.startswith(js.XMP) and not found["xmp"]:
            found["xmp"].append(payload[len(js.XMP) :])
        elif marker == js.APP2 and payload.startswith(js.ICC):
            found["icc"].append(payload)
        elif marker == js.APP2 and payload.startswith((js.MPF, js.GAIN_MAP)):
            if OTHERS not in notes:
                notes.append(OTHERS)
        elif marker == js.APP13 and payload.startswith(js.PHOTOSHOP):
            found["iptc"].append(payload[len(js.PHOTOSHOP) :])
        elif marker == js.COM and not found["comment"]:
            found["comment"].append(payload)
        elif marker == js.APP11:
            if SIGNED not in notes:
                notes.append(SIGNED)
        elif marker == js.COM or (0xE0 <= marker <= 0xEF and marker != js.APP14):
            kept.append((marker, payload))
    profile = js.join_icc(found["icc"])
    if found["icc"] and profile is None:
        notes.append("The ICC profile is incomplete; left out.")
    metadata = Metadata(
        exif=b"".join(found["exif"]) or None,
        icc=profile,
        xmp=b"".join(found["xmp"]) or None,
        iptc=b"".join(found["iptc"]) or None,
        comment=b"".join(found["comment"]) or None,
        dpi=_density(jfif),
    )
    return metadata, kept, jfif


def _private(segments: list[js.Segment]) -> list[str]:
    """What of the kept segments describes the picture and has no place in other formats."""
    found = []
    if any(m == js.APP1 and p.startswith((js.XMP, js.MORE_XMP)) for m, p in segments):
        found.append("extended XMP")
    if any(m == js.COM for m, _ in segments):
        found.append("further comments")
    return found


def _density(jfif: bytes | None) -> tuple[float, float] | None:
    """Dots per inch of a JFIF payload (ITU-T T.871, 10.1)."""
    if jfif is None or len(jfif) < 12 or jfif[7] not in (1, 2):
        return None
    scale = 1.0 if jfif[7] == 1 else 2.54
    across, down = int.from_bytes(jfif[8:10], "big"), int.from_bytes(jfif[10:12], "big")
    return (across * scale, down * scale) if across and down else None


def _settings(extras: dict[str, Any], channels: int, options: EncodeOptions) -> dict[str, Any]:
    """Pillow's save arguments: the source's own coding, or what `quality` asks for."""
    settings: dict[str, Any] = {"progressive": extras.get("progressive", False)}
    if extras.get("rgb"):
        settings["keep_rgb"] = True
    if options.quality is None and "qtables" in extras:
        settings["qtables"] = extras["qtables"]
        settings["subsampling"] = extras["subsampling"]
    else:
        settings["quality"] = quality = options.quality or DEFAULT_QUALITY
        settings["subsampling"] = 0 if quality >= FULL_CHROMA_FROM else 2
    if channels == 1:
        settings.pop("subsampling")
    return settings


def _most(shape: tuple[int, ...]) -> int:
    """More bytes than a JPEG of this shape takes: two a sample of whole blocks, and its tables.

    With quantisation tables of ones, black and white noise takes 1.2.
    """
    height, width, channels = shape
    return 2 * (height + -height % 16) * (width + -width % 16) * channels + (1 << 16)


def _metadata_segments(photo: Photo, metadata: Metadata, *, strip: bool) -> list[bytes]:
    """The segments that go between the start marker and the encoder's tables."""
    own = _is_own(photo)
    parts: list[bytes] = []
    jfif = photo.extras.get("jfif") if own else _jfif(metadata.dpi)
    if jfif is not None and not photo.extras.get("rgb"):
        parts.append(js.segment(js.APP0, jfif))
    for kind, prefix, content in (
        ("EXIF", js.EXIF, metadata.exif),
        ("XMP", js.XMP, metadata.xmp),
    ):
        if content and len(prefix) + len(content) <= js.MAX_PAYLOAD:
            parts.append(js.segment(js.APP1, prefix + content))
        elif content and kind == "EXIF" and own:
            parts += js.split(js.APP1, prefix, content)
        elif content:
            _common.note(photo, f"{kind} of {len(content)} bytes is too large for JPEG; left out.")
    if metadata.iptc:
        parts += js.split(js.APP13, js.PHOTOSHOP, metadata.iptc)
    if metadata.icc:
        profile = js.split_icc(metadata.icc)
        parts += profile
        if not profile:
            _common.note(photo, "The ICC profile is too large for JPEG; left out.")
    if own and not strip:
        parts += [js.segment(marker, payload) for marker, payload in photo.extras["segments"]]
    if metadata.comment:
        parts += js.split(js.COM, b"", metadata.comment)
    return parts


def _jfif(dpi: tuple[float, float] | None) -> bytes:
    """A JFIF 1.01 payload with this density."""
    across, down = (min(max(round(value), 1), 65535) for value in dpi) if dpi else (1, 1)
    unit = 1 if dpi else 0
    density = across.to_bytes(2, "big") + down.to_bytes(2, "big")
    return js.JFIF + bytes((1, 1, unit)) + density + b"\0\0"
