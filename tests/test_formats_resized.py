"""What files say of their size, once a photo was enlarged."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from denoisetool import bicubic, formats
from denoisetool.errors import PhotoTooLarge, UnsupportedPhoto
from denoisetool.formats import ifd, resized
from denoisetool.formats.base import EncodeOptions, Limits
from denoisetool.photo import Photo
from tests.e2e import pictures

SIZE = resized.Size(800, 600, 4)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:ImageWidth="200"'
    b" tiff:Orientation='1' tiff:ImageLength = '150' xmp:Rating=\"4\">"
    b"<exif:PixelXDimension>200</exif:PixelXDimension>"
    b"<exif:PixelYDimension>150</exif:PixelYDimension>"
    b'<GPano:FullPanoWidthPixels>400</GPano:FullPanoWidthPixels></rdf:Description></rdf:RDF>'
    b"</x:xmpmeta>"
)  # fmt: skip


def _exif(order: str = "<", *, thumbnail: bytes = b"", after: bytes = b"") -> bytes:
    """A block as cameras write them, with a note that holds offsets, and a thumbnail."""
    short, long = ifd.CODES[3], ifd.CODES[4]

    def entry(kind: int, *values: int) -> ifd.Entry:
        code = {3: short, 4: long, 5: long}[kind]
        count = len(values) // (2 if kind == 5 else 1)
        return ifd.Entry(kind, count, struct.pack(f"{order}{len(values)}{code}", *values))

    inner = ifd.Directory({
        40962: entry(3, 200), 40963: entry(4, 150), 37396: entry(3, 100, 75, 20, 10),
        41492: entry(3, 90, 70), 41486: entry(5, 7000, 3), 41487: entry(5, 4_000_000_000, 3),
        37500: ifd.Entry(7, 40, bytes(range(40))),
    })  # fmt: skip
    main = ifd.Directory(
        {256: entry(3, 200), 257: entry(3, 150), 271: ifd.Entry(2, 6, b"Maker\0"),
         274: entry(3, 1)},
        {ifd.EXIF_IFD: inner},
    )  # fmt: skip
    block = ifd.block(main, order)  # type: ignore[arg-type]
    if not thumbnail:
        return block
    where = len(block)
    small = ifd.Directory({513: entry(4, where + 30), 514: entry(4, len(thumbnail))})
    data = bytearray(block + ifd.serialise(small, order, where) + thumbnail + after)  # type: ignore[arg-type]
    assert data.find(thumbnail) == where + 30
    reader = ifd.Reader(block)
    struct.pack_into(order + "I", data, reader.places(reader.first)[ifd.END], where)
    return bytes(data)


def _read(block: bytes) -> tuple[ifd.Reader, ifd.Directory, ifd.Directory]:
    reader = ifd.Reader(block)
    main = reader.directory(reader.first)
    return reader, main, main.children[ifd.EXIF_IFD]


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_tells_the_new_size_and_nothing_moves(order: str) -> None:
    before = _exif(order)
    after = resized.exif(before, SIZE)
    assert after is not None
    assert len(after) == len(before)
    reader, main, inner = _read(after)
    assert reader.numbers(main.entries[256]) == (800,)
    assert reader.numbers(main.entries[257]) == (600,)
    assert reader.numbers(inner.entries[40962]) == (800,)
    assert reader.numbers(inner.entries[40963]) == (600,)
    assert reader.numbers(inner.entries[37396]) == (400, 300, 80, 40)
    assert reader.numbers(inner.entries[41492]) == (360, 280)
    assert reader.ratios(inner.entries[41486]) == (28000 / 3,)
    assert reader.ratios(inner.entries[41487]) == (4_000_000_000 / 3,)  # no room for four times it
    assert inner.entries[37500].value == bytes(range(40))
    assert main.entries[271].value == b"Maker\0"
    changed = sum(a != b for a, b in zip(before, after, strict=True))
    assert changed < 40


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("after", [b"", b"something else"])
def test_the_thumbnail_goes(order: str, after: bytes) -> None:
    block = _exif(order, thumbnail=b"\xff\xd8thumbnail\xff\xd9", after=after)
    found = resized.exif(block, SIZE)
    assert found is not None
    assert b"thumbnail" not in found
    assert found.endswith(after)
    assert (len(found) < len(block)) == (after == b"")
    reader, main, inner = _read(found)
    assert main.following == 0
    assert reader.numbers(inner.entries[40962]) == (800,)


@pytest.mark.parametrize("block", [None, b"", b"II*\0", b"nonsense", _exif()[:60], _exif()[:-30]])
def test_a_damaged_block_costs_at_most_itself(block: bytes | None) -> None:
    found = resized.exif(block, SIZE)
    assert found is None or len(found) == len(block or b"")


def test_a_thumbnail_that_claims_to_be_elsewhere_damages_nothing() -> None:
    block = bytearray(_exif(thumbnail=b"\xff\xd8thumbnail\xff\xd9"))
    where = ifd.Reader(bytes(block)).directory(8).following
    struct.pack_into("<I", block, where + 2 + 8, 0)  # it begins with the block itself
    found = resized.exif(bytes(block), SIZE)
    assert found is not None
    _read(found)


def test_xmp_tells_the_new_size() -> None:
    found = resized.xmp(XMP, SIZE)
    assert found is not None
    for text in (
        b'tiff:ImageWidth="800"', b"tiff:ImageLength = '600'", b">800</exif:PixelX",
        b">600</exif:PixelY", b">1600</GPano", b"tiff:Orientation='1'", b'xmp:Rating="4"',
    ):  # fmt: skip
        assert text in found
    assert resized.xmp(None, SIZE) is None


def _enlarged(data: bytes, scale: int = 2) -> Photo:
    photo = formats.decode(data, Limits())
    photo.pixels = bicubic.enlarged(photo.pixels, scale, photo.peak)
    if photo.alpha is not None:
        photo.alpha = bicubic.enlarged(photo.alpha[..., None], scale, photo.peak)[..., 0]
    photo.scale = scale
    return photo


def _encoded(photo: Photo, name: str, *, strip: bool = False) -> bytes:
    out = io.BytesIO()
    formats.encode(photo, name, out, EncodeOptions(strip=strip))
    return out.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "avif"])
def test_written_files_tell_their_own_size(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update({40962: 64, 40963: 48, 33434: 0.01})
    photo = _enlarged(pictures.jpeg(exif=exif.tobytes(), dpi=(300, 300), xmp=XMP))
    data = _encoded(photo, name)
    again = formats.decode(data, Limits())
    assert (again.width, again.height) == ((128, 96) if orientation < 5 else (96, 128))
    assert again.orientation == orientation
    reader, _, inner = _read(again.metadata.exif or b"")
    stored = formats.size(data)
    assert stored == (128, 96) or name == "avif"
    assert reader.numbers(inner.entries[40962]) == (stored[0],)
    assert reader.numbers(inner.entries[40963]) == (stored[1],)
    assert b'tiff:ImageWidth="%d"' % stored[0] in (again.metadata.xmp or b"")
    if name in ("jpeg", "png", "tiff"):
        assert again.metadata.dpi == pytest.approx((300, 300), abs=0.1)
    stripped = formats.decode(_encoded(photo, name, strip=True), Limits())
    assert (stripped.metadata.exif or b"").find(b"\x02\xa0") == -1


def test_a_jpeg_keeps_tables_and_subsampling() -> None:
    data = pictures.jpeg(quality=77, subsampling=2)
    with Image.open(io.BytesIO(data)) as before, Image.open(
        io.BytesIO(_encoded(_enlarged(data), "jpeg"))
    ) as after:  # fmt: skip
        assert (after.width, after.height) == (2 * before.width, 2 * before.height)
        tables: list[Any] = [each.quantization for each in (before, after)]  # type: ignore[attr-defined]
        assert tables[0] == tables[1]
        layers: list[Any] = [[c[1:3] for c in each.layer] for each in (before, after)]  # type: ignore[attr-defined]
        assert layers[0] == layers[1]


def test_a_tiff_keeps_its_structure_and_loses_its_place_on_the_map() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(
            pictures.noisy().astype(np.uint16) * 257, photometric="rgb", compression="zlib",
            tile=(32, 32), metadata=None, resolution=(240, 240), resolutionunit=2,
            extratags=[(33550, 12, 3, (0.5, 0.5, 0.0), True), (50000, 3, 1, 7, True)],
        )  # fmt: skip
    photo = _enlarged(file.getvalue(), 4)
    data = _encoded(photo, "tiff")
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page: Any = tiff.pages[0]
        assert page.shape == (192, 256, 3)
        assert page.tile == (32, 32)
        assert (page.tags[256].value, page.tags[257].value) == (256, 192)
        assert page.tags[50000].value == 7
        assert 33550 not in page.tags
        assert page.tags[282].value == (240, 1)
    assert any("GeoTIFF" in note for note in photo.notes)


def test_a_png_loses_the_size_of_its_pixels_in_the_world() -> None:
    data = pictures.png()
    chunk = pictures.png_chunk(b"sCAL", b"\x010.5\x000.5")
    physical = pictures.png_chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))
    photo = _enlarged(data[:33] + chunk + physical + data[33:])
    found = _encoded(photo, "png")
    assert b"sCAL" not in found
    assert physical in found
    assert any("sCAL" in note for note in photo.notes)


def test_a_side_that_a_format_cannot_hold_is_told_before_any_work() -> None:
    photo = Photo(np.zeros((1, 5000, 3), np.uint8), "png", "RGB")
    formats.check(photo, "webp", 2)
    with pytest.raises(UnsupportedPhoto, match=r"16383 pixels a side.*20000 x 4"):
        formats.check(photo, "webp", 4)
    formats.check(photo, "png", 4)


def test_what_is_limited_is_the_result() -> None:
    data = pictures.png()
    assert formats.decode(data, Limits(0.02)).width == 64
    with pytest.raises(PhotoTooLarge) as caught:
        formats.decode(data, Limits(0.02, scale=4))
    assert "enlarged 4 times it has 0.0 megapixels (256 x 192)" in caught.value.what
    assert "--max-megapixels" in caught.value.hint
