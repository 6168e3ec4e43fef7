from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save

from denoisetool import nets
from denoisetool.engine import Engine, Float
from denoisetool.engine import onnx as exporter
from denoisetool.errors import ModelError, UsageError
from denoisetool.modelcard import ModelCard
from denoisetool.registry import Registry
from tests import tiny
from tests.conftest import Cli

ARGS = {"channels": 3, "widths": [4, 8], "blocks": [1, 1], "level_width": 4}


def _model(folder: Path, name: str, **more: int) -> tuple[ModelCard, Path]:
    torch.manual_seed(0)
    args = ARGS | more
    net = nets.build(name, args)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    data = save({k: v.half() for k, v in net.state_dict().items()})
    (folder / "weights.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return ModelCard("small", "Small", name, args, digest, stride=4, overlap=32), folder


def _noise(data: bytes, photo: Float) -> Float:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    given = photo.transpose(2, 0, 1)[None]
    found: Float = session.run(None, {"photo": given})[0]
    return np.ascontiguousarray(found[0].transpose(1, 2, 0))


@pytest.mark.parametrize("looks", [1, 8])
def test_each_expert_can_be_exported_and_finds_what_it_finds_here(
    looks: int, tmp_path: Path
) -> None:
    card, folder = _model(tmp_path, "experts", ensemble=looks)
    engine = Engine(card, folder, "cpu", "fp32")
    photo = np.random.default_rng(0).random((44, 68, 3)).astype(np.float32)
    data, difference = exporter.to_onnx(card, folder, "white")
    assert difference < exporter.EQUAL
    found = _noise(data, photo)
    np.testing.assert_allclose(found, engine.noise([photo], "white")[0], atol=2e-3)
    assert np.abs(found - engine.noise([photo], "camera")[0]).max() > 5e-3
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert about["kind"] == "white"
    assert about["stride"] == "4"
    assert about["weights_sha256"] == card.weights_sha256


def test_a_net_that_enlarges_can_be_exported(tmp_path: Path) -> None:
    card = tiny.upscaler(tmp_path, 4)
    data, difference = exporter.to_onnx(card, tmp_path)
    assert difference < exporter.EQUAL
    photo = np.random.default_rng(0).random((21, 34, 3)).astype(np.float32)
    found = _noise(data, photo)
    assert found.shape == (84, 136, 3)
    np.testing.assert_allclose(
        found, Engine(card, tmp_path, "cpu", "fp32").noise([photo])[0], atol=2e-3
    )
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["scale"] == "4"


def test_a_file_that_computes_something_else_is_not_given_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, folder = _model(tmp_path, "unet")
    monkeypatch.setattr(exporter, "EQUAL", 0.0)
    with pytest.raises(ModelError, match="not written"):
        exporter.to_onnx(card, folder)


def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'pink' noise \(it has camera, white\)"):
        exporter.to_onnx(*_model(tmp_path, "experts"), "pink")
    with pytest.raises(UsageError, match="one net for all noise"):
        exporter.to_onnx(*_model(tmp_path, "unet"), "white")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"onnxscript \(pip install 'denoisetool\[onnx\]'\)"):
        exporter.to_onnx(*_model(tmp_path, "unet"))


def test_the_command_exports_the_bundled_model(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "sub" / "fast.onnx"
    ran = cli("models", "export", "fast", "-o", target, "--json")
    assert ran.code == 0, ran.err
    assert ran.events[0]["bytes"] == target.stat().st_size
    assert "levels of the model" in ran.err
    entry = Registry().find("fast")
    engine = Engine(entry.card, entry.folder, "cpu", "fp32")
    photo = np.random.default_rng(0).random((64, 96, 3)).astype(np.float32)
    np.testing.assert_allclose(
        _noise(target.read_bytes(), photo), engine.noise([photo])[0], atol=2e-3
    )
    before = target.read_bytes()
    assert cli("models", "export", "fast", "-o", target).code == 1
    assert target.read_bytes() == before
    assert cli("models", "export", "nosuch", "-o", tmp_path / "x.onnx").code == 4
    assert not (tmp_path / "x.onnx").exists()
