import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from denoisetool import files, formats
from denoisetool.settings import config_path, resolve
from tests import qt, tiny
from tests.e2e import pictures, processes

Open = Callable[..., qt.Window]


@pytest.fixture
def opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens windows whose worker has no net and takes so long for each tile."""
    monkeypatch.chdir(processes.ROOT)
    monkeypatch.setattr(qt.Window, "_sure", lambda _: True)
    qt.application()
    windows: list[qt.Window] = []

    def make(*photos: Path, seconds: float = 0.0) -> qt.Window:
        program = [sys.executable, "-W", "error", *processes.fake(seconds)]
        window = qt.Window([str(photo) for photo in photos], program)
        windows.append(window)
        window.show()
        return window

    yield make
    for window in windows:
        window.close()
        window.deleteLater()
    qt.wait(0.01)


def _states(window: qt.Window) -> dict[str, str]:
    return {item.path.name: item.state for item in window.photos.model.items}


def _more(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"m{number}.jpg").write_bytes(pictures.jpeg(seed=number + 10))


def test_drop_a_folder_run_cancel_kill_the_worker_and_finish(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    _more(photos, 6)
    before = {p: p.read_bytes() for p in photos.rglob("*") if p.is_file()}
    out = tmp_path / "clean"
    window = opened(seconds=0.15)
    page = window.photos
    assert not page.start_button.isEnabled()
    qt.drop(window, photos)
    qt.until(lambda: len(page.model.items) == 9)
    assert page.start_button.isEnabled()
    page.controls.folder.set_text(str(out))
    qt.until(lambda: page.viewer.has_result, "no preview")

    page.start_button.click()
    assert page.runner.phase == "running"
    assert not page.start_button.isEnabled()
    qt.until(lambda: "done" in _states(window).values())
    page.stop_button.click()
    page.stop_button.click()  # at once
    qt.until(lambda: not page.runner.busy)
    made = set(out.rglob("*.*"))
    assert 1 <= len(made) < 9
    assert set(_states(window).values()) == {"done", "new"}

    page.start_button.click()
    qt.until(lambda: "working" in _states(window).values())
    os.kill(window.worker.pid, signal.SIGKILL)
    qt.until(lambda: not page.runner.busy)
    assert page.banner.isVisible()
    assert "worker ended unexpectedly" in page.banner.text
    assert "memory" in page.banner.text
    assert window.isVisible()
    assert list(_states(window).values()).count("failed") == 1
    page.banner.action.click()
    assert page.runner.busy
    qt.until(lambda: not page.runner.busy)
    assert set(_states(window).values()) == {"done"}
    assert not page.banner.isVisible()

    names = {p.relative_to(photos) for p in before if p.suffix != ".txt"}
    assert {p.relative_to(out) for p in out.rglob("*.*")} == names
    for name in names:
        assert formats.read(out / name).pixels.shape == formats.read(photos / name).pixels.shape
    assert {p: p.read_bytes() for p in photos.rglob("*") if p.is_file()} == before
    assert not processes.leftovers(tmp_path)


def test_pause_holds_a_run_and_the_progress_says_how_far_it_is(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    _more(photos, 4)
    window = opened(photos, seconds=0.1)
    page, told = window.photos, []
    page.progressed.connect(lambda share, _: told.append(share))
    qt.until(lambda: len(page.model.items) == 7)
    page.controls.folder.set_text(str(tmp_path / "clean"))
    page.start()
    qt.until(lambda: "done" in _states(window).values())
    page.pause_button.click()
    assert page.runner.phase == "paused"
    qt.wait(0.3)  # what is in hand comes to its end
    held = len(list((tmp_path / "clean").rglob("*.*")))
    qt.wait(0.6)
    assert len(list((tmp_path / "clean").rglob("*.*"))) == held < 7
    page.pause_button.click()
    qt.until(lambda: not page.runner.busy)
    assert set(_states(window).values()) == {"done"}
    rising = [share for share in told if share >= 0]
    assert rising == sorted(rising)
    assert rising[-1] == pytest.approx(1, abs=0.01)
    assert not window.progress.isVisible()
    assert window.device.text() == "CPU · fp32 · fast"


def test_failures_stand_in_the_queue_with_their_reason(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    bad = photos / "broken.jpg"
    bad.write_bytes((photos / "a.jpg").read_bytes()[:700])
    window = opened(photos)
    page = window.photos
    qt.until(lambda: len(page.model.items) == 4)
    page.controls.folder.set_text(str(tmp_path / "clean"))
    page.start()
    qt.until(lambda: not page.runner.busy)
    assert _states(window)["broken.jpg"] == "failed"
    item = page.model.find(str(bad))
    assert item is not None
    text = page.model.index(page.model.items.index(item)).data(
        qt.Qt.ItemDataRole.AccessibleTextRole
    )
    assert text.startswith("broken.jpg: Failed: ")
    assert "cut short" in text
    assert "1 failed" in page.banner.text
    bad.write_bytes(pictures.jpeg(seed=9))
    page.banner.action.click()
    qt.until(lambda: not page.runner.busy)
    assert set(_states(window).values()) == {"done"}


def test_nothing_is_overwritten_unless_that_is_chosen(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clean"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"somebody else's")
    window = opened(photos)
    page = window.photos
    page.controls.folder.set_text(str(out))
    ends = []
    for rule, state in ((0, "failed"), (1, "skipped"), (2, "done")):
        qt.until(lambda: len(page.model.items) == 3)
        page.controls.rule.setCurrentIndex(rule)
        page.start()
        qt.until(lambda: not page.runner.busy)
        ends.append(_states(window)["a.jpg"] == state)
        same = (out / "a.jpg").read_bytes() == b"somebody else's"
        assert same == (state != "done")
    assert ends == [True, True, True]


def test_results_never_go_over_the_originals(opened: Open, photos: Path) -> None:
    before = (photos / "a.jpg").read_bytes()
    window = opened(photos)
    page = window.photos
    qt.until(lambda: len(page.model.items) == 3)
    page.controls.folder.set_text(str(photos))
    page.controls.rule.setCurrentIndex(2)
    page.start()
    qt.until(lambda: not page.runner.busy)
    assert (photos / "a.jpg").read_bytes() == before


def test_photos_are_enlarged_and_the_result_is_shown(
    opened: Open, photos: Path, tmp_path: Path, home: Path
) -> None:
    tiny.upscaler(home / "data" / "models" / "upscale-x2", 2)
    window = opened(photos / "b.png")
    page = window.photos
    page.controls.folder.set_text(str(tmp_path / "big"))
    qt.until(lambda: page.viewer.has_result, "no preview")
    page.controls.scale.setCurrentIndex(page.controls.scale.findData("2"))
    qt.until(lambda: "Enlarged 2 times" in page._about.text(), "no preview of it")
    image, part = page.viewer._patch or pytest.fail("no patch")
    assert (image.width(), part.width()) == (64 * page.viewer.detail, 64)
    page.controls.strength._number.setValue(150)
    qt.until(lambda: "second pass" in page._about.text(), "no word on the strength")
    page.controls.strength._number.setValue(100)
    page.start_button.click()
    qt.until(lambda: "done" in _states(window).values() and not page.runner.busy)
    assert formats.read(tmp_path / "big" / "b.png").width == 128
    qt.until(lambda: "The result in" in page._about.text(), "the result is not shown")
    assert resolve({}).settings.scale == 2
    page.controls._reset.click()
    assert page.controls.scale.currentData() == "auto"


def test_settings_are_the_commands_and_survive_a_restart(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    window = opened()
    controls = window.photos.controls
    controls.strength._number.setValue(70)
    controls.luma._slider.setValue(40)
    controls.format.setCurrentIndex(controls.format.findData("webp"))
    controls.humble.click()
    controls.folder.set_text(str(tmp_path / "somewhere"))
    controls.folder.chosen.emit(controls.folder.text())
    controls.rule.setCurrentIndex(1)
    window.tabs.setCurrentIndex(2)
    window.close()
    settings = resolve({}).settings
    assert (settings.strength, settings.luma, settings.format) == (0.7, 0.4, "webp")
    assert settings.low_priority

    again = opened()
    controls = again.photos.controls
    assert controls.strength._number.value() == 70
    assert controls.luma._slider.value() == 40
    assert controls.format.currentData() == "webp"
    assert controls.humble.isChecked()
    assert controls.output == str(tmp_path / "somewhere")
    assert controls.existing == "skip"
    assert again.tabs.currentWidget() is again.finetune
    controls._reset.click()
    assert controls.strength._number.value() == 100
    again.close()
    assert "strength" not in config_path().read_text(encoding="utf-8")
    assert resolve({}).settings.format == "webp"  # only the noise was put back


def test_a_broken_config_file_is_told_and_left_alone(opened: Open) -> None:
    config_path().parent.mkdir(parents=True)
    config_path().write_text("strength = 7\n")
    window = opened()
    assert "strength must be from 0 to 2" in window.photos.banner.text
    window.preferences.set("luma", 0.5)
    window.close()
    assert config_path().read_text() == "strength = 7\nluma = 0.5\n"


def test_a_slider_changes_the_preview_and_the_result_is_shown_after_a_run(
    opened: Open, tmp_path: Path
) -> None:
    photo = tmp_path / "p.png"
    photo.write_bytes(pictures.png(200, 300))
    window = opened(photo)
    page = window.photos
    seen: list[float] = []
    page.looker.shown.connect(lambda: seen.append(_roughness(page.viewer)))
    qt.until(lambda: len(seen) >= 1)
    qt.until(lambda: page.looker.exact)
    full = seen[-1]
    count = len(seen)
    page.controls.strength._slider.setValue(20)
    qt.until(lambda: len(seen) > count)
    assert seen[-1] > full * 1.1
    page.controls.folder.set_text(str(tmp_path / "out"))
    page.start()
    qt.until(lambda: page._about.text().startswith("The result in"))
    assert page.viewer.has_result
    page.viewer.set_zoom(1.0)
    count = len(seen)
    page.controls.strength._slider.setValue(50)
    qt.until(lambda: len(seen) > count)  # back to previews


def _roughness(viewer: object) -> float:
    """How much neighbours differ in what is shown as the result."""
    image, _ = viewer._patch  # type: ignore[attr-defined]
    row = [image.pixelColor(x, 20).green() for x in range(image.width())]
    return float(sum(abs(a - b) for a, b in pairwise(row))) / len(row)


def test_a_worker_that_dies_while_one_only_looks_is_told_and_comes_back(
    opened: Open, photos: Path
) -> None:
    window = opened(photos / "a.jpg")
    page = window.photos
    qt.until(lambda: page.viewer.has_result)
    os.kill(window.worker.pid, signal.SIGKILL)
    qt.until(lambda: page.banner.isVisible())
    page.viewer.show_patch(None)
    page.banner.action.click()
    qt.until(lambda: page.viewer.has_result)


def test_a_photo_that_kills_the_worker_twice_is_left_out(
    opened: Open, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "sub" / "z.jpg").write_bytes(pictures.jpeg(300, 400))
    monkeypatch.setenv("FAKE_ENGINE_POISON", "200")
    window = opened(photos)
    page = window.photos
    qt.until(lambda: len(page.model.items) == 4)
    page.controls.folder.set_text(str(tmp_path / "clean"))
    page.start()
    for _ in range(2):
        qt.until(lambda: not page.runner.busy)
        assert page.banner.isVisible()
        page.banner.action.click()
    qt.until(lambda: not page.runner.busy)
    states = _states(window)
    assert states.pop("z.jpg") == "failed"
    assert set(states.values()) == {"done"}


def test_photos_leave_the_queue_and_only_the_rest_is_done(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    window = opened(photos)
    page = window.photos
    qt.until(lambda: len(page.model.items) == 3)
    page.list.setCurrentIndex(page.model.index(1, 0))
    page.remove_selected()
    assert sorted(_states(window)) == ["a.jpg", "c.jpg"]
    page.controls.folder.set_text(str(tmp_path / "clean"))
    page.start()
    qt.until(lambda: not page.runner.busy)
    assert sorted(p.name for p in (tmp_path / "clean").rglob("*.*")) == ["a.jpg", "c.jpg"]
    page.clear()
    assert not page.model.items
    assert not page.start_button.isEnabled()
    page.add([photos])
    qt.until(lambda: len(page.model.items) == 3)


def test_a_search_without_an_end_is_given_up_with_clear(
    opened: Open, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = files.walk
    begun, over = threading.Event(), threading.Event()

    def endless(paths: Sequence[Path], **given: Any) -> Iterator[object]:
        while not over.wait(0.01):
            yield from walk(paths, **given)
            begun.set()

    page = opened().photos
    with monkeypatch.context() as patched:
        patched.setattr(files, "walk", endless)
        page.add([photos])
        assert begun.wait(qt.LIMIT)
    try:
        page.clear()
        page.add([photos / "a.jpg"])
        qt.until(lambda: len(page.model.items) == 1)
    finally:
        over.set()


def test_what_is_still_looked_for_when_photos_leave_the_queue(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    window = opened()
    page = window.photos
    go = threading.Event()
    find = page._find
    page._find = lambda *given: (go.wait(qt.LIMIT), find(*given))[1]  # type: ignore[method-assign]
    page.add([photos])
    page.clear()
    assert not page._queue.isVisible()
    assert not window.statusBar().currentMessage()
    page.add([photos / "a.jpg"])
    go.set()
    qt.until(lambda: page.model.items)
    assert list(_states(window)) == ["a.jpg"]  # what was looked for before is not

    go.clear()
    page.add([photos / "sub"])
    page.list.setCurrentIndex(page.model.index(0, 0))
    page.remove_selected()
    go.set()
    qt.until(lambda: page.model.items)
    page.controls.folder.set_text(str(tmp_path / "clean"))
    page.start()
    qt.until(lambda: not page.runner.busy)
    assert _states(window) == {"c.jpg": "done"}  # and what was looked for beside it is


def test_a_folder_without_photos_says_so(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    window = opened()
    qt.drop(window, tmp_path / "nothing")
    qt.until(lambda: "No photos" in window.statusBar().currentMessage())
    assert window.photos._stack.currentIndex() == 0


def test_everything_can_be_reached_with_keys_and_has_a_name(opened: Open, photos: Path) -> None:
    window = opened(photos)
    page = window.photos
    qt.until(lambda: page.viewer.has_result)
    unnamed = []
    for number in range(window.tabs.count()):
        window.tabs.setCurrentIndex(number)
        for part in window.findChildren(qt.QWidget):
            text = getattr(part, "text", None)
            named = part.accessibleName() or (text() if callable(text) else "")
            inner = f"{part.objectName()} {getattr(part.parent(), 'objectName', str)()}"
            reached = part.isVisible() and part.focusPolicy() & qt.Qt.FocusPolicy.TabFocus
            if reached and not named and "qt_" not in inner:
                unnamed.append(type(part).__name__)
    assert set(unnamed) <= {"QTabBar", "Controls"}, unnamed
    window.tabs.setCurrentIndex(0)
    viewer = page.viewer
    viewer.setFocus()
    qt.QTest.keyClick(viewer, qt.Qt.Key.Key_1)
    assert viewer.zoom == 1.0
    qt.QTest.keyClick(viewer, qt.Qt.Key.Key_Plus)
    assert viewer.zoom == 1.25
    before = viewer.divider
    qt.QTest.keyClick(viewer, qt.Qt.Key.Key_Right)
    assert viewer.divider > before
    assert page._divider.value() == round(viewer.divider * 100)
    qt.QTest.keyClick(viewer, qt.Qt.Key.Key_0)
    assert viewer.zoom <= 1.0
