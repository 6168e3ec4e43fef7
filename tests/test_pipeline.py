from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoisetool import files, formats, noise
from denoisetool.denoiser import Denoiser
from denoisetool.errors import DeviceError, ModelError, UnreadablePhoto
from denoisetool.events import Outcome
from denoisetool.formats.base import EncodeOptions, Limits
from denoisetool.photo import Photo
from denoisetool.pipeline import Job, Pipeline
from tests.e2e import pictures
from tests.e2e.fakes import (
    BrokenEngine,
    GatedEngine,
    IdentityEngine,
    NaNEngine,
    OutOfMemoryEngine,
    SmoothingEngine,
    loads,
)

WAIT = 20.0


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Whatever a test does, no thread of the pipeline outlives it."""
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("decode", "encode"))]


def jobs_in(folder: Path, count: int, **options: Any) -> list[Job]:
    """Different small PNGs, and where they go."""
    folder.mkdir(exist_ok=True)
    jobs = []
    for number in range(count):
        source = folder / f"{number:03}.png"
        source.write_bytes(pictures.png(seed=number))
        jobs.append(Job(source, folder / "out" / source.name, **options))
    return jobs


def test_photos_come_out_in_order_and_changed(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 7)
    outcomes = list(Pipeline(loads(SmoothingEngine())).run(jobs))
    assert [o.source for o in outcomes] == [job.source for job in jobs]
    for outcome in outcomes:
        assert (outcome.status, outcome.error, outcome.reason) == ("done", None, "")
        assert outcome.changed
        assert outcome.noise is not None
        assert outcome.noise > 1
        assert outcome.target is not None
        before, after = pictures.upright(outcome.source), pictures.upright(outcome.target)
        assert before.shape == after.shape
        assert not np.array_equal(before, after)


def test_decoding_denoising_and_encoding_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the model holds photo 1, photo 0 is being encoded and photo 2 decoded.

    No clock: all three wait at one barrier, which only opens if all three are there.
    """
    barrier = threading.Barrier(3, timeout=WAIT)
    decode, encode = formats.decode, formats.encode
    seen: dict[str, int] = {"decode": 0, "encode": 0, "noise": 0}
    lock = threading.Lock()

    def meets(stage: str, which: int) -> None:
        with lock:
            number = seen[stage]
            seen[stage] += 1
        if number == which:
            barrier.wait()

    def meeting_decode(data: bytes, limits: Limits | None = None) -> Photo:
        meets("decode", 2)
        return decode(data, limits)

    def meeting_encode(photo: Photo, *rest: Any) -> None:
        meets("encode", 0)
        encode(photo, *rest)

    monkeypatch.setattr(formats, "decode", meeting_decode)
    monkeypatch.setattr(formats, "encode", meeting_encode)
    engine = GatedEngine(lambda: meets("noise", 1))
    outcomes = list(Pipeline(loads(engine), threads=1).run(jobs_in(tmp_path, 4)))
    assert [o.status for o in outcomes] == ["done"] * 4
    assert not barrier.broken


def test_noise_is_taken_out_beside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From photo 0 while the model has photo 1; from the last one by the model's own thread.

    No clock: they wait for each other.
    """
    meeting = threading.Barrier(2, timeout=WAIT)
    threads: list[threading.Thread] = []
    photos = iter(range(2))
    subtract, submit = noise.subtract, ThreadPoolExecutor.submit
    decoded: list[Future[Any]] = []

    def remember(pool: ThreadPoolExecutor, work: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = submit(pool, work, *args)
        if work.__name__ == "_decode":
            decoded.append(future)
        return future

    def take_out(*args: Any, **options: Any) -> bool:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            meeting.wait()
        return subtract(*args, **options)

    def gate() -> None:
        if next(photos) == 0:
            wait(decoded, WAIT)  # else nobody waits for the model
        else:
            meeting.wait()

    monkeypatch.setattr(ThreadPoolExecutor, "submit", remember)
    monkeypatch.setattr(noise, "subtract", take_out)
    outcomes = list(Pipeline(loads(GatedEngine(gate))).run(jobs_in(tmp_path, 2)))
    assert [o.status for o in outcomes] == ["done"] * 2
    assert threads[0].name.startswith("encode")
    assert threads[1] is threading.current_thread()


class Meter:
    """Counts the megapixels of photos alive, by watching them come and go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0.0
        self.count = self.most_count = 0
        self.together: list[float] = []
        self.lock = threading.Lock()
        decode = formats.decode

        def watched(data: bytes, limits: Limits | None = None) -> Photo:
            photo = decode(data, limits)
            size = photo.megapixels
            with self.lock:
                self.now += size
                self.count += 1
                self.most = max(self.most, self.now)
                self.most_count = max(self.most_count, self.count)
            weakref.finalize(photo.pixels, self.gone, size)
            return photo

        monkeypatch.setattr(formats, "decode", watched)

    def gone(self, size: float) -> None:
        with self.lock:
            self.now -= size
            self.count -= 1


