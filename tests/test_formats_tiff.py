"""TIFF beyond the contract: layouts, compressions, byte orders, pages, raw files, odd samples."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import decode, encode
from denoisetool.photo import Metadata, Photo
from tests.contracts.test_formats import (
    COMMENT,
    DTYPES,
    MAKER_NOTE,
    Array,
    add_tiff_tags,
    gps_of,
    maker_note_of,
    picture,
)


def tiff(samples: Array, **arguments: Any) -> bytes:
    file = io.BytesIO()
    settings: dict[str, Any] = {"photometric": "rgb", "metadata": None} | arguments
    big, order = settings.pop("bigtiff", False), settings.pop("byteorder", "<")
    with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
        writer.write(samples, **settings)
    return file.getvalue()


def again(photo: Photo) -> bytes:
    out = io.BytesIO()
    encode(photo, "tiff", out)
    return out.getvalue()


def page_of(data: bytes) -> Any:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        page.asarray()
        return page


COMPRESSIONS = [(None, False), ("packbits", False)]
COMPRESSIONS += [(c, p) for c in ("lzw", "zlib", "zstd", "lzma") for p in (False, True)]


@pytest.mark.parametrize("layout", ["strips", "tiles", "planes"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", list(DTYPES))
@pytest.mark.parametrize(("compression", "predictor"), COMPRESSIONS)
def test_layouts_are_read_and_compression_is_kept(
    compression: str | None, predictor: bool, depth: str, order: str, layout: str
) -> None:
    samples = picture(depth, "RGB")
    shapes: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 7},
        "tiles": {"tile": (16, 32)},
        "planes": {"planarconfig": "separate"},
    }
    stored = np.moveaxis(samples, 2, 0) if layout == "planes" else samples
    source = tiff(
        stored,
        compression=compression,
        predictor=predictor or None,
        byteorder=order,
        **shapes[layout],
    )
    photo = decode(source)
    np.testing.assert_array_equal(photo.pixels, samples.astype(photo.pixels.dtype))
    written = again(photo)
    page = page_of(written)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(written)), samples)
    assert page.dtype == samples.dtype
    assert page.compression == page_of(source).compression
    assert (page.predictor != 1) == predictor
    assert page.is_tiled == (layout == "tiles")
    assert page.parent.byteorder == order


@pytest.mark.parametrize("order", ["<", ">"])
def test_bigtiff_is_read_and_stays_bigtiff(order: str) -> None:
    samples = picture("16", "RGB")
    source = tiff(samples, bigtiff=True, byteorder=order, resolution=(300, 240), resolutionunit=2)
    photo = decode(source)
    assert photo.metadata.dpi == pytest.approx((300.0, 240.0))
    written = again(photo)
    assert written[2:4] == source[2:4] == struct.pack(order + "H", 43)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(written)), samples)
    assert page_of(written).tags["XResolution"].value == (300, 1)


def test_jpeg_compression_is_replaced_by_a_lossless_one() -> None:
    source = tiff(picture("8", "RGB"), compression="jpeg", compressionargs={"level": 95})
    photo = decode(source)
    assert any("lossless" in note for note in photo.notes)
    with Image.open(io.BytesIO(source)) as image:
        assert np.abs(np.asarray(image).astype(int) - photo.pixels).max() <= 3
    written = again(photo)
    assert page_of(written).compression == 8
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(written)), photo.pixels)


def test_values_outside_the_nominal_range_are_exact() -> None:
    samples = np.array([[[-3.5], [1e30], [np.float32(1e-40)], [65504.0]]], np.float32)
    photo = decode(tiff(samples[:, :, 0], photometric="minisblack", compression="zlib"))
    np.testing.assert_array_equal(photo.pixels, samples)
    np.testing.assert_array_equal(decode(again(photo)).pixels, samples)


@pytest.mark.parametrize("depth", ["8", "16"])
def test_negatives_are_turned_positive(depth: str) -> None:
    samples = picture(depth, "L")[:, :, 0]
    photo = decode(tiff(samples, photometric="miniswhite"))
    np.testing.assert_array_equal(photo.pixels[:, :, 0], np.iinfo(samples.dtype).max - samples)
    assert photo.notes
    assert page_of(again(photo)).photometric == 1


def test_pages_masks_and_previews() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(picture("8", "RGB"), photometric="rgb", metadata=None)
        writer.write(picture("8", "RGB")[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    photo = decode(file.getvalue())
    np.testing.assert_array_equal(photo.pixels, picture("8", "RGB"))
    assert any("previews" in note for note in photo.notes)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for seed in range(2):
            writer.write(picture("8", "RGB", seed=seed), photometric="rgb", metadata=None)
    with pytest.raises(UnsupportedPhoto, match="2 pages"):
        decode(file.getvalue())


def test_the_main_picture_may_come_after_its_preview() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(picture("8", "RGB")[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(picture("8", "RGB"), photometric="rgb", metadata=None)
    photo = decode(file.getvalue())
    np.testing.assert_array_equal(photo.pixels, picture("8", "RGB"))


def test_inner_previews_are_noted() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(picture("8", "RGB"), photometric="rgb", subifds=1, metadata=None)
        writer.write(picture("8", "RGB")[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    photo = decode(file.getvalue())
    assert any("previews" in note for note in photo.notes)
    assert "SubIFDs" not in page_of(again(photo)).tags


def raw_like(*, dng: bool, reduced: bool) -> bytes:
    """A thumbnail as the first picture, the sensor's data inside, as in NEF, ARW and DNG."""
    file = io.BytesIO()
    tags = [(50706, 1, 4, b"\1\4\0\0", True)] if dng else []
    with tifffile.TiffWriter(file) as writer:
        writer.write(
            picture("8", "RGB")[::4, ::4],
            photometric="rgb",
            subfiletype=int(reduced),
            subifds=1,
            extratags=tags,
            metadata=None,
        )
        sensor = picture("16", "L")[:, :, 0]
        cfa = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True)]
        writer.write(sensor, photometric="cfa", extratags=cfa, metadata=None)
    return file.getvalue()


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("dng", [False, True])
def test_raw_files_are_refused_not_their_thumbnail(dng: bool, reduced: bool) -> None:
    with pytest.raises(UnsupportedPhoto, match=r"^a camera raw file") as caught:
        decode(raw_like(dng=dng, reduced=reduced))
    assert "raw converter" in caught.value.hint


