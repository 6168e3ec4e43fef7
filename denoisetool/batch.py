"""A folder of photos: find them, plan every output, skip what is done, run the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from denoisetool import files, formats
from denoisetool.errors import (
    DenoiseError,
    DiskFull,
    NoInputError,
    OutputError,
    OutputExists,
    PhotoTooLarge,
    UnreadablePhoto,
    UnsupportedPhoto,
)
from denoisetool.events import Outcome, Planned, Summary, failure
from denoisetool.pipeline import Job, Pipeline, Progress

BYTES_PER_MEGAPIXEL = 0.6e6
"""A guess for photos whose header does not tell the size within its first part."""

_NOT_READABLE = {kind.__name__ for kind in (UnreadablePhoto, UnsupportedPhoto, PhotoTooLarge)}
_NOT_WRITABLE = {kind.__name__ for kind in (OutputError, DiskFull)}
_HINT_WHEN_IN_THE_WAY = "--overwrite replaces it, --skip-existing leaves it"


@dataclass(slots=True)
class Batch:
    """What is to be done, all of it decided before anything is written.

    Attributes:
        jobs: photos to denoise.
        skipped: photos that need nothing, with the reason.
        failed: photos that cannot be done, with the reason.
        ignored: files in the folders that are no photos, with the reason.
        plan: where everything goes.
        notes: sentences for the user about the plan.
    """

    jobs: list[Job] = field(default_factory=list)
    skipped: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    ignored: list[files.Skipped] = field(default_factory=list)
    plan: files.Plan = field(default_factory=lambda: files.Plan(()))
    notes: list[str] = field(default_factory=list)

    @property
    def megapixels(self) -> float:
        """What the model will have to do."""
        return sum(job.megapixels for job in self.jobs)

    @property
    def photos(self) -> int:
        """All photos that were found."""
        return len(self.jobs) + len(self.skipped) + len(self.failed)

    def require_photos(self, inputs: Sequence[Path]) -> None:
        """Raise NoInputError if there is not one photo, not even one that cannot be done."""
        if self.photos:
            return
        others = len(self.ignored)
        raise NoInputError(
            "no photo found in " + ", ".join(str(path) for path in inputs),
            hint=f"passed over: {others}, -v tells why; JPEG, PNG, TIFF, WebP, AVIF and BMP are"
            " read" if others else "JPEG, PNG, TIFF, WebP, AVIF and BMP are read",
        )  # fmt: skip


def prepare(
    inputs: Sequence[Path],
    output: str | None,
    *,
    fingerprint: str,
    index: files.Index,
    format: str = "keep",  # noqa: A002 - the setting's name
    name: str | None = None,
    scale: int = 1,
    overwrite: bool = False,
    skip_existing: bool = False,
    without: Collection[Path] = (),
) -> Batch:
    """Look at all inputs and decide what happens with each.

    What the index knows to be made of the same photo with the same settings and model is skipped,
    also with `overwrite`. Anything else that is in the way is refused, unless `overwrite` replaces
    it or `skip_existing` leaves it. Where `output` is a file name, its ending decides the format,
    unless `format` does.

    Args:
        inputs: files and folders.
        output: what `-o` says; see `files.destination`.
        fingerprint: stands for settings and model.
        index: remembers what was made.
        format: name of the format to write, or `keep`.
        name: template for names, or None.
        scale: how many times larger results are on each side.
        overwrite: existing outputs may be replaced.
        skip_existing: existing outputs are left and count as skipped.
        without: photos in the inputs that are left out.

    Raises:
        UsageError: inputs, output and name do not fit together.
    """
    batch = Batch()
    where = files.destination(inputs, output)
    look = _Look()
    sources: list[files.Source] = []
    sizes: dict[Path, float] = {}
    beside: list[Path] = []
    for found in files.walk(
        inputs, sniff=look, unsupported=formats.unsupported_kind, exclude=where.exclude
    ):
        if not isinstance(found, files.Skipped) and found.path in without:
            batch.ignored.append(files.Skipped(found.path, "left out"))
            beside.append(found.path)
        elif isinstance(found, files.Source):
            sources.append(found)
            sizes[found.path] = look.megapixels or found.size / BYTES_PER_MEGAPIXEL
        elif isinstance(found, files.Skipped):
            batch.ignored.append(found)
        else:
            batch.failed.append(failure(found.path, None, found.error))
            beside.append(found.path)
    own = index.own_outputs([source.path for source in sources])
    batch.ignored += [files.Skipped(path, "our own output") for path in sorted(own)]
    sources = [source for source in sources if source.path not in own]
    wanted = format_for(where.file, format)
    suffixes = () if wanted is None else formats.by_name(wanted).suffixes
    batch.plan = files.plan(
        sources, where, name=name, suffixes=(lambda _: suffixes) if suffixes else None,
        scale=scale, beside=beside,
    )  # fmt: skip
    batch.failed += [failure(p.path, None, p.error) for p in batch.plan.problems]
    outputs = batch.plan.outputs
    verdicts = index.lookup_many([(o.target, o.source.path, fingerprint) for o in outputs])
    for planned, verdict in zip(outputs, verdicts, strict=True):
        source, target = planned.source.path, planned.target
        if planned.note:
            batch.notes.append(f"{source} -> {target}: {planned.note}")
        if verdict is files.Verdict.SAME:
            batch.skipped.append(Outcome(source, target, "skipped", "already done"))
        elif verdict is files.Verdict.MISSING or overwrite:
            batch.jobs.append(
                Job(source, target, wanted, overwrite, sizes[source], scale, skip_existing)
            )
        elif skip_existing:
            batch.skipped.append(Outcome(source, target, "skipped", "the output exists"))
        else:
            batch.failed.append(failure(source, target, _in_the_way(verdict)))
    return batch


def format_for(target: Path | None, wanted: str) -> str | None:
    """The name of the format to write, None for the photo's own.

    Args:
        target: the file that `-o` names, if it names one.
        wanted: the setting: a format's name, or `keep`.
    """
    if wanted != "keep":
        return wanted
    named = None if target is None else formats.by_suffix(target.suffix)
    return None if named is None else named.name


def _in_the_way(verdict: files.Verdict) -> OutputExists:
    what = (
        "the output was made with other settings, or from an earlier version of the photo"
        if verdict is files.Verdict.DIFFERENT
        else "the output exists, and was not made from this photo by this program"
    )
    return OutputExists(what, hint=_HINT_WHEN_IN_THE_WAY)


def preview(batch: Batch) -> Iterator[Planned]:
    """What would be done with every photo (`--dry-run`)."""
    for job in batch.jobs:
        size = round(job.megapixels, 3)
        yield Planned(job.source, job.target, "denoise", megapixels=size, scale=job.scale)
    for outcome in batch.skipped:
        yield Planned(outcome.source, outcome.target, "skip", outcome.reason)
    for outcome in batch.failed:
        yield Planned(outcome.source, outcome.target, "refuse", outcome.reason)


def run(
    batch: Batch,
    pipeline: Pipeline,
    stop: threading.Event,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> Iterator[Outcome | Summary]:
    """Do the batch: every photo's outcome, then a summary.

    Files that killed runs left unfinished in the target folders are removed first. A full disk
    ends the batch; every other failure costs one photo.

    Args:
        batch: from `prepare`.
        pipeline: does the photos.
        stop: when set, the photo in hand is finished and the rest is left.
        progress: told while the model works.
        tally: counts; give one to know the sum if the run is cut short by an exception.

    Raises:
        ModelError, DeviceError: nothing can be computed; no photo was touched.
    """
    tally = tally or Tally(batch)
    for folder in batch.plan.folders:
        files.clean_leftovers(folder)
    for outcome in (*batch.failed, *batch.skipped):
        tally.count(outcome)
        yield outcome
    for outcome in pipeline.run(batch.jobs, stop, progress):
        tally.count(outcome)
        if tally.full:
            stop.set()
        yield outcome
    yield tally.summary()


@dataclass(slots=True)
class Tally:
    """Counts the outcomes of a batch as they come, and draws the sum."""

    batch: Batch
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    skipped: int = 0
    megapixels: float = 0.0
    full: bool = False
    errors: list[str | None] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """Take one outcome into account."""
        if outcome.status == "failed":
            self.errors.append(outcome.error)
            self.full = self.full or outcome.error == DiskFull.__name__
        elif outcome.status == "skipped":
            self.skipped += 1
        else:
            self.done += 1
            self.megapixels += outcome.megapixels

    def summary(self) -> Summary:
        """The sum so far: after an interruption too."""
        failed = len(self.errors)
        left = self.batch.photos - self.done - self.skipped - failed
        return Summary(
            self.done, self.skipped, failed, len(self.batch.ignored), round(self.megapixels, 3),
            round(time.monotonic() - self.started, 3),
            interrupted=left > 0 and not self.full, exit_code=self._exit_code(), left=left,
        )  # fmt: skip

    def _exit_code(self) -> int:
        if not self.errors:
            return 0
        if _NOT_WRITABLE.intersection(self.errors):
            return OutputError.exit_code
        if not self.done and not self.skipped and _NOT_READABLE.issuperset(self.errors):
            return NoInputError.exit_code
        return 1


class _Look:
    """Tells the format of a file from its first bytes, and on the way its size for the progress.

    `files.walk` yields each photo before it looks at the next, so `megapixels` is that photo's;
    None where the first bytes do not tell.
    """

    megapixels: float | None = None

    def __call__(self, head: bytes) -> str | None:
        found = formats.sniff(head)
        if found is None:
            return None
        try:
            width, height = found.size(head)
        except DenoiseError:
            self.megapixels = None
        else:
            self.megapixels = width * height / 1e6
        return found.name
