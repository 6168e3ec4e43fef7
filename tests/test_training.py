import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from denoisetool import nets
from denoisetool.engine import Engine
from denoisetool.errors import ModelError, NoInputError, UsageError
from denoisetool.modelcard import load
from denoisetool.nets.experts import Experts, evened, fine, found_apart, told_apart, told_firmly
from denoisetool.training import args, demosaic, export, footprint, losses
from denoisetool.training.batches import Batch, Synthetic
from denoisetool.training.corrupt import Corrupted, corrupt
from denoisetool.training.data import Image, Patches, load_photos
from denoisetool.training.degrade import CURVES, KINDS, Degradation, statistics
from denoisetool.training.loop import CHECKPOINT, LOG, Trainer
from denoisetool.training.precision import mixed
from denoisetool.training.teacher import Teacher, sharpness
from denoisetool.training.tone import ToneCurve
from tests.photos import render

RECIPE = """
name = "tiny"
title = "Tiny"
net = "unet"
net_args = { channels = 3, widths = [8, 16], blocks = [0, 1], level_width = 4 }
seed = 3
steps = 6
batch = 4
patch = 32
tail_patch = 48
tail_batch = 2
tail = 0.3
warmup = 2
checkpoint_every = 2
log_every = 2
[mix]
camera = 0.5
gaussian = 0.5
"""


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is counted, and not measured in a child process each time."""
    monkeypatch.setattr(footprint, "_measured", lambda *_: None)


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def _images() -> list[Image]:
    return [np.asarray(render(name)[0], np.uint8) for name in ("still_life", "valley")]


def _trainer(recipe: args.Recipe, folder: Path, device: str = "cpu") -> Trainer:
    return Trainer(recipe, Synthetic(recipe, _images()), folder, device)


def _scenes(count: int = 24, side: int = 64) -> torch.Tensor:
    return Patches(_images(), np.random.default_rng(0)).batch(count, side)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_shape_range_and_seed(kind: str) -> None:
    clean = _scenes()
    noisy, target = Degradation({kind: 1.0}, seed=1)(clean)
    assert noisy.shape == target.shape == clean.shape
    assert torch.isfinite(noisy).all()
    assert target.min() >= 0
    assert target.max() <= 1
    again, _ = Degradation({kind: 1.0}, seed=1)(clean)
    other, _ = Degradation({kind: 1.0}, seed=2)(clean)
    torch.testing.assert_close(noisy, again, atol=0, rtol=0)
    assert not torch.equal(noisy, other)
    if kind in ("clipped", "cut", "camera", "raw", "correlated", "clean"):
        levels = noisy * 255
        torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


def test_camera_noise_has_the_statistics_of_real_camera_noise() -> None:
    """Measured on real pairs: luma 0.61 at one pixel, chroma 0.86-0.91, R-G 0.28-0.68."""
    degradation, clean = Degradation({"camera": 1.0}, seed=0), _scenes(48)
    residuals = []
    for _ in range(6):
        noisy, target = degradation(clean)
        residual = noisy - target
        spread = residual.std((1, 2, 3)) * 255
        residuals.append(residual[(spread > 2) & (spread < 20)])  # where real files lie
    found = statistics(torch.cat(residuals))
    assert 0.4 < found["luma1"] < 0.75
    assert 0.7 < found["chroma1"] < 0.95
    assert found["chroma1"] > found["chroma2"] > found["chroma3"] > found["chroma4"] > 0.2
    assert found["luma1"] > found["luma2"] > found["luma4"]
    assert found["chroma2"] > found["luma2"]
    assert 0.15 < found["red_green"] < 0.8
    assert 3 < found["kurtosis"] < 9


def test_camera_noise_is_strongest_at_a_third_of_the_scale() -> None:
    """Measured on real pairs: half as strong near black, a third as strong near white."""
    ramp = torch.linspace(0, 1, 64).expand(16, 3, 64, 64)
    degradation = Degradation({"camera": 1.0}, seed=3, soft=False)
    pairs = [degradation(ramp) for _ in range(6)]
    target = torch.cat([t for _, t in pairs]).mean(1)
    noise = torch.cat([n - t for n, t in pairs])
    luma = noise.mean(1) / noise.std((1, 2, 3))[:, None, None]

    def strength(low: float, high: float) -> float:
        return float(luma[(target >= low) & (target < high)].std())

    middle = strength(0.25, 0.4)
    assert 0.4 < strength(0, 0.05) / middle < 0.9
    assert 0.3 < strength(0.9, 1) / middle < 0.6


def test_light_is_what_a_tone_curve_shows() -> None:
    curve = ToneCurve(*(torch.tensor([a, b])[:, None, None, None] for a, b in CURVES))
    shown = torch.linspace(0, 1, 101).expand(2, 1, 1, 101)
    light = curve.light(shown)
    assert (light.diff() >= 0).all()
    torch.testing.assert_close(curve.shown(light)[..., 1:], shown[..., 1:], atol=2e-4, rtol=0)
    assert curve.shown(torch.full((2, 1, 1, 1), -1.0)).max() < 0.01
    assert (curve.shown(torch.full((2, 1, 1, 1), 2.0)) == 1).all()


def test_colour_noise_is_stronger_in_colours_than_in_brightness() -> None:
    clean = _scenes(48)
    noisy, target = Degradation({"colour": 1.0}, seed=0)(clean)
    assert torch.equal(target, clean)
    noise = noisy - target
    luma = noise.mean(1, keepdim=True)
    assert luma.square().mean() < (noise - luma).square().mean() / 4  # white noise: a half
    assert statistics(noise)["kurtosis"] > 3


def test_grain_has_a_breadth_of_its_own_in_each_direction_and_broader_blotches_of_colour() -> None:
    degradation = Degradation({"grain": 1.0}, seed=0)
    grey = torch.full((64, 3, 64, 64), 0.5)
    noisy, target = degradation(grey)
    assert torch.equal(target, grey)
    noise = noisy - target
    found = statistics(noise)
    assert found["chroma1"] > found["luma1"] + 0.1
    assert found["chroma4"] > found["luma4"] + 0.2
    spread = noise.std((1, 2, 3)) * 255
    assert spread.min() > 1
    assert spread.max() < 27
    luma = noise.mean(1)
    steps = (luma.diff(dim=1), luma.diff(dim=2))
    down, across = (step.square().mean((1, 2)) for step in steps)
    assert (down / across).max() > 1.5
    assert (across / down).max() > 1.5
    for low, high, least, most in ((0.3, 0.3, 0.0, 0.35), (4.0, 4.0, 0.9, 1.0)):
        broad = degradation._broad((64, 3, 64, 64), low, high)
        assert float(broad.square().mean()) == pytest.approx(1, rel=0.1)
        alike = (broad[..., 1:] * broad[..., :-1]).mean() / broad.square().mean()
        assert least < float(alike) < most


def test_white_noise_would_fail_the_statistics_above() -> None:
    noisy, target = Degradation({"gaussian": 1.0}, seed=0)(_scenes(48))
    found = statistics(noisy - target)
    assert abs(found["luma1"]) < 0.05
    assert found["kurtosis"] < 3.3


@pytest.mark.parametrize("value", [0.0, 4 / 255, 0.5, 1.0])
def test_the_target_of_cut_noise_is_what_clipping_makes_of_its_mean(value: float) -> None:
    noisy, target = Degradation({"cut": 1.0}, seed=0)(torch.full((8, 3, 64, 64), value))
    means = target.mean((1, 2, 3))
    torch.testing.assert_close(noisy.mean((1, 2, 3)), means, atol=5e-3, rtol=0)
    assert (means.max() - value > 0.03) == (value < 0.1)
    assert (value - means.min() > 0.03) == (value > 0.9)


def test_raw_noise_is_hardly_correlated_and_brightens_what_is_black() -> None:
    clean, residuals = _scenes(48), []
    for seed in range(6):
        noisy, target = Degradation({"raw": 1.0}, seed=seed)(clean)
        dark = target.mean((1, 2, 3)) < 0.1
        residuals.append((noisy - target)[dark])
    found = statistics(torch.cat(residuals))
    assert 0.1 < found["luma1"] < 0.5
    assert 0.2 < found["chroma1"] < 0.7
    assert found["chroma3"] < 0.2
    assert found["sigma"] > 5
    assert torch.cat(residuals).mean() > 0.5 / 255


@pytest.mark.parametrize("interpolate", [demosaic.bilinear, demosaic.gradient_corrected])
def test_demosaicking_a_flat_mosaic_gives_it_back(
    interpolate: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    flat = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(interpolate(demosaic.mosaic(flat)), flat)


def test_gradients_of_one_colour_mend_the_others() -> None:
    """Grey that changes evenly comes back exactly, edges of it better than by the mean alone."""
    columns = torch.arange(32.0) / 32
    ramp = columns.expand(1, 3, 32, 32).contiguous()
    inner = (..., slice(2, -2), slice(2, -2))
    found = demosaic.gradient_corrected(demosaic.mosaic(ramp))
    torch.testing.assert_close(found[inner], ramp[inner])
    edge = (columns > 0.5).float().expand(1, 3, 32, 32).contiguous()
    sharp, plain = (
        float((interpolate(demosaic.mosaic(edge)) - edge)[inner].square().mean())
        for interpolate in (demosaic.gradient_corrected, demosaic.bilinear)
    )
    assert sharp < 0.7 * plain


def test_photos_as_cameras_show_them_are_soft_and_white_noise_is_on_sharp_ones() -> None:
    def fine(kind: str) -> float:
        targets = [Degradation({kind: 1.0}, seed=seed)(_scenes())[1] for seed in range(12)]
        return float(sharpness(torch.cat(targets)).mean())

    assert fine("correlated") < 0.7 * fine("gaussian")
    assert fine("camera") < 0.7 * fine("gaussian")


def test_an_expert_has_patches_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    mixes = "[mix.camera]\ncamera = 1.0\n[mix.white]\ngaussian = 1.0\n"
    own = "[patches.camera]\nreduction = 4\nreduced = 1.0\n"
    head = RECIPE.split("[mix]")[0].replace('"unet"', '"experts"')
    path.write_text(head + own + mixes)
    recipe = args.load(path)
    assert recipe.reduction_for("camera") == (4, 1.0)
    assert recipe.reduction_for("white") == (2, 0.3)
    for wrong in (
        "[patches.own]\nreduced = 1.0\n", "[patches.camera]\nside = 3\n", "[patches]\ncamera = 3\n",
        "[patches.camera]\nreduction = 0\n", "[patches.camera]\nreduced = 2.0\n",
    ):  # fmt: skip
        path.write_text(head + wrong + mixes)
        with pytest.raises(UsageError, match="patches"):
            args.load(path)
    path.write_text('taught = "white"\n' + RECIPE)
    with pytest.raises(UsageError, match="taught"):
        args.load(path)


def test_a_teacher_speaks_where_there_is_noise_and_only_there() -> None:
    torch.manual_seed(1)
    net = nets.build("experts", {"channels": 3, "widths": [8, 16], "blocks": [0, 1],
                                 "level_width": 4})  # fmt: skip
    assert isinstance(net, Experts)
    for part in (net.camera, net.white):
        torch.nn.init.normal_(part.tail.weight, std=0.05)
    cpu = torch.device("cpu")
    teacher, sharp = Teacher(net, cpu, 3, [64]), torch.rand(4, 3, 64, 64)
    clean = F.interpolate(_scenes(4, 32), (64, 64), mode="bicubic").clamp(0, 1)
    assert sharpness(sharp).min() > 0.5
    assert sharpness(clean).max() < 0.1
    assert sharpness(torch.full_like(clean, 0.5)).max() == 0
    torch.nn.init.zeros_(net.camera.tail.weight)  # what it became later says nothing
    assert torch.equal(teacher.target(Batch(clean, clean), 0), clean)
    noisy = clean + 5 / 255 * torch.randn_like(clean)
    batch = Batch(noisy, clean)
    assert torch.equal(teacher.target(Batch(sharp + noisy - clean, sharp), 1), sharp)
    assert not torch.equal(teacher.target(batch, 1), teacher.target(batch, 2))
    other, level = noisy.clone(), torch.full((4, 1, 16, 16), 5 / 255)
    other[..., 1::2, ::2] = 0.5
    with torch.no_grad():
        seen = [found_apart(teacher.white, picture, level, 2) for picture in (noisy, other)]
    changed = (seen[0] != seen[1]).any(1).any(0)
    assert changed[1::2, ::2].any()
    changed[1::2, ::2] = False
    assert not changed.any()
    strong, medium = (
        Batch(clean + level / 255 * torch.randn_like(clean), clean) for level in (30, 10)
    )
    assert torch.equal(teacher.target(strong, 1), clean)
    between = teacher.target(medium, 1)
    assert not torch.equal(between, clean)
    assert (between - clean).abs().mean() < (medium.noisy - clean).abs().mean()
    blind = nets.build("unet", {"widths": [8, 16], "blocks": [0, 1]})
    for other_net, channels, side, message in (
        (blind, 3, 64, "no experts"), (net, 1, 64, "channels"), (net, 3, 36, "multiples of 8"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            Teacher(other_net, cpu, channels, [64, side])
    every, apart = teacher.lesson(batch, 0), teacher.lesson(batch, 1)
    assert every.noisy is noisy
    assert apart.noisy.shape == (16, 3, 32, 32)
    assert torch.equal(apart.noisy[1], noisy[0, :, ::2, 1::2])
    level = evened(teacher.camera.level(noisy)).detach()
    for lesson, known in ((every, told_firmly(level)), (apart, told_apart(level))):
        assert lesson.told is not None
        assert lesson.told.shape[2] * 4 == lesson.noisy.shape[2]
        assert 0.75 < float(lesson.told.mean() / known.mean()) < 1.3
        with torch.no_grad(), mixed(noisy.device):
            found = teacher.white(lesson.noisy, lesson.told).float()
        wanted = lesson.noisy - (found if lesson is apart else fine(found))
        torch.testing.assert_close(lesson.target, wanted)


def test_a_small_net_learns_what_the_net_for_white_noise_finds(tmp_path: Path) -> None:
    net_args = {"channels": 3, "widths": [8, 16], "blocks": [0, 1], "level_width": 4, "soft": 3,
                "apart": {"widths": [4, 8]}}  # fmt: skip
    text = RECIPE.replace('"unet"', '"experts"').replace("[mix]", 'taught = "apart"\n[mix.apart]')
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    recipe = replace(args.load(path), net_args=net_args, steps=40, rate=5e-3, warmup=5, tail=0.0)
    torch.manual_seed(2)
    start = nets.build("experts", net_args)
    assert isinstance(start, Experts)
    torch.nn.init.normal_(start.white.tail.weight, std=0.05)
    source = Synthetic(recipe, _images())
    trainer = Trainer(recipe, source, tmp_path / "run", "cpu", start.state_dict())
    trainer.run(lambda line: None)
    assert isinstance(trainer.net, Experts)
    for name, value in start.camera.state_dict().items():
        assert torch.equal(trainer.net.camera.state_dict()[name], value)
    cpu, left = torch.device("cpu"), []
    own, other = (Teacher(start, cpu, 3, [], itself=itself) for itself in (True, False))
    for taught_by, name in ((own, "white"), (other, "apart")):
        for key, value in taught_by.white.state_dict().items():
            assert torch.equal(value, start.state_dict()[f"{name}.{key}"])
    lesson = own.lesson(source.batch(1000), 0)
    for net in (start, trainer.net):
        assert net.apart is not None
        with torch.no_grad():
            output = lesson.noisy - net.apart(lesson.noisy, lesson.told)
        left.append(float((output - lesson.target).norm()))
    assert left[1] < 0.8 * left[0]


def test_another_model_teaches_a_net_of_any_shape(tmp_path: Path) -> None:
    """What it starts from may be nothing, or of another shape."""
    path, mixes = tmp_path / "recipe.toml", "[mix.white]\ngaussian = 1.0\n[mix.camera]"
    text = RECIPE.replace('"unet"', '"experts"').replace("[mix]", mixes)
    path.write_text('taught = "camera"\n' + text)
    recipe = replace(args.load(path), steps=2, tail=0.0)
    untaught = replace(recipe, taught="")
    teacher = nets.build("experts", {"widths": [4, 8, 8], "blocks": [0, 0, 1], "level_width": 4})
    source = Synthetic(recipe, _images())
    for start in (None, nets.build(recipe.net, recipe.net_args).state_dict()):
        run = tmp_path / ("fresh" if start is None else "started")
        trainer = Trainer(recipe, source, run, "cpu", start, teacher=teacher)
        assert trainer.teacher is not None
        for name, value in trainer.teacher.white.state_dict().items():
            assert torch.equal(value, teacher.state_dict()[f"white.{name}"])
        trainer.run(lambda line: None)
        with pytest.raises(UsageError, match="does not say"):
            Trainer(untaught, source, tmp_path / "untaught", "cpu", start, teacher=teacher)


def test_a_grey_photo_to_be_enlarged_becomes_a_grey_one(recipe_path: Path) -> None:
    """Or the net would learn to colour it."""
    recipe = replace(args.load(recipe_path), scale=2, mix={"textbook": 1.0}, batch=2)

    def colour(picture: torch.Tensor) -> torch.Tensor:
        return (picture.amax(1) - picture.amin(1)).mean((1, 2)) * 255

    batches = [Synthetic(replace(recipe, seed=seed), _images()).batch(0) for seed in range(12)]
    shown, wanted = (
        torch.cat([colour(picture) for picture in pictures])
        for pictures in ([b.noisy for b in batches], [b.target for b in batches])
    )
    grey = shown < 0.01
    assert 0 < grey.sum() < len(grey)
    assert wanted[grey].max() < 0.01
    assert wanted[~grey].min() > 1


def test_an_impossible_mix_is_refused() -> None:
    for mix in ({"camera": 0.5}, {"film": 1.0}):
        with pytest.raises(ValueError, match="mix"):
            Degradation(mix)


def test_losses() -> None:
    target = torch.rand(3, 3, 32, 32)
    noisy = target + 0.1 * torch.randn_like(target)
    batch = Batch(noisy, target)
    for kind in args.LOSSES:
        whole, half, none = (
            losses.picture_loss(kind, target + left * (noisy - target), batch)
            for left in (1.0, 0.5, 0.0)
        )
        assert whole > half > none < 1e-2
    assert losses.coarse_loss(target + 0.1, target) == pytest.approx(0.1, rel=1e-4)
    level = losses.true_level(torch.full((1, 3, 32, 32), 0.25))
    torch.testing.assert_close(level, torch.full((1, 1, 8, 8), 0.25))
    low, high = losses.level_loss(level - 0.1, level), losses.level_loss(level + 0.1, level)
    assert float(low) == pytest.approx(3 * float(high), rel=1e-4)
    assert losses.mean_psnr(target + 0.1, target) == pytest.approx(20, abs=0.01)


def test_what_does_not_count_moves_no_loss() -> None:
    target = torch.rand(2, 3, 32, 32)
    noisy = target + 0.05 * torch.randn_like(target)
    weight = torch.ones(2, 1, 32, 32)
    weight[..., :16] = 0
    spoilt = target.clone()
    spoilt[..., :16] = 9
    for kind in args.LOSSES:
        one, other = (
            losses.picture_loss(kind, noisy, Batch(noisy, t, None, weight))
            for t in (target, spoilt)
        )
        assert 0 < float(one) == pytest.approx(float(other), rel=1e-5)
    one, other = (losses.true_level(noisy - t, weight=weight) for t in (target, spoilt))
    torch.testing.assert_close(one[..., 5:], other[..., 5:])
    assert losses.coarse_loss(noisy, spoilt, weight=weight) < 0.02


@pytest.mark.parametrize(("kind", "middle"), [("l2", "mean"), ("l1", "median"), ("l0", "mode")])
def test_each_loss_finds_its_own_middle_of_noisy_targets(kind: str, middle: str) -> None:
    # 60 % of the targets say 0.2, the rest are spread above: mean 0.44, median and mode 0.2; and
    # with 40 % at 0.2 and the rest between 0.5 and 0.9 the median is above 0.5, the mode is not.
    rng = np.random.default_rng(0)
    share = 0.4 if middle == "mode" else 0.6
    values = np.where(rng.random(4096) < share, 0.2, rng.uniform(0.5, 0.9, 4096))
    target = torch.from_numpy(values.astype(np.float32)).view(1, 1, 64, 64)
    batch = Batch(torch.full_like(target, 0.5), target, torch.full((1,), 0.5))
    guesses = torch.linspace(0.1, 0.95, 341)
    found = guesses[
        int(
            torch.stack(
                [
                    losses.picture_loss(kind, torch.full_like(target, g), batch, progress=0.9)
                    for g in guesses.tolist()
                ]
            ).argmin()
        )
    ]
    wanted = float(np.mean(values)) if middle == "mean" else 0.2
    assert float(found) == pytest.approx(wanted, abs=0.005)


def test_a_noisy_target_teaches_what_a_clean_one_does() -> None:
    # The gradient of the loss for noisy targets points, on average, where the clean one's does.
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(64, 3, 32, 32, generator=generator)
    noisy, other = (clean + 0.1 * torch.randn(clean.shape, generator=generator) for _ in range(2))
    gain = torch.ones((), requires_grad=True)
    share = torch.full((64,), 0.5)
    grads = []
    for target, part in ((clean, torch.ones(64)), (other, share)):
        output = clean + gain * 0.5 * (noisy - clean)
        loss = losses.picture_loss("l2", output, Batch(noisy, target, part))
        grads.append(float(torch.autograd.grad(loss, gain)[0]))
    assert grads[1] == pytest.approx(grads[0], rel=0.05)


def test_learning_rate_warms_up_stays_and_falls_to_zero(recipe_path: Path) -> None:
    recipe = args.load(recipe_path)
    rates = [recipe.rate_at(step) for step in range(recipe.steps + 1)]
    assert rates[0] < rates[1] == recipe.rate
    assert rates[-1] == 0
    assert [recipe.in_tail(step) for step in (0, 4, 5)] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = [", "not valid TOML"),
        (RECIPE.replace('net = "unet"', ""), "'net'"),
        ("flavour = 1\n" + RECIPE, "'flavour'"),
        (RECIPE.replace("patch = 32", "patch = 0"), "at least 1"),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        args.load(path)


IPT = """net = "ipt"
net_args = { width = 8, patch = 24, token = 3, encoders = 1, decoders = 1, heads = 4, hidden = 8,\
margin = 4, tasks = ["denoise30"] }"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("log_every = 2", "log_every = 0", "log_every must be at least 1"),
        ("checkpoint_every = 2", "checkpoint_every = 0", "checkpoint_every must be at least 1"),
        ("seed = 3", "seed = -1", "seed must be at least 0"),
        ("seed = 3", "reduction = 0", "reduction must be at least 1"),
        ("seed = 3", "rate = 0.0", "rate must be above 0"),
        ("tail = 0.3", "tail = 1.5", "tail must be at most 1"),
        ("tail = 0.3", "tail = nan", "tail must be a number, not nan"),
        ("steps = 6", 'steps = "6"', "steps must be a whole number, not '6'"),
        ("steps = 6", "steps = 6.0", "steps must be a whole number, not 6.0"),
        ("steps = 6", "steps = true", "steps must be a whole number, not True"),
        ("seed = 3", "clipped = 1", "clipped must be true or false, not 1"),
        ('name = "tiny"', "name = 3", "name must be a text, not 3"),
        ("gaussian = 0.5", "gaussian = 0.4", "mix.* add up to 1"),
        ("gaussian = 0.5", "gausian = 0.5", "mix.* shares of camera"),
        ("gaussian = 0.5", "gaussian = 0.7\nclean = -0.2", "mix.* shares of camera"),
        ("gaussian = 0.5", "gaussian = nan", "mix.* add up to 1"),
        ("gaussian = 0.5", 'gaussian = "0.5"', "mix must be shares"),
        ("gaussian = 0.5", "[mix.white]\ngaussian = 1.0", "mix must be shares"),
        ("[mix]\ncamera = 0.5", "[mix.white]\ncamera = 0.6", "mix.white.* add up to 1"),
        ("patch = 32", "patch = 30", "patch must be a multiple of 4, not 30"),
        ("patch = 32", "patch = 8", "patch must be at least 16"),
        ("tail_patch = 48", "tail_patch = 50", "tail_patch must be a multiple of 4, not 50"),
        ("[8, 16]", "[8, -16]", "net or net_args are impossible"),
        ('"unet"', '"unit"', "net or net_args are impossible: unknown net 'unit'"),
    ],
)
def test_an_impossible_value_in_a_recipe_is_told_with_its_key(
    recipe_path: Path, old: str, new: str, told: str
) -> None:
    assert old in RECIPE
    recipe_path.write_text(RECIPE.replace(old, new))
    with pytest.raises(UsageError, match=f"the recipe's {told}") as caught:
        args.load(recipe_path)
    assert caught.value.path == recipe_path


