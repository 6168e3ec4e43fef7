"""The report of a run: fed with its events, written at its end."""

from __future__ import annotations

from pathlib import Path

from denoisetool import formats
from denoisetool.errors import explain
from denoisetool.events import Outcome, Start, Summary
from denoisetool.formats.base import Limits
from denoisetool.report.facts import Facts, compare
from denoisetool.report.page import Fact, counted
from denoisetool.report.rows import Row
from denoisetool.report.writer import Report


class RunReport(Report):
    """The report of a run of the main command.

    Args:
        target, overwrite: as for `Report`.
        photos: how many are to be denoised.
        megapixels: what is refused for its size when a photo is read again.
    """

    def __init__(self, target: Path, *, overwrite: bool, photos: int, megapixels: float) -> None:
        super().__init__(
            target, title="Before and after denoising", expected=photos, overwrite=overwrite,
            option="--report", run=True,
        )  # fmt: skip
        self._limits = Limits(megapixels)
        self._start: Start | None = None

    def see(self, event: Start | Outcome) -> None:
        """Take in the start of the run, or what became of one photo.

        The two files of a photo that is shown are read again: what they hold is what is shown. If
        that fails the page says so; the photo is done all the same.
        """
        if isinstance(event, Start):
            self._start = event
            return
        facts, notes = None, tuple(event.notes)
        try:
            if event.status == "done" and event.changed and self.wants_pictures():
                facts = self._look(event)
        except Exception as error:  # noqa: BLE001 - no crop may end a run
            reason, _ = explain(error)
            notes = (*notes, f"no pictures: {reason}")
        finally:  # also when it is Ctrl-C that ends the look: the photo is done
            self.add(Row(str(event.source), event.status, event.reason, facts, event, notes))

    def finish(self, summary: Summary) -> None:
        """Write the page.

        Raises:
            OutputError, OutputExists: as `Report.write`.
        """
        tiles: list[Fact] = [("Time", f"{summary.seconds:,.1f} s")]
        lines: list[str] = []
        if self._start is not None:
            start = self._start
            tiles += [("Model", start.model), ("Device", f"{start.device}, {start.precision}")]
            lines.append(f"{start.model} on {start.device} in {start.precision}: {start.reason}")
        if summary.left:
            why = "Interrupted" if summary.interrupted else "The disk is full"
            lines.append(f"{why}: {counted(summary.left, 'photo')} not begun")
            tiles.append(("Not begun", f"{summary.left:,}"))
        self.write(lines, tiles)

    def _look(self, outcome: Outcome) -> Facts:
        assert outcome.target is not None
        before = formats.read(outcome.source, self._limits)
        after = formats.read(outcome.target, self._limits)
        return compare(before, after, pictures=True)
