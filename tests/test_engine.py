import hashlib
import json
import threading
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from denoisetool import nets
from denoisetool.denoiser import Denoiser
from denoisetool.engine import Engine, Float, OutOfMemoryError, devices, free_memory, pick_device
from denoisetool.engine import core as engine_module
from denoisetool.engine.fused import FusedBlock, fuse
from denoisetool.errors import DeviceError, ModelError
from denoisetool.metrics import psnr
from denoisetool.modelcard import ModelCard
from denoisetool.nets.unet import ResidualBlock
from denoisetool.photo import Photo
from denoisetool.registry import Registry
from tests.photos import render

ARGS = {"channels": 3, "widths": [8, 16], "blocks": [1, 1], "level_width": 4}


@pytest.fixture
def model(tmp_path: Path) -> tuple[ModelCard, Path]:
    torch.manual_seed(0)
    net = nets.build("unet", ARGS)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.03)
    data = save({k: v.half() for k, v in net.state_dict().items()})
    (tmp_path / "weights.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    card = ModelCard("small", "Small", "unet", ARGS, digest, stride=4, overlap=32)
    return card, tmp_path


def _tile(side: int = 64) -> Float:
    return np.random.default_rng(0).random((side, side, 3)).astype(np.float32)


def test_shapes_and_batches(model: tuple[ModelCard, Path]) -> None:
    engine = Engine(*model, "cpu", "fp32")
    engine.batch = 2
    tiles = [(_tile() * scale).astype(np.float32) for scale in (0.2, 0.5, 1.0)]
    together = engine.noise(tiles)
    assert [n.shape for n in together] == [(64, 64, 3)] * 3
    for tile, found in zip(tiles, together, strict=True):
        np.testing.assert_allclose(engine.noise([tile])[0], found, atol=1e-5)
        assert found.dtype == np.float16


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_fused_blocks_compute_the_same(dtype: torch.dtype, near: float) -> None:
    torch.manual_seed(0)
    args = {**ARGS, "blocks": [2, 3], "soft": 3, "ensemble": 2, "second_kernel": 1}
    net = nets.build("experts", {**args, "camera": {"second_kernel": 3}}).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.03)
    net = net.to(dtype)
    keys, x = list(net.state_dict()), torch.rand(2, 3, 48, 64)
    x = x.contiguous(memory_format=torch.channels_last)
    kinds = ("camera", "white", "soft")
    with torch.inference_mode():
        plain = [net(x, kind) for kind in kinds]
        assert fuse(net) == 2 * 7
        assert not [m for m in net.modules() if isinstance(m, ResidualBlock)]
        assert list(net.state_dict()) == keys
        for kind, before in zip(kinds, plain, strict=True):
            assert (net(x, kind) - before).abs().max() <= near * before.abs().max()
    assert plain[0].abs().max() > 0.01


