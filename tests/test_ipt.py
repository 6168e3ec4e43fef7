from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from denoisetool import nets
from denoisetool.engine import Engine
from denoisetool.engine import onnx as exporter
from denoisetool.errors import ModelError
from denoisetool.modelcard import ModelCard
from denoisetool.nets import ipt
from denoisetool.nets.ipt import IPT
from denoisetool.nets.parts import enlarged, kmac_per_pixel
from denoisetool.training.contrast import contrastive_loss

TASKS = ("denoise30", "denoise50", "upscale2", "upscale3", "upscale4")
SMALL: dict[str, Any] = {
    "width": 8, "patch": 12, "token": 3, "encoders": 1, "decoders": 1, "heads": 2, "hidden": 32,
    "tasks": TASKS, "margin": 2,
}  # fmt: skip


def _net(**args: Any) -> IPT:
    """A small net that has an opinion: its last convolutions are not zero."""
    torch.manual_seed(0)
    net = nets.build("ipt", SMALL | args)
    assert isinstance(net, IPT)
    for name, parameter in net.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, 0, 0.1)
    return net.eval()


def test_the_published_size_has_the_published_parameters() -> None:
    """115.5 million with the head, embedding and tail of one task, as its authors count."""
    with torch.device("meta"):
        published = nets.build("ipt", {"tasks": ("upscale2",)})
        all_four = nets.build("ipt", {})
    count = sum(p.numel() for p in published.parameters())
    assert count == 115_460_419
    assert count == pytest.approx(115.5e6, rel=0.001)
    more = sum(p.numel() for p in all_four.parameters()) - count
    head, told, out, up = 411_648, 256 * 576, 64 * 3 * 9 + 3, 64 * 256 * 9 + 256
    assert more == 3 * (head + told + out) + 2 * up


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_shape_and_needs_multiples_of_the_stride(task: str) -> None:
    net = _net()
    scale = net.for_task(task).scale
    assert scale == int(task[-1]) if task.startswith("upscale") else scale == 1
    assert net.stride == 8
    for height, width in ((8, 8), (16, 40), (12, 12)):
        found = net(torch.rand(2, 3, height, width), task)
        assert found.shape == (2, 3, scale * height, scale * width)
    for height, width in ((12, 8), (8, 20), (9, 9)):
        with pytest.raises(RuntimeError, match="multiples of 8"):
            net(torch.rand(1, 3, height, width), task)


def test_the_own_task_is_the_one_of_the_arguments() -> None:
    x = torch.rand(1, 3, 8, 16)
    net, other = _net(), _net(task="upscale2")
    assert (net.task, net.scale, other.task, other.scale) == ("denoise30", 1, "upscale2", 2)
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(net(x), net(x, "denoise30"))
        torch.testing.assert_close(other(x), net(x, "upscale2"))
        assert not torch.allclose(net(x), net(x, "denoise50"))


def test_untrained_it_changes_nothing() -> None:
    net, x = IPT(**SMALL), torch.rand(1, 3, 16, 8)
    for task in TASKS:
        found = net(x, task)
        assert found.abs().max() == 0
        assert found.shape == enlarged(x, net.scales[task]).shape


