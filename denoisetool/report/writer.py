"""Rows as they come, and the page when all have come."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from denoisetool import files, formats
from denoisetool.errors import DenoiseError, OutputError, OutputExists, UsageError
from denoisetool.report import page
from denoisetool.report.page import Fact, counted, number
from denoisetool.report.rows import Row, Totals

MOST_PICTURES = 200
"""Photos shown with crops. Those of one photo take about 1 MB, and a browser has to hold all."""
SUFFIXES = (".html", ".htm")


def check_place(target: Path, *, overwrite: bool, option: str) -> None:
    """Refuse before any work what a report must not replace.

    Args:
        target: the file to be written.
        overwrite: whether an existing page may be replaced. A photo never is.
        option: how the user named the file, for the hints.

    Raises:
        UsageError: this is no name of a page.
        OutputExists: something is there already.
        OutputError: there is a folder of that name.
    """
    if target.suffix.lower() not in SUFFIXES:
        what = f"a report is a page of HTML, and {str(target)!r} is no name for one"
        raise UsageError(what, hint=f"name it like {option} report.html")
    if not os.path.lexists(target):
        return
    elsewhere = f"choose another name with {option}"
    if target.is_dir():
        raise OutputError("there is a folder of that name", path=target, hint=elsewhere)
    if not overwrite:
        hint = f"--overwrite replaces it; or {elsewhere}"
        raise OutputExists("the report exists already", path=target, hint=hint)
    if _is_photo(target):
        what = "this is a photo, which no report replaces"
        raise OutputExists(what, path=target, hint=elsewhere)


class Report:
    """A page in the making. Memory holds its text alone: crops wait in a file without a name.

    Attributes:
        target: the file to be written at the end.
        totals: all photos so far.
        pictured: how many of them are shown with crops.

    Args:
        target: as above; title: of the page.
        expected: how many photos may come that could be shown with crops: at most `MOST_PICTURES`
            of them are, spread evenly.
        overwrite: whether an existing page may be replaced.
        option: how the user named the file, for the hints.
        run: whether the photos were just denoised, so that there are times and estimates to tell.

    Raises:
        UsageError, OutputExists, OutputError: see `check_place`; also if nothing can be written.
    """

    def __init__(
        self, target: Path, *, title: str, expected: int, overwrite: bool, option: str,
        run: bool = False,
    ) -> None:  # fmt: skip
        check_place(target, overwrite=overwrite, option=option)
        self.target, self.title, self.totals, self.pictured = target, title, Totals(), 0
        self._expected, self._overwrite, self._run = expected, overwrite, run
        self._elsewhere = f"choose another place with {option}"
        self._offered = 0
        self._rows: list[str] = []
        self._failures: list[str] = []
        self._problem: DenoiseError | None = None
        with self._told(self._elsewhere):
            self._cards: IO[bytes] = tempfile.TemporaryFile(dir=_standing(target.parent))  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        with contextlib.suppress(OSError):  # what a full disk did not take is told already
            self._cards.close()

    def wants_pictures(self) -> bool:
        """Whether the next photo that could be shown with crops should be; ask once for each.

        A photo that had to do without leaves its turn to the next one.
        """
        self._offered += 1
        due = math.ceil(self._offered * MOST_PICTURES / max(self._expected, 1))
        return self._problem is None and self.pictured < min(due, MOST_PICTURES)

    def add(self, row: Row) -> None:
        """Take in one photo. A full disk is told by `write`: it must not end the run."""
        self.totals.add(row)
        if row.status == "failed":
            self._failures.append(page.failed(row.name, row.reason))
        elif row.status == "done":
            crops = row.facts.crops if row.facts is not None else ()
            anchor = f"photo-{len(self._rows) + 1}" if crops else None
            notes = () if crops else row.notes  # a card has them already
            self._rows.append(page.row(row.name, self._cells(row), anchor, notes))
            if anchor is not None:
                self._keep(page.card(anchor, row.name, self._facts(row), row.notes, crops))

    def write(self, lines: Iterable[str] = (), tiles: Iterable[Fact] = ()) -> None:
        """Write the page, whole or not at all.

        Args:
            lines: sentences under the title.
            tiles: more numbers for the summary.

        Raises:
            OutputError: the disk is full, or nothing may be written there.
            OutputExists: the page appeared meanwhile.
        """
        hint = "the photos are done and kept; `denoisetool compare` can make the page of them"
        with self._told(hint if self._run else self._elsewhere):
            if self._problem is not None:
                raise self._problem
            with files.atomic_write(self.target, overwrite=self._overwrite) as out:
                for piece in self._before_cards(lines, tiles):
                    out.write(piece.encode())
                self._cards.seek(0)
                shutil.copyfileobj(self._cards, out, 1 << 20)
                for piece in self._after_cards():
                    out.write(piece.encode())

    def _keep(self, card: str) -> None:
        """Put one card with the others."""
        if self._problem is not None:
            return
        try:
            with files.errors_told(self.target):
                self._cards.write(card.encode())
        except DenoiseError as error:
            self._problem = error
        else:
            self.pictured += 1

    @contextlib.contextmanager
    def _told(self, hint: str) -> Iterator[None]:
        """Turn what the system says into an error of ours, with a hint that helps here."""
        try:
            with files.errors_told(self.target):
                yield
        except OutputError as error:
            error.hint = hint
            raise

    def _before_cards(self, lines: Iterable[str], tiles: Iterable[Fact]) -> Iterator[str]:
        yield page.head(self.title, lines, [*self._summary(), *tiles])
        if self._failures:
            yield page.section(f"{counted(len(self._failures), 'photo')} failed", bad=True)
            yield from page.table(("Photo", "Reason"), self._failures, numbers=False)
        if self.pictured:
            yield page.section("Before and after")
            done = len(self._rows)
            if self.pictured < done:
                text = f"Pictures of {self.pictured:,} of {done:,} photos"
                yield page.paragraph(f"{text}; the table at the end has all of them.")
            yield page.toolbar()
            yield '<div class="cards">\n'

    def _after_cards(self) -> Iterator[str]:
        if self.pictured:
            yield "</div>\n"
        if self._rows:
            noise = "Estimated noise" if self._run else "Noise removed"
            columns = ("Photo", "Size", noise, "Colour shift", "95th percentile")
            yield page.section("All photos")
            yield from page.table((*columns, "Time") if self._run else columns, self._rows)
        yield page.foot(time.strftime("%Y-%m-%d %H:%M"))

    def _summary(self) -> Iterator[Fact]:
        totals = self.totals
        yield "Photos done" if self._run else "Photos compared", f"{totals.done:,}"
        if self._run:
            yield "Skipped", f"{totals.skipped:,}"
        yield "Failed", f"{totals.failed:,}"
        yield "Megapixels", number(totals.megapixels)
        noise = "Mean estimated noise" if self._run else "Mean noise removed"
        yield noise, number(totals.noise.value)
        yield "Mean colour shift", number(totals.shift.value, 2)

    def _facts(self, row: Row) -> Iterator[Fact]:
        facts, outcome = row.facts, row.outcome
        assert facts is not None
        yield "Size", f"{facts.width} × {facts.height}, {number(facts.megapixels)} MP"
        if facts.scale > 1:
            yield "Enlarged", f"{facts.scale} times, before is bicubic"
        if outcome is not None and outcome.noise is not None:
            kind = f", {outcome.noise_kind}" if outcome.noise_kind else ""
            yield "Estimated noise", number(outcome.noise) + kind
        if facts.scale == 1:
            yield "Noise removed", number(facts.removed)
        mean, p95 = row.shift
        yield "Colour shift", f"{number(mean, 2)} mean, {number(p95, 2)} p95"
        if outcome is not None:
            yield "Time", f"{number(outcome.seconds)} s"

    def _cells(self, row: Row) -> list[str]:
        mean, p95 = row.shift
        facts, outcome = row.facts, row.outcome
        size = (
            f"{number(row.megapixels)} MP" if facts is None else f"{facts.width} × {facts.height}"
        )
        noise = number(row.noise)
        if outcome is not None and not outcome.changed:
            noise = "already clean" if outcome.clean else "nothing changed"
        cells = [size, noise, number(mean, 2), number(p95, 2)]
        return cells if outcome is None else [*cells, f"{number(outcome.seconds)} s"]


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    return next((place for place in (folder, *folder.parents) if place.is_dir()), Path())


def _is_photo(path: Path) -> bool:
    """Whether the content of a file is that of a photo."""
    try:
        with path.open("rb") as file:
            return formats.sniff(file.read(files.HEAD_BYTES)) is not None
    except OSError:
        return False
