import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from denoisetool import formats
from denoisetool.errors import OutputError
from denoisetool.files import config
from denoisetool.settings import Value, resolve
from tests import qt
from tests.e2e import pictures, processes

from denoisetool.gui import background  # isort: skip
from denoisetool.gui.pictures import Picture, load, thumbnail  # isort: skip
from denoisetool.gui.preferences import Preferences  # isort: skip
from denoisetool.gui.viewer import Viewer  # isort: skip


def test_the_window_never_loads_torch(home: Path, tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(pictures.jpeg())
    code = f"""
import sys, time
sys.argv = ["denoisetool"]
from denoisetool.gui.app import application
from denoisetool.gui.window import Window
app = application()
window = Window([{str(photo)!r}], [sys.executable, *{processes.fake()!r}])
window.show()
end = time.monotonic() + 60
while not window.photos.viewer.has_result and time.monotonic() < end:
    app.processEvents()
    time.sleep(0.01)
assert window.photos.viewer.has_result
window.close()
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=processes.ROOT, capture_output=True,
        text=True, env=processes.environment(home),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def viewer(tmp_path: Path) -> Viewer:
    """A view of 400 x 300 with a photo of 1200 x 900."""
    qt.application()
    path = tmp_path / "p.png"
    path.write_bytes(pictures.png(900, 1200))
    shown = Viewer()
    shown.resize(400, 300)
    shown.show_picture(load(path, 500))
    return shown


def test_a_photo_fits_and_zooms_at_the_pointer(viewer: Viewer) -> None:
    assert viewer.zoom == pytest.approx(300 / 900)
    part, reduce = viewer.seen()
    assert (part.width(), part.height(), reduce) == (1200, 900, 2)
    at = qt.QPointF(100, 100)
    pixel = viewer._to_photo(at)
    viewer.set_zoom(1.0, at)
    assert (viewer._to_photo(at) - pixel).manhattanLength() < 1.5
    part, reduce = viewer.seen()
    assert reduce == 1
    assert part.width() in (400, 401)
    assert part.height() in (300, 301)
    viewer.set_zoom(1000)
    assert viewer.zoom == 16
    viewer.set_zoom(0.0001)
    assert viewer.zoom >= 300 / 900 / 2
    viewer.fit()
    assert viewer.zoom == pytest.approx(300 / 900)


def test_one_never_pans_beyond_the_photo(viewer: Viewer) -> None:
    viewer.set_zoom(1.0)
    for way, corner in (((9999, 9999), (0, 0)), ((-9999, -9999), (800, 600))):
        viewer._move(qt.QPointF(*way))
        part, _ = viewer.seen()
        assert (part.x(), part.y()) == corner


def test_each_side_of_the_divider_shows_its_own(viewer: Viewer) -> None:
    viewer.set_zoom(1.0)
    part, _ = viewer.seen()
    red = qt.QImage(part.width(), part.height(), qt.QImage.Format.Format_RGB888)
    red.fill(qt.Qt.GlobalColor.red)
    viewer.set_divider(0.25)
    assert not viewer.has_result
    viewer.show_patch(red, part)
    seen = viewer.grab().toImage()
    assert seen.pixelColor(200, 250).name() == "#ff0000"
    assert seen.pixelColor(50, 250).name() != "#ff0000"
    photo = viewer._before
    assert photo is not None
    there = photo.levels[0].pixelColor(part.x() + 50, part.y() + 250)
    assert seen.pixelColor(50, 250) == there  # pixel for pixel at 100 %
    viewer.set_divider(2)
    assert viewer.divider == 1
    viewer.show_patch(None)
    assert not viewer.has_result


def test_a_larger_result_lies_over_the_photo(viewer: Viewer, tmp_path: Path) -> None:
    red = qt.QImage(4800, 3600, qt.QImage.Format.Format_RGB888)
    red.fill(qt.Qt.GlobalColor.red)
    assert red.save(str(tmp_path / "large.png"))
    large = load(tmp_path / "large.png", 500)
    viewer.set_divider(0)
    for zoom, detail, level in ((0.4, 1, 3), (1.0, 1, 2), (1.5, 2, 1), (3.0, 4, 0), (9.0, 4, 0)):
        viewer.set_zoom(zoom)
        viewer.show_after(large)
        assert (viewer.detail, viewer._level(large)) == (detail, level)
        seen = viewer.grab().toImage()
        assert {seen.pixelColor(x, 250).name() for x in (40, 390)} == {"#ff0000"}
    viewer.set_zoom(1.0)
    part, _ = viewer.seen()
    patch = qt.QImage(2 * part.width(), 2 * part.height(), qt.QImage.Format.Format_RGB888)
    patch.fill(qt.Qt.GlobalColor.blue)
    viewer.show_patch(patch, part)
    assert viewer.grab().toImage().pixelColor(390, 250).name() == "#0000ff"


def test_the_divider_is_held_and_the_photo_dragged(viewer: Viewer) -> None:
    viewer.set_zoom(1.0)
    part, _ = viewer.seen()
    viewer.show_patch(qt.QImage(9, 9, qt.QImage.Format.Format_RGB888), part)
    left = qt.Qt.MouseButton.LeftButton
    qt.QTest.mousePress(viewer, left, pos=qt.QPoint(200, 150))
    qt.QTest.mouseMove(viewer, qt.QPoint(300, 150))
    qt.QTest.mouseRelease(viewer, left, pos=qt.QPoint(300, 150))
    assert viewer.divider == pytest.approx(0.75)
    assert viewer.seen()[0] == part
    qt.QTest.mousePress(viewer, left, pos=qt.QPoint(100, 150))
    qt.QTest.mouseMove(viewer, qt.QPoint(60, 140))
    qt.QTest.mouseRelease(viewer, left, pos=qt.QPoint(60, 140))
    assert (viewer.seen()[0].topLeft() - part.topLeft()) == qt.QPoint(40, 10)
    assert viewer.divider == pytest.approx(0.75)


def test_pictures_of_every_kind_become_8_bits_upright(tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    deep.write_bytes(pictures.png16())
    picture = load(deep, 500)
    assert isinstance(picture, Picture)
    pixel = picture.levels[0].pixelColor(10, 10)
    expected = formats.read(deep).pixels[10, 10] / 257
    seen = [pixel.red(), pixel.green(), pixel.blue()]
    assert np.abs(np.array(seen) - expected).max() <= 1
    samples = processes.ROOT / "tests" / "photos"
    poster = load(samples / "poster_sideways.jpg", 500)
    assert poster.height > poster.width
    small = thumbnail(samples / "poster_sideways.jpg", 56, 500)
    assert small.height() == 56
    assert small.width() < 56


def test_far_away_a_large_photo_has_smaller_copies(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(pictures.jpeg(2100, 3300))
    picture = load(path, 500)
    sizes = [(level.width(), level.height()) for level in picture.levels]
    assert sizes == [(3300, 2100), (1650, 1050), (825, 525)]
    whole, small = formats.read(path).pixels, picture.levels[1].pixelColor(700, 500)
    box = whole[1000:1002, 1400:1402].mean((0, 1))
    seen = [small.red(), small.green(), small.blue()]
    assert np.abs(np.array(seen) - box).max() <= 0.5


def test_a_window_closes_though_a_disk_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    qt.application()
    monkeypatch.setattr(background, "PATIENCE", 0.05)
    begun, answer, told = threading.Event(), threading.Event(), threading.Event()
    looker = background.Background()

    def look() -> None:
        begun.set()
        answer.wait(20)

    looker.run(look, lambda *_: told.set())
    assert begun.wait(qt.LIMIT)
    looker.close()
    (thread,) = looker._threads
    assert thread.is_alive()
    answer.set()
    thread.join(qt.LIMIT)
    qt.wait(0.05)
    assert not told.is_set()


def test_settings_that_could_not_be_written_are_written_the_next_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qt.application()
    preferences = Preferences()
    told: list[str] = []
    preferences.failed.connect(told.append)
    preferences.set("luma", 0.5)
    preferences.set("strength", 0.7)
    write, full = config.set_value, OutputError("no space left")

    def failing(name: str, value: Value) -> object:
        if name == "strength":
            raise full
        return write(name, value)

    with monkeypatch.context() as patch:
        patch.setattr(config, "set_value", failing)
        preferences.save()
    assert told == ["no space left"]
    preferences.save()
    settings = resolve({}).settings
    assert (settings.luma, settings.strength) == (0.5, 0.7)
    assert len(told) == 1
