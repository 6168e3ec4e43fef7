from typing import Any

import pytest
import torch

from denoisetool import nets
from denoisetool.errors import ModelError
from denoisetool.training.grow import grown

SMALL: dict[str, Any] = {
    "widths": [8, 12, 16],
    "blocks": [1, 1, 1],
    "down_blocks": [0, 1],
    "level_width": 8,
}
LARGE: dict[str, Any] = {
    "widths": [12, 16, 24],
    "blocks": [2, 1, 3],
    "down_blocks": [1, 2],
    "level_width": 8,
}


def _trained(args: dict[str, object], name: str = "unet") -> torch.nn.Module:
    torch.manual_seed(0)
    net = nets.build(name, args).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.mark.parametrize("second", [3, 1])
def test_a_grown_net_computes_what_the_small_one_does(second: int) -> None:
    kernel = {"second_kernel": second}
    small, large = _trained(SMALL | kernel), nets.build("unet", LARGE | kernel).eval()
    large.load_state_dict(grown(small.state_dict(), large.state_dict()))
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(large(x), small(x), atol=1e-5, rtol=1e-4)
        assert small(x).abs().max() > 1e-2


def test_one_step_uses_what_is_new() -> None:
    small, large = _trained(SMALL), nets.build("unet", LARGE)
    large.load_state_dict(grown(small.state_dict(), large.state_dict()))
    large(torch.rand(2, 3, 32, 32)).square().mean().backward()
    for key, parameter in large.named_parameters():
        old = small.state_dict().get(key)
        if parameter.grad is None or (old is not None and old.shape == parameter.shape):
            continue
        if key.endswith("second.weight") or key == "tail.weight":
            assert parameter.grad[:, -1].abs().max() > 0, key


@pytest.mark.parametrize("expert", ["camera", "white"])
def test_experts_grow_too(expert: str) -> None:
    small = _trained({**SMALL, "soft": 2}, "experts")
    large = nets.build("experts", {**LARGE, "soft": 2, "camera": {**SMALL}}).eval()
    large.load_state_dict(grown(small.state_dict(), large.state_dict()))
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(large(x, expert), small(x, expert), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("before", [0, 4])
def test_a_net_gains_an_estimator_or_a_larger_one(before: int) -> None:
    small, large = _trained({**SMALL, "level_width": before}), nets.build("unet", LARGE).eval()
    large.load_state_dict(grown(small.state_dict(), large.state_dict()))
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(large(x), small(x), atol=1e-5, rtol=1e-4)
    large(x).square().mean().backward()
    told = large.get_parameter("tell.weight").grad
    assert told is not None
    assert told.abs().max() > 0


@pytest.mark.parametrize("name", ["unet", "experts"])
def test_a_net_with_one_scale_more_is_refused(name: str) -> None:
    """Its coarsest blocks are at another scale, so that those that were trained fit nowhere."""
    fewer = {key: value[:2] for key, value in SMALL.items() if isinstance(value, list)}
    fewer["down_blocks"] = SMALL["down_blocks"][:1]
    small, large = (nets.build(name, shape).state_dict() for shape in (fewer, SMALL))
    with pytest.raises(ModelError, match="more scales"):
        grown(small, large)


def test_what_does_not_fit_stays_as_it_is_built() -> None:
    small, large = _trained(LARGE), nets.build("unet", SMALL)
    fresh = {key: value.clone() for key, value in large.state_dict().items()}
    kept = grown(small.state_dict(), large.state_dict())
    for key, value in fresh.items():
        expected = (
            small.state_dict()[key] if value.shape == small.state_dict()[key].shape else value
        )
        torch.testing.assert_close(kept[key], expected, atol=0, rtol=0)
