"""Dark scenes as a phone's raw files show them: simulated, where no real ones may be had.

A truth is made darker, taken back to what a sensor sees (the sRGB curve of IEC 61966-2-1, a colour
matrix, white balance), given shot and read noise (variance = shot * signal + read, with the range
of Brooks et al. 2019), cut off at black in two of three photos, and developed again without any
smoothing: demosaicking by Malvar, He and Cutler 2004, and the way back. The truth goes the same way
without noise. Only the demosaicking is the training's code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from denoisetool.training.demosaic import gradient_corrected, mosaic
from tests.bench.rivals import Picture

Floats = npt.NDArray[np.float64]
MATRICES = (
    np.array([[1.7, -0.5, -0.2], [-0.25, 1.5, -0.25], [0.0, -0.6, 1.6]]),
    np.array([[1.4, -0.3, -0.1], [-0.2, 1.45, -0.25], [0.0, -0.45, 1.45]]),
)
"""From a sensor's colours to sRGB's, rows adding up to one."""


def dark_photo(truth: Picture, seed: int) -> tuple[Picture, Picture]:
    """A noisy dark photo of a scene, and the same without noise: uint8 (H, W, 3), even sides."""
    rng = np.random.default_rng(seed)
    matrix = MATRICES[seed % 2]
    scene = _linear(truth / 255) * np.exp(rng.uniform(np.log(0.12), np.log(0.7)))
    gains = np.array([rng.uniform(1.5, 2.3), 1.0, rng.uniform(1.4, 2.2)])
    seen = np.clip(scene @ np.linalg.inv(matrix).T, 0, 1) / gains
    raw = mosaic(torch.from_numpy(seen).permute(2, 0, 1)[None])
    shot = np.exp(rng.uniform(np.log(0.002), np.log(0.02)))
    read = np.exp(2.18 * np.log(shot) + 1.2 + 0.26 * rng.standard_normal())
    noise = torch.from_numpy(rng.standard_normal(tuple(raw.shape)))
    noisy = (raw + (shot * raw + read).sqrt() * noise).clamp(0 if seed % 3 else -0.1, 1)

    def developed(sampled: torch.Tensor) -> Picture:
        colours = gradient_corrected(sampled)[0].permute(1, 2, 0).numpy() * gains
        shown = _curve(np.clip(np.clip(colours, 0, 1) @ matrix.T, 0, 1))
        return np.asarray(np.round(shown * 255), np.uint8)

    return developed(noisy), developed(raw)


def _linear(shown: npt.NDArray[Any]) -> Floats:
    return np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)


def _curve(linear: Floats) -> Floats:
    bent = 1.055 * np.maximum(linear, 1e-8) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, linear * 12.92, bent)
