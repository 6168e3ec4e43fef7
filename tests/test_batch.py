from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from denoisetool import files, formats
from denoisetool.batch import Batch, Tally, format_for, prepare, preview, run
from denoisetool.errors import DiskFull, NoInputError, OutputError, UnreadablePhoto, UsageError
from denoisetool.events import Outcome, Summary
from denoisetool.pipeline import Job, Pipeline
from tests.e2e import pictures
from tests.e2e.fakes import GatedEngine, NaNEngine, SmoothingEngine, loads

FINGERPRINT = "model and settings"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[files.Index]:
    with files.Index.open(tmp_path / "state") as found:
        yield found


def planned(
    inputs: Path | list[Path], output: Path | str | None, index: files.Index, **options: Any
) -> Batch:
    places = inputs if isinstance(inputs, list) else [inputs]
    options = {"fingerprint": FINGERPRINT, **options}
    return prepare(places, None if output is None else str(output), index=index, **options)


def finished(batch: Batch, index: files.Index, **options: Any) -> tuple[list[Outcome], Summary]:
    pipeline = Pipeline(
        **{"load": loads(SmoothingEngine()), "fingerprint": FINGERPRINT, "index": index, **options}
    )
    events = list(run(batch, pipeline, threading.Event()))
    outcomes = [event for event in events if isinstance(event, Outcome)]
    summary = events[-1]
    assert isinstance(summary, Summary)
    assert len(outcomes) + 1 == len(events)
    return outcomes, summary


def test_plans_the_tree_and_its_sizes(photos: Path, tmp_path: Path, index: files.Index) -> None:
    batch = planned(photos, tmp_path / "out", index)
    targets = [str(job.target.relative_to(tmp_path / "out")) for job in batch.jobs]
    assert targets == ["a.jpg", "b.png", "sub/c.jpg"]
    assert [job.megapixels for job in batch.jobs] == [48 * 64 / 1e6] * 3
    assert batch.megapixels == pytest.approx(3 * 48 * 64 / 1e6)
    assert [s.path.name for s in batch.ignored] == ["notes.txt"]
    assert batch.photos == 3
    assert not (tmp_path / "out").exists()


def test_a_size_that_the_first_bytes_do_not_tell_is_guessed(
    tmp_path: Path, index: files.Index
) -> None:
    source = tmp_path / "cut.jpg"
    source.write_bytes(pictures.jpeg()[:60])
    (job,) = planned(source, tmp_path / "out.jpg", index).jobs
    assert job.megapixels == pytest.approx(60 / 0.6e6)


def test_a_second_run_skips_what_is_done(photos: Path, tmp_path: Path, index: files.Index) -> None:
    out = tmp_path / "out"
    outcomes, summary = finished(planned(photos, out, index), index)
    assert [o.status for o in outcomes] == ["done"] * 3
    assert (summary.done, summary.exit_code, summary.interrupted) == (3, 0, False)
    for options in ({}, {"overwrite": True}, {"skip_existing": True}):
        again = planned(photos, out, index, **options)
        assert not again.jobs
        assert [o.reason for o in again.skipped] == ["already done"] * 3


def test_other_settings_need_a_word(photos: Path, tmp_path: Path, index: files.Index) -> None:
    out = tmp_path / "out"
    finished(planned(photos, out, index), index)
    other = {"fingerprint": "other"}
    refused = planned(photos, out, index, **other)
    assert not refused.jobs
    assert {o.error for o in refused.failed} == {"OutputExists"}
    assert all("made with other settings" in o.reason for o in refused.failed)
    assert all("--overwrite" in o.reason for o in refused.failed)
    assert len(planned(photos, out, index, skip_existing=True, **other).skipped) == 3
    batch = planned(photos, out, index, overwrite=True, **other)
    _, summary = finished(batch, index, fingerprint="other")
    assert summary.done == 3
    assert len(planned(photos, out, index, **other).skipped) == 3


