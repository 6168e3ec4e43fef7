"""The whole of it, with a tiny model that its pairs can teach something within seconds."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from safetensors.torch import load_file

from denoisetool import files, formats, nets, session
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine
from denoisetool.errors import DiskFull, ModelError, NoInputError, UsageError
from denoisetool.finetune import dataset, result, tune
from denoisetool.finetune import run as module
from denoisetool.finetune.collect import Line
from denoisetool.finetune.dataset import Views, in_16_bits
from denoisetool.finetune.run import Done, Listener, Plan, Wishes, look, train
from denoisetool.finetune.run import run as finetune
from denoisetool.finetune.source import Pairs
from denoisetool.finetune.verdict import best_kind, denoised
from denoisetool.modelcard import load as load_card
from denoisetool.photo import Photo
from denoisetool.registry import Entry, Registry
from denoisetool.training import args, export
from denoisetool.training.batches import Synthetic
from denoisetool.training.loop import Trainer
from denoisetool.training.team import Team
from tests.conftest import Cli
from tests.fakes import ConstantEngine, ExpertEngine
from tests.photos import NAMES, render
from tests.tiny import model as tiny_model

RECIPE = """
name = "tiny"
title = "Tiny"
net = "unet"
net_args = { channels = 3, widths = [8, 16], blocks = [0, 1], level_width = 4 }
steps = 40
batch = 8
patch = 32
tail = 0.0
rate = 3e-3
warmup = 5
[mix]
gaussian = 0.9
clean = 0.1
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained for a moment, and so has much to learn."""
    folder = tmp_path_factory.mktemp("tiny")
    path = folder / "recipe.toml"
    path.write_text(RECIPE)
    recipe = args.load(path)
    images = [np.asarray(render("valley")[0], np.uint8)]
    Trainer(recipe, Synthetic(recipe, images), folder / "run", "cpu").run(lambda _: None)
    return export.export(folder / "run", path, folder / "model", [{"name": "mine"}])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "EVALUATIONS", 4)
    monkeypatch.setattr(tune, "SYNTHETIC", 16)


@pytest.fixture
def start(home: Path, tiny: Path) -> Entry:
    """The same in the user's registry."""
    return Registry().install(tiny, user=True)


def _pairs(folder: Path, scenes: int = 3, sigma: float = 12.0, frames: int = 2) -> Path:
    """Photos of the samples' scenes, each taken several times by a noisy camera."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES[:scenes]:
        clean = np.asarray(render(name)[0], np.float32)[:384, :512]
        clean = np.broadcast_to(clean, (*clean.shape[:2], 3))
        for frame in range(frames):
            rng = np.random.default_rng((len(name), frame))
            noise = rng.normal(0, 1, clean.shape)
            exif = Image.Exif()
            exif[271], exif[272] = "Sample", "SC-9"
            how = exif.get_ifd(34665)
            how[34855], how[33434] = 1600 * (1 + frame), IFDRational(1, 30)
            pixels = np.clip(np.rint(clean + sigma * noise), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(
                folder / f"{name}_{'abcdef'[frame]}.jpg", quality=95, exif=exif
            )
    return folder


def _wishes(folder: Path, start: Entry, **more: object) -> Wishes:
    return replace(Wishes(folder, start, steps=8, device="cpu"), **more)  # type: ignore[arg-type]


class Told:
    """Notes everything that is said."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.said: list[str] = []
        self.steps: list[int] = []
        self.listener = Listener(
            self.lines.append, lambda found, collected: None, self.said.append,
            lambda step, steps, gain, seconds: self.steps.append(step),
        )  # fmt: skip


def _finetune(wishes: Wishes) -> tuple[Done, Told]:
    told = Told()
    done = finetune(wishes, Team(), told.listener)
    assert done is not None
    return done, told