def test_patches_must_fit_the_nets_that_are_trained(recipe_path: Path) -> None:
    def told(text: str) -> str:
        recipe_path.write_text(text)
        try:
            return f"{args.load(recipe_path).patch} fits"
        except UsageError as error:
            return error.what

    never = RECIPE.replace("tail_patch = 48", "tail_patch = 50")
    assert told(never.replace("tail = 0.3", "tail = 0.0")) == "32 fits"
    taught = 'taught = "camera"\n' + EXPERTS
    assert told(EXPERTS.replace("patch = 32", "patch = 36")) == "36 fits"
    assert "patch must be a multiple of 8, not 36" in told(taught.replace("ch = 32", "ch = 36"))
    ipt = "\n".join([IPT, *(line for line in RECIPE.splitlines() if not line.startswith("net"))])
    assert told(ipt.replace("patch = 32", "patch = 24")) == "24 fits"
    assert told(ipt) == "32 fits"
    assert "patch must be 24 or a multiple of 16, not 40" in told(ipt.replace("h = 32", "h = 40"))
    assert "net_args must name its tasks" in told(ipt.replace(', tasks = ["denoise30"]', ""))


def test_shares_that_add_up_but_for_rounding_can_be_drawn() -> None:
    noisy, _ = Degradation({"gaussian": 0.5000004, "textbook": 0.5})(_scenes(4))
    assert noisy.shape == (4, 3, 64, 64)


