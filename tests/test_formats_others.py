"""PNG, WebP, AVIF and BMP beyond the contract."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import EncodeOptions, decode, encode
from denoisetool.formats.orientation import TO_HEIF
from denoisetool.photo import Metadata, Photo
from tests.contracts.test_formats import (
    EXISTS,
    ICC,
    XMP,
    Array,
    exif_block,
    picture,
    pillow_file,
    png_chunk,
    png_chunks,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def again(photo: Photo, **options: Any) -> bytes:
    out = io.BytesIO()
    encode(photo, photo.format, out, EncodeOptions(**options))
    return out.getvalue()


def png(rows: Array, depth: int, kind: int, *extra: bytes, interlaced: bool = False) -> bytes:
    """A PNG file of packed rows (height, bytes), or of Adam7 passes, written by hand."""
    height, width = rows.shape[0], rows.shape[1] * 8 // (depth * {0: 1, 2: 3, 3: 1}[kind])
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    if interlaced:
        raw = b""
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
        pixels = rows.reshape(height, width, -1)
        for top, left, down, across in [*steps, (1, 0, 2, 1)]:
            raw += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::across])
    else:
        raw = b"".join(b"\0" + row.tobytes() for row in rows)
    body = png_chunk(b"IHDR", head) + b"".join(extra)
    return SIGNATURE + body + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")


# --- PNG -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["8", "16"])
def test_png_interlaced(depth: str) -> None:
    samples = picture(depth, "RGB")
    stored = samples.astype(f">u{samples.itemsize}").view(np.uint8).reshape(40, -1)
    data = png(stored, int(depth), 2, interlaced=True)
    np.testing.assert_array_equal(decode(data).pixels, samples)


@pytest.mark.parametrize("depth", [2, 4])
def test_png_grey_of_few_bits_becomes_8(depth: int) -> None:
    packed = np.arange(256, dtype=np.uint8).reshape(16, 16)
    photo = decode(png(packed, depth, 0))
    bits = np.unpackbits(packed, axis=1).reshape(16, -1, depth)
    values = bits @ (1 << np.arange(depth)[::-1]) * (255 // ((1 << depth) - 1))
    np.testing.assert_array_equal(photo.pixels[:, :, 0], values)
    assert any("8 bits" in note for note in photo.notes)


@pytest.mark.parametrize(("depth", "kind"), [(8, 0), (8, 2), (16, 0), (16, 2), (4, 0)])
def test_png_transparent_colour_becomes_alpha(depth: int, kind: int) -> None:
    rows = np.random.default_rng(0).integers(0, 4, (12, 24), np.uint8)
    rows[:6] = 2  # half the picture is of the transparent colour
    if depth == 4:
        rows[:6] = 0x37
    channels = 3 if kind == 2 else 1
    key = {4: [7], 8: [2] * channels, 16: [0x0202] * channels}[depth]
    data = png(rows, depth, kind, png_chunk(b"tRNS", struct.pack(f">{channels}H", *key)))
    photo = decode(data)
    samples = imagecodecs.png_decode(png(rows, depth, kind)).reshape(photo.pixels.shape)
    shown = (samples != np.array(key) * (17 if depth == 4 else 1)).any(axis=2)
    assert photo.alpha is not None
    peak = np.iinfo(samples.dtype).max
    np.testing.assert_array_equal(photo.pixels, samples)
    np.testing.assert_array_equal(photo.alpha, np.where(shown, peak, 0))
    assert not shown.all()
    assert photo.notes
    assert b"tRNS" not in dict(png_chunks(again(photo)))


def test_png_palette_with_transparency() -> None:
    image = Image.fromarray(picture("8", "RGB")).quantize(16)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=bytes(range(0, 160, 10)))
    photo = decode(file.getvalue())
    with Image.open(file) as opened:
        expected = np.asarray(opened.convert("RGBA"))
    np.testing.assert_array_equal(photo.pixels, expected[..., :3])
    np.testing.assert_array_equal(photo.alpha, expected[..., 3])
    assert photo.mode == "P"


def test_png_other_chunks_are_kept_byte_for_byte() -> None:
    kept = [
        (b"cHRM", struct.pack(">8I", *range(8))),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"sBIT", b"\5\6\5"),
        (b"bKGD", b"\0\1\0\2\0\3"),
        (b"zTXt", b"Note\0\0" + zlib.compress(b"text")),
        (b"iTXt", b"Titel\0\0\0de\0\0" + "Brücke".encode()),
        (b"tIME", b"\x07\xea\1\2\3\4\5"),
        (b"tEXt", b"Author\0me"),
    ]
    dropped = [(b"iDOT", b"\0" * 28), (b"caBX", b"c2pa"), (b"prVt", b"unknown")]
    rows = picture("8", "RGB").reshape(40, -1)
    data = png(rows, 8, 2, *(png_chunk(kind, body) for kind, body in kept + dropped))
    late = (b"tEXt", b"Late\0after the pixels")
    data = data[:-12] + png_chunk(*late) + data[-12:]
    photo = decode(data)
    written = png_chunks(again(photo))
    assert [chunk for chunk in written if chunk in kept] == kept
    assert written[-2] == late
    assert not {b"iDOT", b"caBX", b"prVt"} & {kind for kind, _ in written}
    assert any("credentials" in note for note in photo.notes)
    kinds = [kind for kind, _ in png_chunks(again(photo, strip=True))]
    assert kinds == [b"IHDR", b"cHRM", b"gAMA", b"IDAT", b"IEND"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (100, 1, 1), (500, 1, 3), (2000, 3, 1), (60000, 1, 1), (60000, 5, 3)]
)
def test_png_of_few_columns(shape: tuple[int, ...], dtype: type[np.unsignedinteger[Any]]) -> None:
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    written = again(Photo(noise, "png", "L" if shape[2] == 1 else "RGB"))
    stored = imagecodecs.png_decode(written)
    np.testing.assert_array_equal(stored.reshape(shape), noise)


@pytest.mark.parametrize("name", ["jpeg", "tiff", "webp", "avif", "bmp"])
def test_png_text_that_cannot_go_along_is_noted_once(name: str) -> None:
    rows = picture("8", "RGB").reshape(40, -1)
    comment = png_chunk(b"tEXt", b"Comment\0seen")
    for chunk in (
        png_chunk(b"tEXt", b"Author\0me") + png_chunk(b"tEXt", b"Copyright\0me"),
        png_chunk(b"iTXt", b"Titel\0\0\0de\0\0" + "Brücke".encode()),
        png_chunk(b"zTXt", b"Note\0\0" + zlib.compress(b"text")),
        comment + png_chunk(b"tEXt", b"Comment\0again"),
    ):
        photo = decode(png(rows, 8, 2, chunk))
        encode(photo, name, io.BytesIO(), EncodeOptions(strip=True))
        assert photo.notes == []
        again(photo)
        assert photo.notes == []
        encode(photo, name, io.BytesIO())
        assert len(photo.notes) == 1
        assert "PNG text; left out" in photo.notes[0]
    photo = decode(png(rows, 8, 2, comment))
    encode(photo, name, io.BytesIO())
    assert not any("PNG text" in note for note in photo.notes)


def test_png_bombs_and_damaged_metadata_cost_only_themselves() -> None:
    rows = picture("8", "RGB").reshape(40, -1)
    bomb = zlib.compress(b"\0" * (80 << 20), 9)
    good = png_chunk(b"tEXt", b"Title\0x")
    data = png(
        rows,
        8,
        2,
        png_chunk(b"iCCP", b"bomb\0\0" + bomb),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
        png_chunk(b"zTXt", b"Huge\0\0" + bomb),
        good[:-1] + bytes((good[-1] ^ 1,)),
        png_chunk(b"eXIf", b"nonsense"),
    )
    photo = decode(data)
    np.testing.assert_array_equal(photo.pixels, picture("8", "RGB"))
    assert photo.metadata.icc is None
    assert photo.metadata.xmp is None
    assert photo.metadata.exif == b"nonsense"
    assert len(photo.notes) == 2
    kinds = dict(png_chunks(again(photo)))
    assert b"tEXt" not in kinds
    assert kinds[b"zTXt"] == b"Huge\0\0" + bomb


@pytest.mark.parametrize("depth", ["8", "16"])
def test_png_damage_to_pixels_is_found(depth: str) -> None:
    data = bytes(imagecodecs.png_encode(picture(depth, "RGB")))
    for cut in (10, 30, 60, len(data) // 2, len(data) - 12, len(data) - 1):
        with pytest.raises(UnreadablePhoto):
            decode(data[:cut])
    for position in range(40, len(data) - 4, 97):
        damaged = data[:position] + bytes((data[position] ^ 8,)) + data[position + 1 :]
        with pytest.raises(UnreadablePhoto):
            decode(damaged)
    # too little pixel data in chunks whose checksums are right
    rows = picture("8", "RGB").reshape(40, -1)
    short = png(rows, 8, 2)
    body = zlib.compress(b"\0" * 500)
    at = short.index(b"IDAT") - 4
    with pytest.raises(UnreadablePhoto):
        decode(short[:at] + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b""))


# --- WebP ----------------------------------------------------------------------------------------


def test_webp_lossless_stays_lossless_and_lossy_stays_lossy() -> None:
    samples = picture("8", "RGBA")
    lossless = pillow_file(samples, "RGBA", "WEBP", lossless=True, exact=True)
    lossy = pillow_file(samples, "RGBA", "WEBP", quality=90)
    assert b"VP8L" in again(decode(lossless))
    assert b"VP8L" not in again(decode(lossless), quality=80)
    written = again(decode(lossy))
    assert b"VP8L" not in written
    assert len(again(decode(lossy), quality=40)) < len(written)
    # colours under full transparency are pixels too
    samples = samples.copy()
    samples[:20, :, 3] = 0
    photo = decode(pillow_file(samples, "RGBA", "WEBP", lossless=True, exact=True))
    np.testing.assert_array_equal(photo.pixels, samples[..., :3])
    np.testing.assert_array_equal(decode(again(photo)).pixels, samples[..., :3])


def test_webp_exif_with_a_jpeg_prefix_is_understood() -> None:
    data = pillow_file(picture("8", "RGB"), "RGB", "WEBP", lossless=True)
    body = data[12:]
    exif = b"Exif\0\0" + exif_block(6)
    chunk = b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    head = b"VP8X" + struct.pack("<IB3x", 10, 8) + (55).to_bytes(3, "little")
    content = b"WEBP" + head + (39).to_bytes(3, "little") + body + chunk
    photo = decode(b"RIFF" + struct.pack("<I", len(content)) + content)
    assert photo.orientation == 6
    assert photo.metadata.exif == exif_block(6)


def test_webp_too_long_for_the_format() -> None:
    photo = Photo(np.zeros((4, 16384, 3), np.uint8), "png", "RGB")
    with pytest.raises(UnsupportedPhoto, match="16383"):
        encode(photo, "webp", io.BytesIO())


# --- AVIF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_avif_depth_is_kept_exactly(mode: str, bits: int) -> None:
    samples = picture("16", mode) >> (16 - bits)
    squeezed = samples[:, :, 0] if mode == "L" else samples
    data = bytes(imagecodecs.avif_encode(squeezed, level=100, speed=9, bitspersample=bits))
    photo = decode(data)
    assert photo.pixels.dtype == np.uint16
    assert photo.pixels.max() > 40000
    written = imagecodecs.avif_decode(again(photo, quality=100))
    np.testing.assert_array_equal(written, squeezed)


def test_avif_colour_description_and_subsampling_are_kept() -> None:
    samples = picture("16", "RGB") >> 6
    data = bytes(
        imagecodecs.avif_encode(
            samples,
            level=90,
            speed=9,
            bitspersample=10,
            pixelformat="420",
            primaries=9,
            transfer=16,
        )
    )
    written = again(decode(data))
    assert b"colrnclx" + struct.pack(">HH", 9, 16) in written
    config = data.index(b"av1C")
    assert written[written.index(b"av1C") + 6] == data[config + 6]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_turns_by_its_own_properties_without_exif(orientation: int) -> None:
    photo = decode(pillow_file(picture("8", "RGB"), "RGB", "AVIF", quality=100))
    photo.orientation = orientation
    written = again(photo)
    turns, mirror = TO_HEIF[orientation]
    assert (b"irot" in written) == bool(turns)
    assert (b"imir" in written) == (mirror is not None)
    with Image.open(io.BytesIO(written)) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert np.abs(shown.astype(int) - photo.pixels).max() < 16
    back = decode(written)
    assert back.orientation == orientation
    assert back.pixels.shape == photo.pixels.shape


def test_avif_exif_orientation_alone_turns_nothing() -> None:
    photo = decode(pillow_file(picture("8", "RGB"), "RGB", "AVIF"))
    photo.metadata.exif, photo.metadata.xmp, photo.metadata.icc = exif_block(6), XMP, ICC
    written = again(photo)
    back = decode(written)
    assert back.orientation == 1
    assert back.metadata == photo.metadata
    assert back.pixels.shape == photo.pixels.shape
    # in a format that turns by EXIF, the same photo is stored so that it shows upright
    out = io.BytesIO()
    encode(back, "png", out)
    with Image.open(out) as image:
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), back.pixels)


# --- BMP -----------------------------------------------------------------------------------------


def test_bmp_variants() -> None:
    samples = picture("8", "RGB")
    data = pillow_file(samples, "RGB", "BMP")
    flipped = bytearray(data)
    flipped[22:26] = struct.pack("<i", -40)
    np.testing.assert_array_equal(decode(bytes(flipped)).pixels, samples[::-1])
    with pytest.raises(UnreadablePhoto):
        decode(data[:-100])
    five = np.arange(256, dtype="<u2").reshape(16, 16)
    head = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 16, 0, 512, 0, 0, 0, 0)
    photo = decode(struct.pack("<2sIHHI", b"BM", 566, 0, 0, 54) + head + five.tobytes())
    assert any("16-bit" in note for note in photo.notes)
    odd = Photo(np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8), "bmp", "RGB")
    with Image.open(io.BytesIO(again(odd))) as image:
        np.testing.assert_array_equal(np.asarray(image), odd.pixels)


@pytest.mark.parametrize("dpi", [1 / 4294967295, 4294967295 * 0.0254, 4294967295.0 * 2.54])
@pytest.mark.parametrize("name", ["png", "bmp", "tiff", "jpeg"])
def test_absurd_densities_never_cost_the_picture(name: str, dpi: float) -> None:
    photo = Photo(picture("8", "RGB"), "other", "RGB", metadata=Metadata(dpi=(dpi, dpi)))
    out = io.BytesIO()
    encode(photo, name, out)
    back = decode(out.getvalue())
    assert back.pixels.shape == photo.pixels.shape
    if name in ("png", "bmp"):
        limit = 0.0254 if dpi < 1 else 0x7FFFFFFF * 0.0254
        assert back.metadata.dpi == (limit, limit)


# --- animations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "GIF"])
def test_animations_are_refused(kind: str) -> None:
    frames = [Image.fromarray(picture("8", "RGB", seed=seed)) for seed in range(2)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(UnsupportedPhoto) as caught:
        decode(file.getvalue())
    assert caught.value.hint
    assert ("GIF" if kind == "GIF" else "animation") in caught.value.what


def test_every_format_has_a_contract_row() -> None:
    from denoisetool.formats import FORMATS

    assert {f.name for f in FORMATS} == set(EXISTS)