@pytest.mark.parametrize("named", [False, True])
def test_an_input_that_cannot_be_read_is_not_replaced(
    named: bool, tmp_path: Path, index: files.Index
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(pictures.png())
    animation = folder / ("a_clean.jpg" if named else "a.jpg")
    animation.write_bytes(b"GIF89a" + bytes(20))
    inputs = [folder / "a.png", animation] if named else [folder]
    output = None if named else folder
    batch = planned(inputs, output, index, format="jpeg", overwrite=True)
    assert not batch.jobs
    assert "would replace an input" in " ".join(outcome.reason for outcome in batch.failed)
    left = planned(inputs, output, index, format="jpeg", overwrite=True, without={animation})
    assert not left.jobs


def test_a_changed_photo_is_noticed(photos: Path, tmp_path: Path, index: files.Index) -> None:
    out = tmp_path / "out"
    finished(planned(photos, out, index), index)
    (photos / "a.jpg").write_bytes(pictures.jpeg(seed=77))
    batch = planned(photos, out, index)
    assert [o.source.name for o in batch.failed] == ["a.jpg"]
    assert "earlier version of the photo" in batch.failed[0].reason


def test_a_foreign_output_is_never_touched(
    photos: Path, tmp_path: Path, index: files.Index
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"somebody's")
    batch = planned(photos, out, index)
    outcomes, summary = finished(batch, index)
    assert (summary.done, summary.failed, summary.exit_code) == (2, 1, 1)
    assert "not made from this photo" in outcomes[0].reason
    assert (out / "a.jpg").read_bytes() == b"somebody's"
    assert len(planned(photos, out, index, skip_existing=True).skipped) == 3
    finished(planned(photos, out, index, overwrite=True), index)
    pictures.upright(out / "a.jpg")


def test_an_index_that_is_gone_or_damaged_makes_outputs_foreign(
    photos: Path, tmp_path: Path, index: files.Index
) -> None:
    out = tmp_path / "out"
    finished(planned(photos, out, index), index)
    with files.Index.open(tmp_path / "new state") as fresh:
        assert {o.error for o in planned(photos, out, fresh).failed} == {"OutputExists"}
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "outputs.sqlite").write_bytes(b"this is no database at all" * 99)
    with files.Index.open(broken) as damaged:
        batch = planned(photos, out, damaged)
        assert "damaged" in damaged.warning
        assert len(batch.failed) == 3
        finished(planned(photos, out, damaged, overwrite=True), damaged)
        assert len(planned(photos, out, damaged).skipped) == 3


def test_own_outputs_beside_the_photos_are_no_input(tmp_path: Path, index: files.Index) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(pictures.jpeg())
    finished(planned(source, None, index), index)
    assert (tmp_path / "a_clean.jpg").exists()
    both = sorted(tmp_path.glob("*.jpg"))
    batch = planned(both, None, index)
    assert not batch.jobs
    assert [s.reason for s in batch.ignored] == ["our own output"]


def test_the_ending_of_an_output_file_decides_its_format(
    tmp_path: Path, index: files.Index
) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(pictures.png())
    for ending, kind in (("jpg", "jpeg"), ("TIF", "tiff"), ("webp", "webp"), ("png", "png")):
        target = tmp_path / f"result.{ending}"
        _, summary = finished(planned(source, target, index), index)
        assert summary.done == 1
        found = formats.sniff(target.read_bytes()[:512])
        assert found is not None
        assert found.name == kind
    assert format_for(Path("a.jpg"), "png") == "png"
    assert format_for(Path("a.odd"), "keep") is None
    assert format_for(None, "keep") is None


def test_nothing_to_read_is_told_with_what_was_seen(
    photos: Path, tmp_path: Path, index: files.Index
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NoInputError, match="no photo found in"):
        planned(empty, None, index).require_photos([empty])
    (empty / "a.txt").write_text("text")
    with pytest.raises(NoInputError) as caught:
        planned(empty, None, index).require_photos([empty])
    assert "passed over: 1" in caught.value.hint
    planned(photos, None, index).require_photos([photos])


def test_collisions_are_told(tmp_path: Path, index: files.Index) -> None:
    for name, data in (("a.jpg", pictures.jpeg()), ("a.png", pictures.png())):
        (tmp_path / name).write_bytes(data)
    inputs = [tmp_path / "a.jpg", tmp_path / "a.png"]
    batch = planned(inputs, tmp_path / "out", index, format="webp")
    assert sorted(job.target.name for job in batch.jobs) == ["a.png.webp", "a.webp"]
    (note,) = batch.notes
    assert "a.webp is the output of another photo" in note
    _, summary = finished(batch, index)
    assert summary.done == 2


@pytest.mark.parametrize("options", [{"name": "{nope}"}, {"name": "same"}])
def test_impossible_names_are_refused(
    options: dict[str, str], photos: Path, tmp_path: Path, index: files.Index
) -> None:
    with pytest.raises(UsageError):
        planned(photos, tmp_path / "out", index, **options)


