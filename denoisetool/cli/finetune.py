"""`denoisetool finetune`: your own camera's model from pairs of noisy photos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoisetool import events
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line, time_text
from denoisetool.errors import UsageError
from denoisetool.settings import resolve

if TYPE_CHECKING:
    from denoisetool.finetune.collect import Collected, Line
    from denoisetool.finetune.pairs import Found
    from denoisetool.finetune.run import Done

LOSSES = ("auto", "l2", "l1", "l0")


def finetune(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", show_default=False,
                     help="Folder of photos that show each scene twice or more.")],
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", show_default=False,
                     help="Model to begin with: its name or folder. [default: fast]"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the new model. [default: the camera's, or the folder's]",
                     show_default=False),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="How long to train. [default: 10]", min=0.1, max=10080.0,
                     show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", help="How many steps to train, whatever time they take.", min=1,
                     show_default=False),
    ] = None,
    loss: Annotated[
        str,
        typer.Option("--loss", metavar="|".join(LOSSES), show_default=False,
                     help="l2 for noise, l1 for text and things in the way, l0 for pixels replaced"
                     " at random. [default: auto, by the photos]"),
    ] = "auto",
    find_bursts: Annotated[
        bool,
        typer.Option("--find-bursts", help="Find scenes by time, camera and picture, not by name."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of all choices.", min=0)] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was broken off.")
    ] = False,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for the work. [default: in the cache folder]",
                     show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be taken, and stop.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Install the model even if it is not better, as NAME-forced."),
    ] = False,
    device: options.Device = None,
    low_priority: options.LowPriority = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Learn your camera from two noisy shots of the same scene, or many.

    Understood are scene_a.jpg and scene_b.jpg, two folders with the same names (a/ and b/, or
    noisy/ and clean/), a folder for each scene, and with --find-bursts any photos. Some scenes are
    held out, and the new model is installed only if it is better on them than the one it began
    with. Exit code 1 if it is not.
    """
    if steps is not None and minutes is not None:
        raise UsageError("--steps and --minutes contradict each other")
    if loss not in LOSSES:
        raise UsageError(f"--loss must be one of {', '.join(LOSSES)}, not {loss!r}")
    settings = resolve({"device": device, "low_priority": low_priority}).settings
    from denoisetool.finetune.page import write as write_report
    from denoisetool.finetune.run import MINUTES, PLAN, Listener, Wishes, look
    from denoisetool.finetune.run import run as train_and_judge
    from denoisetool.program import give_way
    from denoisetool.registry import Registry
    from denoisetool.training import team as teams

    if settings.low_priority:
        give_way()
    wishes = Wishes(
        folder=pairs, start=Registry().find(start or "fast"), name=name,
        minutes=minutes or MINUTES, steps=steps, loss=loss, seed=seed, resume=resume, force=force,
        bursts=find_bursts, device=settings.device, run=run,
    )  # fmt: skip
    team = teams.join()
    teller = _Teller(json)

    def told(done: Done) -> None:
        teller.end()
        teller.done(done, write_report(done, wishes))

    listener = Listener(teller.line, teller.prepared, print_error, teller.step, told)
    try:
        if dry_run:
            if team.first:
                look(wishes, listener)
            return
        done = train_and_judge(wishes, team, listener)
        if done is not None and done.installed is None:
            raise typer.Exit(1)
    except KeyboardInterrupt:
        teller.end()
        if (wishes.workplace / PLAN).exists():
            print_error("stopped; the same command with --resume goes on from there")
        raise
    finally:
        teams.leave()


class _Teller:
    """Tells people and programs how it goes.

    Args:
        as_json: events as JSON lines on stdout.
    """

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._bar: Any = None
        self._done = 0

    def line(self, line: Line) -> None:
        """One line of the table."""
        if self._json:
            print_line(
                events.record(
                    "pair", scene=line.scene, photos=line.photos, taken=line.taken,
                    reason=line.reason or None, held_out=line.held_out, shift=line.shift,
                    exposure=line.exposure, noise=line.noise, weight=line.weight,
                )
            )  # fmt: skip
            return
        names = " + ".join(path.name for path in line.photos[:2])
        if not line.taken:
            print_line(f"rejected  {line.scene}: {names}: {line.reason}")
        else:
            verb = "held out " if line.held_out else "taken    "
            print_line(f"{verb} {line.scene}: {names}{_facts(line)}")

    def prepared(self, found: Found, collected: Collected) -> None:
        """The end of the table."""
        taken = sum(line.taken for line in collected.lines)
        rejected = len(collected.lines) - taken
        if self._json:
            print_line(
                events.record(
                    "pairs", how=found.how, taken=taken, rejected=rejected,
                    supervised=found.supervised,
                )
            )  # fmt: skip
        print_error(f"{taken} pairs taken, {rejected} rejected")

    def step(self, step: int, steps: int, gain: float, seconds: float) -> None:
        """Training has come to a step."""
        if self._json:
            print_line(
                events.record(
                    "finetuning", step=step, steps=steps, gain_db=round(gain, 4),
                    eta_seconds=round(seconds),
                )
            )  # fmt: skip
        if sys.stderr is None or not sys.stderr.isatty():
            left = time_text(seconds)
            print_error(f"step {step} of {steps}: {gain:+.3f} dB on watched crops, {left} left")
            return
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=steps, initial=self._done, unit="step", leave=False, disable=None
            )
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix_str(f"{gain:+.3f} dB on watched crops")

    def end(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def done(self, done: Done, report: Path) -> None:
        """What came of it."""
        verdict = done.verdict
        why = "; ".join(verdict.reasons)
        if self._json:
            print_line(
                events.record(
                    "finetuned", installed=done.installed is not None, name=done.name, why=why,
                    gain_db=verdict.gain, low_db=verdict.low, high_db=verdict.high,
                    truth_gain_db=verdict.truth_gain, synthetic_db=round(verdict.synthetic, 4),
                    psnr_in=verdict.psnr_noisy, psnr_start=verdict.psnr_start,
                    psnr=verdict.psnr_new, report=report, folder=done.installed,
                    minutes=round(done.seconds / 60, 2),
                )
            )  # fmt: skip
        truth = verdict.truth_gain
        about = "" if truth is None else f"; about {truth:+.2f} dB against the clean picture"
        print_error(
            f"held out: {verdict.gain:+.3f} dB over {done.start}, 95 % confidence"
            f" {verdict.low:+.3f} to {verdict.high:+.3f}{about}"
        )
        print_error(
            f"other noise: {verdict.synthetic:+.3f} dB; colour {verdict.colour_new:.2f} against"
            f" {verdict.colour_noisy:.2f} CIEDE2000 of the photos as they are"
        )
        if why:
            print_error(f"refused: {why}")
        if done.installed is not None:
            print_error(f"installed {done.name}; use it with --model {done.name}")
        else:
            print_error("nothing was installed; more scenes or --minutes may help")
        print_error(f"report: {report}")


def _facts(line: Line) -> str:
    """What the table says about a pair that was taken."""
    facts = []
    if line.noise is not None:
        facts.append(f"noise {line.noise:.1f}")
    if line.shift is not None and max(abs(v) for v in line.shift) > 0.05:
        facts.append(f"moved {line.shift[1]:+.1f}, {line.shift[0]:+.1f} px")
    if line.exposure is not None and abs(line.exposure) > 0.02:
        facts.append(f"exposure {line.exposure:+.2f} stops")
    if line.weight is not None:
        facts.append(f"{line.weight:.0%} counts")
    return f": {', '.join(facts)}" if facts else ""