def test_megapixels_in_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(monkeypatch)
    jobs = jobs_in(tmp_path, 24)
    one = 48 * 64 / 1e6
    pipeline = Pipeline(loads(SmoothingEngine()), threads=3, in_flight=2.5 * one)
    assert [o.status for o in pipeline.run(jobs)] == ["done"] * 24
    assert meter.most <= 2.5 * one
    assert meter.most_count == 2


def test_a_photo_over_the_bound_goes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(monkeypatch)
    jobs = jobs_in(tmp_path, 9)
    jobs[4].source.write_bytes(pictures.png(400, 300))
    pipeline = Pipeline(loads(SmoothingEngine()), threads=3, in_flight=0.02)
    assert [o.status for o in pipeline.run(jobs)] == ["done"] * 9
    assert meter.most == pytest.approx(0.12)  # the large one, and nothing beside it


def test_memory_does_not_grow_with_the_number_of_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Meter(monkeypatch)
    most = []
    for count in (8, 40):
        meter.most_count = 0
        taken = 0
        jobs = jobs_in(tmp_path / str(count), count)

        def feed(jobs: list[Job] = jobs) -> Iterator[Job]:
            nonlocal taken
            for job in jobs:
                taken += 1
                yield job

        pipeline = Pipeline(loads(SmoothingEngine()), threads=2)
        for number, outcome in enumerate(pipeline.run(feed()), 1):
            assert outcome.status == "done"
            assert taken - number <= 8  # jobs are taken as they are needed
        most.append(meter.most_count)
    gc.collect()
    assert meter.count == 0
    assert max(most) <= 8


