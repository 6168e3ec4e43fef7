"""Colour spaces that no profile tells, from format to format."""

from __future__ import annotations

import io
import struct

import imagecodecs
import pytest

from denoisetool.formats import EncodeOptions, cicp, decode, encode
from tests.contracts.test_formats import (
    ICC,
    NAMES,
    picture,
    pillow_file,
    png_chunk,
    png_chunks,
)

SRGB = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def avif(primaries: int, transfer: int) -> bytes:
    samples = picture("8", "RGB")
    return bytes(imagecodecs.avif_encode(samples, speed=9, primaries=primaries, transfer=transfer))


def png(**chunks: bytes) -> bytes:
    data = pillow_file(picture("8", "RGB"), "RGB", "PNG")
    extra = b"".join(png_chunk(kind.encode(), payload) for kind, payload in chunks.items())
    return data[:33] + extra + data[33:]


def converted(data: bytes, name: str, *, strip: bool = False) -> tuple[bytes, list[str]]:
    """(file, notes)"""
    photo = decode(data)
    out = io.BytesIO()
    encode(photo, name, out, EncodeOptions(strip=strip))
    return out.getvalue(), photo.notes


def gamma(value: int) -> bytes:
    return struct.pack(">I", value)


def primaries(values: tuple[int, ...]) -> bytes:
    return struct.pack(">8I", *values)


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("name", ["jpeg", "tiff", "webp", "bmp"])
def test_a_space_that_the_target_cannot_hold_is_noted_once(name: str, strip: bool) -> None:
    for data, words in (
        (avif(12, 13), "(Display P3)"),
        (avif(9, 16), "(BT.2020 PQ)"),
        (avif(5, 4), "(primaries 5 transfer 4)"),
        (png(cICP=b"\x0c\x0d\0\1"), "(Display P3)"),
        (png(gAMA=gamma(100000)), "(gamma 1)"),
        (png(gAMA=gamma(55556)), "(gamma 1.8)"),
        (png(cHRM=primaries(P3)), "(its own primaries)"),
        (png(gAMA=gamma(100000), cHRM=primaries(P3)), "(its own primaries gamma 1)"),
    ):
        _, notes = converted(data, name, strip=strip)
        assert len(notes) == 1
        assert words in notes[0]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_of_srgb_or_of_a_space_with_a_profile(name: str) -> None:
    for data in (
        avif(1, 13),
        avif(2, 2),
        avif(1, 1),
        png(),
        png(cICP=b"\1\x0d\0\1"),
        png(cICP=b"\1\x0d\0\1", gAMA=gamma(100000)),
        png(sRGB=b"\0", gAMA=gamma(100000)),
        png(gAMA=gamma(45455), cHRM=primaries(SRGB)),
        png(gAMA=gamma(0)),
        png(gAMA=b"\0"),
    ):
        written, notes = converted(data, name)
        assert notes == []
        if decode(data).format != name:
            assert b"cICP" not in written
    photo = decode(avif(12, 13))
    photo.metadata.icc = ICC
    out = io.BytesIO()
    encode(photo, name, out)
    assert photo.notes == []
    assert b"cICP" not in out.getvalue()


def test_avif_and_png_take_the_numbers_from_each_other() -> None:
    written, notes = converted(avif(12, 13), "png")
    assert notes == []
    kinds = [kind for kind, _ in png_chunks(written)]
    assert kinds.index(b"cICP") < kinds.index(b"IDAT")
    assert dict(png_chunks(written))[b"cICP"] == b"\x0c\x0d\0\1"
    for strip in (False, True):
        written, notes = converted(png(cICP=b"\x09\x10\0\1"), "avif", strip=strip)
        assert notes == []
        assert b"colrnclx" + struct.pack(">HH", 9, 16) in written


def test_what_the_other_one_has_no_numbers_for_is_noted() -> None:
    for data, name in (
        (png(gAMA=gamma(100000)), "avif"),
        (png(cICP=b"\x0c\x0d\0\0"), "avif"),
        (avif(300, 13), "png"),
    ):
        written, notes = converted(data, name)
        assert len(notes) == 1
        assert decode(written).extras["space"] == ""


@pytest.mark.parametrize(
    ("numbers", "words"),
    [((1, 13), ""), ((1, 6), ""), ((2, 8), "linear"), ((1, 18), "BT.709 HLG"), ((11, 2), "DCI-P3")],
)
def test_names(numbers: tuple[int, int], words: str) -> None:
    assert cicp.name(*numbers) == words
