"""The user's pairs on disk, cut into what is trained on, what is watched, and what is held out.

Kept in the run's folder as plain NumPy arrays: noisy samples as uint16, targets as float16 (they
reach beyond black and white), which of them count as bits. A restarted run, and the peers of a run
on several devices, read them from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from denoisetool import files, metrics
from denoisetool.errors import DiskFull
from denoisetool.finetune.align import Float
from denoisetool.finetune.prepare import Prepared
from denoisetool.photo import widened
from denoisetool.training.data import Image

CROP = 512
"""Largest side of the crops that are kept."""
BUDGET = 36e6
"""Pixels of all crops together; each takes 15 bytes."""
HELD_SIDE, HELD_MOST = 1536, 8
"""Largest side of what is held out of a photo, and of how many pairs."""
CHECKED = 8
"""One of so many crops is not trained on, but tells when to stop."""
HELD_SHARE = 0.3
"""Share of the picture that is held out where there is only one scene."""
GAP = 64
"""Pixels between what is trained on and what is held out of one picture."""
PARTS = ("train", "check", "held")
KINDS = ("noisy", "target", "counts")


@dataclass(frozen=True, slots=True)
class Views:
    """Parts of pairs, all of one size: (n, h, w, 3) each.

    Attributes:
        noisy: uint16 of 65535. target: float16 in units of white. counts: bool.
    """

    noisy: npt.NDArray[np.uint16]
    target: npt.NDArray[np.float16]
    counts: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.noisy)

    def one(self, index: int) -> tuple[Float, Float, npt.NDArray[np.bool_]]:
        """One of them as float32 noisy and target in [0, 1] and beyond, and what counts."""
        noisy = self.noisy[index].astype(np.float32) / np.float32(65535)
        return noisy, widened(np.ascontiguousarray(self.target[index])), self.counts[index]


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a pair as it is kept; see `Views`."""

    noisy: npt.NDArray[np.uint16]
    target: npt.NDArray[np.float16]
    counts: npt.NDArray[np.bool_]


def crops_of(pair: Prepared, side: int, share: tuple[float, float] = (0.0, 1.0)) -> list[Crop]:
    """Crops of `side` pixels that do not overlap, where at least half counts.

    Args:
        pair: a whole picture.
        side: of the crops.
        share: from which to which share of the picture's width.
    """
    height, width = pair.noisy.shape[:2]
    left, right = (round(width * s) for s in share)
    rows, columns = height // side, (right - left) // side
    found = []
    for row in range(rows):
        for column in range(columns):
            top = row * side + (height - rows * side) // 2
            start = left + column * side + (right - left - columns * side) // 2
            crop = cut(pair, top, start, side, side)
            if crop.counts.mean() >= 0.5:
                found.append(crop)
    return found


def cut(pair: Prepared, top: int, left: int, height: int, width: int) -> Crop:
    """A copy of a window of a pair."""
    window = np.s_[top : top + height, left : left + width]
    return Crop(
        in_16_bits(pair.noisy[window]),
        pair.target[window].astype(np.float16),
        pair.counts[window].copy(),
    )


def in_16_bits(picture: Float) -> npt.NDArray[np.uint16]:
    """Samples in [0, 1], clipped and rounded to uint16."""
    return np.clip(np.rint(picture * 65535), 0, 65535).astype(np.uint16)


def middle(pair: Prepared, share: tuple[float, float] = (0.0, 1.0)) -> Crop:
    """The middle of a pair, or of a share of its width; `HELD_SIDE` pixels at most."""
    height, width = pair.noisy.shape[:2]
    left, right = (round(width * s) for s in share)
    tall, wide = min(height, HELD_SIDE), min(right - left, HELD_SIDE)
    return cut(pair, (height - tall) // 2, left + (right - left - wide) // 2, tall, wide)


def save(folder: Path, name: str, crops: Sequence[Crop]) -> None:
    """Write views of one size.

    Raises:
        DiskFull, OutputError: they cannot be written.
    """
    count = max(1, len(crops))
    height, width = (
        (min(c.noisy.shape[axis] for c in crops) for axis in (0, 1)) if crops else (1, 1)
    )
    needed = count * height * width * 15
    free = files.free_bytes(folder)
    if free < needed + (64 << 20):
        what = f"preparing the pairs needs {needed / 1e6:.0f} MB here, {free / 1e6:.0f} MB are free"
        raise DiskFull(what, path=folder, hint="make room, or name another place with --run")
    window = np.s_[:height, :width]
    with files.errors_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            stack = [getattr(crop, kind)[window] for crop in crops]
            np.save(folder / f"{name}-{kind}.npy", np.stack(stack) if stack else np.zeros(0))


def load(folder: Path, name: str) -> Views:
    """Views that `save` wrote; they stay on disk."""
    return Views(*(np.load(folder / f"{name}-{kind}.npy", mmap_mode="r") for kind in KINDS))


def scene_image(clean: Float) -> Image:
    """A denoised picture at half its size: clean enough to add noise to, uint8."""
    boxed = metrics.box_reduce(clean[: len(clean) // 2 * 2, : clean.shape[1] // 2 * 2], 2)
    return np.asarray(np.clip(np.rint(boxed * 255), 0, 255), np.uint8)


def save_images(folder: Path, name: str, images: Sequence[Image]) -> None:
    """Write pictures of any sizes."""
    with files.errors_told(folder):
        np.savez(folder / f"{name}.npz", *images)


def load_images(folder: Path, name: str) -> list[Image]:
    """Pictures that `save_images` wrote."""
    with np.load(folder / f"{name}.npz") as data:
        return [np.asarray(data[key], np.uint8) for key in data.files]