def test_what_waits_for_room_is_not_read_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the header, that is: large files must not pile up before the model."""
    jobs = jobs_in(tmp_path, 6)
    held: list[int] = []
    digest = files.digest

    def noted(data: bytes) -> bytes:
        held.append(len(data))
        return digest(data)

    monkeypatch.setattr(files, "digest", noted)
    first = threading.Event()

    def gate() -> None:
        if not first.is_set():
            time.sleep(0.2)  # the others have time to be read, if they are
            first.set()
            assert len(held) == 1

    one = 48 * 64 / 1e6
    pipeline = Pipeline(loads(GatedEngine(gate)), threads=3, in_flight=one)
    assert [o.status for o in pipeline.run(jobs)] == ["done"] * 6


class _OddError(Exception):
    pass


ERRORS: list[Callable[[], BaseException]] = [
    lambda: ValueError("odd"),
    lambda: MemoryError(),
    lambda: OSError(5, "Input/output error"),
    lambda: UnreadablePhoto("damaged"),
    lambda: _OddError("very odd\nindeed"),
    lambda: RecursionError("deep"),
    lambda: KeyError("key"),
    lambda: AssertionError(),
]


@pytest.mark.parametrize("stage", ["decode", "denoise", "take out", "encode", "intend"])
@pytest.mark.parametrize("make", ERRORS)
def test_any_exception_costs_one_photo_only(
    stage: str,
    make: Callable[[], BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = jobs_in(tmp_path, 5)
    unlucky = jobs[2].source
    engine = SmoothingEngine()
    if stage == "denoise":
        estimate, calls = engine.noise, [0]

        def failing_noise(tiles: list[Any], kind: str | None = None) -> list[Any]:
            calls[0] += 1
            if calls[0] == 3:
                raise make()
            return estimate(tiles, kind)

        monkeypatch.setattr(engine, "noise", failing_noise)
    elif stage == "take out":
        before, subtract = pictures.upright(unlucky), noise.subtract

        def failing_subtract(pixels: Any, *rest: Any, **options: Any) -> bool:
            if np.array_equal(pixels, before):
                raise make()
            return subtract(pixels, *rest, **options)

        monkeypatch.setattr(noise, "subtract", failing_subtract)
    elif stage == "decode":
        data, decode = unlucky.read_bytes(), formats.decode

        def failing_decode(given: bytes, limits: Limits | None = None) -> Photo:
            if given == data:
                raise make()
            return decode(given, limits)

        monkeypatch.setattr(formats, "decode", failing_decode)
    elif stage == "encode":
        encode = formats.encode

        def failing_encode(photo: Photo, name: str, out: Any, options: EncodeOptions) -> None:
            out.write(b"half of it")
            if next(counter) == 2:
                raise make()
            encode(photo, name, out, options)

        counter = iter(range(99))
        monkeypatch.setattr(formats, "encode", failing_encode)
    pipeline = Pipeline(loads(engine), threads=1)
    with files.Index.open(tmp_path / "state") as index:
        if stage == "intend":
            intend = index.intend

            def failing_intend(target: Path, **rest: Any) -> None:
                if target.name == unlucky.name:
                    raise make()
                intend(target, **rest)

            monkeypatch.setattr(index, "intend", failing_intend)
        pipeline.index = index
        outcomes = list(pipeline.run(jobs))
    assert len(outcomes) == 5
    failed = [o for o in outcomes if o.status == "failed"]
    if stage == "denoise" and isinstance(make(), MemoryError):
        assert not failed or failed[0].error == "ImplausibleResult"  # smaller tiles were tried
    else:
        assert len(failed) == 1
    for outcome in failed:
        assert outcome.reason
        assert "\n" not in outcome.reason
        assert outcome.target is not None
        assert not outcome.target.exists()
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {o.source.name for o in outcomes if o.status == "done"}


def test_an_unexpected_error_says_where_and_what_to_do(tmp_path: Path) -> None:
    (outcome,) = Pipeline(loads(BrokenEngine(ZeroDivisionError("by zero")))).run(
        jobs_in(tmp_path, 1)
    )
    assert outcome.error == "UnexpectedError"
    assert "ZeroDivisionError" in outcome.reason
    assert "fakes.py:" in outcome.reason
    assert "report it" in outcome.reason


@pytest.mark.parametrize("error", [ModelError("gone"), DeviceError("no such device")])
def test_a_model_that_cannot_be_loaded_ends_the_run(error: Exception, tmp_path: Path) -> None:
    def load() -> Denoiser:
        raise error

    with pytest.raises(type(error)):
        list(Pipeline(load).run(jobs_in(tmp_path, 5)))
    assert not (tmp_path / "out").exists()


def test_the_model_is_not_loaded_for_nothing(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 3)
    for job in jobs:
        job.source.write_bytes(b"no picture")

    def load() -> Denoiser:
        raise AssertionError

    outcomes = list(Pipeline(load).run(jobs))
    assert [o.error for o in outcomes] == ["UnreadablePhoto"] * 3
    assert list(Pipeline(load).run([])) == []


def test_the_model_is_loaded_while_the_first_photo_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, loading = formats.decode, threading.Event()

    def waiting_decode(data: bytes, limits: Limits | None = None) -> Photo:
        assert loading.wait(WAIT)
        return decode(data, limits)

    def load() -> Denoiser:
        loading.set()
        return loads(SmoothingEngine())()

    monkeypatch.setattr(formats, "decode", waiting_decode)
    assert [o.status for o in Pipeline(load).run(jobs_in(tmp_path, 2))] == ["done"] * 2


def test_stop_finishes_the_photo_in_hand(tmp_path: Path) -> None:
    stop = threading.Event()
    calls = [0]

    def gate() -> None:
        calls[0] += 1
        if calls[0] == 2:
            stop.set()

    jobs = jobs_in(tmp_path, 8)
    outcomes = list(Pipeline(loads(GatedEngine(gate))).run(jobs, stop))
    assert [(o.source.name, o.status) for o in outcomes] == [
        ("000.png", "done"), ("001.png", "done"),
    ]  # fmt: skip
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_stop_before_the_start_does_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert (
        list(Pipeline(loads(BrokenEngine(AssertionError()))).run(jobs_in(tmp_path, 3), stop)) == []
    )
    assert not (tmp_path / "out").exists()


def test_closing_early_leaves_no_threads_and_no_halves(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 12)
    running = Pipeline(loads(SmoothingEngine()), threads=3).run(jobs)
    next(running)
    running.close()
    for path in (tmp_path / "out").iterdir():
        pictures.upright(path)


def test_an_interrupt_in_the_model_leaves_no_halves(tmp_path: Path) -> None:
    engine = BrokenEngine(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(Pipeline(loads(engine)).run(jobs_in(tmp_path, 6)))
    assert not (tmp_path / "out").exists()


def test_nonsense_from_the_model_fails_the_photo(tmp_path: Path) -> None:
    outcomes = list(Pipeline(loads(NaNEngine())).run(jobs_in(tmp_path, 2)))
    assert [o.error for o in outcomes] == ["ImplausibleResult"] * 2
    assert not (tmp_path / "out").exists()


def test_too_little_memory_is_told_and_survived(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 1)
    jobs[0].source.write_bytes(pictures.png(700, 650))
    (outcome,) = Pipeline(loads(OutOfMemoryEngine(512))).run(jobs)
    assert outcome.status == "done"
    assert any("memory ran out" in note for note in outcome.notes)


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    jobs = jobs_in(tmp_path, 3)
    list(
        Pipeline(loads(SmoothingEngine())).run(
            jobs, None, lambda j, s: told.append((j.source.name, s))
        )
    )
    assert [name for name, share in told if share == 1.0] == ["000.png", "001.png", "002.png"]
    assert [name for name, share in told if share == 0] == ["000.png", "001.png", "002.png"]
    assert all(0 <= share <= 1 for _, share in told)


# -- targets -------------------------------------------------------------------------------------


def only(pipeline: Pipeline, job: Job) -> Outcome:
    (outcome,) = pipeline.run([job])
    return outcome


def test_what_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    job.target.parent.mkdir()
    job.target.write_bytes(b"somebody's")
    outcome = only(Pipeline(loads(SmoothingEngine())), job)
    assert outcome.error == "OutputExists"
    assert "--overwrite" in outcome.reason
    assert job.target.read_bytes() == b"somebody's"


def test_what_appeared_during_the_work_is_not_replaced(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)

    def appear() -> None:
        job.target.parent.mkdir()
        job.target.write_bytes(b"somebody's")

    outcome = only(Pipeline(loads(GatedEngine(appear))), job)
    assert outcome.error == "OutputExists"
    assert job.target.read_bytes() == b"somebody's"
    assert [p.name for p in job.target.parent.iterdir()] == [job.target.name]


@pytest.mark.parametrize("when", ["before", "during"])
def test_what_appeared_is_skipped_where_that_was_asked_for(when: str, tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1, skip_existing=True)

    def appear() -> None:
        job.target.parent.mkdir()
        job.target.write_bytes(b"somebody's")

    if when == "before":
        appear()
    outcome = only(Pipeline(loads(GatedEngine(appear))), job)
    assert (outcome.status, outcome.reason) == ("skipped", "the output exists")
    assert job.target.read_bytes() == b"somebody's"


def test_overwrite_replaces(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1, overwrite=True)
    job.target.parent.mkdir()
    job.target.write_bytes(b"somebody's")
    assert only(Pipeline(loads(SmoothingEngine())), job).status == "done"
    pictures.upright(job.target)


@pytest.mark.parametrize("when", ["before", "during"])
def test_what_another_run_made_meanwhile_counts_as_done(when: str, tmp_path: Path) -> None:
    """The same photo, settings and model: two runs at once do not fail each other's photos."""
    (job,) = jobs_in(tmp_path, 1)
    state = tmp_path / "state"

    def other_run() -> None:
        with files.Index.open(state) as other:
            pipeline = Pipeline(loads(SmoothingEngine()), fingerprint="f", index=other)
            assert only(pipeline, job).status == "done"

    if when == "before":
        other_run()
    gate = other_run if when == "during" else lambda: None
    with files.Index.open(state) as index:
        pipeline = Pipeline(loads(GatedEngine(gate)), fingerprint="f", index=index)
        outcome = only(pipeline, job)
    assert (outcome.status, outcome.reason) == ("skipped", "already done, by another run")
    pictures.upright(job.target)


