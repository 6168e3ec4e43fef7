"""The engine: a net on a device, in a precision that was checked, within the memory there is."""

from __future__ import annotations

import hashlib
import platform
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from denoisetool import nets
from denoisetool.engine.devices import (
    cpu_line,
    free_memory,
    load,
    native_bf16,
    pick_device,
    prepare,
)
from denoisetool.engine.probes import recall, remember
from denoisetool.errors import DeviceError, ModelError
from denoisetool.lanes import Lanes
from denoisetool.modelcard import WEIGHTS_FILE, ModelCard
from denoisetool.photo import Half

if TYPE_CHECKING:
    import torch

Float = npt.NDArray[np.float32]

AGREEMENT = 0.5 / 255
"""Largest rms difference from float32 on the probe at which a shorter precision is used."""
CPU_TILE, GPU_TILE = {2: 1792, 4: 1472}, 1536
"""Sides beyond which a larger tile saves less context than it costs in cache misses and memory; on
a CPU by the bytes of a number."""
LANES = 2
"""How many tiles are under way at once."""
MEMORY_SHARE = 0.25
"""Share of the free memory that one batch of tiles may take."""
BYTES_PER_PIXEL = 310
"""Peak memory per pixel of a tile in float32, input included, where the card does not tell; half of
it in 16 bits. Measured on the net of the first cards, which do not: 261 and 151."""


class OutOfMemoryError(Exception):
    """One tile alone does not fit into the device's memory; take a smaller one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where and how to compute, and why.

    Attributes:
        device: torch device name, such as `cpu` or `cuda:0`.
        precision: `fp32`, `bf16` or `fp16`.
        reason: half a sentence for people.
    """

    device: str
    precision: str
    reason: str


