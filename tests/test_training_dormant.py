from collections.abc import Callable

import pytest
import torch

from denoisetool import nets
from denoisetool.training.dormant import revive
from denoisetool.training.team import Team

X = torch.rand(2, 3, 64, 64)


def _net(dead: int) -> torch.nn.Module:
    """A net whose coarsest block has some inner features that are never above zero."""
    torch.manual_seed(0)
    net = nets.build("unet", {"widths": [8, 12, 16], "blocks": [1, 1, 1], "level_width": 4})
    torch.nn.init.normal_(net.get_parameter("tail.weight"), std=0.05)
    block = net.get_submodule("middle.0")
    block.register_forward_pre_hook(lambda _, given: (given[0] + 1,))  # it has a mean
    with torch.no_grad():
        block.get_parameter("first.weight").abs_()[:dead] *= -1
    return net


def _revived(net: torch.nn.Module, run: Callable[[], object] | None = None) -> int:
    chance = torch.Generator().manual_seed(1)
    return revive(net, run or (lambda: net(X)), chance, Team())


def test_dormant_features_come_back_and_nothing_else_changes() -> None:
    net = _net(dead=16)
    before, others = net(X), net.get_parameter("decoder.0.0.first.weight").clone()
    seen: list[torch.Tensor] = []
    first = net.get_submodule("middle.0.first")
    hook = first.register_forward_hook(lambda _, __, out: seen.append((out > 0).float()))
    assert _revived(net) == 16
    after = net(X)
    hook.remove()
    assert seen[0].sum() == 0
    share = seen[-1].mean((0, 2, 3))
    assert share.min() > 0.2
    assert share.max() < 0.8
    torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(net.get_parameter("decoder.0.0.first.weight"), others)
    after.square().mean().backward()
    grad = net.get_parameter("middle.0.second.weight").grad
    assert grad is not None
    assert grad.abs().amax((0, 2, 3)).min() > 0
    assert _revived(net) == 0


def test_features_that_live_stay() -> None:
    net = _net(dead=5)
    kept = net.get_parameter("middle.0.first.weight")[5:].clone()
    assert _revived(net) == 5
    torch.testing.assert_close(net.get_parameter("middle.0.first.weight")[5:], kept)


def test_no_hook_is_left_after_an_error() -> None:
    net = _net(dead=0)

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        _revived(net, fail)
    assert not any(m._forward_hooks for m in net.modules())
