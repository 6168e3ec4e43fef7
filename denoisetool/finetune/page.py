"""The report of a fine-tuning: held-out photos as they are and with both models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from denoisetool import crops, files
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine
from denoisetool.finetune import dataset
from denoisetool.finetune.align import Float
from denoisetool.finetune.run import Done, Wishes, denoiser_of
from denoisetool.finetune.verdict import denoised
from denoisetool.modelcard import OWN, load
from denoisetool.photo import Photo
from denoisetool.report import page
from denoisetool.report.facts import Crop
from denoisetool.report.pictures import data_uri

NAME = "report.html"
MOST = 4
"""Held-out pairs that are shown."""
ABOUT = (
    "The pairs shown were kept apart from the start: neither model was trained on them. PSNR is"
    " measured against the other noisy photo of each pair, whose noise is part of every figure:"
    " what counts is the difference between the models. The crops are shown pixel for pixel."
)


def write(done: Done, wishes: Wishes) -> Path:
    """Write the page beside the model it is about; the path.

    Raises:
        OutputError: it cannot be written.
    """
    target = (done.installed or wishes.workplace) / NAME
    with files.atomic_write(target, overwrite=True) as out:
        for piece in _pieces(done, wishes):
            out.write(piece.encode())
    return target


def _pieces(done: Done, wishes: Wishes) -> Iterator[str]:
    verdict = done.verdict
    yield page.head(
        f"Fine-tuning of {done.start}: {done.name}", [_outcome(done), *verdict.reasons],
        [
            ("Gain on held-out pairs", f"{verdict.gain:+.3f} dB"),
            ("95 % confidence", f"{verdict.low:+.3f} to {verdict.high:+.3f}"),
            ("Against the clean picture, about", f"{verdict.truth_gain:+.2f} dB"
             if verdict.truth_gain is not None else page.NONE),
            ("Other noise", f"{verdict.synthetic:+.3f} dB"),
            ("Coarse colour", f"{verdict.colour_new:.2f}, was {verdict.colour_noisy:.2f}"),
            ("Pairs used", f"{done.plan.pairs:,}"),
            ("Training", f"{done.seconds / 60:.1f} min"),
        ],
    )  # fmt: skip
    rows = (
        page.row(name, [f"{value:.3f} dB"], None)
        for name, value in (
            ("As it is", verdict.psnr_noisy),
            (done.start, verdict.psnr_start),
            (done.name, verdict.psnr_new),
        )
    )
    yield page.section("Against the other photo of each pair")
    yield from page.table(("Photo", "PSNR"), rows)
    yield page.section("Training")
    yield page.curve([(s, g) for s, g, _ in done.curve.points], "dB gained on watched crops")
    yield page.section("Held out")
    yield page.toolbar()
    yield '<div class="cards">\n'
    yield from _cards(done, wishes)
    yield "</div>\n"
    yield page.foot(time.strftime("%Y-%m-%d %H:%M"), ABOUT)


def _outcome(done: Done) -> str:
    if done.installed is None:
        return "Refused: nothing was installed."
    if done.verdict.better:
        return f"Installed as {done.name}: it was better on every count."
    return f"Installed as {done.name} because it was forced."


def _cards(done: Done, wishes: Wishes) -> Iterator[str]:
    views = dataset.load(wishes.workplace, "held")
    start = denoiser_of(wishes.start, wishes.device)
    new = Denoiser(Engine(load(done.folder), done.folder, wishes.device))
    start.only = new.only = OWN
    for index in range(0, len(views), 2)[:MOST]:  # each pair is there both ways round
        noisy, _, _ = views.one(index)
        before, after = denoised(noisy, start), denoised(noisy, new)
        shown, sides = [], []
        for window in crops.choose(after, 1.0):
            for left, right, words in (
                (noisy, after, ("before", done.name)),
                (before, after, (done.start, done.name)),
            ):
                shown.append(Crop(window, *(_uri(window.of(p)) for p in (left, right))))
                sides.append(words)
        number = index // 2 + 1
        name = f"Held-out photo {number}"
        yield page.card(f"held-{number}", name, [], [], shown, sides)


def _uri(part: Float) -> str:
    return data_uri(Photo(np.zeros((1, 1, 3), np.float32), "png", "RGB"), part)
