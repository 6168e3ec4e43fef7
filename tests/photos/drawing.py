"""What scenes are made of: noise, look-ups, blur, blends."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rng = np.random.Generator


def fractal(rng: Rng, size: int, slope: float, low: float = 1) -> Array:
    """Periodic (size, size) noise of unit deviation; amplitude falls as 1 / frequency ** slope."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) * size
    frequency[frequency < low] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) / frequency**slope)
    return np.asarray(noise / noise.std(), np.float32)


def sample(texture: Array, y: Array, x: Array) -> Array:
    """Bilinear look-up in a periodic texture; 1.0 is one period."""
    size = len(texture)
    y, x = np.asarray(y * size), np.asarray(x * size)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = (y - top).astype(np.float32), (x - left).astype(np.float32)
    i, j, k, m = top % size, (top + 1) % size, left % size, (left + 1) % size
    upper = texture[i, k] * (1 - fx) + texture[i, m] * fx
    return np.asarray(upper * (1 - fy) + (texture[j, k] * (1 - fx) + texture[j, m] * fx) * fy)


def blur(img: Array, sigma: float) -> Array:
    """Gaussian blur of (H, W, C)."""
    margin = int(3 * sigma) + 1
    padded = np.pad(img, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    fy = np.fft.fftfreq(padded.shape[0])[:, None, None]
    fx = np.fft.rfftfreq(padded.shape[1])[:, None]
    response = np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
    out = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * response, padded.shape[:2], axes=(0, 1))
    return np.asarray(out[margin:-margin, margin:-margin], np.float32)


def step(low: float, high: float, x: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between (also downwards)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def mix(a: Any, b: Any, t: Array) -> Array:
    """Colour `a` where t is 0, `b` where it is 1."""
    return np.asarray(np.asarray(a) * (1 - t[..., None]) + np.asarray(b) * t[..., None])


def unit(v: Any) -> Array:
    """`v` (..., 3) at length 1."""
    vector: Array = np.asarray(v, np.float32)
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def halve(img: Array) -> Array:
    """Mean of 2x2 pixels: the anti-aliasing of scenes drawn at double size."""
    height, width, channels = img.shape
    return np.asarray(img.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3)))
