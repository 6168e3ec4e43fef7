"""Whatever comes in: kinds that are refused, sizes, damage of every sort, threads, start-up."""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from denoisetool.errors import PhotoError, PhotoTooLarge, UnreadablePhoto, UnsupportedPhoto
from denoisetool.formats import (
    FORMATS,
    Limits,
    by_name,
    by_suffix,
    decode,
    encode,
    ifd,
    sniff,
    unsupported_kind,
)
from denoisetool.formats import avif_boxes as ab
from tests.contracts.test_formats import REFUSED, ROWS, process

GOOD = [row for row in ROWS if row[2] not in REFUSED]


@contextlib.contextmanager
def work_at_most(steps: int) -> Iterator[None]:
    """Fail once more lines of Python than that were run: unlike a clock, no machine is too slow."""
    left = steps

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            sys.settrace(None)
            raise AssertionError(f"more than {steps} steps")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


def ftyp(*brands: bytes) -> bytes:
    return (
        (16 + 4 * (len(brands) - 1)).to_bytes(4, "big")
        + b"ftyp"
        + brands[0]
        + b"\0" * 4
        + (b"".join(brands[1:]) + b"\0" * 64)
    )


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"GIF89a", "GIF"),
        (ftyp(b"heic", b"mif1"), "HEIC"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (b"\xff\x0a" + b"\0" * 20, "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0", "CR2"),
        (ftyp(b"crx ", b"isom"), "CR3"),
        (b"II*\0\x08\0\0\0IIII", "IIQ"),
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIU\0\x18\0\0\0", "RW2"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (ftyp(b"isom", b"mp42"), "video"),
    ],
)
def test_recognised_kinds_are_refused_by_name(head: bytes, word: str) -> None:
    assert word in str(unsupported_kind(head))
    assert sniff(head) is None
    with pytest.raises(UnsupportedPhoto, match=word) as caught:
        decode(head + b"\0" * 100)
    assert caught.value.hint


def test_avif_is_told_from_heic_by_its_compatible_brands() -> None:
    found = sniff(ftyp(b"mif1", b"miaf", b"avif"))
    assert found is not None
    assert found.name == "avif"