def test_the_index_knows_what_was_made(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    with files.Index.open(tmp_path / "state") as index:
        pipeline = Pipeline(loads(SmoothingEngine()), fingerprint="one", index=index)
        assert only(pipeline, job).status == "done"
        assert index.lookup(job.target, job.source, "one") is files.Verdict.SAME
        assert index.lookup(job.target, job.source, "two") is files.Verdict.DIFFERENT
        job.source.write_bytes(pictures.png(seed=99))
        assert index.lookup(job.target, job.source, "one") is files.Verdict.DIFFERENT
        job.target.write_bytes(b"edited")
        assert index.lookup(job.target, job.source, "one") is files.Verdict.FOREIGN


def test_an_output_that_cannot_be_written_costs_its_photo(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 3)
    jobs[1].target.mkdir(parents=True)
    outcomes = list(Pipeline(loads(SmoothingEngine())).run(
        [Job(j.source, j.target, overwrite=True) for j in jobs]
    ))  # fmt: skip
    assert [o.error for o in outcomes] == [None, "OutputError", None]
    assert "folder of that name" in outcomes[1].reason


# -- sources -------------------------------------------------------------------------------------


def test_a_source_that_is_gone_costs_its_photo(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 3)
    jobs[1].source.unlink()
    outcomes = list(Pipeline(loads(SmoothingEngine())).run(jobs))
    assert [o.status for o in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].reason == "the file is gone; it was there when the run began"


def test_a_pipe_or_folder_in_the_place_of_a_source_does_not_block(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 2)
    for job, make in zip(jobs, (os.mkfifo, os.mkdir), strict=True):
        job.source.unlink()
        make(job.source)
    outcomes = list(Pipeline(loads(SmoothingEngine())).run(jobs))
    assert [o.error for o in outcomes] == ["UnreadablePhoto"] * 2


def test_a_source_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = jobs_in(tmp_path, 1)
    sized = formats.size

    def grow(data: bytes) -> tuple[int, int]:
        with job.source.open("ab") as file:
            file.write(b"more")
        os.utime(job.source, ns=(1, 1))
        return sized(data)

    monkeypatch.setattr(formats, "size", grow)
    outcome = only(Pipeline(loads(SmoothingEngine())), job)
    assert outcome.error == "UnreadablePhoto"
    assert "still being written" in outcome.reason


def test_a_header_that_is_not_at_the_start_still_tells_the_size(tmp_path: Path) -> None:
    import tifffile

    source = tmp_path / "late.tif"
    pixels = pictures.noisy(300, 400)
    data = bytearray()
    tifffile.imwrite(source, pixels, photometric="rgb", metadata=None)
    data += source.read_bytes()
    offset = int.from_bytes(data[4:8], "little")
    moved = _with_directory_at_end(bytes(data), offset)
    source.write_bytes(moved)
    outcome = only(
        Pipeline(loads(SmoothingEngine()), in_flight=0.01), Job(source, tmp_path / "out.tif")
    )
    assert outcome.status == "done", outcome.reason
    assert outcome.megapixels == pytest.approx(0.12)


def _with_directory_at_end(data: bytes, offset: int) -> bytes:
    """The same TIFF, whose directory comes after the pixels, as many programs write it."""
    count = int.from_bytes(data[offset : offset + 2], "little")
    directory = data[offset : offset + 2 + 12 * count + 4]
    padded = data + b"\0" * (len(data) % 2)
    return padded[:4] + len(padded).to_bytes(4, "little") + padded[8:] + directory


def test_too_large_is_refused_from_the_header(tmp_path: Path) -> None:
    source = tmp_path / "bomb.png"
    source.write_bytes(pictures.bomb())
    outcome = only(Pipeline(loads(IdentityEngine())), Job(source, tmp_path / "out.png"))
    assert outcome.error == "PhotoTooLarge"
    assert "--max-megapixels 3600" in outcome.reason


# -- strength 0 ----------------------------------------------------------------------------------


def every_kind(folder: Path) -> list[Path]:
    """A file of every format, depth and mode that is kept."""
    folder.mkdir()
    rgb = Image.fromarray(pictures.noisy())
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(pictures.noisy(seed=3)[:, :, 0]))
    contents = {
        "rgb.jpg": pictures.jpeg(), "grey.jpg": pictures.saved(rgb.convert("L"), "JPEG"),
        "rgb.png": pictures.png(), "deep.png": pictures.png16(),
        "alpha.png": pictures.saved(rgba, "PNG"),
        "grey.png": pictures.saved(rgb.convert("L"), "PNG"),
        "palette.png": pictures.saved(rgb.quantize(64), "PNG"),
        "rgb.webp": pictures.saved(rgb, "WEBP", quality=90),
        "lossless.webp": pictures.saved(rgba, "WEBP", lossless=True),
        "rgb.avif": pictures.saved(rgb, "AVIF"), "rgb.bmp": pictures.saved(rgb, "BMP"),
    }  # fmt: skip
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    pictures.tiff(folder / "rgb.tif", pictures.noisy())
    pictures.tiff(folder / "deep.tif", pictures.noisy().astype(np.uint16) * 257)
    pictures.tiff(folder / "float.tif", (pictures.noisy() / 255).astype(np.float32))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("how", ["strength 0", "nothing found"])