def test_training_stopped_and_resumed_equals_training_in_one_go(
    recipe_path: Path, tmp_path: Path
) -> None:
    recipe = args.load(recipe_path)
    lines: list[dict[str, object]] = []
    whole = _trainer(recipe, tmp_path / "whole", "cpu")
    whole.run(lines.append)
    parts = _trainer(recipe, tmp_path / "parts", "cpu")
    parts.run(lines.append, until=4)
    resumed = _trainer(recipe, tmp_path / "parts", "cpu")
    assert resumed.step == 4
    resumed.run(lines.append)
    for one, other in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert whole.pixels == resumed.pixels > 0
    log = [json.loads(line) for line in (tmp_path / "parts" / LOG).read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6]


def _started(recipe: args.Recipe, folder: Path, start: nn.Module | None) -> Trainer:
    weights = None if start is None else start.state_dict()
    return Trainer(recipe, Synthetic(recipe, _images()), folder, "cpu", weights)


def test_a_run_that_goes_on_is_pulled_to_the_weights_that_it_began_with(
    recipe_path: Path, tmp_path: Path
) -> None:
    recipe = replace(args.load(recipe_path), pull=0.2)
    torch.manual_seed(7)
    start = nets.build(recipe.net, recipe.net_args)
    whole = _started(recipe, tmp_path / "whole", start)
    whole.run(lambda _: None)
    _started(recipe, tmp_path / "parts", start).run(lambda _: None, until=4)
    resumed = _started(recipe, tmp_path / "parts", None)
    resumed.run(lambda _: None)
    for one, other in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_a_checkpoint_that_does_not_say_where_its_run_began_needs_the_start_to_be_pulled_to(
    recipe_path: Path, tmp_path: Path
) -> None:
    recipe = args.load(recipe_path)
    start = nets.build(recipe.net, recipe.net_args)
    _started(recipe, tmp_path / "run", start).save()
    pulled = replace(recipe, pull=0.2)
    with pytest.raises(UsageError, match="--start"):
        _started(pulled, tmp_path / "run", None)
    again = _started(pulled, tmp_path / "run", start)
    for one, other in zip(start.parameters(), again.anchor, strict=True):
        torch.testing.assert_close(one.detach(), other, atol=0, rtol=0)


