"""How much memory a net takes for each pixel of a tile; a card tells it to the engine.

Counted are the tensors that are alive at the worst moment. Where layers have many different sizes,
more is held than is alive; so where the system tells how large a process was, a child runs two
tiles as the engine does, and what the second one took more counts if that is more.

Against the size of a process with a tile of 1024 x 1024 pixels: SRResNet of 8 blocks, direct, scale
4: 1292 counted, 1313 found. DnCNN of 20 layers: 536 counted, 547 found. The first `fast`: 176
counted, 228 to 250 with a child, 269 found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from denoisetool import nets
from denoisetool.engine import prepare

SIDES = (256, 512)
"""Of the two tiles: from the first on, the largest buffers come and go as in a photo's tiles."""
PATIENCE = 600.0
"""Seconds that the child has."""
STATUS = Path("/proc/self/status")


def peak_bytes(name: str, args: dict[str, Any]) -> float:
    """Peak memory in float32 per pixel of a tile that goes in, weights left out.

    Args:
        name: of the net, as in its card.
        args: of the net, as in its card.

    Returns:
        Bytes, for the card's `bytes_per_pixel`.
    """
    counted = counted_bytes(nets.build(name, args), args.get("channels", 3))
    return max(counted, _measured(name, args) or 0.0)


def counted_bytes(net: nn.Module, channels: int = 3, side: int = 64) -> float:
    """Bytes of all tensors at the worst moment, per pixel of a tile."""
    net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tile = _tile(side, channels)
    with _Live() as live:
        live.see(tile)
        _forward(net, tile)
    return float(live.peak / side**2)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of what operations make, for as long as it is alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and not isinstance(each, nn.Parameter):
                self.see(each)
        return result

    def see(self, tensor: Tensor) -> None:
        """Count a tensor's memory, once however many tensors share it."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def _tile(side: int, channels: int) -> Tensor:
    """A tile as the engine gives it."""
    return torch.rand(1, side, side, channels).permute(0, 3, 1, 2)


def _forward(net: nn.Module, tile: Tensor) -> None:
    """What the engine does with it."""
    with torch.inference_mode():
        for kind in getattr(net, "kinds", ("",)):
            net(tile, *filter(None, [kind])).half().permute(0, 2, 3, 1).contiguous()


def _measured(name: str, args: dict[str, Any]) -> float | None:
    """The same by the size of a process that does it; None where nobody tells."""
    if not STATUS.exists() or getattr(sys, "frozen", False):
        return None
    peaks = []
    for side in SIDES:
        command = [sys.executable, "-m", "denoisetool.training.footprint", name, json.dumps(args)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            run = subprocess.run(
                [*command, str(side)], capture_output=True, check=True, timeout=PATIENCE,
                env=environment,
            )  # fmt: skip
            peaks.append(int(run.stdout))
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
    return (peaks[1] - peaks[0]) / (SIDES[1] ** 2 - SIDES[0] ** 2)


def _largest() -> int:
    """Bytes that this process had in memory at most."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError("the system does not tell")


def _child(name: str, args: str, side: str) -> None:
    prepare()
    torch.set_num_threads(1)  # each lane has its own
    shape = json.loads(args)
    net, channels = nets.build(name, shape).eval(), shape.get("channels", 3)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _forward(net, _tile(64, channels))
    _forward(net, _tile(int(side), channels))
    sys.stdout.write(f"{_largest()}\n")


if __name__ == "__main__":
    _child(*sys.argv[1:])
