"""Job to Outcome: decode, denoise and encode overlap in threads, photos stream through.

Decoding and encoding run in small thread pools around the one thread that feeds the model, which is
the caller's own. How much is in flight is bounded in megapixels, not in files, so that memory does
not grow with their number, and a photo larger than the bound goes through alone.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from denoisetool import files, formats
from denoisetool.denoiser import Denoiser, Report
from denoisetool.errors import (
    DenoiseError,
    OutputExists,
    PhotoError,
    PhotoTooLarge,
    UnreadablePhoto,
)
from denoisetool.events import Outcome
from denoisetool.formats.base import EncodeOptions, Limits
from denoisetool.photo import Photo

IN_FLIGHT = 64.0
"""Megapixels that may be in memory at once, from decoding to the finished file."""


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to be done.

    Attributes:
        source: the photo.
        target: the file to write.
        format: name of the format to write, None for the photo's own.
        overwrite: whether an existing target may be replaced.
        megapixels: its size as far as it is known beforehand, for progress.
    """

    source: Path
    target: Path
    format: str | None = None
    overwrite: bool = False
    megapixels: float = 0.0


Progress = Callable[[Job, float], None]
"""Called with a job and the share of it that the model has done, 0..1."""


class _Budget:
    """Admits photos in order while their megapixels fit; a larger one waits to be alone."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._used = 0.0
        self._next = 0
        self._closed = False
        self._change = threading.Condition()

    def admit(self, ticket: int, megapixels: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._closed or self._fits(ticket, megapixels))
            if self._closed:
                raise _StoppedError
            self._next += 1
            self._used += megapixels
            self._change.notify_all()

    def pass_over(self, ticket: int) -> None:
        """A photo that failed before it was admitted takes its turn without any room."""
        with self._change:
            self._change.wait_for(lambda: self._closed or ticket == self._next)
            self._next += 1
            self._change.notify_all()

    def release(self, megapixels: float) -> None:
        with self._change:
            self._used -= megapixels
            self._change.notify_all()

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _fits(self, ticket: int, megapixels: float) -> bool:
        room = self._used <= 1e-9 or self._used + megapixels <= self._limit
        return ticket == self._next and room


class _StoppedError(Exception):
    """The run is over; whoever waits gives up."""


@dataclass(slots=True)
class _Item:
    """A photo on its way through."""

    job: Job
    outcome: Outcome
    photo: Photo | None = None
    report: Report | None = None
    identity: files.Identity | None = None
    admitted: float = 0.0


@dataclass(slots=True)
class Pipeline:
    """Takes jobs through decoding, denoising and encoding.

    Attributes:
        load: makes the denoiser; called once, when the first photo is there.
        limits: what is refused for its size.
        options: how results are written.
        fingerprint: stands for settings and model in the index.
        index: remembers what was made from what; None for none.
        threads: threads for decoding, and as many for encoding.
        in_flight: megapixels in memory at once.
        denoiser: what `load` made.
    """

    load: Callable[[], Denoiser]
    limits: Limits = field(default_factory=Limits)
    options: EncodeOptions = field(default_factory=EncodeOptions)
    fingerprint: str = ""
    index: files.Index | None = None
    threads: int = 2
    in_flight: float = IN_FLIGHT
    denoiser: Denoiser | None = None

    def ready(self) -> Denoiser:
        """The denoiser, made when it is first needed."""
        if self.denoiser is None:
            self.denoiser = self.load()
        return self.denoiser

    def run(
        self,
        jobs: Iterable[Job],
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Outcome]:
        """Do all jobs; outcomes come as photos are finished.

        Args:
            jobs: taken one by one, only as far ahead as memory allows.
            stop: when set, the photo in hand is finished and the rest is left.
            progress: told while the model works.

        Raises:
            ModelError, DeviceError: the model cannot be loaded at all; no photo is touched.
        """
        stop = stop or threading.Event()
        budget = _Budget(self.in_flight)
        decoders = ThreadPoolExecutor(self.threads, "decode")
        encoders = ThreadPoolExecutor(self.threads, "encode")
        feed = enumerate(jobs)
        coming: deque[Future[_Item]] = deque()
        going: deque[Future[Outcome]] = deque()
        try:
            while True:
                while len(coming) <= self.threads and not stop.is_set():
                    following = next(feed, None)
                    if following is None:
                        break
                    coming.append(decoders.submit(self._decode, *following, budget))
                if stop.is_set() or not coming:
                    break
                item = coming.popleft().result()
                self._denoise(item, progress)
                going.append(encoders.submit(self._encode, item, budget))
                del item  # the encoder alone holds the photo now
                while going and (going[0].done() or len(going) > self.threads):
                    yield going.popleft().result()
            while going:
                yield going.popleft().result()
        finally:
            budget.close()
            decoders.shutdown(wait=True, cancel_futures=True)
            encoders.shutdown(wait=True)

    def once(self, data: bytes, target_format: str | None = None) -> tuple[bytes, Report]:
        """Denoise one photo in memory.

        Args:
            data: the photo's file content.
            target_format: name of the format to write; None for the photo's own.

        Returns:
            The new file content, and what was done.
        """
        photo = formats.decode(data, self.limits)
        report = self.ready().denoise(photo)
        report.notes[:0] = photo.notes
        if not report.changed and self._same_file(photo, target_format):
            return data, report
        out = io.BytesIO()
        formats.encode(photo, target_format or photo.format, out, self.options)
        return out.getvalue(), report

    # -- stages --------------------------------------------------------------------------------

    def _decode(self, ticket: int, job: Job, budget: _Budget) -> _Item:
        item = _Item(job, Outcome(job.source, job.target, "done"))
        started = time.perf_counter()
        with _blamed(item):
            try:
                self._check_target(item)
                if item.outcome.status == "done":
                    data = self._read(item)
                    width, height = formats.size(data)
                    item.outcome.megapixels = width * height / 1e6
                    _check_size(item.outcome.megapixels, self.limits)
            finally:
                if item.outcome.megapixels and item.outcome.status == "done":
                    item.admitted = min(item.outcome.megapixels, self.limits.megapixels)
                    budget.admit(ticket, item.admitted)
                else:
                    budget.pass_over(ticket)
            if item.outcome.status == "done":
                item.photo = formats.decode(data, self.limits)
        item.outcome.seconds += time.perf_counter() - started
        return item

    def _check_target(self, item: _Item) -> None:
        """Look once more before the work: another run may have made this output meanwhile."""
        job = item.job
        if job.overwrite or not os.path.lexists(job.target):
            return
        if self.index is not None:
            verdict = self.index.lookup(job.target, job.source, self.fingerprint)
            if verdict is files.Verdict.SAME:
                item.outcome.status, item.outcome.reason = "skipped", "already done"
                return
        raise OutputExists(
            "the output is there already", path=job.target, hint="--overwrite replaces it"
        )

    def _read(self, item: _Item) -> bytes:
        path = item.job.source
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                data = file.read()
                after = os.fstat(file.fileno())
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnreadablePhoto(f"cannot be read: {reason}", path=path) from error
        if (len(data), status.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            hint = "try again when it is complete"
            raise UnreadablePhoto("the file is still being written", path=path, hint=hint)
        item.identity = files.Identity(len(data), status.st_mtime_ns, files.digest(data))
        return data

    def _denoise(self, item: _Item, progress: Progress | None) -> None:
        photo = item.photo
        if photo is None:
            return
        denoiser = self.ready()  # a model that cannot be loaded ends the run, not the photo
        started = time.perf_counter()
        with _blamed(item):
            told = None if progress is None else (lambda share: progress(item.job, share))
            item.report = denoiser.denoise(photo, told)
        item.outcome.seconds += time.perf_counter() - started

    def _encode(self, item: _Item, budget: _Budget) -> Outcome:
        outcome, report, photo = item.outcome, item.report, item.photo
        started = time.perf_counter()
        with _blamed(item):
            if report is not None and photo is not None:
                outcome.noise, outcome.changed = round(report.noise, 3), report.changed
                outcome.shift_mean = round(report.shift_mean, 4)
                outcome.shift_p95 = round(report.shift_p95, 4)
                self._write(item, photo, report)
                outcome.notes = photo.notes + report.notes
        item.photo = None
        if item.admitted:
            budget.release(item.admitted)
        outcome.seconds = round(outcome.seconds + time.perf_counter() - started, 4)
        return outcome

    def _write(self, item: _Item, photo: Photo, report: Report) -> None:
        job, identity = item.job, item.identity
        assert identity is not None
        with files.atomic_write(job.target, overwrite=job.overwrite) as out:
            if not report.changed and self._same_file(photo, job.format):
                data = job.source.read_bytes()
                if files.digest(data) != identity.digest:
                    raise UnreadablePhoto("the file changed meanwhile", path=job.source)
                out.write(data)
            else:
                formats.encode(photo, job.format or photo.format, out, self.options)
            if self.index is not None:
                size, digest = files.digest_file(out)
                self.index.intend(
                    job.target, source=job.source, identity=identity,
                    fingerprint=self.fingerprint, size=size, digest=digest,
                )  # fmt: skip
        if self.index is not None:
            self.index.confirm(job.target)

    def _same_file(self, photo: Photo, target_format: str | None) -> bool:
        """Whether an unchanged photo can be copied byte for byte."""
        same = target_format in (None, photo.format)
        return same and self.options.quality is None and not self.options.strip


def _check_size(megapixels: float, limits: Limits) -> None:
    """Refuse before any memory is set aside; `formats.decode` tells the same of what it decodes."""
    if megapixels > limits.megapixels:
        raise PhotoTooLarge(
            f"{megapixels:.1f} megapixels are more than the limit of {limits.megapixels:g}",
            hint=f"--max-megapixels {int(megapixels) + 1} allows it",
        )


class _blamed:  # noqa: N801 - reads as a phrase
    """Whatever goes wrong inside belongs to this one photo and ends up in its outcome."""

    def __init__(self, item: _Item) -> None:
        self._item = item

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if error is None:
            return False
        if not isinstance(error, Exception):
            return False
        item = self._item
        item.photo = item.report = None
        outcome = item.outcome
        outcome.status = "failed"
        if isinstance(error, _StoppedError):
            outcome.reason, outcome.error = "stopped", "Stopped"
        elif isinstance(error, MemoryError):
            outcome.reason, outcome.error = "not enough memory for this photo", "OutOfMemory"
        elif isinstance(error, DenoiseError):
            where = f" [{error.path}]" if error.path not in (None, outcome.source) else ""
            hint = f" ({error.hint})" if error.hint else ""
            outcome.reason, outcome.error = error.what + where + hint, error.kind
        elif isinstance(error, FileNotFoundError):
            outcome.reason, outcome.error = "the file is gone", "UnreadablePhoto"
        else:
            outcome.reason = f"unexpected {type(error).__name__}: {error}"
            outcome.error = PhotoError.__name__
        return True
