"""`models`, `doctor`, `evaluate` and `train` through the command line, once each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tomlkit

from denoisetool import session
from denoisetool.registry.places import bundled_models
from tests.conftest import Cli
from tests.e2e import pictures
from tests.e2e.fakes import SmoothingEngine

PHOTOS = Path(__file__).parent / "photos"
RECIPE = """
name = "tiny"
title = "Too small to be of use"
net = "unet"
net_args = { channels = 3, widths = [4, 8], blocks = [0, 1], unshuffle = 2 }
seed = 1
steps = 4
batch = 2
patch = 16
tail_patch = 16
tail_batch = 1
log_every = 1
checkpoint_every = 1
warmup = 1

[mix]
gaussian = 1.0
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the user's, in a folder."""
    bundled = bundled_models()
    assert bundled is not None
    return Path(shutil.copytree(bundled / "fast", tmp_path / "mine"))


# -- models --------------------------------------------------------------------------------------


def test_models(cli: Cli, model: Path, home: Path) -> None:
    listed = cli("models", "list")
    assert listed.code == 0
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert "fast bundled" in " ".join(listed.out.split())
    assert names == sorted(names)
    assert not home.exists()
    ran = cli("models", "install", model, "--name", "mine", "--json")
    assert ran.code == 0
    assert (ran.events[0]["name"], ran.events[0]["origin"]) == ("mine", "installed")
    assert "use it with --model mine" in ran.err
    again = cli("models", "install", model, "--name", "mine")
    assert again.code == 4
    assert "--replace" in again.err
    events = {e["name"]: e for e in cli("models", "list", "--json").events}
    assert {name: e["origin"] for name, e in events.items()} == {
        name: "installed" if name == "mine" else "bundled" for name in [*names, "mine"]
    }
    keys = {"v", "event", "name", "origin", "folder", "problem", "card"}
    assert set(events["mine"]) == keys
    assert cli("models", "remove", "mine").code == 0
    assert cli("models", "list").out == listed.out


def test_models_info(cli: Cli) -> None:
    ran = cli("models", "info", "fast")
    assert ran.code == 0
    for word in ("licence", "kMAC per pixel", "sha256", "(verified)", "trained on"):
        assert word in ran.out
    assert cli("models", "info", "fast", "--json").events[0]["card"]["name"] == "fast"