def test_what_is_no_picture_is_unreadable() -> None:
    for data in (b"", b"\0" * 5000, b"hello, world", b"\xff\xd8\xff", b"BM", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(UnreadablePhoto):
            decode(data)
    with pytest.raises(UnreadablePhoto, match="empty"):
        decode(b"")
    with pytest.raises(UnreadablePhoto, match="zeros"):
        decode(b"\0" * 5000)


@pytest.mark.parametrize(("name", "depth", "mode"), GOOD)
def test_content_decides_the_format(name: str, depth: str, mode: str) -> None:
    for data in (process(name, depth, mode).source, process(name, depth, mode).written):
        found = sniff(data[:64])
        assert found is not None
        assert found.name == name
        assert found.size(data) == (56, 40)
        assert unsupported_kind(data[:64]) is None


def test_names_and_suffixes() -> None:
    for form in FORMATS:
        assert by_name(form.name) is form
        assert all(by_suffix(suffix.upper()) is form for suffix in form.suffixes)
    assert by_suffix(".gif") is None
    with pytest.raises(KeyError):
        by_name("gif")


@pytest.mark.parametrize("name", [f.name for f in FORMATS])
def test_too_many_pixels_are_refused_before_decoding(name: str) -> None:
    data = process(name, "8", "RGB").source
    with pytest.raises(PhotoTooLarge) as caught:
        decode(data, Limits(megapixels=0.002))
    assert "0.0 megapixels (56 x 40)" in caught.value.what
    assert "limit of 0.002" in caught.value.what
    assert "--max-megapixels" in caught.value.hint
    assert decode(data, Limits(megapixels=0.00224)).width in (56, 40)


def test_a_header_that_lies_about_the_size_costs_no_memory() -> None:
    data = bytearray(process("png", "8", "RGB").source)
    data[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(PhotoTooLarge, match=r"3600\.0 megapixels"):
        decode(bytes(data))
    with pytest.raises(UnreadablePhoto):
        decode(bytes(data), Limits(megapixels=5000))
    data[16:24] = (70000).to_bytes(4, "big") + (10).to_bytes(4, "big")
    with pytest.raises(PhotoTooLarge, match="65535 pixels a side"):
        decode(bytes(data))


@functools.cache
def damaged_survivors(name: str, depth: str, mode: str) -> list[int]:
    """Lengths at which a cut file still gave a picture."""
    data = process(name, depth, mode).source
    found = []
    for cut in range(1, len(data), max(1, len(data) // 60)):
        try:
            decode(data[:cut])
        except PhotoError:
            continue
        found.append(cut)
    return found


@pytest.mark.parametrize(("name", "depth", "mode"), GOOD)
def test_a_file_cut_short_is_never_a_picture(name: str, depth: str, mode: str) -> None:
    data = process(name, depth, mode).source
    for cut in damaged_survivors(name, depth, mode):
        # Only metadata may stand after the pixels.
        whole, part = decode(data), decode(data[:cut])
        np.testing.assert_array_equal(whole.pixels, part.pixels)
        assert cut > len(data) // 2


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    row=st.sampled_from(GOOD),
    written=st.booleans(),
    cut=st.floats(0.2, 1.6),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12),
    early=st.booleans(),
)
def test_damage_gives_photo_errors_only(
    row: tuple[str, str, str],
    written: bool,
    cut: float,
    changes: list[tuple[int, int]],
    early: bool,
) -> None:
    done = process(*row)
    data = bytearray(done.written if written else done.source)
    del data[int(len(data) * cut) :]
    for position, value in changes:
        data[position % (min(len(data), 300) if early else len(data))] = value
    with contextlib.suppress(PhotoError):
        photo = decode(bytes(data), Limits(megapixels=2))
        encode(photo, photo.format, io.BytesIO())


def test_directories_that_hold_themselves_many_times_are_read_quickly() -> None:
    pointer = struct.pack("<HHII", 34665, 4, 1, 8)
    block = b"II*\0" + struct.pack("<IH", 8, 400) + pointer * 400 + b"\0" * 4
    reader = ifd.Reader(block)
    with work_at_most(200_000):
        found = reader.directory(reader.first)
    assert list(found.children) == [34665]


def avif(locations: bytes, *boxes: bytes) -> bytes:
    """The boxes of an AVIF file around an item location box, without a picture."""
    meta = b"\0" * 4 + ab.box(b"pitm", b"\0" * 4 + b"\0\1") + ab.box(b"iloc", locations)
    return ab.box(b"ftyp", b"avif" + b"\0" * 4) + ab.box(b"meta", meta + b"".join(boxes))


def test_item_extents_without_bytes_are_refused() -> None:
    items = b"".join(struct.pack(">HHH", number, 0, 65535) for number in range(1, 41))
    with work_at_most(200_000), pytest.raises(ValueError, match="extents"):
        ab.parse(avif(struct.pack(">IHH", 0, 0, 40) + items))
    one = struct.pack(">IHHHHH", 0, 0, 1, 1, 0, 1)
    assert ab.parse(avif(one)).items[1].extents == [(0, 0)]


def test_an_item_larger_than_its_file_has_no_bytes() -> None:
    extent = struct.pack(">II", 0, 1000)
    data = avif(struct.pack(">IHHHHH", 0, 0x4400, 1, 1, 0, 100) + extent * 100, b"\0" * 400)
    contents = ab.parse(data)
    assert len(contents.items[1].extents) == 100
    assert contents.payload(data, contents.items[1]) == b""


def test_tiles_that_are_named_many_times_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []

    def of(_: ab.Contents, item: int, kind: bytes) -> list[bytes]:
        looked.append(item)
        return []

    monkeypatch.setattr(ab.Contents, "of", of)
    contents = ab.Contents(primary=1, references=[(b"dimg", 1, 2)] * 1000)
    with pytest.raises(ValueError, match="no AV1"):
        contents.coding()
    assert looked == [1, 2]


def test_values_that_overlap_take_no_more_memory_than_the_block() -> None:
    rows = b"".join(struct.pack("<HHII", tag, 7, 40_000, 8) for tag in range(1000, 5000))
    block = b"II*\0" + struct.pack("<IH", 8, 4000) + rows + b"\0" * 4
    reader = ifd.Reader(block)
    found = reader.directory(reader.first)
    assert 0 < sum(len(entry.value) for entry in found.entries.values()) <= len(block)


def test_threads_do_not_disturb_each_other() -> None:
    rows = [row for row in GOOD for _ in range(4)]

    def work(row: tuple[str, str, str]) -> bytes:
        out = io.BytesIO()
        encode(decode(process(*row).source), row[0], out)
        return out.getvalue()

    with ThreadPoolExecutor(8) as pool:
        for row, written in zip(rows, pool.map(work, rows), strict=True):
            assert written == process(*row).written, row


def test_importing_the_package_loads_no_codec() -> None:
    code = (
        "import sys, denoisetool.formats; "
        "print([m for m in ('PIL', 'tifffile', 'imagecodecs') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