def test_an_unchanged_photo_is_copied_byte_for_byte(how: str, tmp_path: Path) -> None:
    engine = BrokenEngine(AssertionError()) if how == "strength 0" else IdentityEngine()
    load = loads(engine, strength=0 if how == "strength 0" else 1)
    paths = every_kind(tmp_path / "in")
    jobs = [Job(path, tmp_path / "out" / path.name) for path in paths]
    for outcome in Pipeline(load).run(jobs):
        assert outcome.status == "done", (outcome.source, outcome.reason)
        assert not outcome.changed
        assert outcome.target is not None
        assert outcome.target.read_bytes() == outcome.source.read_bytes()
        assert outcome.notes == []
        data, photo, report = Pipeline(load).once(outcome.source.read_bytes())
        assert data == outcome.source.read_bytes()
        assert photo.notes + report.notes == []
        assert not report.changed


def test_an_unchanged_photo_is_written_anew_where_that_was_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(pictures.jpeg(comment=b"mine"))
    for number, options in enumerate((EncodeOptions(strip=True), EncodeOptions(quality=40))):
        target = tmp_path / f"{number}.jpg"
        outcome = only(Pipeline(loads(IdentityEngine()), options=options), Job(source, target))
        assert outcome.status == "done"
        assert target.stat().st_size < source.stat().st_size
    outcome = only(Pipeline(loads(IdentityEngine())), Job(source, tmp_path / "b.png", "png"))
    assert outcome.status == "done"
    assert np.array_equal(pictures.upright(tmp_path / "b.png"), pictures.upright(source))


def test_a_source_that_changed_before_it_was_copied_is_not_copied(
    tmp_path: Path,
) -> None:
    (job,) = jobs_in(tmp_path, 1)

    class Changes(IdentityEngine):
        def noise(self, tiles: list[Any], kind: str | None = None) -> list[Any]:
            job.source.write_bytes(pictures.png(seed=50))
            return super().noise(tiles, kind)

    outcome = only(Pipeline(loads(Changes())), job)
    assert outcome.error == "UnreadablePhoto"
    assert "changed meanwhile" in outcome.reason
    assert not job.target.exists()
