"""Features that have died, and their revival.

Without biases and norms a residual block can drift to where none of its inner features is ever
above zero: its ReLU lets nothing through, no gradient comes back, and the block is gone for good,
with all that it costs. Long runs at a high rate end there with whole blocks, those of the coarsest
scale first. Such features are given new weights now and then, as in Sokar et al. 2023, "The dormant
neuron phenomenon in deep reinforcement learning".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from denoisetool.nets.unet import ResidualBlock
from denoisetool.training.team import Team

ALIVE = 1e-3
"""Share of places at which a feature must be above zero to count as alive."""


def revive(
    net: nn.Module, run: Callable[[], object], generator: torch.Generator, team: Team
) -> int:
    """Give dormant inner features of a net's residual blocks new weights; what it computes stays.

    A new feature sees what goes into the block without its mean, so that it is above zero at about
    half of the places, and adds nothing yet.

    Args:
        net: changed in place.
        run: computes something typical with it.
        generator: of the new weights, the same in all processes.
        team: the processes that train together.

    Returns:
        How many features there were that are above zero at less than `ALIVE` of the places.
    """
    found: list[tuple[ResidualBlock, Tensor, Tensor]] = []
    blocks: dict[nn.Module, ResidualBlock] = {
        m.first: m for m in net.modules() if isinstance(m, ResidualBlock)
    }
    if not blocks:  # nor is anything computed with it: batch norms would count that
        return 0

    def see(conv: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        x = given[0].detach()
        alive = (out.detach() > 0).float().mean((0, 2, 3))
        found.append((blocks[conv], alive, x.float().mean((0, 2, 3))))

    hooks = [conv.register_forward_hook(see) for conv in blocks]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    team.average([told for _, *both in found for told in both])
    count = 0
    for block, alive, mean in found:
        dormant = (alive < ALIVE).nonzero().flatten()
        count += len(dormant)
        if len(dormant):
            _renew(block, dormant, mean, generator)
    return count


def _renew(block: ResidualBlock, dormant: Tensor, mean: Tensor, generator: torch.Generator) -> None:
    weight = block.first.weight
    shape = (len(dormant), *weight.shape[1:])
    new = torch.randn(shape, generator=generator).to(mean.device)
    along = mean / mean.norm().clamp(min=1e-12)
    share = torch.einsum("oirc,i->orc", new, along)
    new -= share[:, None] * along[None, :, None, None]
    new /= new.flatten(1).norm(dim=1)[:, None, None, None]
    with torch.no_grad():
        weight[dormant] = new.to(weight.dtype)
        block.second.weight[:, dormant] = 0
