"""Spheres on a wooden table by a window, traced ray by ray: fruit and marbles.

Scenes are linear light, (H, W, 3) float, 1 = white.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.photos.drawing import Array, fractal, halve, mix, sample, step, unit


@dataclass(frozen=True)
class Ball:
    """A sphere: centre (x, y, z), radius, linear colour, second colour, texture kind."""

    centre: tuple[float, float, float]
    radius: float
    color: tuple[float, float, float]
    other: tuple[float, float, float]
    kind: str = "plain"


LIGHT = unit([-0.62, 0.70, -0.42])


def table(width: int, height: int, seed: int, balls: list[Ball], zoom: float = 1.0) -> Array:
    """Balls on a wooden table by a window, in front of a dark wall."""
    rng = np.random.default_rng(seed)
    coarse, fine = fractal(rng, 512, 1.6), fractal(rng, 512, 0.7)
    y, x = np.mgrid[: 2 * height, : 2 * width].astype(np.float32)
    eye = np.array([0, 2.3, -6.5], np.float32)
    ahead = unit(np.array([0, 0.55, 0]) - eye)
    right = unit(np.cross([0, 1, 0], ahead))
    x, y = (x / width - 1) / zoom, (height - y) / width / zoom
    ray = unit(ahead * 2.3 + x[..., None] * right + y[..., None] * np.cross(ahead, right))

    distance = np.where(ray[..., 1] < -1e-3, eye[1] / np.maximum(-ray[..., 1], 1e-3), 1e3)
    shade = 0.55 + 0.45 * step(-1.5, 1.5, -x + 0.4 * sample(coarse, y * 0.2, x * 0.2))
    out = mix([0.025, 0.03, 0.035], [0.13, 0.14, 0.13], shade - 0.5 * step(0.1, 0.9, y))
    near = ray[..., 2] * distance < 3.2 - eye[2]
    point = eye + ray[near] * distance[near][:, None]
    px, pz = point[:, 0], point[:, 2]
    rings = np.sin(9 * pz + 2.2 * sample(coarse, pz * 0.35, px * 0.05) + 0.4 * px)
    streak = sample(fine, pz * 1.3, px * 0.07) + 0.8 * sample(fine, pz * 3.1, px * 0.2)
    wood = mix([0.20, 0.085, 0.035], [0.40, 0.21, 0.10], 0.5 + 0.3 * rings + 0.14 * streak)
    wood *= (1 - 0.75 * step(0.985, 1.0, np.cos(2 * np.pi * pz / 1.7)))[:, None]
    up = np.broadcast_to(np.array([0, 1, 0], np.float32), point.shape)
    out[near] = wood * light(point, up, balls, None) + 0.10 * window(ray[near], up)

    for ball in balls:
        offset = eye - np.array(ball.centre, np.float32)
        along = ray @ offset
        inside = along**2 - (offset @ offset - ball.radius**2)
        hit = (inside > 0) & (-along - np.sqrt(np.maximum(inside, 0)) < distance)
        distance[hit] = (-along - np.sqrt(np.maximum(inside, 0)))[hit]
        surface = eye + ray[hit] * distance[hit][:, None]
        normal = (surface - np.array(ball.centre, np.float32)) / ball.radius
        out[hit] = paint(ball, surface, normal, ray[hit], balls, coarse, fine)
    return halve(out)


def light(point: Array, normal: Array, balls: list[Ball], own: Ball | None) -> Array:
    """Window light with soft shadows, plus room light dimmed near other balls; (..., 3)."""
    direct = np.maximum(normal @ LIGHT, 0)
    room = 0.55 + 0.45 * normal[..., 1]
    for ball in balls:
        if ball is own:
            continue
        to = np.array(ball.centre, np.float32) - point
        along = to @ LIGHT
        square = np.einsum("...i,...i", to, to)
        miss = np.sqrt(np.maximum(square - along**2, 0)) - ball.radius
        soft = 0.02 + 0.22 * np.maximum(along, 0)
        direct = direct * np.where(along > 0, step(-1, 1, miss / soft), 1)
        gap = np.maximum(np.sqrt(square), ball.radius)
        facing = np.maximum(np.einsum("...i,...i", to, normal) / gap, 0)
        room = room * (1 - 0.9 * facing * (ball.radius / gap) ** 2)
    return np.asarray(
        direct[..., None] * np.array([1.55, 1.42, 1.2])
        + room[..., None] * np.array([0.16, 0.2, 0.27])
    )


def window(ray: Array, normal: Array) -> Array:
    """What a glossy surface mirrors: a four-pane window, and a dim room."""
    mirror = ray - 2 * (ray * normal).sum(axis=-1, keepdims=True) * normal
    across = unit(np.cross(LIGHT, [0, 1, 0]))
    u, v = mirror @ across, mirror @ np.cross(across, LIGHT)
    pane = step(0.34, 0.31, np.abs(u)) * step(0.40, 0.37, np.abs(v))
    pane = pane * step(0.012, 0.03, np.abs(u)) * step(0.012, 0.03, np.abs(v)) * (mirror @ LIGHT > 0)
    room = 0.05 + 0.05 * step(-0.2, 0.6, mirror[..., 1])
    return np.asarray(pane[..., None] * np.array([7.0, 7.2, 7.4]) + room[..., None])


def paint(
    ball: Ball,
    point: Array,
    normal: Array,
    ray: Array,
    balls: list[Ball],
    coarse: Array,
    fine: Array,
) -> Array:
    """Colour of the points of one ball: skin, bumps, light, gloss."""
    turn = np.arctan2(normal[:, 0], -normal[:, 2]) / (2 * np.pi) + ball.centre[0]
    tilt = np.arcsin(np.clip(normal[:, 1], -1, 1)) / np.pi + ball.centre[2]
    scale = 0.6 * ball.radius
    if ball.kind == "peel":
        bump = [sample(fine, tilt * 2 + d, turn * 3 + d) for d in (0.1, 0.3, 0.7)]
        normal = unit(normal + 0.05 * np.stack(bump, axis=-1))
    cloud = sample(coarse, tilt * scale, turn * scale)
    speckle = sample(fine, tilt * 1.5, turn * 2)
    amount = {
        "plain": 0.3 + 0.2 * cloud,
        "apple": step(0.4, 2.2, 0.7 * cloud + 0.25 * sample(fine, tilt * 0.1, turn * 4) + tilt),
        "peel": 0.3 + 0.12 * cloud + 0.06 * speckle,
        "grape": 0.35 + 0.3 * cloud + 0.06 * speckle,
        "marble": step(-0.15, 0.15, np.sin(18 * tilt + 5 * cloud)),
    }[ball.kind]
    skin = mix(ball.color, ball.other, np.clip(amount, 0, 1)) * (1 + 0.05 * speckle)[:, None]
    grazing = 1 - np.clip(-(ray * normal).sum(axis=-1), 0, 1)
    gloss = {"plain": 0.05, "apple": 0.045, "peel": 0.03, "grape": 0.02, "marble": 0.07}[ball.kind]
    bounce = np.maximum(-normal[:, 1:2], 0) * np.array([0.16, 0.08, 0.04])
    lit = skin * (light(point, normal, balls, ball) + bounce)
    return np.asarray(lit + (gloss + 0.5 * grazing**5)[:, None] * window(ray, normal))


def still_life() -> Array:
    """Fruit: saturated reds, soft shadows, peel texture."""
    rng = np.random.default_rng(11)
    balls = [
        Ball((-1.25, 0.78, 0.5), 0.78, (0.60, 0.010, 0.012), (0.75, 0.42, 0.06), "apple"),
        Ball((0.30, 0.70, 0.9), 0.70, (0.90, 0.26, 0.012), (0.95, 0.40, 0.03), "peel"),
        Ball((1.75, 0.62, 0.3), 0.62, (0.50, 0.008, 0.015), (0.62, 0.10, 0.03), "apple"),
        Ball((-0.25, 0.46, -0.8), 0.46, (0.22, 0.40, 0.02), (0.50, 0.55, 0.05), "peel"),
        Ball((-2.6, 0.55, 1.6), 0.55, (0.75, 0.50, 0.03), (0.80, 0.62, 0.10), "peel"),
    ]
    for layer, count in enumerate((9, 6, 3)):
        for _ in range(count):
            x, z = rng.normal(1.0, 0.38 - 0.1 * layer), rng.normal(-1.0, 0.26 - 0.07 * layer)
            color = (0.05, 0.012, 0.05) if rng.random() < 0.6 else (0.10, 0.01, 0.03)
            ball = Ball((x, 0.2 + 0.3 * layer, z), 0.2, color, (0.13, 0.10, 0.22), "grape")
            balls.append(ball)
    return table(780, 520, 12, balls)


def marbles() -> Array:
    """Glass marbles close up."""
    colors = [(0.02, 0.08, 0.5), (0.55, 0.01, 0.02), (0.01, 0.30, 0.12), (0.8, 0.45, 0.02)]
    others = [(0.7, 0.75, 0.8), (0.9, 0.8, 0.7), (0.8, 0.8, 0.3), (0.1, 0.02, 0.02)]
    places = [(-0.85, 0.2), (0.55, 0.6), (0.1, -0.9), (1.35, -0.5)]
    balls = [
        Ball((x, 0.5, z), 0.5, color, other, "marble")
        for (x, z), color, other in zip(places, colors, others, strict=True)
    ]
    return table(252, 168, 13, balls, zoom=1.6)