def test_a_killed_run_goes_on_to_the_same_weights(
    start: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _pairs(tmp_path / "pairs", scenes=2)
    one = _wishes(folder, start, run=tmp_path / "one")
    other = replace(one, run=tmp_path / "other")
    whole, _ = _finetune(one)
    looks = tune._look
    seen: list[int] = []

    def killed(trainer: Trainer, judge: tune.Judge, curve: tune.Curve) -> None:
        seen.append(trainer.step)
        if trainer.step >= 4:
            raise KeyboardInterrupt
        looks(trainer, judge, curve)

    with monkeypatch.context() as patch:
        patch.setattr(tune, "_look", killed)
        with pytest.raises(KeyboardInterrupt):
            _finetune(other)
    assert max(seen) == 4
    resumed, told = _finetune(replace(other, resume=True))
    assert any("going on at step" in text for text in told.said)
    assert min(told.steps) > 4
    weights = [load_file(d.folder / "weights.safetensors") for d in (whole, resumed)]
    for key in weights[0]:
        torch.testing.assert_close(weights[0][key], weights[1][key], atol=2e-3, rtol=1e-2)
    assert abs(whole.verdict.gain - resumed.verdict.gain) < 0.02
    with pytest.raises(UsageError, match="no run to resume"):
        _finetune(replace(one, run=tmp_path / "nothing", resume=True))


class Still:
    """A trainer that trains nothing: its weight is the number of the step it stands at."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.folder, self.step, self.team = folder, step, Team()
        self.recipe = SimpleNamespace(steps=4)
        self.start_weights = {"a": torch.zeros(1)}

    @property
    def average(self) -> SimpleNamespace:
        return SimpleNamespace(state_dict=lambda: {"a": torch.full((1,), float(self.step))})

    def run(self, _: object, until: int) -> None:
        self.step = until

    def save(self) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize(
    ("gains", "best"),
    [
        ([-0.1, -0.2, -0.1, -0.3], -1),
        ([0.0, 0.0, 0.0, 0.0], -1),
        ([0.00002, -0.1, -0.1, -0.1], -1),  # nothing, in the digits that are kept
        ([math.nan, 0.2, 0.20004, 0.1], 1),
    ],
)
def test_a_run_killed_after_its_last_look_ends_as_the_whole_one(
    tmp_path: Path, gains: list[float], best: int
) -> None:
    def tuned(trainer: Still, looks: list[float]) -> tuple[float, tune.Curve]:
        told = iter([*looks, 0.1, 0.1, 0.1, 0.1])
        judge = SimpleNamespace(gains=lambda _: (next(told), 0.0))
        weights, curve = tune.tune(trainer, judge, lambda *_: None)  # type: ignore[arg-type]
        return float(weights["a"]), curve

    whole, curve = tuned(Still(tmp_path), gains)
    resumed, again = tuned(Still(tmp_path, step=4), [])
    assert (whole, curve.best) == (resumed, again.best) == (best + 1, best)


def test_two_runs_of_one_folder_never_meet(
    start: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody gets in between the first photo and the report; a killed run keeps nobody out."""
    wishes = _wishes(_pairs(tmp_path / "pairs", scenes=1), start, run=tmp_path / "work")
    place = tmp_path / "work" / module.LOCK
    met: list[str] = []

    def meet(where: str) -> None:
        try:
            with filelock.FileLock(place, timeout=0):
                met.append(where)
        except filelock.Timeout:
            met.append("")

    def train(*_: object) -> tuple[None, None]:
        meet("train")
        return None, None

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "finish", lambda *_: meet("finish"))
    monkeypatch.setattr(module, "install", lambda *_, **__: meet("install"))
    listener = replace(
        Told().listener, line=lambda _: meet("line"), done=lambda _: meet("done")
    )  # fmt: skip
    finetune(wishes, Team(), listener)
    assert met == [""] * len(met)
    assert len(met) > 4

    code = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); input('.')"
    words = [sys.executable, "-c", code, str(place)]
    before = {path: path.read_bytes() for path in place.parent.iterdir()}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.read(1) == b"."
        for resume in (False, True):
            with pytest.raises(UsageError, match="is running") as refused:
                finetune(replace(wishes, resume=resume), Team(), listener)
            assert "--run" in refused.value.hint
        other.kill()
    assert {path: path.read_bytes() for path in place.parent.iterdir()} == before
    met.clear()
    finetune(replace(wishes, resume=True), Team(), listener)
    assert met == [""] * 4


