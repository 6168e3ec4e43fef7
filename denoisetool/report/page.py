"""The HTML of the page, piece by piece. Everything that comes from outside is escaped here."""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Sequence

from denoisetool import __version__
from denoisetool.report.facts import Crop
from denoisetool.report.look import SCRIPT, STYLE
from denoisetool.text import printable

Fact = tuple[str, str]
"""A label and its value, both plain text."""
NONE = "–"
HALF = 512
"""Pixels that fit into half of the page's width."""
ABOUT = (
    "Crops are shown pixel for pixel, without loss: the flattest part of each photo and the most"
    " detailed one, or all of a small photo. Noise is told as root mean square in levels of 255:"
    " what was removed is before − after, and what was estimated is all that the model found. Where"
    " a photo was enlarged, before is its bicubic enlargement, and how much noise was in it is not"
    " known."
    " Colour shift is the CIEDE2000 difference of the pictures averaged over boxes of 16 × 16"
    " pixels, its mean and its 95th percentile; 1 is just noticeable."
)


def safe(text: object) -> str:
    """Text that can stand anywhere in the page, in attributes too."""
    return html.escape(printable(str(text)), quote=True)


def number(value: float | None, digits: int = 1) -> str:
    """A number for people; a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def counted(count: int, noun: str) -> str:
    """`1 photo`, `2 photos`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def head(title: str, lines: Iterable[str], tiles: Iterable[Fact]) -> str:
    """Everything up to the summary, and with it.

    Args:
        title: of the page.
        lines: sentences under it.
        tiles: the numbers that sum it up.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{safe(title)}</h1>\n"
        + "".join(f'<p class="soft path">{safe(line)}</p>\n' for line in lines)
        + f'</header>\n<dl class="tiles">{_terms(tiles)}</dl>\n<main>\n'
    )


def foot(made: str, about: str = ABOUT) -> str:
    """The end of the page; `made` tells when it was made, `about` how to read it."""
    return (
        f"</main>\n<footer><p>{safe(about)}</p>\n"
        f"<p>denoisetool {safe(__version__)}, {safe(made)}</p></footer>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def toolbar() -> str:
    """The choice of a magnification, above all crops."""
    choices = "".join(
        f'<label><input type="radio" name="zoom" value="{zoom}"{" checked" * (zoom == 1)}>'
        f" {zoom * 100} %</label>"
        for zoom in (1, 2, 4)
    )
    return (
        f'<div class="bar"><fieldset><legend>Magnification</legend>{choices}</fieldset>'
        '<span class="soft">Drag a picture, or use the arrow keys: before is on the left</span>'
        "</div>\n"
    )


SIDES = ("before", "after")


def card(
    anchor: str, name: str, facts: Iterable[Fact], notes: Iterable[str], crops: Sequence[Crop],
    sides: Sequence[tuple[str, str]] = (),
) -> str:  # fmt: skip
    """One photo with its crops; narrow ones stand side by side where there is room.

    Args:
        anchor: its mark in the page.
        name: what to call it.
        facts: what to say of it in figures.
        notes: what to say of it in sentences.
        crops: its parts.
        sides: what is seen to the left and right of each crop's slider; before and after if empty.
    """
    narrow = len(crops) == 1 and crops[0].window.width <= HALF
    size = ' class="small"' if narrow else ""
    named = sides or [SIDES] * len(crops)
    shown = "".join(pair(name, crop, *words) for crop, words in zip(crops, named, strict=True))
    told = "".join(f'<p class="soft">{safe(note)}</p>\n' for note in notes)
    return (
        f'<article id="{anchor}"{size}>\n<h3>{safe(name)}</h3>\n'
        f'<dl class="facts">{_terms(facts)}</dl>\n{told}<div class="crops">\n{shown}</div>\n'
        "</article>\n"
    )


def pair(name: str, crop: Crop, left: str = SIDES[0], right: str = SIDES[1]) -> str:
    """One crop before and after, or whatever is on the left and right, with its slider."""
    window = crop.window
    what = "the whole photo" if window.kind == "whole" else f"the {window.kind} part"
    label = f"{what[0].upper()}{what[1:]}, {window.width} × {window.height}"
    if window.kind != "whole":
        label += f" at {window.left}, {window.top}"
    of = f"{what} of {name}"
    return (
        f'<figure><div class="frame"><div class="pair" style="--w:{window.width};'
        f'--h:{window.height}">\n<img class="before" alt="{safe(f"{left}: {of}")}"'
        f' src="{crop.before}" width="{window.width}" height="{window.height}">\n'
        f'<img class="after" alt="{safe(f"{right}: {of}")}"'
        f' src="{crop.after}" width="{window.width}" height="{window.height}">\n'
        f"<span>{safe(left)}</span><span>{safe(right)}</span>"
        f'<input type="range" min="0" max="100" value="50"'
        f' aria-label="{safe(f"How much of {of} is shown {left}")}"></div></div>\n'
        f"<figcaption>{safe(label)}</figcaption></figure>\n"
    )


def curve(points: Sequence[tuple[float, float]], label: str) -> str:
    """A line through points (x, y) with its axes' ends, 0 of y marked; nothing for less than two.

    Args:
        points: in the order of x.
        label: what y is, with its unit.
    """
    if len(points) < 2:
        return ""
    wide, high = 640, 200
    xs, ys = [x for x, _ in points], [0.0, *(y for _, y in points)]
    low, top = min(ys), max(max(ys), min(ys) + 1e-3)

    def place(x: float, y: float) -> str:
        across = (x - xs[0]) / max(xs[-1] - xs[0], 1e-9) * wide
        return f"{across:.1f},{high - (y - low) / (top - low) * high:.1f}"

    line = " ".join(place(x, y) for x, y in points)
    zero = place(xs[0], 0.0).split(",")[1]
    said = f"{label}: from {points[0][1]:.3f} to {points[-1][1]:.3f}, most {top:.3f}"
    return (
        f'<figure><svg viewBox="-10 -24 {wide + 20} {high + 50}" role="img" class="curve"'
        f' aria-label="{safe(said)}">'
        f'<line x1="0" y1="{zero}" x2="{wide}" y2="{zero}"></line>'
        f'<polyline points="{line}"></polyline>'
        f'<text x="0" y="-8">{safe(f"{label}, at most {top:.3f}")}</text>'
        f'<text x="{wide}" y="{high + 20}" text-anchor="end">{safe(f"step {xs[-1]:,.0f}")}</text>'
        "</svg></figure>\n"
    )


def section(title: str, *, bad: bool = False) -> str:
    """A heading."""
    return f"<h2{_BAD * bad}>{safe(title)}</h2>\n"


def paragraph(text: str) -> str:
    """A sentence in a lower voice."""
    return f'<p class="soft">{safe(text)}</p>\n'


def table(columns: Sequence[str], rows: Iterable[str], *, numbers: bool = True) -> Iterable[str]:
    """A table in pieces: a column of text, then such of numbers, or of text too."""
    right = _NUMBER if numbers else ""
    yield '<div class="scroll"><table>\n<thead><tr>'
    yield "".join(f"<th{right * (i > 0)}>{safe(text)}</th>" for i, text in enumerate(columns))
    yield "</tr></thead>\n<tbody>\n"
    yield from rows
    yield "</tbody></table></div>\n"


def row(name: str, cells: Iterable[str], anchor: str | None, notes: Iterable[str] = ()) -> str:
    """One line of the table of photos; it leads to the card, if there is one."""
    told = "".join(f'<br><span class="soft">{safe(note)}</span>' for note in notes)
    shown = safe(name) if anchor is None else f'<a href="#{anchor}">{safe(name)}</a>'
    numbers = "".join(f"<td{_NUMBER}>{safe(cell)}</td>" for cell in cells)
    return f"<tr><td>{shown}{told}</td>{numbers}</tr>\n"


def failed(name: str, reason: str) -> str:
    """One line of the table of failures."""
    return f"<tr><td>{safe(name)}</td><td{_BAD}>{safe(reason)}</td></tr>\n"


_NUMBER = ' class="n"'
_BAD = ' class="bad"'


def _terms(facts: Iterable[Fact]) -> str:
    return "".join(f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>" for k, v in facts)


def _policy() -> str:
    """What the page may load: pictures inside it, its style, and the one script."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    script = f"script-src 'sha256-{digest}'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; {script}"
