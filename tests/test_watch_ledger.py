"""The ledger: one row per name and content, and sums that always agree."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from denoisetool.errors import OutputError
from denoisetool.watch.ledger import Ledger, Stamp, ledger_path

A, B = Path("a.jpg"), Path("sub/b.jpg")
OLD, NEW = Stamp(10, 1, 1), Stamp(12, 2, 2)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "inbox.sqlite")


def number(ledger: Ledger, path: Path) -> int:
    row = ledger.get(path)
    assert row is not None
    return row.id


def begin(ledger: Ledger, path: Path, target: str = "/out/x.jpg", stamp: Stamp = OLD) -> int:
    ledger.arrive([(path, stamp)])
    found = number(ledger, path)
    ledger.begin(found, stamp, Path(target), target.lower())
    return found


def finish(ledger: Ledger, found: int, digest: str = "aa", after: tuple[str, ...] = ()) -> None:
    ledger.done(
        found, digest, reason="", megapixels=1.0, seconds=0.5, model="fast", settings="s=1",
        after=after,
    )  # fmt: skip


def check_sums(ledger: Ledger) -> None:
    counts = ledger.counts()
    assert counts.seen == counts.done + counts.failed + counts.waiting
    assert counts.seen + counts.gone == len(ledger.rows())


def test_a_photo_on_its_way(ledger: Ledger) -> None:
    ledger.arrive([(A, OLD), (B, OLD)])
    assert [row.path for row in ledger.rows("waiting")] == [A, B]
    found = begin(ledger, A)
    assert ledger.row(found).state == "working"
    assert ledger.counts().waiting == 2
    finish(ledger, found)
    row = ledger.row(found)
    assert (row.state, row.digest, row.target) == ("done", "aa", Path("/out/x.jpg"))
    assert ledger.counts().last_hour == 1
    check_sums(ledger)


def test_new_content_is_new_work_and_the_old_stays_as_history(ledger: Ledger) -> None:
    first = begin(ledger, A)
    finish(ledger, first)
    ledger.arrive([(A, NEW)])
    second = number(ledger, A)
    assert second != first
    assert ledger.row(second).target == Path("/out/x.jpg"), "the output follows the original"
    assert not ledger.row(first).current
    finish(ledger, second, "bb")
    assert ledger.counts().done == 2
    check_sums(ledger)


def test_content_that_was_never_done_is_replaced(ledger: Ledger) -> None:
    found = begin(ledger, A)
    ledger.fail(found, "aa", "cut short", "UnreadablePhoto")
    ledger.arrive([(A, NEW)])
    row = ledger.row(found)
    assert (number(ledger, A), row.state, row.reason, row.digest) == (found, "waiting", "", None)
    assert row.stamp == NEW
    check_sums(ledger)


def test_a_name_is_free_again_once_its_original_was_moved_away(ledger: Ledger) -> None:
    found = begin(ledger, A)
    assert not ledger.claims("/out/x.jpg", A)
    assert ledger.claims("/out/x.jpg", B)
    finish(ledger, found, after=("move", "tell"))
    ledger.took_step(found, "move", Path("/archive/a.jpg"))
    assert ledger.row(found).after == {"tell"}
    assert ledger.claims("/out/x.jpg", A), "the output of a photo that was archived is kept"
    ledger.arrive([(A, NEW)])
    assert ledger.row(number(ledger, A)).target is None


def test_steps_after_survive_the_process(ledger: Ledger) -> None:
    found = begin(ledger, A)
    finish(ledger, found, after=("tell", "move"))
    ledger.close()
    again = Ledger(ledger.path)
    assert [row.id for row in again.unfinished()] == [found]
    again.took_step(found, "move")
    again.took_step(found, "tell")
    assert again.unfinished() == []


def test_what_was_in_hand_waits_again(ledger: Ledger) -> None:
    found = begin(ledger, A)
    ledger.close()
    again = Ledger(ledger.path)
    again.start_over()
    assert again.row(found).state == "waiting"


def test_retry_failed(ledger: Ledger) -> None:
    for path in (A, B):
        ledger.fail(begin(ledger, path), None, "no", "UnreadablePhoto")
    finish(ledger, begin(ledger, Path("c.jpg")))
    assert ledger.retry_failed() == 2
    assert ledger.counts().waiting == 2
    check_sums(ledger)


def test_gone_counts_apart_and_done_is_never_undone(ledger: Ledger) -> None:
    done = begin(ledger, A)
    finish(ledger, done)
    ledger.gone(done)
    ledger.wait(done)
    ledger.drop(done)
    assert ledger.row(done).state == "done"
    lost = begin(ledger, B)
    ledger.gone(lost)
    assert (ledger.counts().seen, ledger.counts().gone) == (1, 1)
    assert not ledger.claims("/out/y.jpg", A)
    check_sums(ledger)


def test_names_that_are_no_text(ledger: Ledger) -> None:
    odd = Path("sub") / "\udcff\n'; DROP TABLE photos.jpg"
    found = begin(ledger, odd)
    assert ledger.row(found).path == odd


def test_a_damaged_ledger_is_set_aside(ledger: Ledger) -> None:
    begin(ledger, A)
    ledger.close()
    ledger.path.write_bytes(b"this is no database at all " * 100)
    again = Ledger(ledger.path)
    assert "damaged" in again.warning
    assert again.counts().seen == 0
    again.arrive([(A, OLD)])
    assert again.counts().waiting == 1
    assert list(ledger.path.parent.glob("*.damaged"))


def test_no_ledger_no_watch(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(OutputError, match="ledger"):
        Ledger(tmp_path / "state" / "inbox.sqlite")


def test_a_ledger_of_another_version_is_not_touched(ledger: Ledger) -> None:
    ledger.close()
    connection = sqlite3.connect(ledger.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OutputError, match="another version"):
        Ledger(ledger.path)


def test_each_folder_has_a_ledger_by_its_real_name(tmp_path: Path, home: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "inbox")
    assert ledger_path(tmp_path / "inbox") == ledger_path(tmp_path / "link")
    assert ledger_path(tmp_path / "inbox") != ledger_path(tmp_path / "other" / "inbox")
    assert home in ledger_path(tmp_path).parents


def test_a_full_disk_under_the_ledger_is_waited_for(ledger: Ledger) -> None:
    connection = ledger._connection
    used = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {used}")
    many = [(Path(f"{'x' * 200}{number}.jpg"), OLD) for number in range(500)]
    told: list[str] = []

    def patience(reason: str) -> bool:
        told.append(reason)
        connection.execute("PRAGMA max_page_count = 100000")
        return True

    ledger.patience = patience
    ledger.arrive(many)
    assert ledger.counts().waiting == 500
    assert "full" in told[0]
    connection.execute("PRAGMA max_page_count = 1")
    ledger.patience = lambda _: False
    with pytest.raises(OutputError, match="full"):
        ledger.arrive([(Path(f"{'y' * 200}{number}.jpg"), OLD) for number in range(500)])


def test_what_was_made_of_earlier_content(ledger: Ledger) -> None:
    finish(ledger, begin(ledger, A))
    ledger.arrive([(A, NEW), (B, NEW)])
    assert ledger.may_have_made(ledger.row(number(ledger, A)))
    assert not ledger.may_have_made(ledger.row(number(ledger, B)))


def test_what_was_begun_before_a_kill_may_have_been_made(ledger: Ledger) -> None:
    found = begin(ledger, A)
    ledger.start_over()
    assert ledger.may_have_made(ledger.row(found))


@pytest.mark.parametrize("error", ["OutputExists", "UnreadablePhoto"])
@pytest.mark.parametrize("how", ["retried", "new content"])
def test_what_had_something_in_its_way_made_nothing(how: str, error: str, ledger: Ledger) -> None:
    found = begin(ledger, A)
    ledger.fail(found, None, "a reason", error)
    if how == "retried":
        ledger.retry_failed()
    else:
        ledger.arrive([(A, NEW)])
    assert ledger.row(found).target is not None
    assert ledger.may_have_made(ledger.row(found)) is (error != "OutputExists")


def test_steps_are_added_not_replaced(ledger: Ledger) -> None:
    found = begin(ledger, A)
    finish(ledger, found, after=("tell",))
    ledger.again(found, "move")
    assert ledger.row(found).after == {"move", "tell"}