def test_resuming_what_never_was_makes_no_folder(start: Entry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        _finetune(_wishes(tmp_path, start, run=tmp_path / "work", resume=True))
    assert not (tmp_path / "work").exists()


def test_one_scene_is_split(start: Entry, tmp_path: Path) -> None:
    folder = _pairs(tmp_path / "pairs", scenes=1)
    told = Told()
    found, collected = look(_wishes(folder, start), told.listener)
    assert len(found.scenes) == 1
    assert len(collected.held) == 2
    assert collected.train
    assert collected.check
    assert collected.held[0].noisy.shape[1] == pytest.approx(0.3 * 512, abs=2)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:3000]), "cannot be read"),
        (lambda p: Image.open(p).crop((0, 0, 400, 300)).save(p), "differ in size"),
        (lambda p: p.write_bytes(p.with_name(p.name.replace("_b", "_a")).read_bytes()),
         "identical"),
        (lambda p: Image.open(p).rotate(180).save(p, quality=95), "scene|counts|both|sharp"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_used_are_told_before_training(
    start: Entry, tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    folder = _pairs(tmp_path / "pairs", scenes=2)
    for path in folder.glob("*_b.jpg"):
        spoil(path)
    with pytest.raises(NoInputError, match=f"no pair can be used.*({told})"):
        look(_wishes(folder, start), Told().listener)


def test_clean_pairs_are_told(start: Entry, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    picture = np.asarray(render("valley")[0], np.uint8)
    for name, change in (("a", 0), ("b", 1)):
        pixels = picture.copy()
        pixels[::40, ::40] ^= change
        Image.fromarray(pixels).save(folder / f"sea_{name}.png")
    with pytest.raises(NoInputError, match=r"clean|identical"):
        look(_wishes(folder, start), Told().listener)


def test_a_full_disk_is_told_before_training(
    start: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    with pytest.raises(DiskFull, match="are free"):
        _finetune(_wishes(_pairs(tmp_path / "pairs", scenes=2), start))


def test_the_names_of_bundled_models_are_kept(start: Entry, tmp_path: Path) -> None:
    """Which is told before any photo is looked at: there is none."""
    with pytest.raises(ModelError, match="came with the program"):
        _finetune(_wishes(tmp_path / "missing", start, name="fast"))


def test_views_come_back_as_they_were_saved(start: Entry, tmp_path: Path) -> None:
    folder = _pairs(tmp_path / "pairs", scenes=2)
    _, collected = look(_wishes(folder, start), Told().listener)
    collected.save(tmp_path / "work")
    views = dataset.load(tmp_path / "work", "train")
    assert len(views) == len(collected.train)
    noisy, target, counts = views.one(0)
    np.testing.assert_array_equal(np.rint(noisy * 65535), collected.train[0].noisy)
    np.testing.assert_allclose(target, collected.train[0].target.astype(np.float32))
    np.testing.assert_array_equal(counts, collected.train[0].counts)


def test_experts_get_one_of_their_own_and_forget_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RECIPE.replace('"unet"', '"experts"').replace('name = "tiny"', 'name = "two"')
    text = text.replace("[mix]\ngaussian = 0.9\nclean = 0.1", "[mix.camera]\ngaussian = 1.0\n"
                        "[mix.white]\ngaussian = 1.0")  # fmt: skip
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    recipe = args.load(path)
    images = [np.asarray(render("valley")[0], np.uint8)]
    Trainer(recipe, Synthetic(recipe, images), tmp_path / "run", "cpu").run(lambda _: None)
    made = export.export(tmp_path / "run", path, tmp_path / "model", [{"name": "mine"}])
    start = Registry().install(made, user=True)
    folder = _pairs(tmp_path / "pairs", scenes=2)
    done, _ = _finetune(_wishes(folder, start, force=True))
    assert done.installed is not None
    assert done.verdict.synthetic == 0  # other photos go where they went before
    before = load_file(start.weights)
    after = load_file(done.installed / "weights.safetensors")
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=0)
    own = {key for key in after if key.startswith("own.")}
    assert own == set(after) - set(before)
    moved = [not torch.equal(after[k], after[f"{done.plan.kind}.{k[4:]}"]) for k in own]
    assert any(moved) is (done.curve.share > 0)
    card = load_card(done.installed)
    assert card.net_args["own"] == done.plan.kind
    assert card.overlap_for("own") >= card.overlap
    engine = Engine(card, done.installed, "cpu", "fp32")
    denoiser = Denoiser(engine)
    mine = formats.read(folder / f"{NAMES[0]}_a.jpg", formats.Limits())
    assert denoiser.denoise(mine).kind == "own"
    other = formats.read(folder / f"{NAMES[0]}_b.jpg", formats.Limits())
    other.metadata.exif = None
    assert denoiser.denoise(other).kind in ("camera", "white")
    # and once more, from there: the expert goes on
    again = _wishes(folder, Registry().find(done.name), force=True, name="again")
    more, _ = _finetune(again)
    assert more.plan.expert == "own"
    assert load_card(more.folder).net_args == card.net_args


@pytest.mark.parametrize("kind", ["camera", "white"])
def test_a_net_of_its_own_has_the_shape_of_that_which_it_begins_as(
    kind: str, home: Path, tmp_path: Path
) -> None:
    shape: Any = {"widths": [8, 16], "blocks": [1, 1], "level_width": 4}
    other = {"widths": [4, 8], "second_kernel": 1}
    tiny_model(tmp_path / "two", "experts", **shape, camera=other)
    net_args, weights = result.start_of(Registry().find(str(tmp_path / "two")), kind)
    net = nets.build("experts", net_args)
    net.load_state_dict(weights)
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(net(x, "own"), net(x, kind))
        assert not torch.equal(net(x, "own"), net(x, "white" if kind == "camera" else "camera"))


def test_batches_are_the_same_each_time_and_can_be_shared(start: Entry, tmp_path: Path) -> None:
    wishes = _wishes(_pairs(tmp_path / "pairs", scenes=2), start, steps=2)
    plan = module.begin(wishes, Told().listener)
    recipe = tune.recipe_for(
        args.load(start.recipe), start.card.net, start.card.net_args, plan.kind, name="x",
        seed=0, steps=2, loss="relative",
    )  # fmt: skip
    views = dataset.load(wishes.workplace, "train")
    source = Pairs(recipe, views, dataset.load_images(wishes.workplace, "images"))
    whole, again, other = source.batch(1), source.batch(1), source.batch(2)
    torch.testing.assert_close(whole.noisy, again.noisy, rtol=0, atol=0)
    assert not torch.equal(whole.noisy, other.noisy)
    assert whole.share is not None
    assert whole.weight is not None
    assert sorted(set(whole.share.tolist())) == [0.5, 1.0]  # pairs, and clean ones
    parts = [whole.rows(slice(rank, None, 2)) for rank in (0, 1)]
    assert sum(len(part.noisy) for part in parts) == len(whole.noisy)
    weights, _ = train(wishes, Plan.load(wishes.workplace), Team(), Told().listener)
    assert set(weights) == set(load_file(start.weights))


def test_two_processes_train_one_model(start: Entry, tmp_path: Path) -> None:
    folder = _pairs(tmp_path / "pairs", scenes=2)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
             "-m", "denoisetool", "finetune", str(folder), "--from", "tiny", "--steps", "4",
             "--device", "cpu", "--force", "--name", "duo", "--json"]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    told = [e["event"] for e in events]
    assert (told.count("pairs"), told.count("finetuned")) == (1, 1)
    assert [e["step"] for e in events if e["event"] == "finetuning"] == [1, 2, 3, 4]
    name = events[-1]["name"]
    assert Registry().find(name).card.provenance["steps"] == 4


def test_a_better_model_is_installed_and_found_by_its_camera(
    start: Entry, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _pairs(tmp_path / "pairs")
    (folder / "alone_a.jpg").write_bytes((folder / f"{NAMES[0]}_a.jpg").read_bytes())
    command = ("finetune", folder, "--device", "cpu", "--json", "--from")
    run = cli(*command, "tiny", "--dry-run")
    assert run.code == 0
    pairs = run.of("pair")
    assert [e["reason"] for e in pairs if not e["taken"]] == ["it has no partner"]
    assert sorted(e["held_out"] for e in pairs if e["taken"]) == [False] * 4 + [True] * 2
    (end,) = run.of("pairs")
    assert (end["taken"], end["rejected"], end["supervised"]) == (6, 1, False)
    names = Registry().names()
    assert {"fast", "tiny"} < set(names)

    run = cli(*command, "tiny", "--steps", "24")
    assert run.code == 0, run.err
    (done,) = run.of("finetuned")
    assert (done["installed"], done["name"], done["why"]) == (True, "sample-sc-9", "")
    assert done["psnr"] > done["psnr_start"]
    assert done["low_db"] > 0
    assert run.of("finetuning")[-1]["step"] == 24
    page = Path(done["report"]).read_text()
    assert "Installed as sample-sc-9" in page
    assert page.count("data:image/webp") >= 4
    entry = Registry().find("sample-sc-9")
    card = entry.card
    assert card.cameras == [{"camera": "Sample SC-9", "iso": [1600, 3200]}]
    assert card.provenance["parent"] == "tiny"
    assert card.provenance["parent_sha256"] == start.card.weights_sha256
    assert card.provenance["pairs"] == 6
    assert card.scores["pairs held out"]["gain"] == done["gain_db"]
    for iso, fits in ((3200, True), (800, True), (6400, True), (400, False), (None, False)):
        assert card.made_for("Sample SC-9", iso) is fits
    assert not card.made_for("Other", 3200)

    shutil.copytree(start.folder, tmp_path / "home/data/models/usual")
    monkeypatch.setattr(session, "PREFERRED", {1: ("usual",)})
    one = folder / f"{NAMES[0]}_a.jpg"
    for more, model in (
        ((), "sample-sc-9"), (("--no-camera-models",), None), (("--model", "tiny"), None)
    ):  # fmt: skip
        run = cli(one, "-o", tmp_path / f"out{len(more)}", "--json", *more)
        assert run.code == 0, run.err
        assert [e["model"] for e in run.of("photo")] == [model]

    monkeypatch.setattr(tune, "RATE", 1e-12)  # nothing can be learnt
    run = cli(*command, "tiny", "--steps", "2", "--name", "again")
    assert run.code == 1
    assert "not clearly better" in run.of("finetuned")[0]["why"]
    assert "nothing was installed" in run.err
    assert "again" not in Registry().names()
    run = cli(*command, "tiny", "--steps", "2", "--name", "again", "--force")
    assert run.code == 0
    assert run.of("finetuned")[0]["name"] == "again-forced"
    assert Registry().find("again-forced").card.cameras


def test_options_that_cannot_be_are_told(start: Entry, tmp_path: Path, cli: Cli) -> None:
    for given, told, code in (
        (["--steps", "3", "--minutes", "1"], "contradict", 2),
        (["--loss", "l3"], "--loss must be one of", 2),
        (["--from", "nothing"], "there is no model 'nothing'", 4),
        (["--from", "tiny"], "no photo here", 3),
    ):
        run = cli("finetune", str(tmp_path), *given)
        assert run.code == code
        assert told in run.err


@pytest.mark.parametrize("best", ["camera", "white", "soft", None])
def test_a_new_model_must_beat_the_best_that_the_start_can_do(best: str | None) -> None:
    """Whatever it takes a part of a photo for: here always for white noise."""
    found = {"camera": 0.10, "white": 0.11, "soft": 0.12}
    engine = ExpertEngine(**found) if best else ConstantEngine(0.11)
    noisy = np.full((2, 128, 128, 3), 0.5)
    target = noisy - found[best or "white"]
    views = Views(in_16_bits(noisy), target.astype(np.float16), np.ones(noisy.shape, bool))
    start = Denoiser(engine, color_lock=False)
    assert best_kind(views, start) == best
    assert start.only is None
    if best:
        assert start.finder.kind(Photo(in_16_bits(noisy[0]), "png", "RGB")) == "white"
        done = denoised(noisy[0].astype(np.float32), replace(start, only=best))
        np.testing.assert_allclose(done, target[0], atol=0.001)