def test_only_previews_are_refused() -> None:
    data = tiff(picture("8", "RGB"), subfiletype=1)
    with pytest.raises(UnsupportedPhoto, match="only previews"):
        decode(data)


@pytest.mark.parametrize(
    ("samples", "arguments", "reason"),
    [
        (np.zeros((8, 8), np.int16), {"photometric": "minisblack"}, "16-bit signed"),
        (np.zeros((8, 8), np.uint32), {"photometric": "minisblack"}, "32-bit unsigned"),
        (np.zeros((8, 8), np.float64), {"photometric": "minisblack"}, "64-bit floating"),
        (np.zeros((8, 8), np.complex64), {"photometric": "minisblack"}, "complex"),
        (
            np.zeros((8, 8), np.uint16),
            {"photometric": "minisblack", "bitspersample": 12},
            "12-bit unsigned",
        ),
        (np.zeros((8, 8), np.uint8), {"photometric": "minisblack", "bitspersample": 4}, "4-bit"),
        (np.zeros((8, 8), bool), {"photometric": "minisblack"}, "1 bit"),
        (
            np.zeros((8, 8, 5), np.uint8),
            {"extrasamples": (2, 0), "planarconfig": "contig"},
            "5 channels",
        ),
        (np.zeros((8, 8, 3), np.uint8), {"photometric": "cielab"}, "Lab"),
        (np.zeros((8, 8, 4), np.uint16), {"photometric": "separated"}, "CMYK"),
        (np.full((8, 8, 4), 9, np.uint8), {"extrasamples": (1,)}, "associated"),
        (np.zeros((8, 8), np.float32), {"photometric": "miniswhite"}, "0 is white"),
    ],
)
def test_what_would_be_mangled_is_refused(
    samples: Array, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedPhoto, match=reason) as caught:
        decode(tiff(samples, **arguments))
    assert caught.value.hint


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_the_kind_of_an_opaque_extra_channel_is_kept(kind: int) -> None:
    samples = picture("8", "RGBA").copy()
    samples[..., 3] = 255
    written = again(decode(tiff(samples, extrasamples=(kind,))))
    assert page_of(written).extrasamples == (kind,)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(written)), samples)


