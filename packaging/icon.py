"""The program's icon: a disc, half of it grainy and half smooth, with the line between them.

The shapes are described once, in units of the picture's side. `python packaging/icon.py` draws them
into `packaging/icon.svg` and `denoisetool/icon.png`; the bundle's build draws `.ico` and `.icns`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
SVG = ROOT / "packaging" / "icon.svg"
PNG = ROOT / "denoisetool" / "icon.png"
PNG_SIDE = 256
SIDES = (16, 24, 32, 48, 64, 128, 256, 512)

Colour = tuple[int, int, int]
MARGIN, CORNER = 0.03, 0.21
CENTRE, RADIUS = 0.5, 0.335
CELLS = 14
"""Grains across the disc."""
LINE, KNOB = 0.018, 0.062
NIGHT: tuple[Colour, Colour] = ((52, 66, 108), (20, 26, 50))
SUN: tuple[Colour, Colour] = ((255, 214, 120), (245, 96, 92))
WHITE: Colour = (250, 250, 252)
_OVER = 8
"""Drawn so many times as large, then made smaller: smooth edges."""


def mix(pair: tuple[Colour, Colour], share: float) -> Colour:
    """The colour at `share` (0..1) between two."""
    a, b = pair
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def grains() -> Iterator[tuple[float, float, float, Colour]]:
    """The left half's grains: left, top, side, colour."""
    chance = random.Random(7)
    side = 2 * RADIUS / CELLS
    for row in range(CELLS):
        smooth = mix(SUN, (row + 0.5) / CELLS)
        for column in range(CELLS // 2):
            light = chance.gauss(0, 52)
            noisy = (round(min(255, max(0, c + light + chance.gauss(0, 24)))) for c in smooth)
            left, top = CENTRE - RADIUS + column * side, CENTRE - RADIUS + row * side
            yield left, top, side, tuple(noisy)  # type: ignore[misc]


def svg() -> str:
    """The icon as a vector drawing."""
    unit = 512

    def n(value: float) -> str:
        return f"{value * unit:.1f}".removesuffix(".0")

    def rgb(colour: Colour) -> str:
        return "#%02x%02x%02x" % colour  # noqa: UP031 - three numbers out of a tuple

    def gradient(name: str, pair: tuple[Colour, Colour], top: float, bottom: float) -> str:
        return (
            f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x1="0" x2="0"'
            f' y1="{n(top)}" y2="{n(bottom)}"><stop stop-color="{rgb(pair[0])}"/>'
            f'<stop offset="1" stop-color="{rgb(pair[1])}"/></linearGradient>'
        )

    top, bottom, inside = CENTRE - RADIUS, CENTRE + RADIUS, 1 - 2 * MARGIN
    disc = f'<circle cx="{n(CENTRE)}" cy="{n(CENTRE)}" r="{n(RADIUS)}"'
    square = f'x="{n(MARGIN)}" y="{n(MARGIN)}" width="{n(inside)}"'
    line = f'x="{n(CENTRE - LINE / 2)}" y="{n(MARGIN)}" width="{n(LINE)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {unit} {unit}">',
        "<title>Denoisetool</title>",
        "<defs>",
        gradient("night", NIGHT, MARGIN, 1 - MARGIN),
        gradient("sun", SUN, top, bottom),
        f'<clipPath id="disc">{disc}/></clipPath>',
        "</defs>",
        f'<rect {square} height="{n(inside)}" rx="{n(CORNER)}" fill="url(#night)"/>',
        f'{disc} fill="url(#sun)"/>',
        '<g clip-path="url(#disc)" shape-rendering="crispEdges">',
        *(
            f'<rect x="{n(x)}" y="{n(y)}" width="{n(side)}" height="{n(side)}" fill="{rgb(c)}"/>'
            for x, y, side, c in grains()
        ),
        "</g>",
        f'<g fill="{rgb(WHITE)}">',
        f'<rect {line} height="{n(inside)}"/>',
        f'<circle cx="{n(CENTRE)}" cy="{n(CENTRE)}" r="{n(KNOB)}"/>',
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def draw(side: int) -> Image.Image:
    """The icon as an RGBA picture of `side` pixels."""
    large = side * _OVER

    def box(left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int]:
        edges = (left, top, right, bottom)
        a, b, c, d = (round(edge * large) for edge in edges)
        return a, b, c - 1, d - 1

    def around(radius: float) -> tuple[int, int, int, int]:
        return box(CENTRE - radius, CENTRE - radius, CENTRE + radius, CENTRE + radius)

    def gradient(pair: tuple[Colour, Colour], top: float, bottom: float) -> Image.Image:
        column = Image.new("RGB", (1, large))
        for row in range(large):
            share = ((row + 0.5) / large - top) / (bottom - top)
            column.putpixel((0, row), mix(pair, min(1.0, max(0.0, share))))
        return column.resize((large, large))

    picture = Image.new("RGBA", (large, large))
    tile, disc = Image.new("L", picture.size), Image.new("L", picture.size)
    edges = box(MARGIN, MARGIN, 1 - MARGIN, 1 - MARGIN)
    ImageDraw.Draw(tile).rounded_rectangle(edges, CORNER * large, fill=255)
    ImageDraw.Draw(disc).ellipse(around(RADIUS), fill=255)
    picture.paste(gradient(NIGHT, MARGIN, 1 - MARGIN), mask=tile)
    sun = gradient(SUN, CENTRE - RADIUS, CENTRE + RADIUS)
    pen = ImageDraw.Draw(sun)
    for x, y, size, colour in grains():
        pen.rectangle(box(x, y, x + size, y + size), fill=colour)
    picture.paste(sun, mask=disc)
    pen = ImageDraw.Draw(picture)
    half = max(LINE / 2, 0.5 / side)  # never thinner than a pixel
    pen.rectangle(box(CENTRE - half, MARGIN, CENTRE + half, 1 - MARGIN), fill=WHITE)
    pen.ellipse(around(KNOB), fill=WHITE)
    return picture.resize((side, side), Image.Resampling.BOX)


def write_ico(path: Path) -> None:
    """Windows's form: all sides up to 256 in one file."""
    sides = [side for side in SIDES if side <= 256]
    pictures = [draw(side) for side in sides]
    pictures[-1].save(
        path, format="ICO", sizes=[(s, s) for s in sides], append_images=pictures[:-1]
    )


def write_icns(path: Path) -> None:
    """The form of macOS: sides of 16 to 1024."""
    sides = (1024, 16, 32, 64, 128, 256, 512)
    largest, *others = (draw(side) for side in sides)
    largest.save(path, format="ICNS", append_images=others)


def main() -> int:
    """Draw the files that the repository holds; with a folder, every size into that too."""
    SVG.write_text(svg(), encoding="utf-8")
    draw(PNG_SIDE).save(PNG, optimize=True)
    for place in map(Path, sys.argv[1:]):
        place.mkdir(parents=True, exist_ok=True)
        for side in SIDES:
            draw(side).save(place / f"denoisetool-{side}.png", optimize=True)
        write_ico(place / "denoisetool.ico")
        write_icns(place / "denoisetool.icns")
    return 0


if __name__ == "__main__":
    sys.exit(main())
