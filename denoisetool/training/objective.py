"""What a training minimises: the recipe's losses with their weights, and the critic's part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from denoisetool.errors import UsageError
from denoisetool.training.args import Recipe
from denoisetool.training.batches import Batch
from denoisetool.training.critic import Critic
from denoisetool.training.features import Features, content_loss
from denoisetool.training.losses import coarse_loss, critic_loss, picture_loss, variation_loss
from denoisetool.training.precision import mixed
from denoisetool.training.team import Team

CRITIC_RATE = 0.1
"""The critic's rate as a share of the net's: AdamW's for it, Muon's scale for the net."""


class Objective:
    """The recipe's losses, as one number for the net; trains the critic beside it.

    Args:
        recipe: says what counts how much.
        device: where to compute.
        features: file of the frozen features that the content loss compares.
        team: the processes that train together.

    Attributes:
        critic: what the net plays against; None without adversarial loss.

    Raises:
        UsageError: the recipe needs features and no file was given, or it is not such a file.
    """

    def __init__(
        self, recipe: Recipe, device: torch.device, features: Path | None, team: Team
    ) -> None:
        self.recipe, self.device, self.team = recipe, device, team
        self.features: Features | None = None
        self.critic: nn.Module | None = None
        if recipe.content:
            if features is None:
                raise UsageError(
                    "the recipe compares features, and no file of them was given",
                    hint="name one with --features, such as squeezenet1_1.safetensors",
                )
            self.features = Features(features).to(device)
        if recipe.adversarial:
            channels = recipe.net_args.get("channels", 3)
            self.critic = Critic(channels, recipe.critic_width).to(device)
            self.optimizer = torch.optim.AdamW(self.critic.parameters(), betas=(0.9, 0.99))

    def loss(self, output: Tensor, batch: Batch, progress: float) -> Tensor:
        """What the net is to make small.

        Args:
            output: (N, C, H, W), what it made of the batch.
            batch: `noisy` of the output's size.
            progress: 0..1, how much of the training is done.
        """
        recipe, target = self.recipe, batch.target
        total = output.new_zeros(())
        if recipe.pixel:
            total = recipe.pixel * picture_loss(recipe.loss, output, batch, progress)
        if recipe.colour and recipe.loss not in ("l1", "l0"):  # a median has its own colour
            total = total + recipe.colour * coarse_loss(output, target, weight=batch.weight)
        if recipe.variation:
            total = total + recipe.variation * variation_loss(output)
        if self.features is not None:
            total = total + recipe.content * content_loss(self.features, output, target)
        if self.critic is not None:
            self.critic.requires_grad_(False)
            with mixed(self.device):
                verdict = self.critic(output)
            self.critic.requires_grad_(True)
            total = total + recipe.adversarial * critic_loss(verdict, real=True)
        return total

    def teach(self, output: Tensor, target: Tensor, rate: float) -> None:
        """One step of the critic, at the net's rate; nothing without one."""
        if self.critic is None:
            return
        with mixed(self.device):
            false, true = self.critic(output.detach()), self.critic(target)
        loss = critic_loss(true, real=True) + critic_loss(false, real=False)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average([p.grad for p in self.critic.parameters() if p.grad is not None])
        for group in self.optimizer.param_groups:
            group["lr"] = CRITIC_RATE * rate
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on."""
        if self.critic is None:
            return {}
        return {"critic": self.critic.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
            self.optimizer.load_state_dict(state["optimizer"])
