"""Bring one photo onto another of the same scene, to a fraction of a pixel.

First one shift for the whole picture by phase correlation (Kuglin and Hines 1975), then a smooth
field of small shifts by least squares on gradients, coarse to fine (Lucas and Kanade 1981). Both
look at denoised versions. The picture itself is then moved tile by tile with a windowed sinc
(Lanczos, eight taps), which keeps its detail; a shift by whole pixels keeps its samples.

Arrays are float32, grey ones (H, W), pictures (H, W, C), in [0, 1]; shifts are (dy, dx) in pixels:
what is at (y, x) in the first photo is at (y + dy, x + dx) in the second.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from denoisetool import metrics

Float = npt.NDArray[np.float32]

LARGEST_SIDE = 1024
"""Side in pixels at which the whole shift is looked for."""
TILE = 64
"""Side in pixels of what is moved by one and the same shift."""
WHOLE = 0.04
"""A shift this near to whole pixels is taken for whole."""
STEADY = 0.15
"""A field that is nowhere further from one whole shift is taken for it: a camera on a tripod."""
TAPS = 4
_WINDOW = 16
_STIFF = 4e-5
"""Resistance of the field against gradients' squares: flat parts follow the parts around them."""
_MOST = 1.5


def whole_shift(first: Float, second: Float) -> tuple[float, float]:
    """The one shift that explains most, in pixels; right to a few of them for large photos."""
    factor = max(1, -(-max(first.shape) // LARGEST_SIDE))
    a, b = (metrics.box_reduce(p[..., None], factor)[..., 0] for p in (first, second))
    window = np.hanning(a.shape[0])[:, None] * np.hanning(a.shape[1])[None]
    fa, fb = (np.fft.rfft2((p - p.mean()) * window) for p in (a, b))
    cross = fb * fa.conj()
    cross /= np.abs(cross) + 1e-3 * np.abs(cross).mean() + 1e-12
    # Detail at the limit of resolution is mostly noise: it must not outvote the rest.
    fy, fx = np.fft.fftfreq(a.shape[0])[:, None], np.fft.rfftfreq(a.shape[1])[None]
    surface = np.fft.irfft2(cross * np.exp(-(fy**2 + fx**2) / (2 * 0.12**2)), s=a.shape)
    at = np.unravel_index(int(surface.argmax()), surface.shape)
    shift = [float(i if i <= n // 2 else i - n) for i, n in zip(at, a.shape, strict=True)]
    return shift[0] * factor, shift[1] * factor


def field(first: Float, second: Float, start: tuple[float, float]) -> Float:
    """Shifts of tiles: (h, w, 2) for tiles of `TILE` pixels, refined from one whole shift."""
    a, b = (torch.from_numpy(np.ascontiguousarray(p))[None, None] for p in (first, second))
    finest = 2 if first.size > 2e6 else 1
    flow = torch.tensor(start).view(1, 2, 1, 1)
    for factor in (16, 8, 4, 2, 1):
        if factor < finest or min(first.shape) // factor < 2 * _WINDOW:
            continue
        small = [F.avg_pool2d(p, factor) for p in (a, b)]
        flow = _resized(flow, small[0].shape[-2:])
        for _ in range(3):
            flow = flow + _step(small[0], small[1], flow / factor) * factor
    rows, columns = (-(-n // TILE) for n in first.shape)
    flow = _resized(flow, (rows * TILE // finest, columns * TILE // finest))
    tiles = F.avg_pool2d(flow, TILE // finest)
    shifts = np.asarray(tiles[0].permute(1, 2, 0).numpy(), np.float32)
    middle = np.median(shifts, (0, 1)).round()
    steady = np.abs(shifts - middle).max(2) < STEADY
    return np.broadcast_to(middle, shifts.shape) if steady.mean() > 0.9 else shifts


def move(picture: Float, shifts: Float) -> tuple[Float, npt.NDArray[np.bool_]]:
    """The second photo as the first one would have seen it.

    Args:
        picture: (H, W, C).
        shifts: (h, w, 2) of its tiles, from `field`.

    Returns:
        The moved picture, and an (H, W) map of where it shows anything.
    """
    height, width = picture.shape[:2]
    out, there = np.zeros_like(picture), np.zeros((height, width), bool)
    for row in range(shifts.shape[0]):
        for column in range(shifts.shape[1]):
            top, left = row * TILE, column * TILE
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            dy, dx = (float(v) for v in shifts[row, column])
            ys, wy, iny = _taps(top, bottom, dy, height)
            xs, wx, inx = _taps(left, right, dx, width)
            part = picture[ys[0] : ys[1], xs[0] : xs[1]]
            part = np.pad(part, (ys[2:], xs[2:], (0, 0)), mode="edge") if _short(ys, xs) else part
            part = _filtered(_filtered(part, wy, bottom - top, 0), wx, right - left, 1)
            out[top:bottom, left:right] = part
            there[top:bottom, left:right] = iny[:, None] & inx
    return out, there


def _short(ys: tuple[int, ...], xs: tuple[int, ...]) -> bool:
    return any((*ys[2:], *xs[2:]))


def _taps(
    start: int, stop: int, shift: float, size: int
) -> tuple[tuple[int, int, int, int], Float, npt.NDArray[np.bool_]]:
    """Along one axis: samples needed and padding before and after; weights; which are inside."""
    nearest = round(shift)
    if abs(shift - nearest) < WHOLE:
        whole, weights, before, after = nearest, np.ones(1, np.float32), 0, 0
    else:
        whole = int(np.floor(shift))
        before, after = TAPS - 1, TAPS
        distance = np.arange(-before, after + 1) - (shift - whole)
        weights = (np.sinc(distance) * np.sinc(distance / TAPS)).astype(np.float32)
        weights /= weights.sum()
    first, last = start + whole - before, stop + whole + after
    inside = np.arange(start, stop) + whole
    clipped = (min(max(first, 0), size - 1), max(min(last, size), 1))
    low = min(max(clipped[0] - first, 0), last - first - 1)
    clipped = clipped if clipped[1] > clipped[0] else (clipped[0], clipped[0] + 1)
    high = last - first - low - (clipped[1] - clipped[0])
    good = (inside - before >= 0) & (inside + after < size)
    return (*clipped, low, max(high, 0)), weights, good


def _filtered(part: Float, weights: Float, length: int, axis: int) -> Float:
    """Valid correlation along an axis, `length` samples."""
    if len(weights) == 1:
        return part[:length] if axis == 0 else part[:, :length]
    total = np.zeros_like(part[:length] if axis == 0 else part[:, :length])
    for i, weight in enumerate(weights):
        total += weight * (part[i : i + length] if axis == 0 else part[:, i : i + length])
    return total


def _resized(flow: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    if tuple(flow.shape[-2:]) == (1, 1):
        return flow.expand(1, 2, *shape).clone()
    return F.interpolate(flow, tuple(shape), mode="bilinear", align_corners=False)


def _step(a: Tensor, b: Tensor, flow: Tensor) -> Tensor:
    """What the shifts of all pixels are still wrong by, in pixels, smooth."""
    height, width = a.shape[-2:]
    ys = torch.arange(height, dtype=torch.float32).view(1, 1, -1, 1) + flow[:, :1]
    xs = torch.arange(width, dtype=torch.float32).view(1, 1, 1, -1) + flow[:, 1:]
    grid = torch.cat([2 * xs / (width - 1) - 1, 2 * ys / (height - 1) - 1], 1).permute(0, 2, 3, 1)
    moved = F.grid_sample(b, grid, mode="bilinear", padding_mode="border", align_corners=True)
    inside = ((grid.abs() <= 1).all(-1)[:, None]).float()
    mean = 0.5 * (a + moved)
    gy = F.pad(mean[..., 2:, :] - mean[..., :-2, :], (0, 0, 1, 1)) * 0.5
    gx = F.pad(mean[..., 2:] - mean[..., :-2], (1, 1)) * 0.5
    error = moved - a
    error = error - _smooth(error * inside) / _smooth(inside).clamp(min=1e-3)  # exposure
    weight = inside / (1 + (error / 0.05).square())  # what moved on its own has little say
    yy, xx, yx, ye, xe = (
        _smooth(v * weight) for v in (gy * gy, gx * gx, gy * gx, gy * error, gx * error)
    )
    yy, xx = yy + _STIFF, xx + _STIFF
    scale = yy * xx - yx * yx
    step = torch.cat([-(xx * ye - yx * xe) / scale, -(yy * xe - yx * ye) / scale], 1)
    return _smooth(step.clamp(-_MOST, _MOST))


def _smooth(values: Tensor) -> Tensor:
    """Means over windows of about 4 `_WINDOW` pixels, at a quarter of the resolution."""
    small = F.avg_pool2d(values, 4, ceil_mode=True, count_include_pad=False)
    size = _WINDOW // 4
    for _ in range(2):
        for kernel in ((2 * size + 1, 1), (1, 2 * size + 1)):
            padding = (kernel[0] // 2, kernel[1] // 2)
            small = F.avg_pool2d(small, kernel, 1, padding, count_include_pad=False)
    return F.interpolate(small, values.shape[-2:], mode="bilinear", align_corners=False)
