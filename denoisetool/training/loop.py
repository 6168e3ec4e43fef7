"""The training loop: patches, noise, one step, and a checkpoint that survives a kill."""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from denoisetool import nets
from denoisetool.errors import ModelError
from denoisetool.nets.experts import members
from denoisetool.training.args import Recipe
from denoisetool.training.data import Image, Patches
from denoisetool.training.degrade import Degradation
from denoisetool.training.losses import (
    coarse_loss,
    level_loss,
    mean_psnr,
    relative_loss,
    true_level,
)
from denoisetool.training.optim import MatrixOptimizer

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
COLOUR_WEIGHT = 0.3
LEVEL_WEIGHT = 0.3
WILD = 2.5


class Trainer:
    """Trains one recipe in a folder that holds the checkpoint and the log.

    Args:
        recipe: what to make.
        images: uint8 (H, W, 3) photos.
        folder: where the checkpoint and the log lie; a checkpoint found there is continued.
        device: `cpu` or `cuda`.

    Raises:
        ModelError: the checkpoint there belongs to another architecture.
    """

    def __init__(self, recipe: Recipe, images: list[Image], folder: Path, device: str) -> None:
        self.recipe, self.images, self.folder = recipe, images, folder
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        self.net = nets.build(recipe.net, recipe.net_args).to(self.device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = nets.build(recipe.net, recipe.net_args).to(self.device)
        self.average.load_state_dict(self.net.state_dict())
        self.experts = members(self.net)
        self.mixes = [recipe.mix_for(expert) for expert in self.experts]
        self.optimizer = MatrixOptimizer(self.net, recipe.weight_decay)
        self.usual_norms = [recipe.clip] * len(self.experts)
        self.step = 0
        self.pixels = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self._resume()

    def run(self, report: Callable[[dict[str, Any]], None], until: int | None = None) -> None:
        """Train up to step `until` (all of them by default), saving and reporting on the way."""
        last = min(self.recipe.steps, until or self.recipe.steps)
        started, first_step = time.monotonic(), self.step
        total: list[Tensor] = []
        for noisy, target in self._batches(last):
            total.append(self._train_step(noisy, target))
            self.step += 1
            self.pixels += noisy.shape[0] * noisy.shape[2] * noisy.shape[3]
            if self.step % self.recipe.log_every == 0 or self.step == last:
                seconds = (time.monotonic() - started) / (self.step - first_step)
                line = {
                    "step": self.step,
                    "psnr": round(float(torch.stack(total).mean()), 3),
                    "rate": self.recipe.rate_at(self.step),
                    "pixels": self.pixels,
                    "seconds_per_step": round(seconds, 4),
                    "eta_seconds": round(seconds * (last - self.step)),
                }
                total = []
                with (self.folder / LOG).open("a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")
                report(line)
            if self.step % self.recipe.checkpoint_every == 0 or self.step == last:
                self.save()

    def _train_step(self, noisy: Tensor, target: Tensor) -> Tensor:
        output, penalty = self._forward(noisy, target)
        loss = relative_loss(output, target, noisy)
        loss = loss + COLOUR_WEIGHT * coarse_loss(output, target) + penalty
        self.net.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        # One wild batch can throw a net back by thousands of steps: no gradient is let through
        # that is much larger than they have been, and none that is not finite.
        turn, seen = self.step % len(self.experts), self.step // len(self.experts)
        usual = self.usual_norms[turn]
        limit = min(self.recipe.clip, WILD * usual) if seen else self.recipe.clip
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), limit))
        if math.isfinite(norm):
            self.optimizer.step(self.recipe.rate_at(self.step))
            self.usual_norms[turn] += (min(norm, limit) - usual) / min(200, seen + 1)
        decay = min(self.recipe.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            mine: list[Tensor] = list(self.average.parameters())
            current: list[Tensor] = list(self.net.parameters())
            torch._foreach_lerp_(mine, current, 1 - decay)
        return mean_psnr(output.detach(), target)

    def _forward(self, noisy: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The denoised batch, and what the noise levels were off by.

        Half of the batch is told the true level, give or take a fifth, so that the denoiser learns
        to obey; the other half goes by the estimate, and the estimator learns from the picture too.
        """
        net = list(self.experts.values())[self.step % len(self.experts)]
        with torch.autocast(self.device.type, torch.bfloat16):
            if net.levels is None:
                noise = net(noisy)
                return noisy - noise.float(), noise.new_zeros(())
            truth = true_level(noisy - target)
            level = net.level(noisy).float()
            half = len(noisy) // 2
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
            jitter = (0.8 + 0.4 * torch.rand(half, 1, 1, 1, generator=generator)).to(truth.device)
            told = torch.cat([truth[:half] * jitter, level[half:]])
            noise = net(noisy, told)
        return noisy - noise.float(), LEVEL_WEIGHT * level_loss(level, truth)

    def _batches(self, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Noisy and target batches up to step `last`.

        Each step's batch depends on the seed and the step alone: a resumed run sees what an
        uninterrupted one would have seen. For a GPU a thread prepares them ahead; on a CPU it would
        only get in the way of the cores that train (114 against 78 ms a step on two cores).
        """
        if self.device.type == "cpu":
            for step in range(self.step, last):
                yield self._batch(step)
            return
        ready: queue.Queue[tuple[Tensor, Tensor] | Exception] = queue.Queue(maxsize=2)
        stop = threading.Event()

        def prepare() -> None:
            try:
                for step in range(self.step, last):
                    ready.put(self._batch(step))
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

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        tail = recipe.in_tail(step)
        rng = np.random.default_rng((recipe.seed, step))
        patches = Patches(self.images, rng)
        clean = patches.batch(
            recipe.tail_batch if tail else recipe.batch,
            recipe.tail_patch if tail else recipe.patch,
        )
        mix = self.mixes[step % len(self.mixes)]
        degrade = Degradation(mix, seed=int(rng.integers(2**62)))
        noisy, target = degrade(clean)
        order = torch.from_numpy(rng.permutation(len(noisy)))  # kinds come in groups
        noisy, target = noisy[order], target[order]
        return (
            noisy.to(self.device, memory_format=torch.channels_last),
            target.to(self.device, memory_format=torch.channels_last),
        )

    def save(self) -> None:
        """Write the checkpoint so that a kill at any moment leaves the old or the new one."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "pixels": self.pixels,
            "usual_norms": self.usual_norms,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        temporary = self.folder / (CHECKPOINT + ".part")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / CHECKPOINT)

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"]["net_args"] != self.recipe.net_args:
            raise ModelError(
                "the checkpoint here is of another architecture",
                path=path,
                hint="use another run folder, or remove it",
            )
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.pixels = state["step"], state["pixels"]
        self.usual_norms = state["usual_norms"]