@pytest.mark.parametrize("task", ["denoise30", "upscale2"])
def test_tiles_agree_beyond_the_receptive_radius(task: str) -> None:
    """Crops on multiples of the stride see the same windows as the whole picture."""
    net, x = _net(), torch.rand(1, 3, 64, 72)
    scale, top, left = net.for_task(task).scale, 16, 24
    edge = -(-net.receptive_radius // net.stride) * net.stride
    crop = x[..., top : top + 48, left : left + 48]
    with torch.inference_mode():
        whole, part = net(x, task), net(crop, task)
    inside = slice(edge * scale, (48 - edge) * scale)
    rows = slice((top + edge) * scale, (top + 48 - edge) * scale)
    columns = slice((left + edge) * scale, (left + 48 - edge) * scale)
    torch.testing.assert_close(part[..., inside, inside], whole[..., rows, columns])
    border, first = slice(0, scale), slice(top * scale, (top + 1) * scale)
    assert not torch.allclose(part[..., border, inside], whole[..., first, columns])


def test_nothing_beyond_the_receptive_radius_matters_and_the_bound_is_reached() -> None:
    net, x = _net(), torch.rand(1, 3, 8, 64)
    other = x.clone()
    other[..., 33] = torch.rand(1, 3, 8)
    with torch.inference_mode():
        moved = torch.nonzero((net(x) - net(other)).abs().amax((0, 1, 2)) > 0)
    assert 33 - int(moved.min()) == net.receptive_radius == 9  # 24..31 look at 22..33
    assert int(moved.max()) - 33 <= net.receptive_radius


def test_a_window_is_the_middle_of_its_patch_and_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, x = _net(), torch.rand(2, 3, 24, 32)
    with torch.inference_mode():
        found = net(x, "upscale2")
        patch = net(x[..., 6:18, 14:26], "upscale2")
        torch.testing.assert_close(found[..., 16:32, 32:48], patch[..., 4:20, 4:20])
        monkeypatch.setattr(ipt, "CHUNK", 5)
        torch.testing.assert_close(net(x, "upscale2"), found)


def test_features_come_with_the_same_pass() -> None:
    net = _net()
    view = net.for_task("upscale2")
    patch, photo = torch.rand(3, 3, 12, 12), torch.rand(2, 3, 16, 24)
    with torch.inference_mode():
        found, features = view.forward_features(patch)
        torch.testing.assert_close(found, view(patch))
        assert features.shape == (3, 16, 72)
        found, features = view.forward_features(photo)
        torch.testing.assert_close(found, view(photo))
        assert features.shape == (2, 6 * 16, 72)
        torch.testing.assert_close(features[1:], view.forward_features(photo[1:])[1])


def test_a_task_trains_the_body_and_what_is_its_own() -> None:
    net = _net()
    view = net.for_task("denoise50")
    assert {id(p) for p in view.parameters()} == {id(p) for p in net.parameters()}
    view(torch.rand(2, 3, 12, 12)).square().sum().backward()
    for name, parameter in net.named_parameters():
        kind, rest = name.split(".")[0], name.split(".")[1:]
        wanted = kind not in ("heads", "told", "tails") or rest[0] == "denoise50"
        got = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert got == wanted, name


def test_two_tasks_are_learned_in_turn() -> None:
    torch.manual_seed(0)
    net = IPT(**SMALL)
    levels = torch.rand(8, 3, 4, 4)
    clean = torch.nn.functional.interpolate(levels, scale_factor=6.0, mode="bilinear")
    noisy = clean[..., 6:18, 6:18] + 0.2 * torch.randn(8, 3, 12, 12)
    pairs = {
        "denoise50": (noisy, clean[..., 6:18, 6:18]),
        "upscale2": (clean[..., ::2, ::2], clean),
    }
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)

    def loss(task: str) -> Tensor:
        given, wanted = pairs[task]
        view = net.for_task(task)
        result: Tensor = (enlarged(given, view.scale) - view(given) - wanted).square().mean()
        return result

    before = {task: float(loss(task).detach()) for task in pairs}
    for step in range(60):
        optimizer.zero_grad()
        loss(list(pairs)[step % 2]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for task, first in before.items():
        assert float(loss(task).detach()) < 0.6 * first, task


def test_weights_survive_a_file_of_16_bits_and_a_checkpoint() -> None:
    net, other, x = _net(), _net(task="upscale4"), torch.rand(1, 3, 16, 16)
    halves = {key: value.half().contiguous() for key, value in net.state_dict().items()}
    other.load_state_dict({key: value.float() for key, value in load(save(halves)).items()})
    with torch.inference_mode():
        torch.testing.assert_close(other(x, "denoise30"), net(x), atol=5e-3, rtol=0)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        torch.testing.assert_close(other(x, "denoise30"), net(x))
        short = _net().to(torch.bfloat16)
        assert (short(x) - net(x)).abs().max() < 0.05 * net(x).abs().max()


def test_cost_is_what_torch_counts() -> None:
    net = _net()
    net.requires_grad_(False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(torch.zeros(1, 3, 64, 64))  # torch does not count attention's faster way on a CPU
    assert kmac_per_pixel(net) == pytest.approx(counter.get_total_flops() / 2 / 64**2 / 1000)
    assert kmac_per_pixel(_net(margin=1), side=61) == kmac_per_pixel(_net(margin=1), side=70)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"token": 5}, "whole number"),
        ({"heads": 5}, "cannot share"),
        ({"margin": 4}, "third"),
        ({"margin": 3}, "quarter"),
        ({"tasks": ()}, "tasks are"),
        ({"tasks": ("upscale5",)}, "tasks are"),
        ({"tasks": ("denoise30", "denoise30")}, "tasks are"),
        ({"task": "upscale8"}, "must be one of"),
        ({"encoders": 0}, "at least 1"),
        ({"decoders": 1000}, "at most"),
        ({"colour": 3}, "colour"),
    ],
)
def test_impossible_arguments(args: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        nets.build("ipt", SMALL | args)


def test_an_unknown_task_is_refused() -> None:
    net = _net()
    with pytest.raises(ValueError, match="denoise30"):
        net(torch.rand(1, 3, 8, 8), "derain")
    with pytest.raises(ValueError, match="denoise30"):
        net.for_task("derain")


def test_the_engine_runs_it_and_onnx_computes_the_same(tmp_path: Path) -> None:
    net = _net(tasks=["denoise30", "upscale2"])
    data = save({key: value.half().contiguous() for key, value in net.state_dict().items()})
    (tmp_path / "weights.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    args = SMALL | {"tasks": ["denoise30", "upscale2"]}
    card = ModelCard("small", "Small", "ipt", args, digest, stride=8, overlap=16)
    photo = np.random.default_rng(0).random((24, 40, 3)).astype(np.float32)
    found = Engine(card, tmp_path, "cpu", "fp32").noise([photo])[0]
    with torch.inference_mode():
        wanted = net(torch.from_numpy(photo).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, wanted.numpy(), atol=0.02)
    _, difference = exporter.to_onnx(card, tmp_path)
    assert difference < exporter.EQUAL


def test_contrast_falls_when_a_picture_agrees_with_itself_and_not_with_others() -> None:
    apart = torch.eye(3)[:, None].repeat(1, 5, 1)
    alike = torch.ones(3, 5, 3)
    mixed = torch.eye(3)[None].repeat(3, 1, 1)  # every picture has the same three tokens
    assert float(contrastive_loss(alike)) == pytest.approx(math.log(2), abs=1e-6)
    assert float(contrastive_loss(apart)) == pytest.approx(math.log(2) - 1, abs=1e-6)
    assert float(contrastive_loss(apart, 0.1)) == pytest.approx(math.log(2) - 10, abs=1e-4)
    assert contrastive_loss(mixed) > contrastive_loss(apart)


def test_contrast_is_the_sum_of_its_definition_and_ignores_lengths() -> None:
    torch.manual_seed(0)
    features, t = torch.randn(3, 4, 6, requires_grad=True), 0.5
    total = torch.zeros(())
    d = torch.nn.functional.cosine_similarity
    for i in range(3):
        for j in range(4):
            for m in range(4):
                own = (d(features[i, j], features[i, m], dim=0) / t).exp()
                others = [
                    (d(features[i, j], features[k, m], dim=0) / t).exp() for k in range(3) if k != i
                ]
                total = total - (own / torch.stack(others).sum()).log()
    loss = contrastive_loss(features, t)
    torch.testing.assert_close(loss, total / (3 * 4 * 4))
    lengths = torch.rand(3, 4, 1) * 10 + 0.1
    torch.testing.assert_close(contrastive_loss(features * lengths, t), loss)
    (towards,) = torch.autograd.grad(loss, features)
    assert contrastive_loss(features - 0.1 * towards, t) < loss
    assert towards.isfinite().all()


def test_contrast_needs_others_and_a_temperature() -> None:
    with pytest.raises(ValueError, match="two pictures"):
        contrastive_loss(torch.rand(1, 4, 3))
    with pytest.raises(ValueError, match="temperature"):
        contrastive_loss(torch.rand(2, 4, 3), 0.0)