def test_training_makes_a_denoiser_better(recipe_path: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("steps = 6", "steps = 150\nrate = 4e-3")
    recipe_path.write_text(text.replace("camera = 0.5\ngaussian = 0.5", "gaussian = 1.0"))
    trainer = _trainer(args.load(recipe_path), tmp_path / "run", "cpu")
    trainer.run(lambda _: None)
    noisy, target = Degradation({"gaussian": 1.0}, seed=9)(_scenes())
    with torch.inference_mode():
        after = losses.mean_psnr(noisy - trainer.net(noisy), target)
    assert after > losses.mean_psnr(noisy, target) + 1


def test_a_card_tells_the_strides_of_experts_that_take_smaller_steps(
    recipe_path: Path, tmp_path: Path
) -> None:
    recipe_path.write_text(EXPERTS.replace("net_args = {", "net_args = { soft = 2,"))
    trainer = _trainer(args.load(recipe_path), tmp_path / "run", "cpu")
    trainer.run(lambda _: None, until=1)
    card = load(export.export(tmp_path / "run", recipe_path, tmp_path / "model", []))
    assert card.stride == 8
    assert card.strides == {"camera": 4, "white": 4}
    assert all(card.overlap_for(kind) % card.stride_for(kind) == 0 for kind in ("white", "soft"))


EXPERTS = RECIPE.replace('"unet"', '"experts"').replace(
    "[mix]\ncamera = 0.5\ngaussian = 0.5\n",
    "[mix.camera]\ncamera = 1.0\n[mix.white]\ngaussian = 1.0\n",
)


def test_experts_are_trained_in_turn_each_on_its_own_noise(
    recipe_path: Path, tmp_path: Path
) -> None:
    recipe_path.write_text(EXPERTS)
    trainer = _trainer(args.load(recipe_path), tmp_path / "run", "cpu")
    seen = [{key: p.clone() for key, p in trainer.net.named_parameters()}]
    for until in (1, 2, 6):
        trainer.run(lambda _: None, until=until)
        seen.append({key: p.clone() for key, p in trainer.net.named_parameters()})
    for step, trained, resting in ((1, "camera", "white"), (2, "white", "camera")):
        moved = {
            k.split(".")[0] for k in seen[0] if not torch.equal(seen[step - 1][k], seen[step][k])
        }
        assert moved == {trained}, resting
    folder = export.export(tmp_path / "run", recipe_path, tmp_path / "model", [{"name": "mine"}])
    engine = Engine(load(folder), folder, "cpu", "fp32")
    assert engine.kinds == ("camera", "white")
    assert set(engine.card.overlaps) == {"white"}
    assert engine.card.overlap_for("white") == engine.card.overlaps["white"]
    assert engine.card.overlap_for("camera") == engine.card.overlap_for(None) == engine.card.overlap
    assert not engine.card.strides
    tile = _scenes(1, 32)[0].permute(1, 2, 0).contiguous().numpy()
    camera, white = (engine.noise([tile], kind)[0] for kind in engine.kinds)
    assert not np.array_equal(camera, white)
    np.testing.assert_array_equal(engine.noise([tile])[0], camera)


@pytest.mark.parametrize(
    ("net", "mix", "told"),
    [("experts", "[mix]\ncamera = 1.0", r"\[mix.camera\]"),
     ("experts", "[mix.camera]\ncamera = 1.0", r"\[mix.white\]"),
     ("unet", "[mix.camera]\ncamera = 1.0", r"one table \[mix\]")],
)  # fmt: skip
def test_a_mix_of_another_form_is_told(
    recipe_path: Path, tmp_path: Path, net: str, mix: str, told: str
) -> None:
    text = RECIPE.replace('"unet"', f'"{net}"').replace("[mix]\ncamera = 0.5\ngaussian = 0.5", mix)
    recipe_path.write_text(text)
    with pytest.raises(UsageError, match=told):
        _trainer(args.load(recipe_path), tmp_path / "run", "cpu")


def test_a_run_exports_a_model_that_the_engine_runs(recipe_path: Path, tmp_path: Path) -> None:
    trainer = _trainer(args.load(recipe_path), tmp_path / "run", "cpu")
    trainer.run(lambda _: None)
    folder = export.export(tmp_path / "run", recipe_path, tmp_path / "model", [{"name": "mine"}])
    card = load(folder)
    assert card.name == "tiny"
    assert card.stride == 4
    assert card.provenance["steps"] == 6
    assert card.overlap % card.stride == 0
    found = Engine(card, folder, "cpu", "fp32").noise([np.full((16, 16, 3), 0.4, np.float32)])
    assert np.isfinite(found[0]).all()


def test_scores_stay_in_a_card_until_its_weights_change(recipe_path: Path, tmp_path: Path) -> None:
    trainer = _trainer(args.load(recipe_path), tmp_path / "run", "cpu")
    for until, kept in ((3, False), (3, True), (6, False)):
        trainer.run(lambda _: None, until=until)
        folder = export.export(tmp_path / "run", recipe_path, tmp_path / "model", [])
        assert bool(load(folder).scores) == kept
        with (folder / "model.toml").open("a") as card:
            card.write("" if kept else "\n[scores.some]\npsnr = 30.0\n")


def test_a_checkpoint_of_another_net_is_refused(recipe_path: Path, tmp_path: Path) -> None:
    _trainer(args.load(recipe_path), tmp_path / "run", "cpu").save()
    recipe_path.write_text(RECIPE.replace("[8, 16]", "[8, 24]"))
    with pytest.raises(ModelError, match="another architecture"):
        _trainer(args.load(recipe_path), tmp_path / "run", "cpu")
    with pytest.raises(ModelError, match="does not fit"):
        export.export(tmp_path / "run", recipe_path, tmp_path / "model", [])
    (tmp_path / "run" / CHECKPOINT).unlink()
    with pytest.raises(ModelError, match="no checkpoint"):
        export.export(tmp_path / "run", recipe_path, tmp_path / "model", [])


def test_a_checkpoint_of_a_net_with_the_same_arguments_is_refused(
    recipe_path: Path, tmp_path: Path
) -> None:
    recipe = replace(args.load(recipe_path), net="dncnn", net_args={"width": 8})
    _trainer(recipe, tmp_path / "run").save()
    with pytest.raises(ModelError, match="another architecture"):
        _trainer(replace(recipe, net="srresnet"), tmp_path / "run")


def test_a_checkpoint_without_the_critic_that_the_recipe_wants_is_refused(
    recipe_path: Path, tmp_path: Path
) -> None:
    plain = args.load(recipe_path)
    adversarial = replace(plain, adversarial=0.01, critic_width=4)
    _trainer(plain, tmp_path / "plain").save()
    _trainer(adversarial, tmp_path / "critic").save()
    for folder, wanted in (
        ("plain", adversarial),
        ("critic", replace(adversarial, critic_width=8)),
    ):
        with pytest.raises(ModelError, match="critic"):
            _trainer(wanted, tmp_path / folder)
    _trainer(plain, tmp_path / "critic")  # one that is not wanted any more is in nobody's way


def test_photos_are_loaded_and_bad_ones_reported(tmp_path: Path) -> None:
    sample = Path(__file__).parent / "photos" / "still_life.jpg"
    (tmp_path / "good.jpg").write_bytes(sample.read_bytes())
    (tmp_path / "cut.jpg").write_bytes(sample.read_bytes()[:3000])
    (tmp_path / "notes.txt").write_text("no photo")
    told: list[str] = []
    images = load_photos(tmp_path, 64, lambda error: told.append(str(error)))
    assert len(images) == 1
    assert len(told) == 1
    assert "cut.jpg" in told[0]
    with pytest.raises(NoInputError):
        load_photos(tmp_path, 100_000)


@pytest.mark.parametrize("kind", args.CORRUPTIONS)
def test_corruptions_leave_what_their_loss_looks_for(kind: str) -> None:
    # The mean (or median, or mode) over many corrupted versions of one patch is the clean patch.
    clean = _scenes(1, 16)
    rng = np.random.default_rng(0)
    noisy, known = corrupt(kind, clean.expand(256, 3, 16, 16), rng)
    assert noisy.shape == (256, 3, 16, 16)
    if known is not None:
        assert known.shape == (256, 1, 16, 16)
        found = (noisy * known).sum(0) / known.sum(0)
        assert 0.4 < float(known.mean()) < 0.6
    elif kind in ("text", "impulse"):
        found = noisy.median(0).values
    else:
        found = noisy.mean(0)
    error = (found - clean[0]).abs().mean()
    assert error < 0.012
    assert (noisy - clean).abs().mean() > 3 * error
    with pytest.raises(ValueError, match="must be one of"):
        corrupt("rain", clean, rng)


def test_noisy_targets_have_the_inputs_of_clean_ones(recipe_path: Path) -> None:
    text = RECIPE.replace("[mix]\ncamera = 0.5\ngaussian = 0.5\n", 'corruption = "bernoulli"\n')
    recipe_path.write_text(text)
    clean = Corrupted(args.load(recipe_path), _images()).batch(3)
    recipe_path.write_text(text + 'targets = "noisy"\nloss = "l2"\n')
    noisy = Corrupted(args.load(recipe_path), _images()).batch(3)
    torch.testing.assert_close(clean.noisy, noisy.noisy)
    assert clean.weight is None
    assert noisy.weight is not None
    assert not torch.equal(noisy.target, noisy.noisy)
    kept = noisy.weight.expand_as(noisy.target) > 0
    torch.testing.assert_close(noisy.target[kept], clean.target[kept])


@pytest.mark.parametrize(
    ("line", "told"),
    [('loss = "l3"', "loss must be one of"), ('corruption = "rain"', "corruption must be one of"),
     ('targets = "none"', "targets must be one of")],
)  # fmt: skip
def test_unknown_words_in_a_recipe_are_told(recipe_path: Path, line: str, told: str) -> None:
    recipe_path.write_text(line + "\n" + RECIPE)
    with pytest.raises(UsageError, match=told):
        args.load(recipe_path)