def test_old_palettes_of_8_bit_values() -> None:
    indices = picture("8", "L")[:, :, 0]
    colours = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 7)]).astype(np.uint16)
    data = tiff(indices, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(decode(data).pixels, colours.T[indices])


def test_tags_and_byte_order_of_the_source_survive() -> None:
    samples = picture("16", "RGB")
    extra = [
        (315, "s", 0, "Photographer", True),
        (33432, "s", 0, "(c) Somebody", True),
        (65001, "H", 3, (1, 2, 3), True),
    ]
    for order in ("<", ">"):
        source = tiff(
            samples,
            byteorder=order,
            extratags=extra,
            description="Harbour",
            software="Converter 3",
            datetime="2026:01:02 03:04:05",
        )
        tags = {tag.name: tag.value for tag in page_of(again(decode(source))).tags}
        assert tags["Artist"] == "Photographer"
        assert tags["Copyright"] == "(c) Somebody"
        assert tags["65001"] == (1, 2, 3)
        assert tags["ImageDescription"] == "Harbour"
        assert tags["Software"] == "Converter 3"
        assert tags["DateTime"] == "2026:01:02 03:04:05"


def test_exif_and_gps_without_any_descriptive_tag_survive() -> None:
    source = bytearray(add_tiff_tags(tiff(picture("8", "RGB")), 1))
    (first,) = struct.unpack_from("<I", source, 4)
    (count,) = struct.unpack_from("<H", source, first)
    rows = [source[at : at + 12] for at in range(first + 2, first + 2 + 12 * count, 12)]
    described = (270, 271, 274, 282, 283, 296, 305)
    rows = [row for row in rows if struct.unpack_from("<H", row)[0] not in described]
    end = len(source)
    source += struct.pack("<H", len(rows)) + b"".join(rows) + b"\0\0\0\0"
    source[4:8] = struct.pack("<I", end)
    photo = decode(bytes(source))
    for name in ("tiff", "png"):
        out = io.BytesIO()
        encode(photo, name, out)
        back = decode(out.getvalue())
        assert back.metadata.exif is not None
        assert gps_of(back.metadata.exif)[1] == "N"
        assert maker_note_of(back.metadata.exif) == MAKER_NOTE


def test_a_comment_beside_a_description_is_noted() -> None:
    photo = decode(add_tiff_tags(tiff(picture("8", "RGB")), 1))
    for comment, lost in ((COMMENT, False), (b"another one", True)):
        exif = photo.metadata.exif
        made = Photo(photo.pixels, "jpeg", "RGB", metadata=Metadata(exif, comment=comment))
        again(made)
        assert bool(made.notes) == lost
        assert all("comment" in note for note in made.notes)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "bmp"])
def test_a_place_on_the_map_that_cannot_go_along_is_noted_once(name: str) -> None:
    tags = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (33922, "d", 6, (0.0,) * 6, True)]
    photo = decode(tiff(picture("8", "RGB"), extratags=tags, software=False))
    again(photo)
    assert photo.notes == []
    encode(photo, name, io.BytesIO())
    assert sum("GeoTIFF" in note for note in photo.notes) == 1


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ((65000, "s", 0, "ours", True), "tags of TIFF's own"),
        ((318, "d", 2, (0.31, 0.33), True), "colorimetry"),
        ((34736, "d", 1, (6378137.0,), True), "place on the map (GeoTIFF)"),
    ],
)
def test_what_only_tiff_knows_is_noted_where_it_cannot_go_along(
    tag: tuple[Any, ...], words: str
) -> None:
    photo = decode(tiff(picture("8", "RGB"), extratags=[tag], software=False))
    assert tag[0] in page_of(again(photo)).tags
    assert photo.notes == []
    encode(photo, "png", io.BytesIO())
    assert photo.notes == [f"PNG cannot hold {words}; left out."]


def test_unreadable_exif_directories_cost_only_themselves() -> None:
    source = bytearray(add_tiff_tags(tiff(picture("8", "RGB")), 3))
    pointer = source.index(struct.pack("<HHI", 34853, 4, 1)) + 8
    source[pointer : pointer + 4] = struct.pack("<I", 0x7FFFFFF0)
    photo = decode(bytes(source))
    assert photo.orientation == 3
    assert any("EXIF" in note for note in photo.notes)
    assert 34665 in page_of(again(photo)).tags


def test_truncated_and_missing_strips() -> None:
    for compression in (None, "zlib", "lzw", "zstd", "packbits"):
        source = tiff(picture("8", "RGB"), compression=compression, rowsperstrip=8)
        for cut in (20, len(source) // 3, len(source) // 2, len(source) - 8):
            with pytest.raises(UnreadablePhoto):
                decode(source[:cut])
    # a strip without data would come out black
    source = tiff(picture("8", "RGB"), rowsperstrip=8, compression="zlib")
    tags, sparse = page_of(source).tags, bytearray(source)
    for name in ("StripByteCounts", "StripOffsets"):
        size = tags[name].valuebytecount // tags[name].count
        at = tags[name].valueoffset + size
        sparse[at : at + size] = b"\0" * size
        with pytest.raises(UnreadablePhoto, match="parts of the picture are missing"):
            decode(bytes(sparse))


def test_directories_that_loop_end() -> None:
    source = bytearray(tiff(picture("8", "L")[:, :, 0], photometric="minisblack"))
    (first,) = struct.unpack_from("<I", source, 4)
    (count,) = struct.unpack_from("<H", source, first)
    source[first + 2 + 12 * count : first + 6 + 12 * count] = struct.pack("<I", first)
    assert decode(bytes(source)).width == 56


def test_jpeg_strips_cut_short_are_found() -> None:
    source = tiff(picture("8", "RGB"), compression="jpeg", rowsperstrip=16)
    at = source.index(b"\xff\xd9") - 30
    with pytest.raises(UnreadablePhoto, match="JPEG"):
        decode(source[:at] + b"\0" * 32 + source[at + 32 :])


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "avif", "bmp"])
def test_photos_made_by_hand_need_no_private_extras(name: str) -> None:
    photo = Photo(picture("8", "RGB"), name, "RGB")
    out = io.BytesIO()
    encode(photo, name, out)
    assert decode(out.getvalue()).pixels.shape == photo.pixels.shape
