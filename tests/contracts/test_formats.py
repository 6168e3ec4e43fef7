"""One suite over every format: depth x mode x metadata, kept or refused with a reason.

The files are built here with Pillow, tifffile, imagecodecs and raw bytes, and read back with the
same, so that our adapters are never their own witness. Print the table of what is kept with

    python -m tests.contracts.test_formats
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from denoisetool.errors import UnsupportedPhoto
from denoisetool.formats import FORMATS, EncodeOptions, decode, encode
from denoisetool.photo import Metadata, Photo

Array = npt.NDArray[Any]

HEIGHT, WIDTH = 40, 56
NAMES = tuple(f.name for f in FORMATS)
DEPTHS = ("8", "16", "half", "float")
MODES = ("L", "LA", "RGB", "RGBA", "P", "1", "CMYK")
KINDS = ("EXIF", "GPS", "MakerNote", "ICC", "XMP", "IPTC", "comment", "DPI", "orientation")
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 3, "CMYK": 4}
DTYPES = {"8": np.uint8, "16": np.uint16, "half": np.float16, "float": np.float32}

ICC = b"\0\0\x0b\xb8" + bytes(range(256)) * 11 + b"\1" * 180
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rating>5</rating></x:xmpmeta>'
RECORDS = b"\x1c\x02\x05\x00\x05Title\x1c\x02\x19\x00\x05light"
IPTC = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(RECORDS)) + RECORDS
COMMENT = b"seen from the bridge"
MAKER_NOTE = b"Maker\0\0" + bytes(range(200))
DPI = (300.0, 240.0)

# What exists: format -> depth -> modes that such a file can have at all.
EXISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "jpeg": {"8": ("L", "RGB", "CMYK")},
    "png": {"8": ("L", "LA", "RGB", "RGBA", "P", "1"), "16": ("L", "LA", "RGB", "RGBA")},
    "tiff": {
        "8": ("L", "LA", "RGB", "RGBA", "P", "1", "CMYK"),
        "16": ("L", "LA", "RGB", "RGBA", "CMYK"),
        "half": ("L", "LA", "RGB", "RGBA"),
        "float": ("L", "LA", "RGB", "RGBA"),
    },
    "webp": {"8": ("RGB", "RGBA")},
    "avif": {"8": ("L", "LA", "RGB", "RGBA"), "16": ("L", "LA", "RGB", "RGBA")},
    "bmp": {"8": ("L", "RGB", "RGBA", "P", "1")},
}
# Metadata kinds a format has a place for.
PLACES: dict[str, tuple[str, ...]] = {
    "jpeg": KINDS,
    "png": ("EXIF", "GPS", "MakerNote", "ICC", "XMP", "comment", "DPI", "orientation"),
    "tiff": ("EXIF", "GPS", "MakerNote", "ICC", "XMP", "IPTC", "comment", "DPI", "orientation"),
    "webp": ("EXIF", "GPS", "MakerNote", "ICC", "XMP", "orientation"),
    "avif": ("EXIF", "GPS", "MakerNote", "ICC", "XMP", "orientation"),
    "bmp": ("ICC", "DPI"),
}
REFUSED = {"1": "1 bit", "CMYK": "CMYK"}
LOSSY = ("jpeg",)


def picture(depth: str, mode: str, *, seed: int = 0) -> Array:
    """Smooth, slightly noisy, different in every corner and channel: (H, W, C)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rng = np.random.default_rng(seed)
    planes = [0.5 + 0.3 * np.sin(x / (9 + c)) * np.cos(y / 7) for c in range(CHANNELS[mode])]
    samples = np.stack(planes, axis=2) + 0.15 * (x / WIDTH - y / HEIGHT)[:, :, None]
    samples = np.clip(samples + rng.normal(0, 0.01, samples.shape), 0, 1)
    peak = {"8": 255, "16": 65535}.get(depth)
    scaled: Array = samples * 3 - 0.5 if peak is None else samples * peak
    return scaled.astype(DTYPES[depth])


