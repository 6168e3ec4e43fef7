"""The page itself: what it shows, that it keeps to itself, and that it stays small in memory."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from denoisetool import bicubic
from denoisetool import report as reports
from denoisetool.crops import Window
from denoisetool.errors import DiskFull, OutputError, OutputExists, UsageError
from denoisetool.photo import Metadata, Photo
from denoisetool.report import Report, Row, pictures, writer
from denoisetool.report.facts import Crop, Facts
from tests.e2e import pictures as files
from tests.pages import Page, picture

Array = npt.NDArray[Any]


def photo(pixels: Array, icc: bytes | None = None) -> Photo:
    return Photo(pixels, "png", "RGB", metadata=Metadata(icc=icc))


def row(name: str = "a.jpg", uri: str = "data:image/webp;base64,", crops: int = 1) -> Row:
    window = Window("whole", 0, 0, 64, 48)
    return Row(name, facts=Facts(64, 48, 1.0, 0.1, 0.2, (Crop(window, uri, uri),) * crops))


def plain(name: str) -> Row:
    return row(name, crops=0)


def report(target: Path, expected: int = 1, **options: Any) -> Report:
    options = {"overwrite": False, "option": "-o", **options}
    return Report(target, title="Before and after", expected=expected, **options)


# -- facts ---------------------------------------------------------------------------------------


def test_crops_show_every_level_of_the_photo() -> None:
    before, after = files.noisy(seed=1), files.noisy(seed=2)
    facts = reports.compare(photo(before), photo(after), pictures=True)
    (crop,) = facts.crops
    np.testing.assert_array_equal(picture(crop.before), before)
    np.testing.assert_array_equal(picture(crop.after), after)


@pytest.mark.parametrize("scale", [2, 4])
def test_an_enlarged_photo_is_shown_beside_its_bicubic_enlargement(scale: int) -> None:
    before = files.noisy(300, 350)
    plain = np.asarray(bicubic.enlarged(before, scale, 255.0))
    after = np.clip(plain.astype(int) + 7, 0, 255).astype(np.uint8)
    facts = reports.compare(photo(before), photo(after), pictures=True)
    assert (facts.width, facts.height, facts.scale) == (350 * scale, 300 * scale, scale)
    assert facts.removed is None
    assert 0.5 < facts.shift_mean < 5
    for crop in facts.crops:
        np.testing.assert_array_equal(picture(crop.before), crop.window.of(plain))
        np.testing.assert_array_equal(picture(crop.after), crop.window.of(after))
    same = reports.compare(photo(before), photo(plain), pictures=False)
    assert same.shift_mean < 0.05  # it was rounded


def test_a_large_photo_is_shown_by_two_parts_of_the_same_place() -> None:
    before, after = files.noisy(700, 1000, seed=1), files.noisy(700, 1000, seed=2)
    facts = reports.compare(photo(before), photo(after), pictures=True)
    assert [crop.window.kind for crop in facts.crops] == ["flattest", "most detailed"]
    for crop in facts.crops:
        np.testing.assert_array_equal(picture(crop.before), crop.window.of(before))
        np.testing.assert_array_equal(picture(crop.after), crop.window.of(after))
    assert reports.compare(photo(before), photo(after), pictures=False).crops == ()


@pytest.mark.parametrize(("dtype", "peak"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_facts_in_every_depth(dtype: str, peak: int, channels: int) -> None:
    """Two levels up and down by turns is noise of two levels, and no shift of colour."""
    before = np.full((64, 64, channels), 100.0)
    before[::2] += 2
    before[1::2] -= 2
    scaled = [photo((p / 255 * peak).astype(dtype)) for p in (before, np.full_like(before, 100.0))]
    facts = reports.compare(*scaled, pictures=True)
    assert (facts.width, facts.height) == (64, 64)
    assert facts.removed == pytest.approx(2, abs=0.01)
    assert facts.shift_p95 < 0.01
    shown = picture(facts.crops[0].before)
    np.testing.assert_allclose(shown, np.broadcast_to(before, shown.shape), atol=1)


def test_depth_and_channels_may_change_on_the_way() -> None:
    grey = files.noisy(channels=1)
    wide = (np.repeat(grey, 3, 2).astype(np.uint16)) * 257
    facts = reports.compare(photo(grey), photo(wide), pictures=True)
    assert facts.removed == pytest.approx(0, abs=1e-3)
    assert facts.shift_mean == pytest.approx(0, abs=1e-3)


def test_a_shift_of_colour_is_told() -> None:
    before = np.full((64, 64, 3), 100, np.uint8)
    after = before + np.array([6, 0, 0], np.uint8)
    facts = reports.compare(photo(before), photo(after), pictures=False)
    assert facts.shift_mean > 1
    assert facts.removed == pytest.approx(6 / 3**0.5, abs=1e-3)


def test_sizes_that_differ_are_both_told() -> None:
    with pytest.raises(UsageError, match="64 x 48 before, 48 x 64 after"):
        reports.compare(
            photo(files.noisy()), photo(files.noisy(height=64, width=48)), pictures=True
        )


# -- colours -------------------------------------------------------------------------------------


def profile(red_and_green_swapped: bool = False) -> bytes:
    """An sRGB profile, or one whose samples mean something else."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if red_and_green_swapped:
        red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
        data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def test_a_colour_profile_is_converted_for_display() -> None:
    pixels = np.full((20, 20, 3), (200, 40, 90), np.uint8)
    shown = picture(pictures.data_uri(photo(pixels, profile(red_and_green_swapped=True)), pixels))
    assert shown[0, 0, 0] < 60
    assert shown[0, 0, 1] > 180
    same = picture(pictures.data_uri(photo(pixels, profile()), pixels))
    np.testing.assert_allclose(same, pixels, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("icc", [b"", b"nonsense", profile()[:200]])
def test_a_profile_that_is_none_changes_nothing(icc: bytes, channels: int) -> None:
    pixels = files.noisy(channels=channels)
    shown = picture(pictures.data_uri(photo(pixels, icc), pixels))
    np.testing.assert_array_equal(shown[..., :1], pixels[..., :1])


def test_an_rgb_profile_on_a_grey_photo_changes_nothing() -> None:
    image = Image.new("L", (4, 4), 77)
    assert pictures.to_srgb(image, profile()) is image


def test_nonsense_in_float_photos_is_shown_as_black() -> None:
    pixels = np.full((20, 20, 3), 0.5, np.float32)
    pixels[0, 0] = np.nan
    shown = picture(pictures.data_uri(photo(pixels), pixels))
    assert (shown[0, 0] == 0).all()
    assert (shown[1, 1] == 128).all()


# -- the page ------------------------------------------------------------------------------------

EVIL = [
    "<script>alert(1)</script>.jpg",
    '"><img src=x onerror=alert(1)>.jpg',
    "' onfocus='alert(1).jpg",
    "&lt;b&gt;.jpg",
    "line\nbreak\x1b[31m\u202egpj.jpg",
    os.fsdecode(b"\xff\xfe.jpg"),
    "\ud800.jpg",
    "ünïcödé 🐈.jpg",
]


@pytest.mark.parametrize("name", EVIL)
def test_names_cannot_leave_their_place(name: str, tmp_path: Path) -> None:
    with report(tmp_path / "r.html") as made:
        made.add(row(name))
        made.add(Row(name, "failed", f"bad: {name}"))
        made.write([name])
    page = Page.read(tmp_path / "r.html")
    (shown,) = page.said("h3")
    if name.isprintable():
        assert shown == name
    assert shown.isprintable()
    assert shown in page.said("a")
    assert any(shown in text for text in page.said("td"))
    assert any(shown in attributes["alt"] for attributes in page.of("img"))
    assert len(page.of("img")) == 2


def test_the_page_may_load_nothing_and_run_only_its_own_script(tmp_path: Path) -> None:
    with report(tmp_path / "r.html") as made:
        made.add(row())
        made.write()
    page = Page.read(tmp_path / "r.html")
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["script-src"].startswith("'sha256-")
    assert "unsafe" not in rules["script-src"]


def test_sliders_have_names(tmp_path: Path) -> None:
    with report(tmp_path / "r.html") as made:
        made.add(row("cat.jpg"))
        made.write()
    sliders = [a for a in Page.read(tmp_path / "r.html").of("input") if a["type"] == "range"]
    assert len(sliders) == 1
    assert "cat.jpg" in sliders[0]["aria-label"]


def test_the_summary_adds_up(tmp_path: Path) -> None:
    with report(tmp_path / "r.html", expected=2) as made:
        made.add(Row("a", facts=Facts(1000, 1000, 2.0, 0.2, 0.5)))
        made.add(Row("b", facts=Facts(2000, 1000, 4.0, 0.4, 0.5)))
        made.add(Row("c", "failed", "broken"))
        made.write()
    page = Page.read(tmp_path / "r.html")
    assert page.tiles == {
        "Photos compared": "2", "Failed": "1", "Megapixels": "3.0",
        "Mean noise removed": "3.0", "Mean colour shift": "0.30",
    }  # fmt: skip
    assert "1 photo failed" in page.said("h2")


def test_numbers_that_are_none_are_shown_as_such(tmp_path: Path) -> None:
    with report(tmp_path / "r.html") as made:
        made.add(Row("a", facts=Facts(10, 10, float("nan"), 0.2, float("inf"))))
        made.write()
    cells = Page.read(tmp_path / "r.html").said("td")
    assert cells == ["a", "10 × 10", "–", "0.20", "–"]


# -- many photos ---------------------------------------------------------------------------------


def shown_of(target: Path, total: int, broken: frozenset[int] = frozenset()) -> list[int]:
    """Which of many photos are shown with crops, where some cannot be."""
    with report(target, expected=total) as made:
        for number in range(total):
            wanted = made.wants_pictures() and number not in broken
            made.add(row(str(number)) if wanted else plain(str(number)))
        made.write()
    page = Page.read(target)
    assert len(page.of("tr")) == total + 1
    return [int(name) for name in page.said("h3")]


def test_pictures_are_spread_evenly_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_PICTURES", 10)
    assert shown_of(tmp_path / "few.html", 10) == list(range(10))
    assert "the table at the end" not in (tmp_path / "few.html").read_text()
    shown = shown_of(tmp_path / "many.html", 95)
    assert len(shown) == 10
    assert set(np.diff(shown)) <= {9, 10}
    assert shown[-1] >= 85
    said = Page.read(tmp_path / "many.html").said("p")
    assert "Pictures of 10 of 95 photos; the table at the end has all of them." in said


def test_a_photo_that_cannot_be_shown_leaves_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_PICTURES", 10)
    assert len(shown_of(tmp_path / "r.html", 50, broken=frozenset({0, 5, 10}))) == 10


def test_more_photos_than_expected_are_no_more_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_PICTURES", 3)
    with report(tmp_path / "r.html", expected=0) as made:
        for number in range(9):
            made.add(row(str(number)) if made.wants_pictures() else plain(str(number)))
    assert made.pictured == 3


def test_pictures_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    size = 1 << 20
    tracemalloc.start()
    try:
        with report(tmp_path / "r.html", expected=60) as made:
            for number in range(60):
                made.add(row(str(number), "data:image/webp;base64," + chr(65 + number % 26) * size))
            made.write()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "r.html").stat().st_size > 2 * 60 * size
    assert peak < 20 * size


