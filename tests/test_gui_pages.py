import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import qt
from tests.e2e import pictures, processes


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(processes.ROOT)
    monkeypatch.setattr(qt.Window, "_sure", lambda _: True)
    qt.application()


@pytest.fixture
def tuner(here: None) -> Iterator[qt.Window]:
    """A window whose command is a fake that fine-tunes."""
    window = qt.Window((), [sys.executable, "-m", "tests.fake_finetune"])
    window.tabs.setCurrentWidget(window.finetune)
    yield window
    window.close()
    window.deleteLater()


@pytest.fixture
def watcher(here: None) -> Iterator[qt.Window]:
    """A window whose command has no net."""
    window = qt.Window((), [sys.executable, "-W", "error", *processes.fake()])
    window.tabs.setCurrentWidget(window.watch)
    yield window
    window.close()
    window.deleteLater()


def _rows(window: qt.Window) -> list[list[str]]:
    table = window.finetune.table
    return [
        [_text(table.item(row, column)) for column in range(4)] for row in range(table.rowCount())
    ]


def _text(item: object) -> str:
    return str(item.text())  # type: ignore[attr-defined]


def _pairs(tmp_path: Path, *flags: str) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for flag in flags:
        (folder / flag).touch()
    return folder


def test_pairs_are_shown_before_anything_is_trained(tuner: qt.Window, tmp_path: Path) -> None:
    page = tuner.finetune
    assert not page.start_button.isEnabled()
    qt.drop(tuner, _pairs(tmp_path))
    assert page.look_button.isEnabled()
    page.look_button.click()
    assert not page.start_button.isEnabled()
    qt.until(lambda: not page.running)
    assert _rows(tuner) == [
        ["a", "a1.jpg, a2.jpg", "yes", ""],
        ["b", "b1.jpg, b2.jpg", "no", "it moved"],
        ["c", "c1.jpg, c2.jpg", "held back, as a test", ""],
    ]
    assert page._sum.text() == "2 pairs taken, 1 rejected – two photos of each scene"
    assert page.result.isHidden()
    assert page.banner.isHidden()


def test_a_model_that_is_better_is_installed_and_its_figures_are_shown(
    tuner: qt.Window, tmp_path: Path
) -> None:
    page = tuner.finetune
    told: list[object] = []
    page.installed.connect(lambda: told.append(True))
    page.progressed.connect(lambda share, left: told.append((share, left)))
    qt.drop(tuner, _pairs(tmp_path))
    page.start_button.click()
    qt.until(lambda: not page.running)
    assert not page.result.isHidden()
    assert "“mine” is installed" in page._headline.text()
    assert "+0.40 dB" in page._figure.text()
    assert "between +0.10 and +0.70" in page._figure.text()
    assert page._report == str(tmp_path / "pairs" / "report.html")
    assert not page.report_button.isHidden()
    assert told == [(0.0, 30.0), (0.5, 30.0), True, (-1.0, -1.0)]


def test_a_model_that_is_refused_is_no_error(tuner: qt.Window, tmp_path: Path) -> None:
    page = tuner.finetune
    qt.drop(tuner, _pairs(tmp_path, "refused"))
    page.start_button.click()
    qt.until(lambda: not page.running)
    assert page._headline.text() == "No model was installed."
    assert page._why.text() == "it is so"
    assert page.banner.isHidden()


def test_a_child_that_dies_is_told_and_can_be_tried_again(tuner: qt.Window, tmp_path: Path) -> None:
    page, folder = tuner.finetune, _pairs(tmp_path, "crash")
    qt.drop(tuner, folder)
    page.start_button.click()
    qt.until(lambda: not page.running)
    assert "memory" in page.banner.text
    (folder / "crash").unlink()
    page.banner.action.click()
    qt.until(lambda: not page.running)
    assert not page.result.isHidden()
    assert page.banner.isHidden()


def test_what_the_command_complains_of_is_shown(tuner: qt.Window, tmp_path: Path) -> None:
    page = tuner.finetune
    qt.drop(tuner, _pairs(tmp_path, "error"))
    page.look_button.click()
    qt.until(lambda: not page.running)
    assert "there are no pairs" in page.banner.text


def test_stop_ends_the_training(tuner: qt.Window, tmp_path: Path) -> None:
    page = tuner.finetune
    qt.drop(tuner, _pairs(tmp_path, "slow"))
    page.start_button.click()
    qt.until(lambda: "Step 50 of 100" in page._step.text())
    assert "better by 0.25 dB" in page._step.text()
    page.stop_button.click()
    qt.until(lambda: not page.running)
    assert page.banner.isHidden()
    assert page.result.isHidden()
    assert page._step.text() == "Stopped; nothing was installed."


def test_a_watch_is_the_commands_with_its_ledger(watcher: qt.Window, tmp_path: Path) -> None:
    from denoisetool.watch import status

    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "old.jpg").write_bytes(pictures.jpeg())
    (inbox / "bad.jpg").write_bytes(pictures.jpeg()[:400])
    page = watcher.watch
    qt.drop(watcher, inbox)
    page.start_button.click()
    assert page.running
    qt.until(lambda: page._status is not None and page._status.done == 1)
    (inbox / "new.png").write_bytes(pictures.png())
    qt.until(lambda: page._status is not None and page._status.done == 2 and page._status.failed)
    assert page._numbers["seen"].text() == "3"
    assert (tmp_path / "inbox-clean" / "new.png").exists()
    assert _text(page.failures.item(0, 0)) == "bad.jpg"
    assert page.retry_button.isEnabled()
    assert page._status is not None
    assert page._status.alive
    lines = [page.log.item(row).text() for row in range(page.log.count())]
    assert "Done: new.png" in lines
    page.stop_button.click()
    qt.until(lambda: not page.running)
    found = status(inbox)
    assert (found.alive, found.done, found.failed) == (False, 2, 1)
    assert page.banner.isHidden()
    qt.until(lambda: "Not watched" in page._state.text())
    assert page.start_button.isEnabled()


def test_a_watch_that_cannot_begin_says_why(watcher: qt.Window, tmp_path: Path) -> None:
    page = watcher.watch
    page.folder.set_text(str(tmp_path / "nowhere"))
    page._folder_chosen(page.folder.text())
    page.start_button.click()
    qt.until(lambda: not page.running)
    assert "no such folder" in page.banner.text
