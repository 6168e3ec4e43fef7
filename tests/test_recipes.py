"""Every recipe there is, on tiny nets and patches: it runs, and it learns."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from denoisetool import nets
from denoisetool.engine.core import load_net
from denoisetool.errors import UsageError
from denoisetool.modelcard import RECIPE_FILE, load
from denoisetool.nets.experts import members
from denoisetool.nets.parts import enlarged
from denoisetool.training import args, footprint
from denoisetool.training.batches import Batch
from denoisetool.training.critic import Critic
from denoisetool.training.data import Image as Pixels
from denoisetool.training.loop import CHECKPOINT, Trainer
from denoisetool.training.objective import Objective
from denoisetool.training.sources import largest_patch, source_for
from denoisetool.training.team import Team
from tests.conftest import Cli
from tests.photos import render
from tests.test_features import weights

MODELS = Path(__file__).parents[1] / "models"
RECIPES = sorted([*MODELS.glob(f"*/{RECIPE_FILE}"), *MODELS.glob("recipes/*.toml")])
TINY: dict[str, dict[str, Any]] = {
    "unet": {"widths": [8, 16], "blocks": [1, 1], "down_blocks": [0]},
    "experts": {"widths": [8, 16], "blocks": [1, 1], "down_blocks": [0], "camera": {}},
    "srresnet": {"width": 16, "blocks": 2, "kernel": 3},
    "dncnn": {"width": 8, "depth": 4},
    "ipt": {"width": 8, "patch": 24, "token": 3, "encoders": 1, "decoders": 1, "heads": 4,
            "hidden": 64, "margin": 4},
}  # fmt: skip


BATCHES = 4
"""Of how many the noisiest tells whether a net learned."""


def _name(path: Path) -> str:
    return path.parent.name if path.name == RECIPE_FILE else path.stem


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is counted, and not measured in a child process each time."""
    monkeypatch.setattr(footprint, "_measured", lambda *_: None)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for the net whose features are compared."""
    path = tmp_path_factory.mktemp("features") / "features.safetensors"
    save_file(weights(), path)
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clean pictures."""
    folder = tmp_path_factory.mktemp("scenes")
    for index, image in enumerate(_images()):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def _tiny(path: Path, into: Path) -> Path:
    """The recipe with a tiny net, small patches and 50 steps."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    data["net_args"] |= TINY[data["net"]]
    data["net_args"] |= {key: {} for key in ("apart", "coarse") if key in data["net_args"]}
    if data["net_args"].get("level_width"):
        data["net_args"]["level_width"] = 4
    side = data["net_args"].get("patch", 24 if "scale" in data else 32)
    data |= {
        "steps": 50, "batch": 8, "patch": side, "tail": 0.0,
        "rate": 5e-3, "warmup": 5, "ema": 0.9, "reduced": 0.0, "critic_width": 8,
        "log_every": 25, "checkpoint_every": 50,
    }  # fmt: skip
    out = into / path.name
    out.write_text(tomlkit.dumps(data), encoding="utf-8")
    return out


def _images() -> list[Pixels]:
    return [np.asarray(render(name)[0], np.uint8) for name in ("still_life", "valley")]


def _noisiest(trainer: Trainer) -> tuple[int, Batch]:
    """That of the first batches with most noise, and its step: a tiny net finds mild noise late."""
    steps = range(0, BATCHES * len(trainer.source.turns), len(trainer.source.turns))
    scale = trainer.recipe.scale

    def noise(step: int) -> float:
        batch = trainer.source.batch(step)
        return float((enlarged(batch.noisy, scale) - batch.target).square().mean())

    step = max(steps, key=noise)
    return step, trainer.source.batch(step)


def _loss(trainer: Trainer) -> float:
    """On one batch; what the critic says of it is left out."""
    step, batch = _noisiest(trainer)
    if trainer.teacher and trainer.recipe.taught == "apart":
        batch = trainer.teacher.lesson(batch, step)
    elif trainer.teacher:
        batch = replace(batch, target=trainer.teacher.target(batch, step))
    net = trainer.experts[0] if len(trainer.experts) == 1 else trainer.net
    net, recipe = net.eval(), replace(trainer.recipe, adversarial=0.0)
    trainer.objective.recipe, critic = recipe, trainer.objective.critic
    trainer.objective.critic = None
    with torch.inference_mode():
        base = enlarged(batch.noisy, recipe.scale)
        told = () if batch.told is None else (batch.told,)
        output = base - net(batch.noisy, *told)
        loss = trainer.objective.loss(output, replace(batch, noisy=base), 0.0)
    trainer.objective.recipe, trainer.objective.critic = trainer.recipe, critic
    return float(loss)


@pytest.mark.parametrize("path", RECIPES, ids=_name)
def test_fifty_steps_of_every_recipe_lower_its_loss(
    path: Path, features: Path, scenes: Path, tmp_path: Path, cli: Cli
) -> None:
    tiny = _tiny(path, tmp_path)
    recipe = args.load(tiny)
    source = source_for(recipe, _images())
    words, start = ["--data", scenes, "--device", "cpu", "--features", features], None
    if set(source.turns) < set(members(nets.build(recipe.net, recipe.net_args))):  # it goes on
        first = _tiny(MODELS / recipe.name / RECIPE_FILE, tmp_path)
        teacher = tmp_path / "teacher"
        ran = cli("train", first, *words, "--run", tmp_path / "first", "-o", teacher)
        assert ran.code == 0, ran.err
        words += ["--start", teacher]
        start = {k: v.float() for k, v in load_file(teacher / "weights.safetensors").items()}
    before = _loss(Trainer(recipe, source, tmp_path / "fresh", "cpu", start, features))
    run, model = tmp_path / "run", tmp_path / "model"
    ran = cli("train", tiny, *words, "--run", run, "-o", model)
    assert ran.code == 0, ran.err
    trained = Trainer(recipe, source, run, "cpu", start, features)
    assert trained.step == 50
    assert _loss(trained) < 0.995 * before
    assert load(model).scale == recipe.scale


@pytest.mark.parametrize("path", RECIPES, ids=_name)
def test_the_largest_patch_of_every_recipe_is_just_what_its_steps_cut_out(path: Path) -> None:
    recipe = args.load(path)
    side = largest_patch(recipe)
    fits, small = (source_for(recipe, [np.full((n, n, 3), 90, np.uint8)]) for n in (side, side - 1))
    turns = len(fits.turns)
    steps = [*range(turns), *range(recipe.steps - turns, recipe.steps)]
    assert all(torch.isfinite(fits.batch(step).noisy).all() for step in steps)
    with pytest.raises(ValueError, match="high <= 0"):
        list(map(small.batch, steps))


def test_a_content_loss_needs_its_features(tmp_path: Path) -> None:
    recipe = args.load(_tiny(MODELS / "recipes" / "srgan-denoiser.toml", tmp_path))
    with pytest.raises(UsageError, match="--features"):
        Trainer(recipe, source_for(recipe, _images()), tmp_path / "run", "cpu")


def test_a_taught_net_needs_its_teacher(tmp_path: Path) -> None:
    recipe = args.load(_tiny(MODELS / "recipes" / "fast-taught.toml", tmp_path))
    with pytest.raises(UsageError, match="--start"):
        Trainer(recipe, source_for(recipe, _images()), tmp_path / "run", "cpu")


def test_an_adversarial_run_goes_on_with_its_critic(features: Path, tmp_path: Path) -> None:
    recipe = args.load(_tiny(MODELS / "recipes" / "srgan-denoiser-colour.toml", tmp_path))
    recipe = replace(recipe, steps=4, batch=2, checkpoint_every=2)
    source = source_for(recipe, _images())
    whole = Trainer(recipe, source, tmp_path / "whole", "cpu", features=features)
    whole.run(lambda _: None)
    Trainer(recipe, source, tmp_path / "parts", "cpu", features=features).run(lambda _: None, 2)
    resumed = Trainer(recipe, source, tmp_path / "parts", "cpu", features=features)
    assert resumed.step == 2
    resumed.run(lambda _: None)
    assert whole.objective.critic is not None
    assert resumed.objective.critic is not None
    for one, other in (
        (whole.net, resumed.net), (whole.objective.critic, resumed.objective.critic)
    ):  # fmt: skip
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_critic_learns_to_tell_noisy_from_clean() -> None:
    torch.manual_seed(0)
    recipe = args.Recipe("x", "x", "unet", {}, adversarial=1.0, critic_width=8, pixel=0, colour=0)
    objective = Objective(recipe, torch.device("cpu"), None, Team())
    clean = torch.rand(16, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    noisy = clean + 0.1 * torch.randn_like(clean)
    for _ in range(25):
        objective.teach(noisy, clean, rate=3e-2)
    assert objective.critic is not None
    false, true = (objective.critic(picture) for picture in (noisy, clean))
    assert (true > 0).float().mean() > 0.9
    assert (false < 0).float().mean() > 0.9
    easy, hard = (objective.loss(p, Batch(p, clean), 0.0) for p in (clean, noisy))
    assert easy < hard


def test_a_critic_takes_patches_of_any_size_and_has_the_published_convolutions() -> None:
    critic = Critic()
    for side in (16, 50, 96):
        assert Critic(width=4)(torch.rand(2, 3, side, side)).shape == (2,)
    convolutions = [m for m in critic.features if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [c.stride[0] for c in convolutions] == [1, 2] * 4


def test_starting_from_another_model_takes_what_fits(
    cli: Cli, scenes: Path, tmp_path: Path
) -> None:
    """A net that enlarges twice starts from one that enlarges four times, bar its last layer."""
    words = ["--data", scenes, "--device", "cpu", "--steps", "1"]
    first = _tiny(MODELS / "upscale-x4" / RECIPE_FILE, tmp_path)
    ran = cli("train", first, *words, "--run", tmp_path / "a", "-o", tmp_path / "four")
    assert ran.code == 0, ran.err
    second = _tiny(MODELS / "upscale-x2" / RECIPE_FILE, tmp_path)
    second.write_text(second.read_text().replace("rate = 0.005", "rate = 1e-9"))
    words += ["--start", tmp_path / "four"]
    ran = cli("train", second, *words, "--run", tmp_path / "b", "-o", tmp_path / "two")
    assert ran.code == 0, ran.err
    four, two = (load_file(tmp_path / n / "weights.safetensors") for n in ("four", "two"))
    assert four["tail.weight"].shape != two["tail.weight"].shape
    torch.testing.assert_close(four["head.weight"], two["head.weight"], atol=1e-3, rtol=0)
    ran = cli("train", _tiny(MODELS / "dncnn" / RECIPE_FILE, tmp_path), *words, "--run",
              tmp_path / "c", "-o", tmp_path / "other")  # fmt: skip
    assert ran.code == 4
    assert "the recipe's net is 'dncnn', and that of model 'four' is 'srresnet'" in ran.err


def test_batch_norms_are_part_of_the_convolutions_in_a_model(
    scenes: Path, tmp_path: Path, cli: Cli
) -> None:
    ran = cli("train", _tiny(MODELS / "dncnn" / RECIPE_FILE, tmp_path), "--data", scenes, "--run",
              tmp_path / "run", "-o", tmp_path / "model", "--device", "cpu")  # fmt: skip
    assert ran.code == 0, ran.err
    card = load(tmp_path / "model")
    assert card.net_args["batch_norm"] is False
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    trained = nets.build("dncnn", dict(state["recipe"]["net_args"])).eval()
    trained.load_state_dict(state["average"])
    shipped = load_net(card, tmp_path / "model" / "weights.safetensors")
    picture = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        torch.testing.assert_close(shipped(picture), trained(picture), atol=2e-3, rtol=0)
        assert trained(picture).abs().max() > 0.01