def exif_block(orientation: int = 1) -> bytes:
    """A camera's EXIF block with a maker note and a place, as Pillow writes it."""
    exif = Image.Exif()
    exif[271], exif[274] = "Camera maker", orientation
    exif[282] = IFDRational(300)
    exif[283] = IFDRational(240)
    exif[296] = 2
    exif.get_ifd(0x8769).update({33434: IFDRational(1, 125), 37500: MAKER_NOTE})
    exif.get_ifd(0x8825).update({1: "N", 2: (IFDRational(52), IFDRational(31), IFDRational(0))})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def gps_of(block: bytes) -> dict[int, Any]:
    exif = Image.Exif()
    exif.load(block)
    return dict(exif.get_ifd(0x8825))


def maker_note_of(block: bytes) -> bytes | None:
    exif = Image.Exif()
    exif.load(block)
    note = exif.get_ifd(0x8769).get(37500)
    return note if isinstance(note, bytes) else None


# --- building files ------------------------------------------------------------------------------


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + payload))
    return struct.pack(">I", len(payload)) + kind + payload + crc


def pillow_file(samples: Array, mode: str, kind: str, **arguments: Any) -> bytes:
    if mode in ("P", "1"):
        image = Image.fromarray(picture("8", "RGB")).convert(mode)
    else:
        squeezed = samples[:, :, 0] if samples.shape[2] == 1 else samples
        image = Image.fromarray(squeezed)
        if mode == "CMYK":
            image = Image.frombytes("CMYK", (samples.shape[1], samples.shape[0]), samples.tobytes())
    file = io.BytesIO()
    image.save(file, kind, **arguments)
    return file.getvalue()


def build_jpeg(samples: Array, depth: str, mode: str, orientation: int = 1) -> bytes:
    coded = pillow_file(samples, mode, "JPEG", quality=92, subsampling=0, dpi=(300, 240))
    end = 4 + struct.unpack(">H", coded[4:6])[0]
    extra = segment(0xE1, b"Exif\0\0" + exif_block(orientation))
    extra += segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    extra += segment(0xE2, b"ICC_PROFILE\0\1\1" + ICC) + segment(0xED, b"Photoshop 3.0\0" + IPTC)
    return coded[:end] + extra + segment(0xFE, COMMENT) + coded[end:]


def build_png(samples: Array, depth: str, mode: str, orientation: int = 1) -> bytes:
    if mode in ("P", "1"):
        coded = pillow_file(samples, mode, "PNG")
    else:
        coded = bytes(imagecodecs.png_encode(samples[:, :, 0] if mode == "L" else samples))
    extra = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(ICC))
    extra += png_chunk(b"pHYs", struct.pack(">IIB", 11811, 9449, 1))
    extra += png_chunk(b"eXIf", exif_block(orientation))
    extra += png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    extra += png_chunk(b"tEXt", b"Comment\0" + COMMENT)
    return coded[:33] + extra + coded[33:]


def build_tiff(samples: Array, depth: str, mode: str, orientation: int = 1) -> bytes:
    """Pixels by tifffile; tags by rewriting the directory with struct."""
    file = io.BytesIO()
    if mode in ("P", "1"):
        image = Image.fromarray(picture("8", "RGB")).convert(mode)
        image.save(file, "TIFF")
    else:
        photometric = {"L": 1, "LA": 1, "RGB": 2, "RGBA": 2, "CMYK": 5}[mode]
        tifffile.imwrite(
            file,
            samples[:, :, 0] if mode == "L" else samples,
            photometric=photometric,
            planarconfig=None if mode == "L" else 1,
            extrasamples=(2,) if mode in ("LA", "RGBA") else None,
            compression="zlib",
            predictor=True,
            metadata=None,
            software=False,
        )
    return add_tiff_tags(file.getvalue(), orientation)


