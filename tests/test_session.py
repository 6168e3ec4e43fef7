from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from denoisetool import session as module
from denoisetool.engine import Choice
from denoisetool.errors import DeviceError, ModelError
from denoisetool.registry import Registry
from denoisetool.registry.places import Places, bundled_models
from denoisetool.session import Session
from denoisetool.settings import Settings, resolve
from tests import tiny
from tests.e2e.fakes import IdentityEngine


def settings(**flags: Any) -> Settings:
    return resolve(flags, {}, Path("/nonexistent/config.toml")).settings


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Places(tmp_path / "data", tmp_path / "cache", bundled_models()))


def copied_model(place: Path, name: str = "mine") -> Path:
    bundled = bundled_models()
    assert bundled is not None
    return Path(shutil.copytree(bundled / "fast", place / name))


def test_auto_takes_the_bundled_model(registry: Registry, home: Path) -> None:
    session = Session(settings(), registry)
    assert session.entry.name == "fast"
    assert session.engine is None


def test_auto_takes_the_larger_model_where_a_gpu_is_expected(
    only_fast: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(Places(tmp_path / "data", tmp_path / "cache", only_fast))
    for gpu, there, picked in (
        (None, "fast", "fast"), ("cuda", "fast", "fast"),
        (None, "balanced", "fast"), ("cuda", "balanced", "balanced"),
        (None, "best", "fast"), ("cuda", "best", "best"), ("mps", "best", "balanced"),
    ):  # fmt: skip
        if there != "fast":
            shutil.copytree(only_fast / "fast", only_fast / there, dirs_exist_ok=True)
            card = only_fast / there / "model.toml"
            card.write_text(card.read_text().replace('name = "fast"', f'name = "{there}"'))
        monkeypatch.setattr(
            module, "expected_gpu", lambda device, gpu=gpu: gpu if device == "auto" else None
        )
        assert Session(settings(), registry).entry.name == picked
        assert Session(settings(device="cpu"), registry).entry.name == "fast"


def test_the_users_own_model_of_that_name_wins(registry: Registry, home: Path) -> None:
    copied_model(registry.places.data / "models", "fast")
    assert Session(settings(), registry).entry.origin == "user"


def test_a_folder_is_a_model_too(registry: Registry, tmp_path: Path, home: Path) -> None:
    folder = copied_model(tmp_path)
    assert Session(settings(model=str(folder)), registry).entry.folder == folder


def test_each_scale_has_its_model(only_fast: Path, tmp_path: Path, home: Path) -> None:
    registry = Registry(Places(tmp_path / "data", tmp_path / "cache", only_fast))
    shelf = registry.places.data / "models"
    for name, scale in (("a-larger", 2), ("upscale-x2", 2), ("upscale-x4", 4), ("aa-detail", 1)):
        card = tiny.upscaler(shelf / name, scale)
        assert card.scale == scale
    own = shelf / "camera"
    tiny.upscaler(own, 2)
    with (own / "model.toml").open("a") as card_file:
        card_file.write('[[cameras]]\ncamera = "Sample SC-9"\n')
    names = {s: Session(settings(scale=s), registry).entry.name for s in ("auto", "1", "2", "4")}
    assert names == {"auto": "fast", "1": "fast", "2": "upscale-x2", "4": "upscale-x4"}
    session = Session(settings(scale="2"), registry)
    assert (session.scale, session.tuned, session.pipeline().limits.scale) == (2, [], 2)
    assert Session(settings(), registry).tuned == []  # one that enlarges is for no camera
    named = Session(settings(model="upscale-x4"), registry)
    assert named.fingerprint.endswith(" scale=4")
    assert named.first is None  # who names a model gets that model
    picked = Session(settings(scale="4", strength="0.5", luma="0.2"), registry)
    assert picked.first is not None
    assert picked.first.entry.name == "fast"
    assert (picked.first.settings.strength, picked.first.settings.luma) == (1, 1)
    assert " scale=4 first=" in picked.fingerprint
    assert "scale" not in Session(settings(), registry).fingerprint  # what was made stays so
    shutil.rmtree(shelf / "upscale-x2")
    assert Session(settings(scale="2"), registry).entry.name == "a-larger"
    (shelf / "upscale-x4" / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="weights are missing"):
        Session(settings(scale="4"), registry)


def test_unknown_models_are_refused_with_the_nearest(registry: Registry, home: Path) -> None:
    with pytest.raises(ModelError, match="did you mean fast"):
        Session(settings(model="fats"), registry)


def test_no_model_at_all(tmp_path: Path, home: Path) -> None:
    empty = Registry(Places(tmp_path / "data", tmp_path / "cache"))
    with pytest.raises(ModelError, match="models install"):
        Session(settings(), empty)


def test_a_broken_model_where_there_is_no_other_tells_what_is_wrong(
    tmp_path: Path, home: Path
) -> None:
    alone = Registry(Places(tmp_path / "data", tmp_path / "cache"))
    (copied_model(alone.places.data / "models") / "model.toml").write_text("not a card")
    with pytest.raises(ModelError, match="not valid TOML"):
        Session(settings(), alone)
    with pytest.raises(ModelError, match="enlarges 2 times"):
        Session(settings(scale="2"), alone)


def test_damaged_weights_are_refused_before_anything_is_loaded(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    folder = copied_model(tmp_path)
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    monkeypatch.setattr(module, "Engine", pytest.fail)
    session = Session(settings(model=str(folder)), registry)
    for step in (session.verify, session.denoiser):
        with pytest.raises(ModelError, match="not those of the card"):
            step()


def test_making_a_session_writes_nothing(tmp_path: Path, home: Path) -> None:
    assert Session(settings()).fingerprint
    assert not home.exists()


def test_settings_reach_denoiser_and_pipeline(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    made: list[tuple[object, ...]] = []

    class Noted(IdentityEngine):
        def __init__(self, *given: object) -> None:
            super().__init__()
            made.append(given)

    monkeypatch.setattr(module, "Engine", Noted)
    wished = settings(
        strength="0.5", luma="0.25", chroma="0.75", color_lock="no", tile="128", quality="7",
        strip="yes", max_megapixels="3", jobs="5", device="cpu", precision="fp32",
    )  # fmt: skip
    session = Session(wished, registry)
    told: list[str] = []
    session.announce = lambda choice, entry: told.append(f"{entry.name} {choice.device}")
    denoiser = session.denoiser()
    assert told == ["fast cpu"]
    assert (denoiser.strength, denoiser.luma, denoiser.chroma) == (0.5, 0.25, 0.75)
    assert (denoiser.color_lock, denoiser.tile, denoiser.fallback) == (False, 128, None)
    assert made[0][2:4] == ("cpu", "fp32")
    pipeline = session.pipeline()
    assert (pipeline.options.quality, pipeline.options.strip) == (7, True)
    assert (pipeline.limits.megapixels, pipeline.threads) == (3.0, 5)
    assert pipeline.fingerprint == session.fingerprint


def test_what_takes_over_when_a_gpus_memory_runs_out_is_made_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    made: list[Path] = []

    class OnGpu(IdentityEngine):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            self.choice = Choice("cuda", "fp16", "this is a fake")

        def on_cpu(self, folder: Path) -> IdentityEngine:
            made.append(folder)
            return IdentityEngine()

    monkeypatch.setattr(module, "Engine", OnGpu)
    session = Session(settings(), registry)
    fallback = session.denoiser().fallback
    assert fallback is not None
    assert fallback() is fallback()
    assert made == [session.entry.folder]


def test_a_device_that_is_not_there_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no cuda device"):
        Session(settings(device="cuda"), registry).denoiser()