def test_a_broken_model_is_listed_as_broken(cli: Cli, model: Path, home: Path) -> None:
    shelf = home / "data" / "models" / "broken"
    shutil.copytree(model, shelf)
    (shelf / "weights.safetensors").unlink()
    assert "broken       user       BROKEN: the weights are missing" in cli("models", "list").out
    ran = cli("models", "info", "broken")
    assert ran.code == 4
    assert str(shelf) in ran.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["info", "fats"], 4, "did you mean fast?"),
        (["remove", "fast"], 2, "came with the program"),
        (["remove", "nothing"], 4, "there is no model 'nothing'"),
        (["install", "nowhere"], 4, "no such model folder or pack"),
        (["install", "http://127.0.0.1:9/x.zip", "--offline"], 4, "network is switched off"),
    ],
)
def test_models_refused(words: list[str], code: int, message: str, cli: Cli) -> None:
    ran = cli("models", *words)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("net", "nosuch", "unknown net 'nosuch'"),
        ("card_version", 2, "version 2 is not supported"),
        ("weights_sha256", "0" * 64, "not those of the card"),
        ("channels", 1, "1 channels"),
        ("stride", 4, "steps of 4"),
        ("strides", {"white": 4}, "steps of 4"),
        ("widths", [32, 48, 90], "the weights do not fit the model card"),
        ("widths", [32, 48, 10**9], "more than 4096 channels"),
        ("wings", 2, "arguments of net"),
    ],
)
def test_models_that_are_of_no_use_are_not_installed(
    key: str, value: object, message: str, model: Path, cli: Cli, home: Path
) -> None:
    card = tomlkit.parse((model / "model.toml").read_text())
    net_args = card["net_args"]
    assert isinstance(net_args, dict)
    (net_args if key.startswith("wi") else card)[key] = value
    (model / "model.toml").write_text(tomlkit.dumps(card))
    ran = cli("models", "install", model, "--name", "mine")
    assert (ran.code, ran.out) == (4, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert "mine " not in cli("models", "list").out
    left = [path.name for path in (home / "cache" / "models").iterdir()]
    assert left == [".lock"]


# -- doctor --------------------------------------------------------------------------------------


def test_doctor(cli: Cli, home: Path) -> None:
    ran = cli("doctor", "--json")
    assert ran.code == 0, ran.out
    checks = {e["name"]: e for e in ran.of("check")}
    assert set(checks["version"]) == {"v", "event", "name", "ok", "result"}
    assert {"version", "settings", "config", "formats", "torch", "fast", "fast cpu"} <= set(checks)
    assert "png 16" in checks["formats"]["result"]
    assert "MP/s" in checks["fast cpu"]["result"]
    assert not (home / "config").exists()


def test_doctor_finds_what_is_wrong(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from denoisetool.cli import doctor

    monkeypatch.setattr(doctor, "_models", lambda: iter(()))
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text("strength = 9")
    (home / "cache").write_text("a file where a folder should be")
    ran = cli("doctor")
    assert ran.code == 1
    lines = {line[5:].split()[0]: line for line in ran.out.splitlines()}
    assert lines["settings"].startswith("FAIL ")
    assert "must be from 0 to 2" in lines["settings"]
    assert lines["cache"].startswith("FAIL ")
    assert lines["formats"].startswith("ok ")


# -- evaluate ------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders: noisy JPEGs, and their truth as PNGs of the same stem."""
    import numpy as np
    from PIL import Image

    monkeypatch.setattr(session, "Engine", SmoothingEngine)
    noisy, truth = tmp_path / "noisy", tmp_path / "truth"
    noisy.mkdir()
    truth.mkdir()
    rows, columns = np.mgrid[0:1:64j, 0:1:96j]
    scene = np.rint(np.stack([rows, columns, rows * columns], 2) * 180 + 35).astype(np.uint8)
    for number in range(3):
        rng = np.random.default_rng(number)
        shot = np.clip(scene + rng.normal(0, 15, scene.shape), 0, 255).astype(np.uint8)
        Image.fromarray(shot).save(noisy / f"{number}.jpg", quality=97)
        Image.fromarray(scene).save(truth / f"{number}.png")
    return noisy, truth


def test_evaluate_folders_by_stem(pairs: tuple[Path, Path], cli: Cli) -> None:
    ran = cli("evaluate", *pairs)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines] == ["photo", "0.jpg", "1.jpg", "2.jpg", "mean"]
    events = cli("evaluate", *pairs, "--json").events
    assert [e["event"] for e in events] == ["score"] * 3 + ["mean"]
    keys = {"psnr_in", "psnr", "ssim_in", "ssim", "coarse_in", "coarse"}
    assert set(events[0]) == {"v", "event", "name", *keys}
    assert events[-1]["psnr"] > events[-1]["psnr_in"] + 3
    assert events[-1]["ssim"] > events[-1]["ssim_in"]


def test_evaluate_as_is_and_one_pair(pairs: tuple[Path, Path], cli: Cli) -> None:
    noisy, truth = pairs
    events = cli("evaluate", noisy / "0.jpg", truth / "0.png", "--as-is", "--json").events
    assert events[0]["psnr"] == events[0]["psnr_in"]
    same = cli("evaluate", truth / "0.png", truth / "1.png", "--as-is", "--json")
    assert same.events[0]["psnr"] is None  # infinite, which JSON cannot say
    assert "inf" in cli("evaluate", truth / "0.png", truth / "1.png", "--as-is").out


def test_evaluate_refuses_what_is_too_small(pairs: tuple[Path, Path], cli: Cli) -> None:
    noisy, truth = pairs
    (noisy / "small.jpg").write_bytes(pictures.jpeg(10, 64))
    (truth / "small.png").write_bytes(pictures.png(10, 64))
    ran = cli("evaluate", noisy, truth, "--as-is")
    assert ran.code == 1
    assert "small.jpg" in ran.err
    assert "too small to be scored" in ran.err
    assert [line.split()[0] for line in ran.out.splitlines()][-1] == "mean"


def test_evaluate_in_sorted_order(pairs: tuple[Path, Path], cli: Cli) -> None:
    noisy, truth = pairs
    for path in truth.iterdir():
        path.rename(truth / f"truth{path.name}")
    ran = cli("evaluate", noisy, truth, "--json")
    assert ran.code == 0
    assert len(ran.of("score")) == 3
    assert "paired in sorted order" in ran.err
    (truth / "truth0.png").unlink()
    ran = cli("evaluate", noisy, truth)
    assert ran.code == 2
    assert "3 photos against 2" in ran.err


def test_evaluate_tells_what_it_left_out(pairs: tuple[Path, Path], cli: Cli) -> None:
    noisy, truth = pairs
    (noisy / "extra.jpg").write_bytes(pictures.jpeg())
    (noisy / "2.jpg").write_bytes(pictures.jpeg()[:300])
    (noisy / "bad.jpg").write_bytes(b"")
    (truth / "1.png").write_bytes(pictures.png(20, 20))
    ran = cli("evaluate", noisy, truth, "--json")
    assert ran.code == 1
    assert len(ran.of("score")) == 1
    assert "1 photos have no partner of their name" in ran.err
    assert "2.jpg: the JPEG file is" in ran.err
    assert "bad.jpg: the file is empty" in ran.err
    assert "differs in size or channels: 96 x 64 x 3 against 20 x 20 x 3" in ran.err


@pytest.mark.parametrize(
    ("left", "right", "code", "message"),
    [
        ("noisy", "nowhere", 3, "nowhere: no such file or folder"),
        ("noisy/0.jpg", "truth", 2, "a photo and a folder cannot be compared"),
        ("noisy", "empty", 3, "empty: no photo here"),
    ],
)
def test_evaluate_misused(
    left: str, right: str, code: int, message: str, pairs: tuple[Path, Path], cli: Cli
) -> None:
    place = pairs[0].parent
    (place / "empty").mkdir()
    ran = cli("evaluate", place / left, place / right)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err


# -- train ---------------------------------------------------------------------------------------


def test_train_continue_and_use(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    model, run = tmp_path / "tiny", tmp_path / "run"
    words = ["train", recipe, "--data", PHOTOS, "-o", model, "--run", run, "--device", "cpu"]
    first = cli(*words, "--steps", "2", "--json")
    assert first.code == 0, first.err
    assert [e["step"] for e in first.of("training")] == [1, 2]
    assert "continuing" not in first.err
    second = cli(*words, "--json")
    assert second.code == 0, second.err
    assert "continuing at step 2 of 4" in second.err
    assert [e["step"] for e in second.of("training")] == [3, 4]
    log = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert log == [1, 2, 3, 4]
    assert sorted(p.name for p in model.iterdir()) == [
        "model.toml", "recipe.toml", "weights.safetensors",
    ]  # fmt: skip
    ran = cli(PHOTOS / "old_scan.jpg", "-o", f"{tmp_path}/out/", "--model", model, "--json")
    assert ran.code == 0, ran.err
    assert ran.of("start")[0]["model"] == "tiny"
    assert (tmp_path / "out" / "old_scan.jpg").exists()


@pytest.mark.parametrize(
    ("recipe", "data", "code", "message"),
    [
        (None, ".", 2, "the recipe cannot be read"),
        ("name =", ".", 2, "not valid TOML"),
        (RECIPE.replace("steps", "stepps"), ".", 2, "unknown key 'stepps'"),
        (RECIPE, "nowhere", 2, "nowhere: the folder of training photos does not exist"),
        (RECIPE, "empty", 3, "no usable training photo"),
    ],
)
def test_train_misused(
    recipe: str | None, data: str, code: int, message: str, cli: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    if recipe is not None:
        path.write_text(recipe)
    (tmp_path / "empty").mkdir()
    ran = cli("train", path, "--data", tmp_path / data, "--run", tmp_path / "run")
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err


def test_train_into_a_folder_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    ran = cli("train", recipe, "--data", PHOTOS, "--run", "/proc/denoisetool-run")
    assert ran.code == 6
    assert "cannot be written" in ran.err
