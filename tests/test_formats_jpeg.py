"""JPEG beyond the contract: coding reuse, marker splice, multi-picture files, damage."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from denoisetool.errors import UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import EncodeOptions, decode, encode
from tests.contracts.test_formats import (
    ICC,
    XMP,
    exif_block,
    jpeg_segments,
    picture,
    pillow_file,
    segment,
)

DQT, SOF0, SOF2 = 0xDB, 0xC0, 0xC2


def again(data: bytes, **options: Any) -> bytes:
    photo = decode(data)
    out = io.BytesIO()
    encode(photo, "jpeg", out, EncodeOptions(**options))
    return out.getvalue()


def payloads(data: bytes, marker: int) -> list[bytes]:
    return [payload for found, payload in jpeg_segments(data) if found == marker]


def quantisation(data: bytes) -> dict[int, list[int]]:
    with Image.open(io.BytesIO(data)) as image:
        return dict(image.quantization)  # type: ignore[attr-defined]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [35, 77, 95])
def test_coding_of_the_source_is_reused(quality: int, subsampling: int, progressive: bool) -> None:
    source = pillow_file(
        picture("8", "RGB"),
        "RGB",
        "JPEG",
        quality=quality,
        subsampling=subsampling,
        progressive=progressive,
    )
    written = again(source)
    assert quantisation(written) == quantisation(source)
    frame = SOF2 if progressive else SOF0
    assert payloads(written, frame) == payloads(source, frame)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [None, 90, 100])
def test_the_noisiest_pictures_fit_into_progressive_files(
    quality: int | None, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    channels = 3 if mode == "RGB" else 1
    noise = np.random.default_rng(0).integers(0, 2, (240, 320, channels), np.uint8) * 255
    photo = decode(
        pillow_file(noise, mode, "JPEG", qtables=[[1] * 64], subsampling=0, keep_rgb=True)
    )
    written = []
    for progressive in (False, True):
        photo.extras["progressive"] = progressive
        out = io.BytesIO()
        encode(photo, "jpeg", out, EncodeOptions(quality=quality))
        assert bool(payloads(out.getvalue(), SOF2)) == progressive
        written.append(decode(out.getvalue()).pixels)
    np.testing.assert_array_equal(written[0], written[1])
    assert capfd.readouterr().err == ""


def test_three_different_tables_are_reused() -> None:
    tables = [[2 + i // 8] * 64 for i in (0, 8, 16)]
    source = pillow_file(picture("8", "RGB"), "RGB", "JPEG", qtables=tables, subsampling=0)
    assert len(quantisation(source)) == 3
    written = again(source)
    assert quantisation(written) == quantisation(source)
    assert payloads(written, SOF0) == payloads(source, SOF0)


@pytest.mark.parametrize(("quality", "luma"), [(95, (1, 1)), (90, (1, 1)), (80, (2, 2))])
def test_quality_option_decides_tables_and_chroma(quality: int, luma: tuple[int, int]) -> None:
    source = pillow_file(picture("8", "RGB"), "RGB", "JPEG", quality=50)
    written = again(source, quality=quality)
    reference = pillow_file(picture("8", "RGB"), "RGB", "JPEG", quality=quality)
    assert quantisation(written) == quantisation(reference)
    frame = payloads(written, SOF0)[0]
    assert (frame[7] >> 4, frame[7] & 15) == luma


def test_rgb_coded_files_stay_rgb_coded() -> None:
    source = pillow_file(picture("8", "RGB"), "RGB", "JPEG", quality=95, keep_rgb=True)
    written = again(source)
    assert [p[:5] for p in payloads(written, 0xEE)] == [b"Adobe"]
    difference = decode(written).pixels.astype(int) - decode(source).pixels
    assert np.abs(difference).max() < 8


def test_other_segments_are_kept_in_order_and_signatures_dropped() -> None:
    coded = pillow_file(picture("8", "RGB"), "RGB", "JPEG", quality=90)
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<more/>"
    others = [(0xE1, extended), (0xE4, b"camera"), (0xEC, b"Ducky\0"), (0xE0, b"JFXX\0\x10")]
    extra = b"".join(segment(marker, payload) for marker, payload in others)
    extra += segment(0xEB, b"JP\0\0c2pa") + segment(0xFE, b"one") + segment(0xFE, b"two")
    source = coded[:20] + extra + coded[20:]
    written = again(source)
    kept = [pair for pair in jpeg_segments(written) if pair in others]
    assert kept == others
    assert sorted(payloads(written, 0xFE)) == [b"one", b"two"]
    assert not payloads(written, 0xEB)
    assert any("credentials" in note for note in decode(source).notes)


@pytest.mark.parametrize("name", ["png", "tiff", "webp", "avif", "bmp"])
def test_segments_that_cannot_go_along_are_noted_once(name: str) -> None:
    coded = pillow_file(picture("8", "RGB"), "RGB", "JPEG", quality=90)
    first = segment(0xFE, b"one")
    more = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<more/>"
    technical = segment(0xEC, b"Ducky\0") + segment(0xE0, b"JFXX\0\x10")
    for extra, words in (
        (first + segment(0xFE, b"two") + segment(0xFE, b"three"), "further comments"),
        (segment(0xE1, more) * 2, "extended XMP"),
        (segment(0xE1, more) + first + segment(0xFE, b"two"), "extended XMP and further comments"),
    ):
        photo = decode(coded[:20] + extra + technical + coded[20:])
        encode(photo, name, io.BytesIO(), EncodeOptions(strip=True))
        encode(photo, "jpeg", io.BytesIO())
        assert photo.notes == []
        encode(photo, name, io.BytesIO())
        assert len(photo.notes) == 1
        assert f"{words}; left out" in photo.notes[0]
    photo = decode(coded[:20] + technical + coded[20:])
    encode(photo, name, io.BytesIO())
    assert photo.notes == []


def test_exif_only_files_get_no_jfif_header() -> None:
    coded = pillow_file(picture("8", "RGB"), "RGB", "JPEG", quality=90)
    source = coded[:2] + segment(0xE1, b"Exif\0\0" + exif_block()) + coded[20:]
    written = again(source)
    assert not payloads(written, 0xE0)
    assert payloads(written, 0xE1) == [b"Exif\0\0" + exif_block()]
    with Image.open(io.BytesIO(written)) as image:
        assert np.abs(np.asarray(image).astype(int) - decode(source).pixels).max() < 8


def test_large_profile_and_resources_are_split_and_joined() -> None:
    profile = bytes(range(256)) * 600
    source = pillow_file(picture("8", "RGB"), "RGB", "JPEG", icc_profile=profile)
    resources = b"8BIM" + bytes(range(255)) * 500
    parts = [resources[at : at + 65000] for at in range(0, len(resources), 65000)]
    extra = b"".join(segment(0xED, b"Photoshop 3.0\0" + part) for part in parts)
    source = source[:20] + extra + source[20:]
    written = again(source)
    with Image.open(io.BytesIO(written)) as image:
        assert image.info["icc_profile"] == profile
    joined = b"".join(payload[14:] for payload in payloads(written, 0xED))
    assert joined == resources


def multi_picture() -> bytes:
    first, second = (Image.fromarray(picture("8", "RGB", seed=seed)) for seed in (1, 2))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second], quality=95)
    return file.getvalue()


def test_multi_picture_files_give_their_first_picture() -> None:
    source = multi_picture()
    photo = decode(source)
    with Image.open(io.BytesIO(source)) as image:
        np.testing.assert_array_equal(photo.pixels, np.asarray(image))
    assert len(photo.notes) == 1
    assert "other pictures" in photo.notes[0]
    written = again(source)
    assert b"MPF\0" not in written
    assert written.count(b"\xff\xd8\xff") == 1
    with Image.open(io.BytesIO(written)) as image:
        assert image.format == "JPEG"


def test_a_video_behind_the_picture_is_noted() -> None:
    source = pillow_file(picture("8", "RGB"), "RGB", "JPEG") + b"\0\0\0\x18ftypmp42" + b"v" * 500
    photo = decode(source)
    assert any("after the picture" in note for note in photo.notes)
    assert decode(source[:-512] + b"\0" * 4).notes == []


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_scan_cut_short_is_never_a_picture(share: float, progressive: bool) -> None:
    samples = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    source = pillow_file(samples, "RGB", "JPEG", quality=90, progressive=progressive)
    cut = source[: int(len(source) * share)]
    filled = cut + b"\0" * (len(source) - len(cut))
    closed = cut.rstrip(b"\xff") + b"\xff\xd9"
    for damaged in (cut, filled, source[:-2]):
        with pytest.raises(UnreadablePhoto):
            decode(damaged)
    if not progressive:
        with pytest.raises(UnreadablePhoto, match="missing"):
            decode(closed)


def test_a_picture_that_ends_in_true_mid_grey_is_accepted() -> None:
    samples = picture("8", "RGB").copy()
    samples[-16:] = 128
    source = pillow_file(samples, "RGB", "JPEG", quality=95, subsampling=0)
    photo = decode(source)
    assert (photo.pixels[-4:, -4:] == 128).all()


def test_damaged_metadata_never_costs_the_picture() -> None:
    coded = pillow_file(picture("8", "RGB"), "RGB", "JPEG", quality=90)
    broken = b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage"
    extra = segment(0xE1, broken) + segment(0xE2, b"ICC_PROFILE\0\2\3" + ICC)
    extra += segment(0xE2, b"MPF\0MM\0*\xff\xff\xff\xff") + segment(0xED, b"Photoshop 3.0\0junk")
    source = coded[:20] + extra + coded[20:]
    photo = decode(source)
    np.testing.assert_array_equal(photo.pixels, decode(coded).pixels)
    assert photo.orientation == 1
    assert any("ICC" in note for note in photo.notes)
    written = again(source)
    assert payloads(written, 0xE1) == [broken]
    assert payloads(written, 0xED) == [b"Photoshop 3.0\0junk"]


def test_metadata_too_large_for_a_segment_is_noted() -> None:
    photo = decode(pillow_file(picture("8", "RGB"), "RGB", "PNG"))
    photo.metadata.xmp = XMP + b" " * 70000
    out = io.BytesIO()
    encode(photo, "jpeg", out)
    assert any("XMP" in note for note in photo.notes)
    assert decode(out.getvalue()).metadata.xmp is None


def test_other_jpeg_processes_are_refused() -> None:
    grey = picture("8", "L")[:, :, 0]
    lossless = bytes(imagecodecs.ljpeg_encode(grey.astype(np.uint16)))
    twelve = pillow_file(picture("8", "L"), "L", "JPEG")
    at = twelve.index(b"\xff\xc0")
    twelve = twelve[: at + 4] + b"\x0c" + twelve[at + 5 :]
    for data, reason in ((lossless, "lossless"), (twelve, "12-bit")):
        with pytest.raises(UnsupportedPhoto, match=reason):
            decode(data)


def test_a_frame_without_height_is_refused() -> None:
    source = pillow_file(picture("8", "L"), "L", "JPEG")
    at = source.index(b"\xff\xc0")
    with pytest.raises(UnreadablePhoto):
        decode(source[: at + 5] + struct.pack(">H", 0) + source[at + 7 :])
