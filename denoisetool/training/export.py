"""From a checkpoint to a model folder: float16 safetensors, card, recipe."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import tomlkit
import torch
from safetensors.torch import save
from torch import Tensor, nn

from denoisetool import nets
from denoisetool.errors import ModelError
from denoisetool.finder import AGAIN_BY
from denoisetool.modelcard import CARD_FILE, CARD_VERSION, RECIPE_FILE, WEIGHTS_FILE
from denoisetool.nets.dncnn import DnCNN
from denoisetool.nets.experts import Experts
from denoisetool.nets.parts import kmac_per_pixel
from denoisetool.nets.srresnet import SRResNet
from denoisetool.training import args
from denoisetool.training.footprint import peak_bytes
from denoisetool.training.loop import CHECKPOINT
from denoisetool.training.teacher import smooth

COUNTED = 512
"""Side in pixels of the picture whose cost the card tells; in small ones borders cost a part."""
SEEN = 0.5 / 255
"""Influence below this, half a level, does not count towards the tiles' context."""
SPARE = 16
"""Overlaps are multiples of this many pixels at least: there are worse pictures than those that
tell how far a net sees. Where they told 55 of a net for cameras, tiles with 56 differed from the
whole by up to 2.7 levels in a texture with hard edges, with 64 by up to 1.2, with 80 by 0.05."""


def export(run: Path, recipe_path: Path, folder: Path, training_data: list[dict[str, Any]]) -> Path:
    """Write the averaged weights of a run as a model folder.

    Args:
        run: folder with the checkpoint.
        recipe_path: the recipe that was trained; copied beside the weights.
        folder: the model folder, made if need be.
        training_data: what it was trained on: tables with name, licence and photos.

    Returns:
        The model folder.

    Raises:
        ModelError: there is no checkpoint, or it is of another net than the recipe's.
    """
    recipe = args.load(recipe_path)
    try:
        state = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError("no checkpoint here", path=run, hint="train first") from error
    net = nets.build(recipe.net, recipe.net_args)
    try:
        net.load_state_dict(state["average"])
    except RuntimeError as error:
        raise ModelError("the checkpoint does not fit the recipe's net", path=run) from error
    net.eval()
    net_args = recipe.net_args
    if isinstance(net, (DnCNN, SRResNet)):  # batch norms become part of the convolutions
        net_args = net_args | {"batch_norm": False}
        folded, net = net.fold(), nets.build(recipe.net, net_args).eval()
        net.load_state_dict(folded)
    weights = {key: value.half().contiguous() for key, value in net.state_dict().items()}
    net.load_state_dict({key: value.float() for key, value in weights.items()})
    data = save(weights)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(data)
    if recipe_path.resolve() != (folder / RECIPE_FILE).resolve():
        shutil.copyfile(recipe_path, folder / RECIPE_FILE)
    stride: int = net.stride  # type: ignore[assignment]
    scale: int = getattr(net, "scale", 1)
    white = recipe.corruption == "gaussian"
    nets_of = {k: net.for_kind(k) for k in net.kinds} if isinstance(net, Experts) else {"": net}
    steps: dict[str, int] = {kind: each.stride for kind, each in nets_of.items()}  # type: ignore[misc]
    others = {kind: context(each, steps[kind]) for kind, each in nets_of.items()}
    first = others.pop(next(iter(others)))
    smaller = {kind: step for kind, step in steps.items() if step != stride}
    card: dict[str, Any] = {
        "card_version": CARD_VERSION,
        "name": recipe.name,
        "title": recipe.title,
        "net": recipe.net,
        "net_args": net_args,
        "channels": net_args.get("channels", 3),
        "stride": stride,
        "receptive_radius": net.receptive_radius,
        "overlap": first,
        **({"overlaps": others} if others else {}),
        **({"strides": smaller} if smaller else {}),
        **({"scale": scale} if scale > 1 else {}),
        "sigma_range": [recipe.sigma, recipe.sigma] if white else [0.0, 55.0],
        "color_space": "sRGB",
        "kmac_per_pixel": round(max(_cost(each, kind) for kind, each in nets_of.items()), 2),
        "parameters": sum(p.numel() for p in net.parameters()),
        "bytes_per_pixel": round(peak_bytes(recipe.net, net_args)),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        "licence": "Apache-2.0",
        "provenance": {
            "recipe": RECIPE_FILE,
            "seed": recipe.seed,
            "steps": state["step"],
            "pixels": state["pixels"],
            "torch": str(torch.__version__),
        },
        "training_data": training_data,
    }
    previous = folder / CARD_FILE
    if previous.exists():
        before = tomlkit.parse(previous.read_text(encoding="utf-8"))
        if "scores" in before and before.get("weights_sha256") == card["weights_sha256"]:
            card["scores"] = before["scores"]
    previous.write_text(tomlkit.dumps(card), encoding="utf-8")
    return folder


def _cost(net: nn.Module, kind: str) -> float:
    """Cost in kMAC per pixel of a kind of noise, with the second look that it may have."""
    sides = (1, AGAIN_BY[kind]) if kind in AGAIN_BY else (1,)
    return kmac_per_pixel(net, side=COUNTED) * sum(side**-2 for side in sides)


def context(net: nn.Module, stride: int) -> int:
    """By how many pixels tiles are to overlap for a net, in whole strides; see `SPARE`."""
    step = max(SPARE, stride)
    return -(-effective_radius(net, stride) // step) * step


def effective_radius(net: nn.Module, stride: int) -> int:
    """Pixels of the input beyond which nothing changes the middle of a picture by half a level.

    Half a picture is replaced by another grey with more noise; the columns of the untouched half
    whose result moves by more than `SEEN` count. The largest is taken over several noise levels, of
    white noise in flat pictures and of a camera's, which is correlated, in textured ones: with that
    shipped nets reach up to twice as far, and tiles differed from the whole by up to 12 levels.
    """
    side = -(-512 // (2 * stride)) * 2 * stride
    radius = 0
    for sigma in (3, 8, 25):
        for textured in (False, True):
            first, second = (_probe(side, sigma, textured, other) for other in (False, True))
            with torch.inference_mode():
                outputs: list[Tensor] = [net(picture) for picture in (first, second)]
            scale = outputs[0].shape[-1] // side
            moved = (outputs[0] - outputs[1]).abs().amax((0, 1, 2))[: side // 2 * scale] > SEEN
            columns = torch.nonzero(moved)
            if len(columns):
                radius = max(radius, side // 2 - int(columns.min()) // scale)
    return radius


def _probe(side: int, sigma: float, textured: bool, other: bool) -> Tensor:
    """A noisy picture (1, 3, side / 2, side), alike in the left half, whatever `other` is."""
    rng = torch.Generator().manual_seed(int(sigma))
    halves = []
    for grey, level in ((0.5, sigma), (0.7, 1.5 * sigma) if other else (0.5, sigma)):
        noise = torch.randn(1, 3, side // 2, side, generator=rng)
        picture = torch.zeros_like(noise)
        if textured:
            noise = smooth(noise + noise.mean(1, keepdim=True), 1)
            texture = smooth(torch.randn(1, 1, side // 2, side, generator=rng), 2)
            picture = 0.1 * texture / texture.std()
        halves.append(grey + picture + level / 255 * noise / noise.std())
    return torch.cat([halves[0][..., : side // 2], halves[1][..., side // 2 :]], 3).clamp(0, 1)
