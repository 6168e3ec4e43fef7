import pytest
import torch
from torch import nn

from denoisetool import nets
from denoisetool.training import optim
from denoisetool.training.optim import MatrixOptimizer


def _net() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    net = nn.Sequential(conv, nn.BatchNorm2d(8), nn.PReLU(), nn.Conv2d(8, 3, 1))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _gradients(net: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_a_step_moves_all_directions_of_a_matrix_alike() -> None:
    """Orthogonalised: a gradient that is nearly one single direction still moves the others."""
    net = nn.Conv2d(8, 16, 3, bias=False)
    before = net.weight.detach().clone()
    main = torch.outer(torch.randn(16), torch.randn(72))
    net.weight.grad = (main + 0.05 * torch.randn(16, 72)).view(16, 8, 3, 3)
    MatrixOptimizer(net, weight_decay=0.0).step(0.01)
    moved = (net.weight.detach() - before).view(16, 72)
    strengths = torch.linalg.svdvals(moved)
    assert strengths.min() > 0.3 * strengths.max()
    usual = float(moved.square().mean().sqrt())  # AdamW's steps are about a fifth of the rate
    assert 0.1 * 0.01 < usual < 0.4 * 0.01


def test_its_steps_are_torchs_own() -> None:
    """`torch.optim.Muon` computes in bfloat16; float32 gives the same but for its rounding."""
    torch.manual_seed(0)
    for shape in ((16, 72), (72, 16), (16, 16)):
        mine = nn.Parameter(torch.randn(shape))
        theirs = nn.Parameter(mine.detach().clone())
        own = optim.Muon([mine], 1e-2)
        other = torch.optim.Muon(
            [theirs], lr=0.01, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw"
        )
        own.param_groups[0]["lr"] = 0.01
        for _ in range(3):
            mine.grad = torch.randn(shape)
            theirs.grad = mine.grad.clone()
            own.step()
            other.step()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=0)


@pytest.mark.parametrize("least", [1e-2, 1e-4, 0.0])
def test_orthogonal_is_what_the_iterations_give(least: float) -> None:
    """The textbook's form in float64, for singular values that lie far apart, and for dead rows."""
    generator = torch.Generator().manual_seed(0)
    u = torch.linalg.qr(torch.randn(24, 24, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(96, 24, generator=generator))[0]
    matrix = (u * torch.linspace(1, least, 24)) @ v.T
    if not least:
        matrix[3] = 0
    a, b, c = optim.QUINTIC
    exact = matrix.double() / matrix.double().norm()
    for _ in range(optim.ITERATIONS):
        gram = exact @ exact.T
        exact = a * exact + (b * gram + c * gram @ gram) @ exact
    for found in (optim.orthogonal(matrix), optim.orthogonal(matrix.T).T):
        torch.testing.assert_close(found, exact.float(), atol=1e-3, rtol=0)


def test_every_parameter_moves_and_gradients_are_cleared() -> None:
    net = _net()
    before = [p.detach().clone() for p in net.parameters()]
    _gradients(net)
    MatrixOptimizer(net, weight_decay=0.0).step(0.01)
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert not torch.equal(parameter, old)
        assert parameter.grad is None


def test_it_goes_on_from_its_state() -> None:
    first, second = _net(), _net()
    whole, part = MatrixOptimizer(first, 1e-2), MatrixOptimizer(second, 1e-2)
    for seed in range(2):
        for net, optimizer in ((first, whole), (second, part)):
            _gradients(net, seed)
            optimizer.step(0.01)
    resumed = MatrixOptimizer(second, 1e-2)
    resumed.load_state_dict(part.state_dict())
    for net, optimizer in ((first, whole), (second, resumed)):
        _gradients(net, 9)
        optimizer.step(0.01)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_it_fits(order: torch.memory_format) -> None:
    torch.manual_seed(0)
    target = torch.rand(4, 3, 16, 16)
    noisy = target + 0.1 * torch.randn_like(target)
    net = nets.build("unet", {"widths": [8, 16], "blocks": [1, 1]})
    net.to(memory_format=order)  # type: ignore[call-overload]
    optimizer, first = MatrixOptimizer(net, 0.0), 0.0
    for _ in range(60):
        loss = (noisy - net(noisy) - target).square().mean()
        first = first or float(loss.detach())
        loss.backward()
        optimizer.step(3e-3)
    assert float(loss.detach()) < 0.6 * first


def test_a_layout_it_cannot_share_is_refused() -> None:
    net = nn.Conv2d(4, 4, 3)  # neither order: a weight that is a slice of something
    net.weight = nn.Parameter(torch.rand(4, 4, 3, 6)[..., ::2])
    with pytest.raises(ValueError, match="dense"):
        MatrixOptimizer(net, 0.0)


def test_weights_without_a_gradient_do_not_drift_on_old_momentum() -> None:
    matrix = nn.Parameter(torch.ones(4, 8))
    muon = optim.Muon([matrix], 0.0)
    muon.param_groups[0]["lr"] = 0.01
    matrix.grad = torch.rand(4, 8)
    muon.step()
    moved = matrix.detach().clone()
    assert not torch.equal(moved, torch.ones(4, 8))
    matrix.grad = torch.zeros(4, 8)
    muon.step()
    torch.testing.assert_close(matrix.detach(), moved, atol=0, rtol=0)
