"""`denoisetool compare`: photos before and after, as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoisetool.cli import options
from denoisetool.errors import DenoiseError, NoInputError, PhotoError, UsageError, explain
from denoisetool.settings import resolve

if TYPE_CHECKING:
    from denoisetool.formats.base import Limits
    from denoisetool.report import Facts, Row


def compare(
    before: Annotated[Path, typer.Argument(metavar="IN", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="OUT", show_default=False)],
    output: options.ReportOutput,
    overwrite: options.Overwrite = False,
    max_megapixels: options.MaxMegapixels = None,
    quiet: options.Quiet = False,
) -> None:
    """Show photos before and after on one page of HTML: crops with a slider, noise, colour.

    IN and OUT are two photos, or two folders: photos of the same place and name belong together,
    whatever their suffix, and photo_clean.jpg belongs to photo.jpg.
    """
    if not output:
        raise UsageError("-o is empty", hint="name the page, like -o report.html")
    settings = resolve({"max_megapixels": max_megapixels}).settings
    from denoisetool.cli.console import print_error
    from denoisetool.cli.pairs import find_results
    from denoisetool.formats.base import Limits
    from denoisetool.report import Report, Row, check_place

    target, limits = Path(output), Limits(settings.max_megapixels)
    check_place(target, overwrite=overwrite, option="-o")
    found = find_results(before, after)
    for note in found.notes:
        print_error(f"note: {note}")
    problems = list(found.problems)
    with Report(
        target, title="Before and after", expected=len(found.pairs), overwrite=overwrite,
        option="-o",
    ) as report:  # fmt: skip
        for problem in problems:
            report.add(_failed(str(problem.path), problem, problem.path))
        for first, second in found.pairs:
            name = first.name if first == before else str(first.relative_to(before))
            try:
                row = Row(name, facts=_look(first, second, limits, report.wants_pictures()))
            except DenoiseError as error:
                problems.append(error)
                row = _failed(name, error, first)
            report.add(row)
        if len(problems) > 1 or report.totals.done:
            for problem in problems:
                print_error(f"FAILED {problem}")
        if not report.totals.done:
            raise _nothing(problems, before)
        report.write([f"{before} → {after}", *found.notes])
    if not quiet:
        print_error(f"{report.totals.done} compared, {len(problems)} FAILED: {target}"
                    if problems else f"{report.totals.done} compared: {target}")  # fmt: skip
    raise typer.Exit(1 if problems else 0)


def _look(first: Path, second: Path, limits: Limits, pictures: bool) -> Facts:
    """What changed between the photos of a pair.

    Raises:
        PhotoError: one of the two cannot be read.
        UsageError: they differ in size.
    """
    from denoisetool import formats, report

    before, after = formats.read(first, limits), formats.read(second, limits)
    try:
        return report.compare(before, after, pictures=pictures)
    except UsageError as error:
        error.path = second
        raise


def _failed(name: str, error: DenoiseError, known: Path | None) -> Row:
    """The row of a photo that could not be compared; `known` is what its name stands for."""
    from denoisetool.report import Row

    return Row(name, "failed", explain(error, (known,))[0])


def _nothing(problems: list[DenoiseError], where: Path) -> DenoiseError:
    """Why there is no page: the one reason, if it is one, or that there are several."""
    if len(problems) > 1:
        return NoInputError("no pair could be compared", path=where, hint="the reasons are above")
    (problem,) = problems
    if isinstance(problem, PhotoError):
        return NoInputError(problem.what, path=problem.path, hint=problem.hint)
    return problem