def test_blocks_stay_as_they_are_where_they_cannot_be_fused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = nets.build("unet", ARGS).eval()
    assert fuse(net.to(torch.float64)) == 0

    def fail(*_args: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(FusedBlock, "forward", fail)
    assert fuse(net.float()) == 0
    assert fuse(nets.build("srresnet", {"channels": 3, "width": 8, "blocks": 1}).eval()) == 0


def test_levels_are_those_of_the_nets_own_estimator(model: tuple[ModelCard, Path]) -> None:
    engine = Engine(*model, "cpu", "fp32")
    tiles = [_tile(), _tile() * 0.1 + 0.45]
    net = engine_module.load_net(model[0], model[1] / "weights.safetensors")
    for tile, told in zip(tiles, engine.levels(tiles), strict=True):
        with torch.inference_mode():
            level = net.level(torch.from_numpy(tile[None]).permute(0, 3, 1, 2))  # type: ignore[operator]
        np.testing.assert_allclose(told, np.asarray(level[0, 0]), rtol=1e-4, atol=1e-6)
        assert told.min() >= 0 < told.max()


def test_a_net_without_an_estimator_tells_no_levels(tmp_path: Path) -> None:
    args = {"channels": 3, "widths": [8, 16], "blocks": [1, 1]}
    data = save({k: v.half() for k, v in nets.build("unet", args).state_dict().items()})
    (tmp_path / "weights.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    card = ModelCard("small", "Small", "unet", args, digest, stride=4, overlap=32)
    assert Engine(card, tmp_path, "cpu", "fp32").levels([_tile()]) == []


def test_bf16_is_checked_against_fp32_and_the_result_kept(
    model: tuple[ModelCard, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "native_bf16", lambda kind: True)
    cache = tmp_path / "cache"
    engine = Engine(*model, "cpu", "auto", cache)
    assert engine.choice.precision == "bf16"
    assert "levels of fp32" in engine.choice.reason
    (kept,) = json.loads((cache / "precision.json").read_text()).values()
    assert 0 < kept < engine_module.AGREEMENT

    def unasked(*_: object) -> float:
        raise AssertionError("the probe ran again")

    monkeypatch.setattr(Engine, "_probe", unasked)
    assert Engine(*model, "cpu", "auto", cache).choice.precision == "bf16"


def test_a_precision_that_disagrees_is_not_used(
    model: tuple[ModelCard, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "native_bf16", lambda kind: True)
    monkeypatch.setattr(Engine, "_probe", lambda *_: float("inf"))
    assert Engine(*model, "cpu", "auto").choice.precision == "fp32"
    with pytest.raises(DeviceError, match="bf16"):
        Engine(*model, "cpu", "bf16")


def test_a_cpu_without_bf16_uses_fp32(
    model: tuple[ModelCard, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "native_bf16", lambda kind: False)
    assert Engine(*model, "cpu").choice.precision == "fp32"


def test_a_damaged_cache_costs_nothing(model: tuple[ModelCard, Path], tmp_path: Path) -> None:
    (tmp_path / "precision.json").write_text("[broken")
    Engine(*model, "cpu", "auto", tmp_path)
    (tmp_path / "precision.json").write_text("[]")
    Engine(*model, "cpu", "auto", tmp_path)


def test_named_devices_are_strict(model: tuple[ModelCard, Path]) -> None:
    with pytest.raises(DeviceError, match="fp16"):
        Engine(*model, "cpu", "fp16")
    for kind in {"cuda", "mps", "xpu"} - devices().keys():
        with pytest.raises(DeviceError, match=kind):
            pick_device(kind)
    assert pick_device("cpu")[0] == "cpu"


@pytest.mark.parametrize(
    ("kind", "node", "expected"),
    [("cuda", "nvidiactl", "cuda"), ("cuda", None, None), ("hip", "kfd", "cuda"),
     ("hip", "nvidiactl", None), (None, "nvidiactl", None), ("xpu", "dri/renderD128", "xpu")],
)  # fmt: skip
def test_a_gpu_is_expected_where_torch_was_built_for_it_and_its_driver_is_there(
    kind: str | None, node: str | None, expected: str | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    places = import_module("denoisetool.engine.devices")
    package = tmp_path / "torch"
    package.mkdir()
    lines = [f"{name} = {'1.0' if name == kind else None!r}" for name in places.NODES]
    (package / "version.py").write_text("\n".join(lines))
    spec = ModuleSpec("torch", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(places, "find_spec", lambda _: spec)
    nodes = {k: [p.replace("/dev", str(tmp_path)) for p in v] for k, v in places.NODES.items()}
    monkeypatch.setattr(places, "NODES", nodes)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.name", "posix")
    if node is not None:
        (tmp_path / node).parent.mkdir(exist_ok=True)
        (tmp_path / node).touch()
    assert places.expected_gpu("auto") == expected
    assert places.expected_gpu("mps") == "mps"
    assert places.expected_gpu("cpu") is None


def test_out_of_memory_halves_the_batch_and_then_asks_for_a_smaller_tile(
    model: tuple[ModelCard, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(*model, "cpu", "fp32")
    engine.batch = 8
    forward, seen = engine._forward, []

    def limited(tiles, net, kind):  # type: ignore[no-untyped-def]
        seen.append(len(tiles))
        if len(tiles) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return forward(tiles, net, kind)

    monkeypatch.setattr(engine, "_forward", limited)
    assert len(engine.noise([_tile(16)] * 8)) == 8
    assert seen[:3] == [8, 4, 2]
    assert engine.batch == 2

    def none(tiles, net, kind):  # type: ignore[no-untyped-def]
        raise MemoryError

    monkeypatch.setattr(engine, "_forward", none)
    with pytest.raises(OutOfMemoryError):
        engine.noise([_tile(16)])


def test_other_errors_are_loud(
    model: tuple[ModelCard, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(*model, "cpu", "fp32")

    def broken(tiles, net, kind):  # type: ignore[no-untyped-def]
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(engine, "_forward", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        engine.noise([_tile(16)])


def test_weights_that_do_not_fit(model: tuple[ModelCard, Path], tmp_path: Path) -> None:
    card, folder = model
    other = ModelCard("o", "O", "unet", {**ARGS, "widths": [8, 32]}, card.weights_sha256)
    with pytest.raises(ModelError, match="do not fit"):
        Engine(other, folder, "cpu")
    (tmp_path / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot be read"):
        Engine(card, tmp_path, "cpu")
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="missing"):
        Engine(card, tmp_path, "cpu")
    with pytest.raises(ModelError, match="unknown net"):
        nets.build("resnet", {})
    with pytest.raises(ModelError, match="arguments"):
        nets.build("unet", {"width": 3})


def test_tile_side_follows_the_memory(model: tuple[ModelCard, Path]) -> None:
    engine = Engine(*model, "cpu", "fp32")
    sides = [engine.tile_side(budget) for budget in (1e6, 50e6, 1e9, 1e12)]
    assert sides == sorted(sides)
    assert sides[0] == 128
    assert sides[-1] == engine_module.CPU_TILE[4]
    assert all(side % 16 == 0 for side in sides)
    assert free_memory() > 1e6


@pytest.mark.parametrize(
    ("group", "free"),
    [
        ({}, 12e9),
        ({"memory.max": "max", "memory.current": "8580000000"}, 12e9),
        ({"memory.max": "8590000000", "memory.current": "8580000000"}, 64e6),
        (
            {"memory.max": "8590000000", "memory.current": "8580000000",
             "memory.stat": "anon 900000000\ninactive_file 7000000000\nactive_file 600000000\n"},
            7.61e9,
        ),
        (
            {"memory.max": "90000000000", "memory.current": "8580000000",
             "memory.stat": "inactive_file 7000000000"},
            12e9,
        ),
        (
            {"memory.max": "8590000000", "memory.current": "5000000000",
             "memory.stat": "inactive_file 7000000000"},
            8.59e9,
        ),
        (
            {"memory/memory.limit_in_bytes": "8590000000",
             "memory/memory.usage_in_bytes": "8580000000",
             "memory/memory.stat": "inactive_file 5\nactive_file 7\n"
             "total_inactive_file 2000000000\ntotal_active_file 1000000000"},
            3.01e9,
        ),
        (
            {"memory/memory.limit_in_bytes": "9223372036854771712",
             "memory/memory.usage_in_bytes": "8580000000"},
            12e9,
        ),
    ],
    ids=["none", "without limit", "full", "full of cache", "roomy", "cache above use",
         "version 1", "version 1 without limit"],
)  # fmt: skip
def test_free_memory_is_what_the_control_group_leaves_with_its_page_cache(
    group: dict[str, str], free: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"/sys/fs/cgroup/{name}": text for name, text in group.items()}
    files["/proc/meminfo"] = "MemTotal: 16000000 kB\nMemAvailable: 11718750 kB\n"

    def read(path: Path, **_: object) -> str:
        try:
            return files[path.as_posix()]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(Path, "read_text", read)
    assert free_memory() == pytest.approx(free)


def test_every_thread_has_the_whole_machine_and_only_the_lanes_share_it(
    model: tuple[ModelCard, Path],
) -> None:
    before = torch.get_num_threads()
    found: list[list[int]] = []
    engines: list[Engine] = []

    def use(engine: Engine | None) -> None:
        engine = engine or Engine(*model, "cpu", "fp32")
        engines.append(engine)
        seen: list[int] = []
        engine.lanes.each(lambda _: seen.append(torch.get_num_threads()), range(5))
        found.append(sorted(seen))

    def in_a_new_thread(engine: Engine | None = None) -> None:
        thread = threading.Thread(target=use, args=(engine,))
        thread.start()
        thread.join()

    engine_module.machine_threads.cache_clear()
    try:
        torch.set_num_threads(8)
        in_a_new_thread()
        in_a_new_thread()
        in_a_new_thread(engines[0])
        use(engines[1])
        assert found == [[4, 4, 4, 4, 8]] * 4
    finally:
        torch.set_num_threads(before)
        engine_module.machine_threads.cache_clear()


@pytest.mark.parametrize("model", ["fast", "balanced"])
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("seed", [5, 8])
def test_a_shipped_model_tiled_agrees_with_the_whole_picture_within_one_level(
    model: str, correlated: bool, seed: int
) -> None:
    """In float32 with the card's own overlap, on a noisy picture with hard edges."""
    entry = Registry().find(model)
    engine = Engine(entry.card, entry.folder, "cpu", "fp32")
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:416, 0:640]
    picture = 128 + 90 * np.sign(np.sin(rows / 23) * np.sin(columns / 31)) + columns / 20
    noise = rng.normal(0, 20, (416, 640, 3))
    if correlated:  # as a camera leaves it, in a texture
        shifts = [(y, x) for y in range(3) for x in range(3)]
        noise = np.sum([np.roll(noise, shift, (0, 1)) for shift in shifts], 0) / 4
        fine = rng.normal(0, 10, (416, 640))
        picture = picture + np.sum([np.roll(fine, x, 1) for x in range(4)], 0)
    noisy = picture[..., None] + noise
    results = []
    for tile in (4096, 320):
        photo = Photo((noisy / 255).astype(np.float32), "tiff", "RGB")
        report = Denoiser(engine, tile=tile, color_lock=False).denoise(photo)
        results.append(photo.pixels * 255)
    assert report.kind == ("camera" if correlated else "white")
    assert np.abs(results[0] - results[1]).max() <= 1
    assert np.abs(results[0] - noisy).std() > 5


def test_the_bundled_model_tells_white_noise_from_a_cameras() -> None:
    entry = Registry().find("fast")
    denoiser = Denoiser(Engine(entry.card, entry.folder, "cpu", "fp32"))
    assert denoiser.engine.kinds == ("camera", "white", "soft")
    clean, noisy = render("still_life")
    rng = np.random.default_rng(0)
    for sigma in (8, 25, 50):
        white = np.clip(np.rint(clean + rng.normal(0, sigma, clean.shape)), 0, 255)
        photo = Photo(white.astype(np.uint8), "png", "RGB")
        report = denoiser.denoise(photo)
        assert report.kind == "white"
        true = float((white.round() - clean).std())
        assert report.noise == pytest.approx(true, rel=0.05)
        assert psnr(photo.pixels, clean) > psnr(white, clean) + 5
    photo = Photo(noisy.astype(np.uint8), "png", "RGB")
    report = denoiser.denoise(photo)
    assert report.kind == "camera"
    assert report.noise == pytest.approx(float((noisy.astype(float) - clean).std()), rel=0.25)
    assert psnr(photo.pixels, clean) > psnr(noisy, clean) + 1


@pytest.mark.parametrize("name", ["fast", "balanced"])
def test_the_shadows_of_a_clipped_noisy_file_come_out_dark(name: str) -> None:
    """At least five sixths of what clipping has added to their brightness are gone."""
    entry = Registry().find(name)
    denoiser = Denoiser(Engine(entry.card, entry.folder, "cpu", "fp32"))
    clean = np.full((256, 256, 3), 4.0)
    clean[:, 128:] = 120
    white = np.clip(np.rint(clean + np.random.default_rng(0).normal(0, 40, clean.shape)), 0, 255)
    photo = Photo(white.astype(np.uint8), "png", "RGB")
    assert denoiser.denoise(photo).kind == "white"
    added, left = (picture[:, :112].mean() - 4 for picture in (white, photo.pixels))
    assert added > 13
    assert abs(left) < added / 6
    assert abs(photo.pixels[:, 144:].mean() - 120) < 2
