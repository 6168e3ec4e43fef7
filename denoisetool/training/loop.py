"""The training loop: patches, noise, one step, and a checkpoint that survives a kill."""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoisetool import nets
from denoisetool.errors import ModelError, UsageError
from denoisetool.nets.experts import members
from denoisetool.nets.ipt import Task
from denoisetool.nets.parts import enlarged
from denoisetool.nets.unet import UNet
from denoisetool.training.args import Recipe
from denoisetool.training.batches import Batch, Source
from denoisetool.training.contrast import contrastive_loss
from denoisetool.training.dormant import revive
from denoisetool.training.losses import level_loss, mean_psnr, true_level
from denoisetool.training.objective import Objective
from denoisetool.training.optim import MatrixOptimizer
from denoisetool.training.precision import mixed
from denoisetool.training.teacher import Teacher
from denoisetool.training.team import Team

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
LEVEL_WEIGHT = 0.3
WILD = 2.5
REVIVAL = 250
"""Every how many of a net's steps, in the first half, its dormant features are revived."""


class Trainer:
    """Trains one recipe in a folder that holds the checkpoint and the log.

    Where `torchrun` started several processes, each takes its share of every batch, and they
    average their gradients: the weights stay the same in all of them. The first one writes.

    Args:
        recipe: what to make.
        source: what to train on.
        folder: where the checkpoint and the log lie; a checkpoint found there is continued.
        device: `cpu` or `cuda`.
        start: weights to start from, and to be pulled back to; None for random ones. A checkpoint
            keeps what it is pulled to.
        features: file of frozen features for a recipe with a content loss.
        teacher: the net that teaches, for a recipe with `taught`; None for the one at the start.

    Raises:
        ModelError: the checkpoint there belongs to another architecture, or lacks the critic.
        UsageError: the recipe's net has experts that its mix does not speak of, or the reverse; or
            it lacks its features, the model that teaches, or the one that it is pulled back to;
            or the one that teaches cannot, or has nothing to teach.
    """

    def __init__(
        self, recipe: Recipe, source: Source, folder: Path, device: str,
        start: Mapping[str, Tensor] | None = None, features: Path | None = None,
        teacher: nn.Module | None = None,
    ) -> None:  # fmt: skip
        if recipe.taught and start is None and teacher is None:
            what = "the recipe's net is taught by another model, or by the one it starts from"
            hint = "give it with --teacher or --start, and give it again to go on"
            raise UsageError(what, hint=hint)
        if teacher is not None and not recipe.taught:
            raise UsageError("the recipe does not say what a teacher is to teach")
        self.recipe, self.source, self.folder = recipe, source, folder
        self.team = Team()
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        self.net = nets.build(recipe.net, recipe.net_args).to(self.device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if start is not None:
            self.net.load_state_dict(start)
        self.average = nets.build(recipe.net, recipe.net_args).to(self.device)
        self.average.load_state_dict(self.net.state_dict())
        experts = members(self.net)
        if set(source.turns) != set(experts) and (
            start is None or set(source.turns) - set(experts)
        ):
            for name in experts:
                recipe.mix_for(name)  # tells what the mix should be like
            raise UsageError("the recipe's mix has a table for an expert that its net lacks")
        self.experts = [experts[name] for name in source.turns]
        self.start_weights = {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}
        self.anchor = [p.detach().clone() for p in self.net.parameters()] if recipe.pull else []
        self.teacher = self._taught_by(teacher) if recipe.taught else None
        self.optimizer = MatrixOptimizer(self.net, recipe.weight_decay)
        self.objective = Objective(recipe, self.device, features, self.team)
        self.usual_norms = [recipe.clip] * len(self.experts)
        self.step = 0
        self.pixels = 0
        self.revived = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self._resume(started=start is not None)

    def run(
        self, report: Callable[[dict[str, Any]], None], until: int | None = None,
        stop: threading.Event | None = None,
    ) -> None:  # fmt: skip
        """Train up to step `until` (all of them by default), saving and reporting on the way.

        Once `stop` is set, the step in hand is the last, and is saved. What is raised in the middle
        of a step leaves weights that belong to no step: they must not be saved.
        """
        last = min(self.recipe.steps, until or self.recipe.steps)
        started, first_step = time.monotonic(), self.step
        total: list[Tensor] = []
        for batch in self._batches(last):
            mine = batch.rows(self.team.share) if self.team.size > 1 else batch
            total.append(self._train_step(mine.to(self.device)))
            self.step += 1
            self.pixels += batch.noisy[:, 0].numel()
            if self.step % self.recipe.log_every == 0 or self.step == last:
                seconds = (time.monotonic() - started) / (self.step - first_step)
                line = {
                    "step": self.step,
                    "psnr": round(float(torch.stack(total).mean()), 3),
                    "rate": self.recipe.rate_at(self.step),
                    "pixels": self.pixels,
                    "revived": self.revived,
                    "seconds_per_step": round(seconds, 4),
                    "eta_seconds": round(seconds * (last - self.step)),
                }
                total, self.revived = [], 0
                if self.team.first:
                    with (self.folder / LOG).open("a", encoding="utf-8") as log:
                        log.write(json.dumps(line) + "\n")
                    report(line)
            stopping = stop is not None and stop.is_set()
            if self.step % self.recipe.checkpoint_every == 0 or self.step == last or stopping:
                self.save()
            if stopping:
                return

    def _train_step(self, batch: Batch) -> Tensor:
        turn, seen = self.step % len(self.experts), self.step // len(self.experts)
        taught = self.recipe.taught if self.source.turns[turn] == self.recipe.taught else ""
        if self.teacher and taught == "apart":
            batch = self.teacher.lesson(batch, self.step)
        if seen % REVIVAL == 0 and self.step < self.recipe.steps / 2:
            chance = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
            self.revived += revive(
                self.experts[turn], lambda: self._forward(batch), chance, self.team
            )
        found, penalty = self._forward(batch)
        scale = batch.target.shape[-1] // batch.noisy.shape[-1]
        batch = replace(batch, noisy=enlarged(batch.noisy, scale))
        output = batch.noisy - found
        if self.teacher and taught and batch.told is None:
            batch = replace(batch, target=self.teacher.target(batch, self.step))
        loss = self.objective.loss(output, batch, self.step / self.recipe.steps)
        self.net.zero_grad(set_to_none=True)
        (loss + penalty).backward()  # type: ignore[no-untyped-call]
        self.team.average([p.grad for p in self.net.parameters() if p.grad is not None])
        # One wild batch can throw a net back by thousands of steps: no gradient is let through
        # that is much larger than they have been, and none that is not finite.
        usual = self.usual_norms[turn]
        limit = min(self.recipe.clip, WILD * usual) if seen else self.recipe.clip
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), limit))
        if math.isfinite(norm):
            rate = self.recipe.rate_at(self.step)
            self.optimizer.step(rate)
            self.usual_norms[turn] += (min(norm, limit) - usual) / min(200, seen + 1)
            if self.anchor:
                self._pull(self.recipe.pull * rate / self.recipe.rate)
        decay = min(self.recipe.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():  # batch norms' statistics too
            mine, current = (
                [t for t in net.state_dict().values() if t.is_floating_point()]
                for net in (self.average, self.net)
            )
            torch._foreach_lerp_(mine, current, 1 - decay)
        self.objective.teach(output, batch.target, self.recipe.rate_at(self.step))
        return mean_psnr(output.detach(), batch.target)

    def _taught_by(self, net: nn.Module | None) -> Teacher:
        """What teaches: another net, or this one as it is now."""
        sides = {self.recipe.shape_at(step)[1] for step in (0, self.recipe.steps - 1)}
        channels: int = self.recipe.net_args.get("channels", 3)
        itself = net is None and self.recipe.taught == "apart"
        return Teacher(net or self.net, self.device, channels, sides, itself=itself)

    def _pull(self, share: float) -> None:
        """Go a share of the way back to the weights at the start."""
        with torch.no_grad():
            current: list[Tensor] = list(self.net.parameters())
            torch._foreach_lerp_(current, self.anchor, share)

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The noise found, and what else is to be small: what the noise levels are off by.

        Half of the batch is told the true level, give or take a fifth, so that the denoiser learns
        to obey; the other half goes by the estimate, and the estimator learns from the picture too.
        """
        net, noisy = self.experts[self.step % len(self.experts)], batch.noisy
        with mixed(self.device):
            if isinstance(net, Task) and self.recipe.contrast:
                found, features = net.forward_features(noisy)
                return found.float(), self.recipe.contrast * contrastive_loss(features[:, ::4])
            if batch.told is not None:
                return net(noisy, batch.told).float(), noisy.new_zeros(())
            if not isinstance(net, UNet) or net.levels is None:
                return net(noisy).float(), noisy.new_zeros(())
            truth, sure = self._levels(batch)
            level = net.level(noisy).float()
            half = len(noisy) // 2
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
            jitter = (0.8 + 0.4 * torch.rand(half, 1, 1, 1, generator=generator)).to(truth.device)
            told = truth[:half] * jitter
            if sure is not None:
                told = torch.lerp(level[:half], told, sure[:half])
            noise = net(noisy, torch.cat([told, level[half:]]))
        return noise.float(), LEVEL_WEIGHT * level_loss(level, truth, sure)

    def _levels(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The true noise levels, and how sure they are, 0..1, where some pixels do not count."""
        truth = true_level(batch.noisy - batch.target, weight=batch.weight)
        if batch.share is not None:
            truth = truth * batch.share.sqrt()[:, None, None, None]
        if batch.weight is None:
            return truth, None
        return truth, F.avg_pool2d(batch.weight.mean(1, keepdim=True), 4)

    def _batches(self, last: int) -> Iterator[Batch]:
        """Batches up to step `last`.

        Each step's batch depends on the seed and the step alone: a resumed run sees what an
        uninterrupted one would have seen. For a GPU a thread prepares them ahead; on a CPU it would
        only get in the way of the cores that train (114 against 78 ms a step on two cores).
        """
        if self.device.type == "cpu":
            for step in range(self.step, last):
                yield self.source.batch(step)
            return
        ready: queue.Queue[Batch | Exception] = queue.Queue(maxsize=2)
        stop = threading.Event()

        def prepare() -> None:
            try:
                for step in range(self.step, last):
                    ready.put(self.source.batch(step))
                    if stop.is_set():
                        return
            except Exception as error:  # noqa: BLE001 - handed over to the consumer
                ready.put(error)

        first = self.step
        thread = threading.Thread(target=prepare, name="patches", daemon=True)
        thread.start()
        try:
            for _ in range(first, last):
                item = ready.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stop.set()
            while thread.is_alive():
                try:
                    ready.get(timeout=0.05)
                except queue.Empty:
                    continue

    def save(self) -> None:
        """Write the checkpoint so that a kill at any moment leaves the old or the new one."""
        if not self.team.first:
            return
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "pixels": self.pixels,
            "usual_norms": self.usual_norms,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "objective": self.objective.state_dict(),
            "anchor": self.anchor,
        }
        temporary = self.folder / (CHECKPOINT + ".part")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / CHECKPOINT)

    def _resume(self, *, started: bool) -> None:
        path = self.folder / CHECKPOINT
        state = torch.load(path, map_location=self.device, weights_only=True)
        recipe, was = self.recipe, state["recipe"]
        hint = "use another run folder, or remove it"
        if (was["net"], was["net_args"]) != (recipe.net, recipe.net_args):
            what = "the checkpoint here is of another architecture"
            raise ModelError(what, path=path, hint=hint)
        critic = was["critic_width"] if was.get("adversarial") else None
        if recipe.adversarial and critic != recipe.critic_width:
            what = "the checkpoint here has no critic, or one of another width"
            raise ModelError(what, path=path, hint=hint)
        anchor = state.get("anchor")
        if self.anchor and not anchor and not started:
            hint = "give it with --start"
            raise UsageError("the recipe's net is pulled to the model it started from", hint=hint)
        if self.anchor and anchor:
            self.anchor = anchor
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.load_state_dict(state["objective"])
        self.step, self.pixels = state["step"], state["pixels"]
        self.usual_norms = state["usual_norms"]
