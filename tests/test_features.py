from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from denoisetool.errors import UsageError
from denoisetool.training.features import ALL, STEPS, Features, content_loss

SIZES = {
    "features.0": (64, 3, 3),
    **{
        f"features.{index}.{name}": (many, few, side)
        for index, channels, squeezed, each in (
            (3, 64, 16, 64), (4, 128, 16, 64), (6, 128, 32, 128), (7, 256, 32, 128),
            (9, 256, 48, 192), (10, 384, 48, 192), (11, 384, 64, 256), (12, 512, 64, 256),
        )
        for name, many, few, side in (
            ("squeeze", squeezed, channels, 1), ("expand1x1", each, squeezed, 1),
            ("expand3x3", each, squeezed, 3),
        )
    },
}  # fmt: skip
"""SqueezeNet 1.1 with torchvision's names: outputs, inputs and side of each convolution."""


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, (many, few, side) in SIZES.items():
        shape = (many, few, side, side)
        spread = (2 / (few * side**2)) ** 0.5
        found[f"{name}.weight"] = torch.randn(shape, generator=generator) * spread
        found[f"{name}.bias"] = torch.zeros(many)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(weights(), tmp_path / "features.safetensors")
    return tmp_path / "features.safetensors"


@pytest.fixture
def picture() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 3, 12, 12, generator=generator)
    return F.interpolate(coarse, scale_factor=4.0) * 0.9


def test_maps_get_deeper_and_smaller(path: Path, picture: Tensor) -> None:
    found = Features(path)(picture[:1])
    assert [m.shape[1] for m in found] == [64, 128, 256, 384, 384, 512, 512]
    assert [m.shape[2] for m in found] == [23, 11, 5, 2, 2, 2, 2]
    assert all(m.min() >= 0 and m.max() > 0 for m in found)


def test_some_depths_are_those_of_all(path: Path, picture: Tensor) -> None:
    features = Features(path)
    everything = dict(zip(ALL, features(picture), strict=True))
    some = features(picture, ("fire3", "fire6"))
    torch.testing.assert_close(some, [everything["fire3"], everything["fire6"]])


def test_the_first_layer_is_given_bgr_in_levels_without_means(path: Path, picture: Tensor) -> None:
    blue, green, red = 103.939, 116.779, 123.68
    levels = picture[:, [2, 1, 0]] * 255 - torch.tensor([blue, green, red]).reshape(3, 1, 1)
    wanted = F.relu(F.conv2d(levels, weights()["features.0.weight"], stride=2))
    torch.testing.assert_close(Features(path)(picture, ("conv1",))[0], wanted)


def test_the_smallest_picture_has_every_map_and_a_smaller_one_is_refused(path: Path) -> None:
    features = Features(path)
    assert features(torch.rand(1, 3, 32, 33), tuple(STEPS))[-1].shape[2:] == (1, 2)
    with pytest.raises(ValueError, match="32"):
        features(torch.rand(1, 3, 31, 64))
    with pytest.raises(ValueError, match="fire1"):
        features(torch.rand(1, 3, 32, 32), ("fire1",))


@pytest.mark.parametrize("depths", [("fire9",), ALL])
def test_loss_is_0_for_equals_and_grows_with_blur(
    path: Path, picture: Tensor, depths: tuple[str, ...]
) -> None:
    features = Features(path)
    blurred = [picture]
    for _ in range(3):
        blurred.append(F.avg_pool2d(blurred[-1], 3, 1, 1, count_include_pad=False))
    losses = [float(content_loss(features, x, picture, depths)) for x in blurred]
    assert losses[0] == 0
    assert losses == sorted(set(losses))


def test_the_gradient_goes_to_the_output_alone(path: Path, picture: Tensor) -> None:
    features = Features(path)
    output, target = (picture * 0.8).requires_grad_(), picture.clone().requires_grad_()
    torch.autograd.backward(content_loss(features, output, target))
    assert output.grad is not None
    assert output.grad.abs().max() > 0
    assert target.grad is None
    assert not any(p.requires_grad for p in features.parameters())


def test_going_down_the_gradient_brings_pictures_together(path: Path, picture: Tensor) -> None:
    features = Features(path)
    output = (picture * 0.8).requires_grad_()
    before = content_loss(features, output, picture)
    (gradient,) = torch.autograd.grad(before, output)
    step = 1e-3 * gradient / gradient.abs().max()
    assert content_loss(features, output - step, picture) < before


def test_a_wrong_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Features(tmp_path / "missing.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors here")
    with pytest.raises(UsageError, match="cannot be read"):
        Features(broken)
    for name, wrong in (("short", {}), ("other", {"features.0.bias": torch.zeros(96)})):
        state = weights() | wrong if wrong else {"features.0.bias": torch.zeros(64)}
        save_file(state, tmp_path / f"{name}.safetensors")
        with pytest.raises(UsageError, match=r"SqueezeNet 1\.1"):
            Features(tmp_path / f"{name}.safetensors")
    classifier = weights() | {"classifier.1.bias": torch.zeros(1000)}
    save_file(classifier, tmp_path / "whole.safetensors")
    with pytest.raises(UsageError, match="classifier"):
        Features(tmp_path / "whole.safetensors")
