"""The bench of published tests, on small made pictures: its figures mean what it says."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
import torch
from PIL import Image
from safetensors.torch import save

from denoisetool import nets
from denoisetool.modelcard import CARD_FILE, WEIGHTS_FILE
from denoisetool.training.features import Features
from tests.bench import classics
from tests.bench.classics import Levels, Model
from tests.bench.rivals import RIVALS, Picture, in_8_bits
from tests.test_features import weights

NETS: dict[str, dict[str, Any]] = {
    "dncnn": {"depth": 3, "width": 8, "batch_norm": False},
    "unet": {"widths": [8, 16], "blocks": [0, 1], "level_width": 4},
    "experts": {"widths": [8, 16], "blocks": [0, 1], "level_width": 4},
    "srresnet": {"width": 8, "blocks": 1, "scale": 2},
}


def model(folder: Path, net: str, spread: float = 0.0, tint: float = 0.0) -> Model:
    """A model whose last layers are random, or 0: then it changes nothing.

    A DnCNN with a `tint` takes so many levels from red, whatever it is given.
    """
    torch.manual_seed(0)
    built = nets.build(net, dict(NETS[net]))
    for name, parameter in built.named_parameters():
        if spread and parameter.abs().max() == 0 and name.endswith("weight"):
            torch.nn.init.normal_(parameter, 0, spread)
    if tint:
        state = {key: torch.zeros_like(value) for key, value in built.state_dict().items()}
        state["layers.2.bias"][0] = 1
        state["layers.4.weight"][0, 0, 1, 1] = tint / 255
        built.load_state_dict(state)
    data = save({key: value.contiguous() for key, value in built.state_dict().items()})
    card = {
        "card_version": 1, "name": net, "title": net, "net": net, "net_args": NETS[net],
        "stride": built.stride, "scale": NETS[net].get("scale", 1), "overlap": 16,
        "weights_sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    (folder / net).mkdir()
    (folder / net / WEIGHTS_FILE).write_bytes(data)
    (folder / net / CARD_FILE).write_text(tomlkit.dumps(card))
    return classics.load(str(folder / net))


def made(height: int, width: int) -> Picture:
    """Soft shapes in many colours, and a brighter half."""
    spots = np.random.default_rng(1).integers(0, 200, (height // 8, width // 8, 3), np.uint8)
    picture = np.array(Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC))
    picture[:, width // 2 :] += 40
    return picture


@pytest.fixture
def features(tmp_path: Path) -> Features:
    path = tmp_path / "features.safetensors"
    path.write_bytes(save(weights()))
    return Features(path)


@pytest.fixture(scope="module")
def images() -> Picture:
    """128 pictures of 32 x 32 of middling brightness, where hardly any noise is clipped."""
    tiles = made(256, 512).reshape(8, 32, 16, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    return np.asarray(110 + tiles // 8, np.uint8)


def test_a_sheet_is_read_row_by_row(tmp_path: Path, images: Picture) -> None:
    sheet = images[:6].reshape(2, 3, 32, 32, 3).swapaxes(1, 2).reshape(64, 96, 3)
    Image.fromarray(sheet).save(tmp_path / "sheet.webp", lossless=True)
    np.testing.assert_array_equal(classics.small_images(tmp_path / "sheet.webp"), images[:6])


def test_noise_is_as_told_and_the_same_for_fewer_images(images: Picture) -> None:
    noisy = classics.clipped_noise(images)
    theory = 20 * math.log10(255 / 30)
    assert classics.score_small(noisy, images)["psnr"] == pytest.approx(theory, abs=0.03)
    np.testing.assert_array_equal(classics.clipped_noise(images[:5]), noisy[:5])
    assert np.abs(np.corrcoef((noisy - images)[:8].reshape(8, -1)) - np.eye(8)).max() < 0.1
    dark = classics.clipped_noise(np.zeros_like(images))
    assert dark.min() == 0
    assert np.median(dark[dark > 0] % 1) == pytest.approx(0.5, abs=0.02)  # not rounded


def test_eight_ways_to_look_are_turned_back_before_their_mean(images: Picture) -> None:
    levels = images[:4].astype(np.float32)
    same = classics.eightfold(lambda given: given.astype(np.uint8), levels)
    np.testing.assert_array_equal(same, images[:4])
    # Darkened on the left of what it is given: each side of the pictures is, twice in eight.
    edge = np.ones((32, 32, 1), np.float32)
    edge[:, :4] = 0
    found = classics.eightfold(lambda given: (given * edge).astype(np.uint8), levels)
    shares = (
        found[:, [16, 16, 1, 30], [1, 30, 16, 16]] / levels[:, [16, 16, 1, 30], [1, 30, 16, 16]]
    )
    np.testing.assert_allclose(shares, 0.75, atol=0.02)
    np.testing.assert_array_equal(found[:, 4:28, 4:28], images[:4, 4:28, 4:28])


def test_scores_of_small_images_are_each_image_on_its_own(images: Picture) -> None:
    strong = classics.clipped_noise(images[:64], 40)
    found = np.concatenate([strong, classics.clipped_noise(images[64:], 4)])
    scores = classics.score_small(found, images)
    halves = [classics.score_small(found[s], images[s]) for s in (slice(64), slice(64, None))]
    for key in ("psnr", "psnr_batch", "ssim", "coarse"):
        assert scores[key] == pytest.approx((halves[0][key] + halves[1][key]) / 2, abs=2e-4)
    order = np.random.default_rng(0).permutation(128)
    mixed = classics.score_small(found[order], images[order])
    for key in ("psnr", "ssim", "coarse"):
        assert mixed[key] == pytest.approx(scores[key], abs=2e-4)
    assert mixed["psnr_batch"] < mixed["psnr"] - 3  # one error for weak and strong noise
    assert scores["psnr_batch"] <= scores["psnr"]


def test_tint_is_signed_and_by_channel(images: Picture) -> None:
    tint = classics.score_small(images + np.array([3, 0, -2]), images)["tint"]
    assert tint == [3, 0, -2]


@pytest.mark.parametrize("net", ["dncnn", "unet", "experts"])
def test_an_untrained_net_leaves_pictures_as_they_are(
    tmp_path: Path, images: Picture, net: str
) -> None:
    given = classics.clipped_noise(images[:3, :, :29])
    np.testing.assert_array_equal(
        model(tmp_path, net).straight(given), np.rint(given).astype(np.uint8)
    )


def test_experts_are_told_that_the_noise_is_white(tmp_path: Path, images: Picture) -> None:
    experts = model(tmp_path, "experts", 0.05)
    given = classics.clipped_noise(images[:2])
    x = torch.from_numpy(given / 255).permute(0, 3, 1, 2)
    with torch.inference_mode():
        results = {kind: x - experts.net(x, kind) for kind in ("white", "camera")}
    levels = {k: (v * 255).round().clamp(0, 255).permute(0, 2, 3, 1) for k, v in results.items()}
    assert not torch.equal(levels["white"], levels["camera"])
    np.testing.assert_array_equal(experts.straight(given), levels["white"].numpy())


def test_cifar_has_a_row_for_each(
    tmp_path: Path, images: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boxed(noisy: Levels, _: float) -> Picture:
        """The mean colour: a rival that needs no library."""
        return np.asarray(noisy.mean((0, 1)) + 0 * noisy, np.uint8)

    monkeypatch.setitem(RIVALS, "box", (boxed, lambda _: (1.0,)))
    found = classics.cifar([model(tmp_path, "unet")], images[:6], 2, ["box"], "fp32")
    assert set(found["all"]) == {"noisy", "unet"}
    rows = {"noisy", "unet", "unet, command", "unet, eightfold", "box"}
    assert set(found["subset"]) == rows
    assert found["all"]["unet"]["psnr"] == pytest.approx(found["all"]["noisy"]["psnr"], abs=0.02)
    assert found["subset"]["unet, command"]["psnr"] == found["subset"]["unet"]["psnr"]
    assert found["subset"]["box"]["psnr"] != found["subset"]["noisy"]["psnr"]
    assert {row["images"] for row in found["subset"].values()} == {2}
    json.dumps(found)


def test_luma_is_that_of_bt601() -> None:
    white, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    assert classics.luma(white).shape == (2, 2, 1)
    np.testing.assert_allclose(classics.luma(white), 235, atol=1e-3)
    np.testing.assert_allclose(classics.luma(black), 16)


def test_psnr_of_luma_leaves_out_the_border(features: Features) -> None:
    truth = np.full((40, 40, 3), 100, np.uint8)
    found = truth.copy()
    found[..., 1] += 10
    found[0] = 0  # within the border
    scores = classics.score_enlarged(found, truth, 2, features)
    error = 10 * 128.553 / 255
    assert scores["psnr_y"] == pytest.approx(20 * math.log10(255 / error), abs=1e-6)
    assert scores["psnr"] < scores["psnr_y"]


def test_an_untrained_net_enlarges_as_bicubic_does(tmp_path: Path, features: Features) -> None:
    picture = made(65, 80)
    rows = classics.sr([model(tmp_path, "srresnet")], [picture], features)["x2"]
    for key in ("psnr", "psnr_y", "ssim", "squeeze_distance"):
        assert rows["srresnet"][key] == pytest.approx(rows["bicubic"][key], rel=0.02)
    assert rows["bicubic"]["psnr"] > 20
    assert set(classics.sr([], [picture], features)) == {"x2", "x4"}


def test_squeeze_distance_is_0_for_equals_and_symmetric(features: Features) -> None:
    picture = made(64, 64)
    noisy = [in_8_bits(classics.clipped_noise(picture[None], sigma)[0]) for sigma in (5, 50)]
    assert classics.squeeze_distance(features, picture, picture) == 0
    weak, strong = (classics.squeeze_distance(features, picture, other) for other in noisy)
    assert 0 < weak < strong < 2
    assert classics.squeeze_distance(features, noisy[1], picture) == pytest.approx(strong)


def test_the_lock_is_what_differs_between_the_rows_of_colour(
    tmp_path: Path, images: Picture
) -> None:
    truth = np.tile(images[0], (3, 3, 1))
    noisy = in_8_bits(classics.clipped_noise(truth[None]))[0]
    given = {"made": [(noisy, truth)]}
    found = classics.colour([model(tmp_path, "dncnn", tint=12)], given, "fp32")["dncnn"]
    without, held = found["made, no lock"], found["made, lock"]
    assert without["channel_error"] == pytest.approx(12, abs=without["channel_error_in"] + 0.5)
    assert held["channel_error"] < 2
    assert held["coarse"] < without["coarse"] / 2
