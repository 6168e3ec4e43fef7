"""A folder of photos: find them, plan every output, skip what is done, run the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from denoisetool import files, formats
from denoisetool.errors import DenoiseError, NoInputError, OutputExists
from denoisetool.events import Outcome, Planned, Summary
from denoisetool.pipeline import Job, Pipeline, Progress

BYTES_PER_MEGAPIXEL = 0.6e6
"""A guess for photos whose header does not tell the size within its first part."""
DISK_FULL = 1 << 20


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


def prepare(
    inputs: Sequence[Path],
    output: str | None,
    *,
    fingerprint: str,
    index: files.Index,
    format: str = "keep",  # noqa: A002 - the setting's name
    name: str | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Batch:
    """Look at all inputs and decide what happens with each.

    What the index knows to be made of the same photo with the same settings and model is skipped,
    also with `overwrite`. Anything else that is in the way is refused, unless `overwrite` replaces
    it or `skip_existing` leaves it.

    Args:
        inputs: files and folders.
        output: what `-o` says; see `files.destination`.
        fingerprint: stands for settings and model.
        index: remembers what was made.
        format: name of the format to write, or `keep`.
        name: template for names, or None.
        overwrite: existing outputs may be replaced.
        skip_existing: existing outputs are left and count as skipped.

    Raises:
        UsageError: inputs, output and name do not fit together.
        NoInputError: there is not one photo.
    """
    batch = Batch()
    where = files.destination(inputs, output)
    sources = []
    for found in files.walk(inputs, sniff=_sniff, unsupported=_unsupported, exclude=where.exclude):
        if isinstance(found, files.Source):
            sources.append(found)
        elif isinstance(found, files.Skipped):
            batch.ignored.append(found)
        else:
            batch.failed.append(failure(found.path, None, found.error))
    own = index.own_outputs([source.path for source in sources])
    batch.ignored += [files.Skipped(p, "our own output") for p in sorted(own)]
    sources = [source for source in sources if source.path not in own]
    wanted = () if format == "keep" else formats.by_name(format).suffixes
    batch.plan = files.plan(
        sources, where, name=name, suffixes=(lambda _: wanted) if wanted else None
    )
    batch.failed += [failure(p.path, None, p.error) for p in batch.plan.problems]
    if not batch.plan.outputs and not batch.failed:
        raise NoInputError(
            "no photo found in " + ", ".join(str(i) for i in inputs),
            hint=f"{len(batch.ignored)} other files were passed over; -v lists them"
            if batch.ignored
            else "JPEG, PNG, TIFF, WebP, AVIF and BMP are read",
        )
    _decide(batch, fingerprint, index, format, overwrite, skip_existing)
    return batch


def _decide(
    batch: Batch, fingerprint: str, index: files.Index, format_: str, overwrite: bool, skip: bool
) -> None:
    outputs = batch.plan.outputs
    verdicts = index.lookup_many([(o.target, o.source.path, fingerprint) for o in outputs])
    for planned, verdict in zip(outputs, verdicts, strict=True):
        source, target = planned.source.path, planned.target
        if planned.note:
            batch.notes.append(f"{source} -> {target}: {planned.note}")
        if verdict is files.Verdict.SAME:
            batch.skipped.append(Outcome(source, target, "skipped", "already done"))
        elif verdict is not files.Verdict.MISSING and not overwrite and skip:
            batch.skipped.append(Outcome(source, target, "skipped", "the output exists"))
        elif verdict is not files.Verdict.MISSING and not overwrite:
            made = verdict is files.Verdict.DIFFERENT
            what = (
                "the output was made with other settings, or from an earlier version of the photo"
                if made
                else "the output exists, and was not made from this photo by this program"
            )
            hint = "--overwrite replaces it, --skip-existing leaves it"
            batch.failed.append(failure(source, target, OutputExists(what, hint=hint)))
        else:
            wanted = None if format_ == "keep" else format_
            size = _megapixels(planned.source)
            batch.jobs.append(Job(source, target, wanted, overwrite, size))


def failure(source: Path, target: Path | None, error: DenoiseError) -> Outcome:
    """The outcome of a photo that failed before it was begun."""
    hint = f" ({error.hint})" if error.hint else ""
    where = f" [{error.path}]" if error.path not in (None, source, target) else ""
    return Outcome(source, target, "failed", error.what + where + hint, error.kind)


def preview(batch: Batch) -> Iterator[Planned]:
    """What would be done with every photo (`--dry-run`)."""
    for job in batch.jobs:
        yield Planned(job.source, job.target, "denoise", megapixels=round(job.megapixels, 3))
    for outcome in batch.skipped:
        yield Planned(outcome.source, outcome.target, "skip", outcome.reason)
    for outcome in batch.failed:
        yield Planned(outcome.source, outcome.target, "refuse", outcome.reason)


def run(
    batch: Batch,
    pipeline: Pipeline,
    stop: threading.Event,
    progress: Progress | None = None,
) -> Iterator[Outcome | Summary]:
    """Do the batch: every photo's outcome, then a summary.

    Files that killed runs left unfinished in the target folders are removed first. A full disk
    ends the batch; every other failure costs one photo.

    Raises:
        ModelError, DeviceError: nothing can be computed; no photo was touched.
    """
    started = time.monotonic()
    done = skipped = failed = unwritable = 0
    megapixels = 0.0
    for folder in batch.plan.folders:
        files.clean_leftovers(folder)

    def everything() -> Iterator[Outcome]:
        yield from batch.failed
        yield from batch.skipped
        yield from pipeline.run(batch.jobs, stop, progress)

    for outcome in everything():
        done += outcome.status == "done"
        skipped += outcome.status == "skipped"
        failed += outcome.status == "failed"
        if outcome.status == "done":
            megapixels += outcome.megapixels
        if outcome.error == "OutputError":
            unwritable += 1
            if outcome.target and files.free_bytes(outcome.target.parent) < DISK_FULL:
                stop.set()
        yield outcome
    unfinished = len(batch.jobs) + len(batch.skipped) + len(batch.failed) - done - skipped - failed
    code = 6 if unwritable else 1 if failed else 0
    if not done and not skipped and failed and not unwritable and _none_readable(batch):
        code = NoInputError.exit_code
    yield Summary(
        done, skipped, failed, len(batch.ignored), round(megapixels, 3),
        round(time.monotonic() - started, 3),
        interrupted=bool(unfinished and not unwritable), exit_code=code,
    )  # fmt: skip


def _none_readable(batch: Batch) -> bool:
    unreadable = ("UnreadablePhoto", "UnsupportedPhoto", "PhotoTooLarge")
    return not batch.jobs and all(outcome.error in unreadable for outcome in batch.failed)


def _sniff(head: bytes) -> str | None:
    found = formats.sniff(head)
    return None if found is None else found.name


def _unsupported(head: bytes) -> str | None:
    return formats.unsupported_kind(head)


def _megapixels(source: files.Source) -> float:
    """Size from the header, or a guess from the number of bytes; only progress depends on it."""
    try:
        with source.path.open("rb") as file:
            width, height = formats.size(file.read(files.HEAD_BYTES))
    except (OSError, DenoiseError):
        return source.size / BYTES_PER_MEGAPIXEL
    return width * height / 1e6
