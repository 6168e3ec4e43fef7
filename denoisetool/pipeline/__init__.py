"""Job to Outcome: decode, denoise and encode overlap in threads, photos stream through.

Decoding and encoding run in small thread pools around the one thread that feeds the model, which is
the caller's own. The encoding threads also take the noise out that the model has found, so that it
has the next photo meanwhile. How much is in flight is bounded in megapixels, not in files, so that
memory does not grow with their number; a photo larger than the bound goes through alone.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from denoisetool import files, formats
from denoisetool.denoiser import Denoises, Report
from denoisetool.errors import DenoiseError, OutputExists, UnreadablePhoto
from denoisetool.events import Outcome
from denoisetool.formats.base import EncodeOptions, Limits
from denoisetool.photo import Photo
from denoisetool.pipeline.flow import Budget, Item, Job, Progress, note, open_photo, stage

__all__ = ["IN_FLIGHT", "Job", "Pipeline", "Progress", "note"]


IN_FLIGHT = 64.0
"""Megapixels that may be in memory at once, from decoding to the finished file."""


@dataclass(slots=True)
class Pipeline:
    """Takes jobs through decoding, denoising and encoding.

    Attributes:
        load: makes the denoiser; called once, when a photo is there that is to be done.
        limits: what is refused for its size.
        options: how results are written.
        fingerprint: stands for settings and model in the index.
        index: remembers what was made from what; None for none.
        threads: threads for decoding, and as many for encoding.
        in_flight: megapixels in memory at once.
        denoiser: what `load` made.
    """

    load: Callable[[], Denoises]
    limits: Limits = field(default_factory=Limits)
    options: EncodeOptions = field(default_factory=EncodeOptions)
    fingerprint: str = ""
    index: files.Index | None = None
    threads: int = 2
    in_flight: float = IN_FLIGHT
    denoiser: Denoises | None = None

    def ready(self) -> Denoises:
        """The denoiser, made when it is first needed."""
        if self.denoiser is None:
            self.denoiser = self.load()
        return self.denoiser

    def run(
        self,
        jobs: Iterable[Job],
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> Generator[Outcome, None, None]:
        """Do all jobs; outcomes come in the jobs' order, as photos are finished.

        Closing the generator early, or an exception in its caller, ends it the quick way: files
        that are being written are finished, photos that wait to be written are dropped.

        Args:
            jobs: taken one by one, only as far ahead as memory allows.
            stop: when set, the photo in hand is finished and the rest is left.
            progress: told while the model works.

        Raises:
            ModelError, DeviceError: the model cannot be loaded at all; no photo is touched.
        """
        stop = stop or threading.Event()
        budget = Budget(self.in_flight)
        decoders = ThreadPoolExecutor(self.threads, "decode")
        encoders = ThreadPoolExecutor(self.threads, "encode")
        feed = enumerate(jobs)
        coming: deque[Future[Item]] = deque()
        going: deque[Future[Outcome]] = deque()
        try:
            while True:
                while len(coming) <= 2 * self.threads and not stop.is_set():
                    following = next(feed, None)
                    if following is None:
                        break
                    coming.append(decoders.submit(self._decode, *following, budget))
                if stop.is_set() or not coming:
                    break
                if self.denoiser is None and budget.entered():
                    self.ready()  # while the first photo is decoded
                item = coming.popleft().result()
                yield from _finished(going, self.threads)
                if stop.is_set():
                    break
                self._denoise(item, progress)
                if not (coming and coming[0].done()):  # the model has nothing else to do
                    with stage(item):
                        item.finish(alone=True)
                going.append(encoders.submit(self._encode, item, budget))
                del item  # the encoder alone holds the photo now
                yield from _finished(going, self.threads)
            yield from _finished(going, 0)
        finally:
            budget.close()
            decoders.shutdown(wait=False, cancel_futures=True)
            encoders.shutdown(wait=True, cancel_futures=True)
            decoders.shutdown(wait=True)

    def once(self, data: bytes, target_format: str | None = None) -> tuple[bytes, Photo, Report]:
        """Denoise one photo in memory.

        Args:
            data: the photo's file content.
            target_format: name of the format to write; None for the photo's own.

        Returns:
            The new file content, the photo, and what was done.
        """
        photo = formats.decode(data, self.limits)
        formats.check(photo, target_format or photo.format, self.limits.scale)
        report = self.ready().denoise(photo)
        if self._is_copy(photo, report, target_format):
            photo.notes.clear()  # nothing is left out
            return data, photo, report
        out = io.BytesIO()
        formats.encode(photo, target_format or photo.format, out, self.options)
        return out.getvalue(), photo, report

    # -- stages: none of them raises, whatever happens belongs to the one photo ----------------

    def _decode(self, ticket: int, job: Job, budget: Budget) -> Item:
        item, data = Item(job, Outcome(job.source, job.target, "done")), b""
        with budget.turn(ticket), stage(item):
            data = self._admit(item, budget)
        if item.begun:
            with stage(item):
                item.photo = formats.decode(data, self.limits)
                formats.check(item.photo, job.format or item.photo.format, self.limits.scale)
        return item

    def _admit(self, item: Item, budget: Budget) -> bytes:
        """The photo's content, once there is room for its pixels; empty if it need not be done.

        The size is looked up in the header before the rest is read, so that what waits for room
        takes none; only a header that is not at the start (some TIFFs) needs the whole file.
        """
        self._check_target(item)
        if not item.begun:
            return b""
        with open_photo(item.job.source) as file:
            before = os.fstat(file.fileno())
            data = file.read(files.HEAD_BYTES)
            size = _megapixels(data)
            if size is None:
                data += file.read()
                size = _megapixels(data) or 0.0
            item.outcome.megapixels = size
            result = size * self.limits.scale**2
            if result > self.limits.megapixels:
                return data  # enough for the decoder to refuse it
            item.outcome.seconds -= budget.take(result)
            item.admitted = result
            data += file.read()
            after = os.fstat(file.fileno())
        if (len(data), before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            hint = "run again when it is complete"
            raise UnreadablePhoto("the file is still being written", hint=hint)
        item.identity = files.Identity(len(data), before.st_mtime_ns, files.digest(data))
        item.outcome.digest = item.identity.digest.hex()
        return data

    def _check_target(self, item: Item) -> None:
        """Look once more before the work: another run may have made this output meanwhile."""
        job = item.job
        if job.overwrite or not os.path.lexists(job.target):
            return
        if not self._skip(item):
            hint = "--overwrite replaces it, --skip-existing leaves it"
            raise OutputExists("the output appeared while this run was under way", hint=hint)

    def _skip(self, item: Item) -> bool:
        """Leave a target that has appeared, if that is right."""
        outcome = item.outcome
        if self._already_done(item.job):
            outcome.status, outcome.reason = "skipped", "already done, by another run"
        elif item.job.skip_existing:
            outcome.status, outcome.reason = "skipped", "the output exists"
        return not item.begun

    def _already_done(self, job: Job) -> bool:
        """Whether the target is what this run would make."""
        if self.index is None:
            return False
        return self.index.lookup(job.target, job.source, self.fingerprint) is files.Verdict.SAME

    def _denoise(self, item: Item, progress: Progress | None) -> None:
        if item.photo is None:
            return
        denoiser = self.ready()  # a model that cannot be loaded ends the run, not the photo
        with stage(item):
            told = None if progress is None else (lambda share: progress(item.job, share))
            if told is not None:
                told(0.0)  # begun: whoever watches knows whose fault it is if this process dies
            item.rest = denoiser.begin(item.photo, told)

    def _encode(self, item: Item, budget: Budget) -> Outcome:
        outcome = item.outcome
        try:
            with stage(item):
                item.finish(alone=False)
                if item.photo is not None and item.report is not None:
                    report = item.report
                    note(outcome, report, item.photo)
                    self._write(item, item.photo, report)
                    copied = self._is_copy(item.photo, report, item.job.format)
                    outcome.notes = ([] if copied else item.photo.notes) + report.notes
        finally:
            item.photo = None
            budget.release(item.admitted)
        outcome.seconds = round(outcome.seconds, 4)
        return outcome

    def _write(self, item: Item, photo: Photo, report: Report) -> None:
        job, identity = item.job, item.identity
        assert identity is not None
        try:
            with files.atomic_write(job.target, overwrite=job.overwrite) as out:
                if self._is_copy(photo, report, job.format):
                    with open_photo(job.source) as file:
                        data = file.read()
                    if files.digest(data) != identity.digest:
                        raise UnreadablePhoto("the file changed meanwhile", hint="run again")
                    out.write(data)
                else:
                    formats.encode(photo, job.format or photo.format, out, self.options)
                if self.index is not None:
                    size, digest = files.digest_file(out)
                    self.index.intend(
                        job.target, source=job.source, identity=identity,
                        fingerprint=self.fingerprint, size=size, digest=digest,
                    )  # fmt: skip
        except OutputExists:
            if not self._skip(item):
                raise
            return
        if self.index is not None:
            self.index.confirm(job.target)

    def _is_copy(self, photo: Photo, report: Report, target_format: str | None) -> bool:
        """Whether a photo is copied byte for byte: nothing of it, nor of its file, is to change."""
        same = not report.changed and target_format in (None, photo.format)
        return same and self.options.quality is None and not self.options.strip


def _finished(going: deque[Future[Outcome]], most: int) -> Iterator[Outcome]:
    """The first outcomes in order that are there; waits while more than `most` are not."""
    while going and (len(going) > most or going[0].done()):
        yield going.popleft().result()


def _megapixels(data: bytes) -> float | None:
    """The size that the header tells; None if it does not."""
    try:
        width, height = formats.size(data)
    except DenoiseError:
        return None
    return width * height / 1e6