def add_tiff_tags(data: bytes, orientation: int) -> bytes:
    """Append a new first directory with metadata, and EXIF and GPS directories."""
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    rows: dict[int, bytes] = {}
    for at in range(first + 2, first + 2 + 12 * count, 12):
        rows[struct.unpack_from("<H", data, at)[0]] = data[at : at + 12]
    out = bytearray(data + b"\0" * (len(data) % 2))

    def blob(tag: int, kind: int, count: int, value: bytes) -> bytes:
        if len(value) <= 4:
            return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        offset = len(out)
        out.extend(value + b"\0" * (len(value) % 2))
        return struct.pack("<HHII", tag, kind, count, offset)

    def directory(entries: list[bytes]) -> int:
        offset = len(out)
        out.extend(struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0")
        return offset

    exposure = blob(33434, 5, 1, struct.pack("<II", 1, 125))
    exif = directory([exposure, blob(37500, 7, len(MAKER_NOTE), MAKER_NOTE)])
    place = blob(2, 5, 3, struct.pack("<6I", 52, 1, 31, 1, 0, 1))
    gps = directory([blob(1, 2, 2, b"N\0"), place])
    for tag, kind, count, value in (
        (270, 2, len(COMMENT) + 1, COMMENT + b"\0"),
        (271, 2, 13, b"Camera maker\0"),
        (274, 3, 1, struct.pack("<H", orientation)),
        (282, 5, 1, struct.pack("<II", 300, 1)),
        (283, 5, 1, struct.pack("<II", 240, 1)),
        (296, 3, 1, struct.pack("<H", 2)),
        (700, 1, len(XMP), XMP),
        (33723, 7, len(RECORDS), RECORDS),
        (34377, 7, len(IPTC), IPTC),
        (34665, 4, 1, struct.pack("<I", exif)),
        (34675, 7, len(ICC), ICC),
        (34853, 4, 1, struct.pack("<I", gps)),
    ):
        rows[tag] = blob(tag, kind, count, value)
    new = directory([rows[tag] for tag in sorted(rows)])
    out[4:8] = struct.pack("<I", new)
    return bytes(out)


def build_webp(samples: Array, depth: str, mode: str, orientation: int = 1) -> bytes:
    return pillow_file(
        samples,
        mode,
        "WEBP",
        lossless=True,
        exact=True,
        exif=exif_block(orientation),
        xmp=XMP,
        icc_profile=ICC,
    )


def build_avif(samples: Array, depth: str, mode: str, orientation: int = 1) -> bytes:
    """8-bit colour by Pillow; what it cannot write (grey, 10 bits) by us, for it to judge."""
    if depth == "8" and mode in ("RGB", "RGBA"):
        exif = Image.Exif()
        exif.load(exif_block(orientation))
        arguments: dict[str, Any] = {"exif": exif, "xmp": XMP, "icc_profile": ICC}
        return pillow_file(samples, mode, "AVIF", quality=100, subsampling="4:4:4", **arguments)
    if depth == "16":
        samples = np.round((samples >> 6) * (65535 / 1023)).astype(np.uint16)
    upright = np.rot90(samples, -1) if orientation == 6 else samples
    channels = 3 if mode.startswith("RGB") else 1
    photo = Photo(
        pixels=np.ascontiguousarray(upright[..., :channels]),
        alpha=np.ascontiguousarray(upright[..., -1]) if mode.endswith("A") else None,
        format="avif",
        mode=mode,
        orientation=orientation,
        metadata=Metadata(exif_block(orientation), ICC, XMP),
        extras={"bits": 8 if depth == "8" else 10, "lossless": True},
    )
    out = io.BytesIO()
    encode(photo, "avif", out)
    return out.getvalue()


def build_bmp(samples: Array, depth: str, mode: str, orientation: int = 1) -> bytes:
    if mode not in ("RGB", "RGBA"):
        return pillow_file(samples, mode, "BMP", dpi=DPI)
    order = [2, 1, 0, 3][: samples.shape[2]]
    bits = 8 * samples.shape[2]
    rows = samples[::-1, :, order].reshape(HEIGHT, -1)  # 56 pixels need no padding
    pixels = rows.tobytes()
    method, alpha = (0, 0) if mode == "RGB" else (3, 0xFF000000)
    head = struct.pack("<IiiHHII", 124, WIDTH, HEIGHT, 1, bits, method, len(pixels))
    head += struct.pack("<iiII4I", 11811, 9449, 0, 0, 0xFF0000, 0xFF00, 0xFF, alpha)
    head += struct.pack("<I48xIIII", 0x4D424544, 4, 124 + len(pixels), len(ICC), 0)
    size = 14 + 124 + len(pixels) + len(ICC)
    return struct.pack("<2sIHHI", b"BM", size, 0, 0, 138) + head + pixels + ICC


BUILDERS = {
    "jpeg": build_jpeg,
    "png": build_png,
    "tiff": build_tiff,
    "webp": build_webp,
    "avif": build_avif,
    "bmp": build_bmp,
}


# --- reading files back, without our code --------------------------------------------------------


def jpeg_segments(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 2
    while data[at + 1] != 0xDA:
        size = struct.unpack_from(">H", data, at + 2)[0]
        found.append((data[at + 1], data[at + 4 : at + 2 + size]))
        at += 2 + size
    return found


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def witness_metadata(name: str, data: bytes) -> dict[str, Any]:
    """What the file holds of each kind, by Pillow, tifffile and raw parsing."""
    found: dict[str, Any] = {}
    if name == "tiff":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = {tag.code: tag.value for tag in file.pages[0].tags}  # type: ignore[union-attr]
        exif = tags.get(34665) or {}
        found["EXIF"] = (tags.get(271), exif.get("ExposureTime"))
        found |= {"MakerNote": exif.get("MakerNote"), "GPS": tags.get(34853)}
        across, down = tags[282], tags[283]
        found["DPI"] = (across[0] / across[1], down[0] / down[1]) if tags.get(296) == 2 else ()
        found |= {"ICC": tags.get(34675), "XMP": tags.get(700), "comment": tags.get(270)}
        found["IPTC"] = [value for value in (tags.get(34377), tags.get(33723)) if value]
        found["orientation"] = tags.get(274)
        return found
    with Image.open(io.BytesIO(data)) as image:
        info = dict(image.info)
        found["orientation"] = image.getexif().get(274)
    block = info.get("exif", b"").removeprefix(b"Exif\0\0")
    found |= {
        "EXIF": block or None,
        "ICC": info.get("icc_profile"),
        "DPI": tuple(float(value) for value in info.get("dpi", ())),
    }
    found["XMP"] = info.get("xmp")
    found["comment"] = info.get("comment") or info.get("Comment")
    if block:
        found |= {"GPS": gps_of(block), "MakerNote": maker_note_of(block)}
    if name == "jpeg":
        found["IPTC"] = [p for m, p in jpeg_segments(data) if m == 0xED]
    if name == "bmp" and data[14] == 124 and data[70:74] == b"DEBM":
        offset, size = struct.unpack_from("<II", data, 126)
        found["ICC"] = data[14 + offset : 14 + offset + size]
    return found


def witness_pixels(name: str, data: bytes) -> Array:
    """The stored samples (not turned upright), (H, W, C)."""
    if name == "tiff":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            samples = page.asarray()
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                samples = np.moveaxis(page.colormap, 0, 1)[samples].astype(np.uint16) >> 8
                samples = samples.astype(np.uint8)
    elif name == "png":
        samples = imagecodecs.png_decode(data)
    elif name == "avif":
        samples = imagecodecs.avif_decode(data)
    else:
        with Image.open(io.BytesIO(data)) as image:
            samples = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    stored: Array = samples[:, :, None] if samples.ndim == 2 else samples
    return stored


# --- the contract --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Processed:
    source: bytes
    written: bytes
    photo: Photo
    refusal: str


@functools.cache
def process(name: str, depth: str, mode: str, orientation: int = 1) -> Processed:
    """Build a file, decode it, encode the photo again."""
    shape = "RGB" if mode in ("P", "1") else mode
    source = BUILDERS[name](picture(depth, shape), depth, mode, orientation)
    out = io.BytesIO()
    try:
        photo = decode(source)
        encode(photo, name, out)
    except UnsupportedPhoto as error:
        empty = Photo(np.zeros((1, 1, 1), np.uint8), name, mode)
        return Processed(source, b"", empty, str(error))
    return Processed(source, out.getvalue(), photo, "")


def cell(name: str, depth: str, mode: str, kind: str) -> str:
    """One cell of the table: kept, refused with the reason, or why there is nothing to keep."""
    if mode not in EXISTS[name].get(depth, ()):
        return "no such file"
    done = process(name, depth, mode)
    if done.refusal:
        return f"refused: {done.refusal}"
    if kind == "orientation" and kind in PLACES[name]:
        done = process(name, depth, mode, 6)
    before = witness_metadata(name, done.source).get(kind)
    after = witness_metadata(name, done.written).get(kind)
    if kind not in PLACES[name]:
        return "no place in the format"
    if not before:
        return "not in the sample"
    if kind == "DPI":
        return "kept" if after and np.allclose(before, after, atol=0.02) else "LOST"
    return "kept" if before == after else "LOST"


ROWS = [
    (name, depth, mode) for name in NAMES for depth, modes in EXISTS[name].items() for mode in modes
]


@pytest.mark.parametrize(("name", "depth", "mode"), ROWS)
def test_metadata_is_kept(name: str, depth: str, mode: str) -> None:
    cells = {kind: cell(name, depth, mode, kind) for kind in KINDS}
    if mode in REFUSED:
        assert all(value.startswith("refused") for value in cells.values())
        assert REFUSED[mode] in cells["EXIF"]
        return
    assert "LOST" not in cells.values(), cells
    # Every kind the format has a place for is really in the sample.
    lacking = {"ICC"} if name == "bmp" and mode not in ("RGB", "RGBA") else set()
    kept = {kind for kind, value in cells.items() if value == "kept"}
    assert kept == set(PLACES[name]) - lacking


@pytest.mark.parametrize(("name", "depth", "mode"), ROWS)
def test_pixels_come_back(name: str, depth: str, mode: str) -> None:
    if mode in REFUSED:
        assert process(name, depth, mode).refusal
        return
    done = process(name, depth, mode)
    before, after = witness_pixels(name, done.source), witness_pixels(name, done.written)
    if mode == "P":
        assert done.photo.notes
    assert before.shape == after.shape
    assert before.dtype == after.dtype
    if name == "jpeg":
        assert np.abs(before.astype(float) - after).max() <= 4
    elif name == "avif":
        peak = np.iinfo(before.dtype).max if depth == "8" else 1023
        assert np.abs(before.astype(float) - after).mean() < 0.01 * peak
        if mode in ("LA", "RGBA"):
            np.testing.assert_array_equal(before[..., -1], after[..., -1])
    else:
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("name", "depth", "mode"), [row for row in ROWS if row[2] not in REFUSED])
def test_photo_holds_the_pixels_in_their_own_depth(name: str, depth: str, mode: str) -> None:
    done = process(name, depth, mode)
    stored = witness_pixels(name, done.source)
    photo = done.photo
    dtype = {"8": np.uint8, "16": np.uint16}.get(depth, np.float32)
    assert photo.pixels.dtype == dtype
    assert photo.pixels.flags["C_CONTIGUOUS"]
    assert photo.channels == (1 if mode in ("L", "LA") else 3)
    assert (photo.alpha is not None) == (mode in ("LA", "RGBA"))
    assert photo.format == name
    assert photo.mode == mode
    if name == "avif" and depth == "16":
        # 10 bits scaled to the full range
        stored = np.round(stored.astype(float) * 65535 / 1023)
    np.testing.assert_array_equal(photo.pixels, stored[..., : photo.channels])
    if photo.alpha is not None:
        np.testing.assert_array_equal(photo.alpha, stored[..., -1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "avif"])
def test_orientation_is_undone_and_put_back(name: str, orientation: int) -> None:
    done = process(name, "8", "RGB", orientation)
    with Image.open(io.BytesIO(done.source)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    with Image.open(io.BytesIO(done.written)) as image:
        # Pillow takes the tag away when it turns TIFFs as it opens them.
        again = np.asarray(ImageOps.exif_transpose(image))
        stored_tag = witness_metadata(name, done.written)["orientation"]
    tolerance = {"jpeg": 4, "avif": 12}.get(name, 0)
    assert done.photo.orientation == orientation
    assert np.abs(done.photo.pixels.astype(int) - upright).max() <= (2 if name == "avif" else 0)
    assert np.abs(again.astype(int) - upright).max() <= tolerance
    assert stored_tag == (orientation if name != "avif" or orientation > 1 else stored_tag)
    sides = witness_pixels(name, done.written).shape[:2]
    assert sides == witness_pixels(name, done.source).shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", ["jpeg", "png", "tiff", "webp", "avif"])
def test_conversion_shows_the_same_and_takes_metadata_along(
    source: str, target: str, orientation: int
) -> None:
    photo = process(source, "8", "RGB", orientation).photo
    photo = Photo(photo.pixels, source, photo.mode, None, orientation, photo.metadata, photo.extras)
    out = io.BytesIO()
    encode(photo, target, out)
    with Image.open(io.BytesIO(out.getvalue())) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.abs(shown.astype(int) - photo.pixels).mean() < 3
    found = witness_metadata(target, out.getvalue())
    assert found["ICC"] == ICC
    if target == "bmp":
        assert any("EXIF" in sentence for sentence in photo.notes)
        return
    assert found["XMP"] == XMP
    place = found["GPS"]
    latitude = place["GPSLatitude"][::2] if target == "tiff" else place[2]
    assert latitude == (52, 31, 0)
    assert found["MakerNote"] == MAKER_NOTE
    if "DPI" in PLACES[source] and target in ("jpeg", "png", "tiff"):
        assert np.allclose(found["DPI"], DPI, atol=0.02)
    if source == "jpeg" and target == "png":
        assert found["comment"] == COMMENT.decode()
        assert any("IPTC" in sentence for sentence in photo.notes)
    if (source, target) == ("jpeg", "tiff"):
        assert found["IPTC"][0] == IPTC
    if (source, target) == ("tiff", "jpeg"):
        assert found["IPTC"] == [b"Photoshop 3.0\0" + IPTC]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("name", NAMES)
def test_strip_keeps_the_colour_and_stays_upright(name: str, orientation: int) -> None:
    photo = process(name, "8", "RGB", orientation).photo
    out = io.BytesIO()
    encode(photo, name, out, EncodeOptions(strip=True))
    found = witness_metadata(name, out.getvalue())
    for kind in ("EXIF", "GPS", "MakerNote", "XMP", "comment"):
        value = found.get(kind)
        assert not value or value == (None, None), kind  # tifffile's pair for TIFF
    assert not any(found.get("IPTC") or ())
    for secret in (MAKER_NOTE, XMP, RECORDS, COMMENT, b"Camera maker"):
        assert secret not in out.getvalue()
    assert found["ICC"] == ICC
    with Image.open(io.BytesIO(out.getvalue())) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert np.abs(shown.astype(int) - photo.pixels).mean() < 3
    assert shown.shape == photo.pixels.shape


HOLDABLE = {
    ("jpeg", "8", "L"),
    ("jpeg", "8", "RGB"),
    *((n, "8", m) for n in ("png", "tiff", "webp", "avif", "bmp") for m in MODES[:4]),
    *((n, "16", m) for n in ("png", "tiff", "avif") for m in MODES[:4]),
    *(("tiff", "float", m) for m in MODES[:4]),
}


@pytest.mark.parametrize("mode", MODES[:4])
@pytest.mark.parametrize("depth", ["8", "16", "float"])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_cannot_hold_is_refused_not_mangled(name: str, depth: str, mode: str) -> None:
    samples = picture(depth, mode)
    alpha = np.ascontiguousarray(samples[..., -1]) if mode.endswith("A") else None
    channels = 3 if mode.startswith("RGB") else 1
    photo = Photo(np.ascontiguousarray(samples[..., :channels]), "other", mode, alpha)
    out = io.BytesIO()
    if (name, depth, mode) in HOLDABLE:
        encode(photo, name, out)
        again = decode(out.getvalue())
        assert again.pixels.dtype == samples.dtype
        assert (again.alpha is None) == (alpha is None)
        if name in ("png", "tiff", "bmp") or (name == "webp" and alpha is not None):
            np.testing.assert_array_equal(again.alpha, alpha)
        if name in ("png", "tiff", "bmp"):
            for channel in range(again.channels):  # a grey BMP with alpha comes back as RGB
                expected = photo.pixels[..., min(channel, channels - 1)]
                np.testing.assert_array_equal(again.pixels[..., channel], expected)
        return
    with pytest.raises(UnsupportedPhoto) as caught:
        encode(photo, name, out)
    assert caught.value.hint.startswith("write it as")
    assert "TIFF" in caught.value.hint
    assert out.getvalue() == b""


def table() -> str:
    """The whole table in Markdown."""
    lines = [
        "| format | depth | mode | " + " | ".join(KINDS) + " |",
        "|---" * (3 + len(KINDS)) + "|",
    ]
    for name, depth, mode in ROWS:
        cells = [cell(name, depth, mode, kind) for kind in KINDS]
        if cells[0].startswith("refused"):
            cells = [cells[0]] + [""] * (len(KINDS) - 1)
        bits = "10" if (name, depth) == ("avif", "16") else depth
        lines.append(f"| {name} | {bits} | {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