class Engine:
    """A net on a device: noisy tiles in, their noise out.

    Args:
        card: the model's card.
        folder: the model's folder.
        device: `auto`, or a device that must be there.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        cache: folder in which the result of the precision probe is kept, or None.

    Attributes:
        card: the model's card.
        choice: device, precision and reason.
        batch: how many tiles are computed at once; halved when memory runs out.
        kinds: kinds of noise that the net has experts for; empty when one net does for all.
        lanes: threads that may call it at the same time. On a CPU each computes tiles with its
            share of the cores; a GPU has one tile after the other, and the threads prepare them.

    Raises:
        DeviceError: the named device or precision is not available here.
        ModelError: the weights do not fit the card.
    """

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        device: str = "auto",
        precision: str = "auto",
        cache: Path | None = None,
    ) -> None:
        prepare()
        load()
        import torch

        self._torch = torch
        self.card = card
        name, why = pick_device(device)
        self._device = torch.device(name)
        self._exact = self._ready(load_net(card, folder / WEIGHTS_FILE).to(self._device))
        self._net = self._exact
        self.kinds: tuple[str, ...] = getattr(self._exact, "kinds", ())
        chosen, because = self._pick_precision(precision, cache)
        self.choice = Choice(name, chosen, f"{why}; {because}")
        if chosen != "fp32":
            self._net = self._converted(chosen)
        self.batch = 1 if name == "cpu" else 4
        count = min(LANES, machine_threads())
        self.lanes = Lanes(count, lambda: _take_share(count))
        self._turn: AbstractContextManager[object] = (
            nullcontext() if name == "cpu" else threading.Lock()
        )

    # -- running -------------------------------------------------------------------------------

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        """Estimate the noise of tiles of one shape.

        Args:
            tiles: float32 (h, w, C) in [0, 1], sides multiples of the card's stride.
            kind: one of `kinds`; None for the first, or where there are none.

        Returns:
            Noise, float16 (h, w, C) each, in the same order; `scale` times larger on each side, as
            a share of the tile's enlargement, where the card says so.

        Raises:
            OutOfMemoryError: a single tile is too much.
        """
        return self._run(tiles, self._net, kind)

    def exact_noise(self, tile: Float, kind: str | None = None) -> Half:
        """`noise` of one tile in float32, for when the fast arithmetic gave nonsense."""
        return self._run([tile], self._exact, kind)[0]

    def levels(self, tiles: list[Float], kind: str | None = None) -> list[Float]:
        """Noise levels all over tiles, as the net's own estimator sees them.

        Args:
            tiles: as for `noise`.
            kind: the same.

        Returns:
            Float32 (h/4, w/4) in [0, 1], one for each tile; nothing if the net has no estimator.

        Raises:
            OutOfMemoryError: a tile is too much.
        """
        net: Any = self._net
        if kind:
            net = net.for_kind(kind)
        if getattr(net, "levels", None) is None:
            return []
        told = []
        try:
            with self._turn, self._torch.inference_mode():
                for tile in tiles:
                    x = self._torch.from_numpy(tile[None]).permute(0, 3, 1, 2).to(self._device)
                    told.append(net.level(x)[0, 0].float().cpu().numpy())
        except (MemoryError, RuntimeError) as error:
            if not self._is_out_of_memory(error):
                raise
            self._release()
            raise OutOfMemoryError from error
        return told

    def _run(self, tiles: list[Float], net: torch.nn.Module, kind: str | None) -> list[Half]:
        results: list[Half] = []
        while len(results) < len(tiles):
            part = tiles[len(results) : len(results) + self.batch]
            try:
                with self._turn:
                    results.extend(self._forward(part, net, kind))
            except (MemoryError, RuntimeError) as error:
                if not self._is_out_of_memory(error):
                    raise
                self._release()
                if len(part) == 1:
                    raise OutOfMemoryError from error
                self.batch = max(1, len(part) // 2)
        return results

    def _forward(
        self, tiles: list[Float], net: torch.nn.Module, kind: str | None = None
    ) -> list[Half]:
        torch = self._torch
        told = (kind,) if kind else ()
        stacked = tiles[0][None] if len(tiles) == 1 else np.stack(tiles)
        with torch.inference_mode():
            x = torch.from_numpy(stacked).permute(0, 3, 1, 2)  # already channels last in memory
            noise = net(x.to(self._device), *told).half().permute(0, 2, 3, 1).contiguous().cpu()
        return list(noise.numpy())

    def _is_out_of_memory(self, error: Exception) -> bool:
        if isinstance(error, (MemoryError, self._torch.OutOfMemoryError)):
            return True
        text = str(error).lower()
        return "out of memory" in text or "can't allocate memory" in text

    def _release(self) -> None:
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()

    def on_cpu(self, folder: Path) -> Engine:
        """The same model on the CPU, for the photo that no other memory can hold."""
        return Engine(self.card, folder, "cpu", "fp32")

    # -- choices -------------------------------------------------------------------------------

    def tile_side(self, budget: float | None = None) -> int:
        """A tile side in pixels for which the memory that is free now suffices.

        Args:
            budget: bytes to go by instead of the free memory.
        """
        if budget is None:
            budget = self._free_memory() * MEMORY_SHARE / self.batch / self.lanes.count
        size = 4 if self.choice.precision == "fp32" else 2
        side = int((budget / ((self.card.bytes_per_pixel or BYTES_PER_PIXEL) * size / 4)) ** 0.5)
        limit = CPU_TILE[size] if self._device.type == "cpu" else GPU_TILE
        return max(128, min(limit, side // 16 * 16))

    def _free_memory(self) -> float:
        if self._device.type == "cuda":
            return float(self._torch.cuda.mem_get_info(self._device)[0])
        return free_memory()

    def _pick_precision(self, wanted: str, cache: Path | None) -> tuple[str, str]:
        if wanted == "fp32":
            return wanted, "fp32 as asked"
        candidate = self._fastest() if wanted == "auto" else wanted
        if candidate == "fp32":
            return candidate, f"this {self._device.type} is no faster in shorter numbers"
        if candidate == "fp16" and self._device.type == "cpu":
            raise DeviceError("fp16 is not for CPUs", hint="use --precision bf16, fp32 or auto")
        key = self._probe_key(candidate)
        difference = recall(cache, key)
        if difference is None:
            difference = self._probe(candidate)
            remember(cache, key, difference)
        told = f"{candidate} is within {difference * 255:.2f} levels of fp32"
        if difference <= AGREEMENT:
            return candidate, told
        told = f"{candidate} is {difference * 255:.2f} levels from fp32 on the probe picture"
        if wanted != "auto":
            raise DeviceError(f"{told} on {self._device}", hint="use --precision auto or fp32")
        return "fp32", told

    def _fastest(self) -> str:
        """The shortest precision that this device computes natively."""
        kind = self._device.type
        if native_bf16(kind):
            return "bf16"
        return "fp16" if kind == "cuda" else "fp32"

    def _probe(self, precision: str) -> float:
        """Rms difference from float32 on a small noisy picture; infinite if it cannot run."""
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[0:1:192j, 0:1:192j]
        picture = np.stack([rows, columns, (rows + columns) / 2], 2)[..., : self.card.channels]
        picture = picture + rng.normal(0, 15 / 255, picture.shape)
        tile = np.clip(picture, 0, 1).astype(np.float32)
        self.batch = 1
        try:
            exact, short = (
                np.stack([self._forward([tile], net, kind)[0] for kind in self.kinds or (None,)])
                for net in (self._exact, self._converted(precision))
            )
        except RuntimeError as error:  # an operation this device lacks in this precision
            if self._is_out_of_memory(error):
                raise
            return float("inf")
        difference = float(np.sqrt(np.mean((exact.astype(np.float32) - short) ** 2)))
        return difference if np.isfinite(difference) else float("inf")

    def _probe_key(self, precision: str) -> str:
        torch = self._torch
        if self._device.type == "cuda":
            chip = torch.cuda.get_device_name(self._device)
        else:
            chip = f"{platform.machine()} {cpu_line()} {machine_threads()}"
        parts = (torch.__version__, self._device.type, chip, precision, self.card.weights_sha256)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:24]

    def _converted(self, precision: str) -> torch.nn.Module:
        torch = self._torch
        dtype = torch.bfloat16 if precision == "bf16" else torch.float16
        net = nets.build(self.card.net, self.card.net_args)
        net.load_state_dict(self._exact.state_dict())
        return self._ready(net.to(self._device, dtype).eval())

    def _ready(self, net: torch.nn.Module) -> torch.nn.Module:
        """The same net, in the form that is computed fastest here."""
        net.to(memory_format=self._torch.channels_last)  # type: ignore[call-overload]
        if self._device.type == "cpu":
            from denoisetool.engine.fused import fuse

            fuse(net)
        return net


@cache
def machine_threads() -> int:
    """How many threads one operation has where nothing else is computed.

    Asked once, by the process's first engine, since lanes change what torch answers.
    """
    import torch

    return torch.get_num_threads()


def _take_share(count: int) -> None:
    """Give the thread that calls this, one of so many lanes, its share of the machine's threads.

    A thread takes the number that was set last, in whichever thread that was, when it first asks or
    computes. So this one asks before it sets its own, and another one then sets the whole again.
    """
    import torch

    whole = machine_threads()
    torch.get_num_threads()
    torch.set_num_threads(max(1, whole // count))
    other = threading.Thread(target=torch.set_num_threads, args=(whole,))
    other.start()
    other.join()


def load_net(card: ModelCard, path: Path) -> torch.nn.Module:
    """The net of `card` with the weights at `path`, float32, on the CPU, ready for inference.

    Raises:
        ModelError: the weights are missing, damaged or do not fit the card.
    """
    import safetensors
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except FileNotFoundError as error:
        raise ModelError("the model's weights are missing", path=path) from error
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"the model's weights cannot be read: {error}", path=path, hint="install it again"
        ) from error
    net = nets.build(card.net, card.net_args)
    try:
        net.load_state_dict({key: value.float() for key, value in weights.items()})
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ModelError(f"the weights do not fit the model card: {first}", path=path) from error
    return net.eval()


def check_model(card: ModelCard, folder: Path) -> None:
    """Make sure that a model from elsewhere can be used at all, before it is installed.

    Args:
        card: its card.
        folder: where its weights are.

    Raises:
        ModelError: an unknown net, arguments that do not belong to these weights, or a net for
            another number of channels, or with another scale, than the card says.
    """
    load()
    import safetensors
    import torch

    path = folder / WEIGHTS_FILE
    with torch.device("meta"):  # takes no memory, whatever sizes the card asks for
        net = nets.build(card.net, card.net_args)
    wanted = {key: list(value.shape) for key, value in net.state_dict().items()}
    with safetensors.safe_open(path, "np") as weights:
        found = {key: weights.get_slice(key).get_shape() for key in weights.keys()}  # noqa: SIM118 - no dict
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            what = f"{key} is {found.get(key, 'missing')}, for {wanted.get(key, 'nothing')}"
            what = f"the weights do not fit the model card: {what}"
            raise ModelError(what, path=path, hint="get the model again")
    loaded = load_net(card, path)
    for kind in getattr(loaded, "kinds", ("",)):
        step = card.stride_for(kind)
        side = 3 * step
        given = torch.zeros(1, card.channels, side, side)
        try:
            with torch.inference_mode():
                shape = tuple(loaded(given, *filter(None, [kind])).shape)
        except RuntimeError:
            shape = ()
        if shape != (1, card.channels, side * card.scale, side * card.scale):
            what = f"the net does not take {card.channels} channels in steps of {step} pixels"
            if card.scale > 1:
                what += f", enlarging {card.scale} times"
            raise ModelError(f"{what}, as its card says", path=path, hint="get the model again")
