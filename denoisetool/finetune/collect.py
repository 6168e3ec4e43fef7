"""Look at all scenes of a folder, keep what makes pairs, and put some away for the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from denoisetool import formats
from denoisetool.errors import DenoiseError, NoInputError
from denoisetool.files import HEAD_BYTES
from denoisetool.finetune import dataset
from denoisetool.finetune.align import Float
from denoisetool.finetune.dataset import Crop
from denoisetool.finetune.pairs import Found, Scene
from denoisetool.finetune.prepare import Clean, Frame, Prepared, Rejected, prepare, read
from denoisetool.formats.exif import Shot
from denoisetool.training.data import Image

NEAR = 32
"""Shifts in pixels up to which those back are the same, for tiles of 64."""
HELD = 0.2
"""Share of the scenes that is held out, one at least."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a pair of photos, taken or not.

    Attributes:
        scene: its name; photos: the two files (or those that lack a partner).
        reason: why it was rejected; '' for what was taken.
        held_out: whether it is kept for the verdict.
        shift: pixels by which the second photo was moved; exposure: stops of difference.
        noise: of one photo, in levels of 255; weight: share of the samples that count.
    """

    scene: str
    photos: tuple[Path, ...]
    reason: str = ""
    held_out: bool = False
    shift: tuple[float, float] | None = None
    exposure: float | None = None
    noise: float | None = None
    weight: float | None = None

    @property
    def taken(self) -> bool:
        """Whether it was not rejected."""
        return not self.reason


@dataclass(slots=True)
class Collected:
    """What there is to learn from.

    Attributes:
        lines: the table.
        shots: how the photos that were taken had been taken.
        kinds: kinds of noise the start model saw, with counts.
        train, check, held: pairs; images: clean pictures to add noise to, by part.
    """

    lines: list[Line] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    train: list[Crop] = field(default_factory=list)
    check: list[Crop] = field(default_factory=list)
    held: list[Crop] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    held_images: list[Image] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The kind of noise most photos have; '' for a model that does not ask."""
        return self.kinds.most_common(1)[0][0] if self.kinds else ""

    def require(self, folder: Path) -> None:
        """Raise NoInputError unless there is something to train on and something to judge by."""
        if self.train and self.check and self.held:
            return
        reasons = Counter(line.reason for line in self.lines if line.reason)
        rejected = [f"{line.scene}: {line.reason}" for line in self.lines if line.reason]
        what = "no pair can be used"
        if any(line.taken for line in self.lines):
            what = "the pairs that can be used are too small to learn from and to judge by"
        elif len(reasons) == 1:
            what += f": {next(iter(reasons))}"
        elif rejected:
            what += f"; the first: {rejected[0]}"
        raise NoInputError(what, path=folder, hint="--dry-run shows what is wrong with each pair")

    def save(self, folder: Path) -> None:
        """Write it all into the run's folder. Raises DiskFull, OutputError."""
        for name in dataset.PARTS:
            dataset.save(folder, name, getattr(self, name))
        dataset.save_images(folder, "images", self.images)
        dataset.save_images(folder, "held-images", self.held_images)


def collect(
    found: Found, clean: Clean, *, seed: int = 0, raw: bool = False,
    report: Callable[[Line], None] | None = None,
) -> Collected:  # fmt: skip
    """Prepare the scenes one by one; memory holds one scene's photos, and the crops.

    Args:
        found: the scenes.
        clean: a denoiser.
        seed: of what is held out and which crops are kept.
        raw: leave all pairs as they are, for comparison.
        report: told of each line of the table.
    """
    result = Collected()

    def tell(line: Line) -> None:
        result.lines.append(line)
        if report is not None:
            report(line)

    for name, photos, reason in found.rejected:
        tell(Line(name, photos, reason))
    rng = np.random.default_rng(seed)
    scenes = [found.scenes[i] for i in rng.permutation(len(found.scenes))]
    side = _side(scenes)
    wanted = max(1, round(HELD * len(scenes)))
    most = max(2, int(dataset.BUDGET / side**2 / max(1, len(scenes) - wanted)))
    only: list[Prepared] = []
    for scene in scenes:
        hold, crops = wanted > 0, list[Crop]()
        views = 0
        for pair in _pairs(scene, result, tell, clean, hold=hold, raw=raw):
            views += 1
            if not hold:
                crops += dataset.crops_of(pair, side)
            elif views <= 2:
                result.held.append(dataset.middle(pair))
                only = [*only, pair][:2]
        wanted -= hold and views > 0
        _share_out(result, crops, most, rng)
    if only and not result.train:  # no other scene can be used
        result.held, result.images, result.held_images = [], result.held_images[:1], []
        _split_one(result, only, side, most, rng)
    result.held = result.held[: dataset.HELD_MOST]
    return result


