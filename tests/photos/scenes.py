"""A valley, an old print, a city at night and a test chart; linear light, (H, W, 3), 1 = white."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.photos.drawing import Array, Rng, blur, fractal, halve, mix, sample, step, unit


def terrain(width: int, height: int, seed: int) -> Array:
    """Wooded hills, a lake and snowy mountains in evening light, by walking a height map."""
    rng = np.random.default_rng(seed)
    relief, trees = fractal(rng, 1024, 2.15, low=3), fractal(rng, 1024, 0.6, low=60)
    clouds = fractal(rng, 1024, 1.5, low=2)
    width, height, focal, eye = 2 * width, 2 * height, 1.9 * width, 1.05

    def ground(depth: Array, side: Array) -> tuple[Array, Array]:
        rise = 0.5 + 3.2 * step(12, 45, depth)
        hills = rise * (0.42 * sample(relief, depth / 40, side / 40) + 0.45 * step(14, 40, depth))
        wood = np.where(hills > -0.12, 1.0, 0.0) * step(2.6, 0.5, hills)
        tips = np.abs(sample(trees, depth / 11, side / 11))
        return np.maximum(hills + 0.05 * wood * tips, -0.18), wood

    depths = np.geomspace(1.3, 60, 1100)[:, None]
    sides = (np.arange(width) - width / 2) / focal * depths
    level, wood = ground(depths, sides)
    e = 0.02 * np.sqrt(depths)
    slope_x = (ground(depths, sides + e)[0] - ground(depths, sides - e)[0]) / (2 * e)
    slope_z = (ground(depths + e, sides)[0] - ground(depths - e, sides)[0]) / (2 * e)
    normal = unit(np.stack([-slope_x, np.ones_like(level), -slope_z], axis=-1))
    sun = np.maximum(normal @ unit([-0.75, 0.42, -0.35]), 0)[..., None]

    steep = step(0.75, 0.5, normal[..., 1])
    rough = sample(trees, depths / 5, sides / 5)
    color = mix([0.16, 0.17, 0.05], [0.30, 0.24, 0.09], np.clip(0.5 + 0.4 * rough, 0, 1))
    autumn = np.clip(0.3 + 0.5 * sample(relief, depths / 6, sides / 6), 0, 1)
    color = mix(color, mix([0.025, 0.06, 0.018], [0.22, 0.07, 0.012], autumn), 0.9 * wood)
    color = mix(color, [0.20, 0.17, 0.15], steep * step(0.2, 1.0, level))
    color = mix(color, [0.85, 0.87, 0.92], step(1.4, 2.1, level + 0.2 * rough) * (1 - 0.7 * steep))
    color = color * (sun * np.array([2.0, 1.55, 1.05]) + np.array([0.16, 0.21, 0.32]))
    haze = 1 - np.exp(-depths / 85) * np.ones_like(level)
    color = mix(color, [0.50, 0.52, 0.60], haze)

    row = height * 0.40 + focal * (eye - level) / depths
    highest = np.minimum.accumulate(row, axis=0)
    rows = np.arange(height, dtype=np.float64)
    up = np.clip(1 - rows / (0.5 * height), 0, 1)[:, None] * np.ones(width)
    cols = np.arange(width) / width
    band = sample(clouds, (2.2 / (0.35 + up)), cols * 0.8 / (0.35 + up))
    sky = mix([0.95, 0.66, 0.42], [0.16, 0.30, 0.58], step(0.0, 0.9, up))
    sky = mix(sky, [1.0, 0.86, 0.74], 0.75 * step(0.1, 1.6, band) * step(0.02, 0.4, up))
    out = sky.copy()
    water = np.zeros((height, width), bool)
    for x in range(width):
        first = np.searchsorted(-highest[:, x], -rows, side="left")
        land = first < len(depths)
        out[land, x] = color[first[land], x]
        water[land, x] = level[first[land], x] <= -0.17999
    shore = int(height * 0.40)
    wet_y, wet_x = np.nonzero(water)
    below = wet_y - shore
    ripple = rng.normal(0, 0.02, len(wet_y)) * below + 3 * sample(clouds, wet_y / 90, wet_x / 900)
    mirrored = np.clip(shore - 0.45 * below + ripple, 0, height - 1).astype(int)
    out[wet_y, wet_x] = 0.62 * out[mirrored, wet_x] + np.array([0.01, 0.02, 0.03])
    return halve(out)


def valley() -> Array:
    """Colour landscape."""
    return terrain(720, 480, 5)


def old_scan() -> Array:
    """A faded print of a landscape with its white border, dust and a crease; grey."""
    width, height = 620, 430
    grey = terrain(width - 60, height - 60, 23) @ np.array([0.3, 0.6, 0.1])
    rng = np.random.default_rng(4)
    out = np.full((height, width), 0.78)
    out[30:-30, 30:-30] = 0.015 + 0.72 * np.clip(grey, 0, 1.1) ** 1.15
    y, x = np.mgrid[:height, :width]
    out *= 1 + 0.12 * step(0.012, 0.0, np.abs((x - 450) / width - 0.08 * np.sin(y / 90)) * 4)
    for _ in range(40):
        cy, cx, size = rng.uniform(0, height), rng.uniform(0, width), rng.exponential(0.9)
        out += 0.35 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (0.6 + size) ** 2)
    return np.repeat(out[..., None], 3, axis=2)


def skyline() -> Array:
    """A city by a river at night: deep shadows, lit windows, neon, glow."""
    width, height, shore = 750, 500, 375
    rng = np.random.default_rng(8)
    clouds = fractal(rng, 512, 1.7, low=2)
    y, x = np.mgrid[:height, :width] / np.array([[[shore]], [[width]]])
    out = mix([0.004, 0.007, 0.022], [0.16, 0.07, 0.045], np.clip(y, 0, 1) ** 2.2)
    out += 0.05 * (step(0, 1.8, sample(clouds, y * 0.6, x * 0.35)) * y)[..., None] * [1, 0.6, 0.45]
    moon = np.hypot((x - 0.83) * width, (y - 0.16) * shore)
    out += (step(21, 18, moon) * (0.75 + 0.1 * sample(clouds, y, x)))[..., None] * [1, 0.95, 0.82]
    for layer, (count, tallest, haze) in enumerate([(26, 190, 0.7), (20, 260, 0.35), (14, 215, 0)]):
        for left in np.linspace(-20, width, count) + rng.uniform(-12, 12, count):
            tower(out, rng, int(left), int(rng.uniform(0.35, 1) * tallest), shore, layer, haze)
    glyphs = Image.new("L", (96, 26))
    ImageDraw.Draw(glyphs).text((4, 0), "HOTEL", fill=255, font=ImageFont.load_default(24))
    sign = np.asarray(glyphs, np.float32)[..., None] / 255
    out[250:276, 70:166] = out[250:276, 70:166] * (1 - sign) + sign * [1.6, 0.03, 0.06]
    out[310:312, 404:483] = [0.02, 0.9, 0.75]
    out[356:358, 559:632] = [1.3, 0.25, 0.9]
    row = np.arange(height - shore)
    wave = (
        7 * sample(clouds, row[:, None] / 23, np.arange(width) / 1500) * (row[:, None] / 60 + 0.3)
    )
    source = np.clip(shore - 1 - row[:, None] * 1.5 - 3 * np.abs(wave), 0, shore - 1).astype(int)
    smeared = blur(out[:shore], 1.2)
    shift = np.clip(np.arange(width) + wave, 0, width - 1).astype(int)
    out[shore:] = 0.55 * smeared[source, shift] + [0.002, 0.004, 0.009]
    out[shore - 4 : shore] = [0.05, 0.04, 0.03]
    return out + 0.10 * blur(out, 4) + 0.10 * blur(out, 18)


def tower(out: Array, rng: Rng, left: int, tall: int, shore: int, layer: int, haze: float) -> None:
    """Draws one building with its windows into `out`."""
    width = int(rng.uniform(26, 62))
    cell_w, cell_h = (5, 7) if layer < 2 else (7, 9)
    wall = np.array([0.020, 0.020, 0.026]) * rng.uniform(0.5, 1.6) + haze * np.array(
        [0.05, 0.03, 0.025]
    )
    face = np.broadcast_to(wall, (tall, width, 3)) * np.linspace(0.7, 1.5, tall)[:, None, None]
    face[:, : width // 5] *= 0.6
    warm = np.array([[1.0, 0.62, 0.25], [1.0, 0.80, 0.52], [0.75, 0.9, 1.0], [1.0, 0.45, 0.15]])
    busy = rng.uniform(0.12, 0.5)
    for top in range(6, tall - cell_h, cell_h):
        for x in range(4, width - cell_w, cell_w):
            if rng.random() < busy:
                glow = warm[rng.choice(4, p=[0.45, 0.3, 0.15, 0.1])] * rng.uniform(0.08, 0.8)
                pane = np.linspace(1.2, 0.6, cell_h - 3)[:, None, None] * np.ones(
                    (1, cell_w - 2, 1)
                )
                face[top : top + cell_h - 3, x : x + cell_w - 2] = (1 - 0.5 * haze) * glow * pane
    a, b = max(left, 0), min(left + width, out.shape[1])
    if a < b:
        out[shore - tall : shore, a:b] = face[:, a - left : b - left]
        mast = (a + b) // 2
        if tall > 170:
            out[shore - tall - 28 : shore - tall, mast] = wall
            out[shore - tall - 30 : shore - tall - 27, mast - 1 : mast + 2] = [1.2, 0.02, 0.02]


HUES = """
#73513f #c29480 #5f7a9d #59693f #837fb1 #66bdab #d97e2b #4759a6 #c25562 #5d3b6b #9ebd40 #e1a32d
#333d95 #449549 #b0333a #e7c71f #ba5493 #1f86a2 #f2f2ed #c8c8c8 #a0a0a0 #797979 #535353 #333333
"""


def poster() -> Array:
    """A printed test chart on a wall, seen from the side: text, colours, fine lines."""
    page = Image.new("RGB", (1000, 1400), (236, 230, 216))
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, 1000, 250), fill=(176, 18, 28))
    pen.text((60, 30), "LOW LIGHT", fill=(250, 240, 220), font=ImageFont.load_default(150))
    words = "Quick wafting zephyrs vex bold Jim 0123456789"
    top = 285
    for size in (46, 40, 33, 27, 22, 17):
        pen.text((60, top), words, fill=(28, 26, 30), font=ImageFont.load_default(size))
        top += int(size * 1.5)
    for i, hue in enumerate(HUES.split()):
        x, y = 60 + i % 6 * 148, 630 + i // 6 * 118
        pen.rectangle((x, y, x + 136, y + 106), fill=hue)
    for i in range(0, 360, 10):
        pen.pieslice((60, 1115, 310, 1365), i, i + 5, fill=(20, 20, 20))
    for i, gap in enumerate((12, 9, 7, 5)):
        for x in range(350 + i * 152, 490 + i * 152, gap * 2):
            pen.rectangle((x, 1120, x + gap - 1, 1225), fill=(20, 20, 20))
    for i in range(120):
        shade = int(255 * i / 119)
        pen.rectangle((350 + i * 5, 1260, 354 + i * 5, 1365), fill=(shade, shade, shade))

    width, height = 420, 600
    corners = [(90, 70), (750, 130), (735, 1110), (75, 1150)]
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(corners, [(0, 0), (1000, 0), (1000, 1400), (0, 1400)], strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    goal = np.array([0, 0, 1000, 0, 1000, 1400, 0, 1400], float)
    view = np.linalg.solve(np.array(rows), goal)
    flat = page.convert("RGBA").transform(
        (2 * width, 2 * height), Image.Transform.PERSPECTIVE, tuple(view), Image.Resampling.BICUBIC
    )
    paper = np.asarray(flat, np.float32) / 255
    rng = np.random.default_rng(3)
    plaster = fractal(rng, 512, 1.0, low=4)
    y, x = np.mgrid[: 2 * height, : 2 * width] / (2.0 * width)
    wall = np.array([0.30, 0.27, 0.22]) * (1 + 0.07 * sample(plaster, y * 1.5, x * 1.5))[..., None]
    cover = blur(paper[..., 3:], 10)
    wall *= 1 - 0.55 * np.roll(cover, (14, 10), axis=(0, 1))
    ink = np.clip(paper[..., :3], 0, 1) ** 2.2 * 0.85
    out = wall * (1 - paper[..., 3:]) + ink * paper[..., 3:]
    lamp = 1.15 * np.exp(-1.1 * ((x - 0.30) ** 2 + (y - 0.35) ** 2))[..., None]
    return halve(out * lamp * [1.0, 0.93, 0.80])