# -- the place -----------------------------------------------------------------------------------


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    target.write_text("mine")
    with pytest.raises(OutputExists, match="exists already") as raised:
        report(target, option="--report")
    assert "--overwrite replaces it" in raised.value.hint
    assert "--report" in raised.value.hint
    with report(target, overwrite=True) as made:
        made.add(row())
        assert target.read_text() == "mine"
        made.write()
    Page.read(target)
    assert sorted(tmp_path.iterdir()) == [target]


def test_a_page_that_appears_meanwhile_is_left(tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    with report(target) as made:
        target.write_text("theirs")
        with pytest.raises(OutputExists):
            made.write()
    assert target.read_text() == "theirs"


@pytest.mark.parametrize("name", ["r.jpg", "r", "-", "out/"])
def test_only_pages_are_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no name for one"):
        report(tmp_path / name)


def test_a_photo_is_never_replaced_whatever_its_name(tmp_path: Path) -> None:
    target = tmp_path / "photo.html"
    target.write_bytes(files.jpeg())
    with pytest.raises(OutputExists, match="this is a photo"):
        report(target, overwrite=True)
    assert target.read_bytes() == files.jpeg()


def test_a_folder_or_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "r.html").mkdir()
    with pytest.raises(OutputError, match="folder of that name"):
        report(tmp_path / "r.html", overwrite=True)
    (tmp_path / "file").write_text("")
    with report(tmp_path / "file" / "r.html") as made, pytest.raises(OutputError):
        made.write()


def test_missing_folders_are_made_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "r.html"
    with report(target) as made:
        made.add(row())
        assert not (tmp_path / "new").exists()
        made.write()
    Page.read(target)


def test_a_report_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    def give_up() -> None:
        with report(tmp_path / "r.html") as made:
            made.add(row())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert list(tmp_path.iterdir()) == []


class FullDisk:
    """A file on a disk that takes so many bytes and no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return len(data)

    def close(self) -> None:
        pass


def test_a_full_disk_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(6000)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: disk)
    with report(tmp_path / "r.html", expected=9, run=True) as made:
        for number in range(9):
            if made.wants_pictures():
                made.add(row(str(number), "data:image/webp;base64," + "A" * 1000))
        assert made.pictured == 2
        with pytest.raises(DiskFull) as raised:
            made.write()
    assert raised.value.path == tmp_path / "r.html"
    assert "denoisetool compare" in raised.value.hint
    assert list(tmp_path.iterdir()) == []