def _pairs(
    scene: Scene, result: Collected, tell: Callable[[Line], None], clean: Clean, *,
    hold: bool, raw: bool,
) -> Iterator[Prepared]:  # fmt: skip
    """The pairs of a scene that can be used, both ways round."""
    frames: dict[Path, Frame | Rejected] = {}

    def frame(path: Path) -> Frame:
        if path not in frames:
            try:
                frames[path] = read(path, clean)
            except Rejected as error:
                frames[path] = error
        got = frames[path]
        if isinstance(got, Rejected):
            raise got
        return got

    used: dict[Path, Frame] = {}
    shifts: dict[tuple[Path, Path], Float | None] = {}
    for one, other in scene.pairs():
        try:
            first, second = frame(one), frame(other)
            back = shifts.get((other, one))
            pair = prepare(
                first, second, supervised=scene.clean is not None, raw=raw,
                shifts=None if back is None or np.abs(back).max() > NEAR else -back,
            )  # fmt: skip
            shifts[one, other] = pair.shifts
        except Rejected as error:
            tell(Line(scene.name, (one, other), str(error)))
            continue
        used[one] = first
        tell(
            Line(
                scene.name, (one, other), "", hold, pair.shift, pair.exposure, pair.noise,
                pair.weight,
            )
        )  # fmt: skip
        yield pair
    for used_frame in used.values():
        result.shots.append(used_frame.shot)
        if used_frame.kind is not None:
            result.kinds[used_frame.kind] += 1
    if used:
        picture = dataset.scene_image(next(iter(used.values())).clean)
        (result.held_images if hold else result.images).append(picture)


def _share_out(result: Collected, crops: list[Crop], most: int, rng: np.random.Generator) -> None:
    """Some crops to train on, some to watch."""
    chosen = [crops[i] for i in rng.permutation(len(crops))[:most]]
    for crop in chosen:
        count = len(result.train) + len(result.check)
        (result.check if count % dataset.CHECKED == 1 else result.train).append(crop)


def _split_one(
    result: Collected, pairs: list[Prepared], side: int, most: int, rng: np.random.Generator
) -> None:
    """One scene alone: its right part is held out, a gap apart from the rest."""
    border = 1 - dataset.HELD_SHARE
    for pair in pairs:
        width = pair.noisy.shape[1]
        end = border - dataset.GAP / width
        small = min(side, int(width * end) // 2 // 8 * 8)
        _share_out(result, dataset.crops_of(pair, small, (0.0, end)), most, rng)
        result.held.append(dataset.middle(pair, (border, 1.0)))
    result.held_images = [image[:, round(image.shape[1] * border) :] for image in result.images]
    result.images = [image[:, : round(image.shape[1] * border)] for image in result.images]


def _side(scenes: list[Scene]) -> int:
    """Side of the crops: all photos must have room for one."""
    least = dataset.CROP
    for path in (path for scene in scenes for path in scene.frames):
        try:
            with path.open("rb") as file:
                least = min(least, *formats.size(file.read(HEAD_BYTES)))
        except (OSError, DenoiseError):
            continue  # told when the pair is prepared
    return dataset.CROP if least >= dataset.CROP else dataset.CROP // 2