def test_several_photos_do_not_fit_into_one_file(photos: Path, index: files.Index) -> None:
    with pytest.raises(UsageError, match="cannot go into one file"):
        planned(photos, "out.jpg", index)


def test_preview_says_what_would_happen(photos: Path, tmp_path: Path, index: files.Index) -> None:
    out = tmp_path / "out"
    out.mkdir()
    finished(planned(photos / "a.jpg", out, index), index)
    (out / "b.png").write_bytes(b"somebody's")
    actions = [(p.source.name, p.action) for p in preview(planned(photos, out, index))]
    assert actions == [("c.jpg", "denoise"), ("a.jpg", "skip"), ("b.png", "refuse")]


def test_leftovers_of_killed_runs_are_removed(
    photos: Path, tmp_path: Path, index: files.Index
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    from denoisetool.files import atomic

    dead = out / f".denoisetool-{atomic._host()}-4194999-0123456789abcdef.part"
    dead.write_bytes(b"half")
    finished(planned(photos, out, index), index)
    assert not dead.exists()


def test_interruption_is_told_with_what_is_left(
    photos: Path, tmp_path: Path, index: files.Index
) -> None:
    batch = planned(photos, tmp_path / "out", index)
    stop = threading.Event()
    pipeline = Pipeline(loads(GatedEngine(stop.set)), index=index)
    *outcomes, summary = run(batch, pipeline, stop)
    assert isinstance(summary, Summary)
    assert len(outcomes) == 1
    assert (summary.done, summary.left, summary.interrupted) == (1, 2, True)


def test_a_full_disk_ends_the_batch(
    photos: Path, tmp_path: Path, index: files.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull("the disk is full")

    monkeypatch.setattr(formats, "encode", full)
    for number in range(20):
        (photos / f"more{number}.png").write_bytes(pictures.png(seed=number))
    batch = planned(photos, tmp_path / "out", index)
    outcomes, summary = finished(batch, index)
    assert {o.error for o in outcomes} == {"DiskFull"}
    assert len(outcomes) < 23
    assert summary.left == 23 - len(outcomes)
    assert (summary.exit_code, summary.interrupted) == (6, False)


def outcome(status: Any, error: str | None = None) -> Outcome:
    return Outcome(Path("a"), Path("b"), status, error=error)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 0),
        ([outcome("done")], 0),
        ([outcome("skipped")], 0),
        ([outcome("done"), outcome("failed", "UnreadablePhoto")], 1),
        ([outcome("skipped"), outcome("failed", "UnreadablePhoto")], 1),
        ([outcome("failed", "UnreadablePhoto"), outcome("failed", "PhotoTooLarge")], 3),
        ([outcome("failed", "UnreadablePhoto"), outcome("failed", "OutputExists")], 1),
        ([outcome("failed", "ImplausibleResult")], 1),
        ([outcome("failed", "UnexpectedError")], 1),
        ([outcome("done"), outcome("failed", "OutputError")], 6),
        ([outcome("failed", "UnreadablePhoto"), outcome("failed", "DiskFull")], 6),
    ],
)
def test_exit_codes(outcomes: list[Outcome], code: int) -> None:
    batch = Batch(jobs=[Job(Path("a"), Path("b"))] * len(outcomes))
    tally = Tally(batch)
    for each in outcomes:
        tally.count(each)
    assert tally.summary().exit_code == code


def test_nothing_readable_exits_3_also_when_only_decoding_tells(
    tmp_path: Path, index: files.Index
) -> None:
    source = tmp_path / "cut.jpg"
    source.write_bytes(pictures.jpeg()[:400])
    _, summary = finished(planned(source, tmp_path / "out.jpg", index), index)
    assert summary.exit_code == 3


def test_a_model_of_nonsense_exits_1(photos: Path, tmp_path: Path, index: files.Index) -> None:
    batch = planned(photos, tmp_path / "out", index)
    outcomes, summary = finished(batch, index, load=loads(NaNEngine()))
    assert {o.error for o in outcomes} == {"ImplausibleResult"}
    assert summary.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_a_failure_names_no_path_twice() -> None:
    source, target = Path("in.jpg"), Path("out.jpg")
    told = Outcome(source, target, "done")
    told.fail(UnreadablePhoto("damaged", path=source, hint="get it again"))
    assert (told.status, told.reason) == ("failed", "damaged (get it again)")
    told.fail(OutputError("in the way", path=Path("elsewhere")))
    assert told.reason == "in the way [elsewhere]"
