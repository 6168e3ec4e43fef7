"""`denoisetool evaluate`: how close photos are to their truth, before and after a model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoisetool import events
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line
from denoisetool.errors import DenoiseError, NoInputError
from denoisetool.settings import resolve

if TYPE_CHECKING:
    from denoisetool.cli.scoring import Score


def evaluate(
    noisy: Annotated[Path, typer.Argument(metavar="NOISY", show_default=False)],
    truth: Annotated[Path, typer.Argument(metavar="GT", show_default=False)],
    model: options.Model = None,
    device: options.Device = None,
    precision: options.Precision = None,
    strength: options.Strength = None,
    no_model: Annotated[
        bool, typer.Option("--as-is", help="Score the photos as they are; run no model.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Score a model on noisy photos and their clean versions: PSNR, SSIM, coarse CIEDE2000.

    NOISY and GT are two photos, or two folders: photos of the same name belong together, and where
    no names agree, the n-th with the n-th in sorted order.
    """
    settings = resolve(
        {"model": model, "device": device, "precision": precision, "strength": strength, "scale": 1}
    ).settings
    from denoisetool.cli import scoring
    from denoisetool.session import Session

    pairs = scoring.find_pairs(noisy, truth)
    denoiser = None if no_model else Session(settings).denoiser()
    for note in pairs.notes:
        print_error(f"note: {note}")
    failed = len(pairs.problems)
    for problem in pairs.problems:
        print_error(f"FAILED {problem}")
    scores = []
    if not json:
        print_line(f"{'photo':32} {'PSNR':>15} {'SSIM':>17} {'coarse dE00':>15}")
    for first, second in pairs.pairs:
        try:
            score = scoring.score(first, second, denoiser)
        except DenoiseError as error:
            failed += 1
            print_error(f"FAILED {error}")
            continue
        scores.append(score)
        print_line(_line(score, json, "score"))
    if not scores:
        raise NoInputError("no pair could be scored", path=noisy, hint="the reasons are above")
    print_line(_line(scoring.mean(scores), json, "mean"))
    raise typer.Exit(1 if failed else 0)


def _line(score: Score, json: bool, event: str) -> str:
    if json:
        return events.record(event, **asdict(score))
    return (
        f"{score.name[-32:]:32} {score.psnr_in:6.2f} -> {score.psnr:5.2f}"
        f" {score.ssim_in:7.4f} -> {score.ssim:.4f} {score.coarse_in:6.3f} -> {score.coarse:.3f}"
    )
