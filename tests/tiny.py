"""Tiny models of random weights, as folders with cards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import tomlkit
import torch
from safetensors.torch import save

from denoisetool import modelcard, nets
from denoisetool.modelcard import ModelCard


def model(
    folder: Path, net: str = "srresnet", *, name: str | None = None, spread: float = 0.05,
    overlap: int | None = None, **args: Any,
) -> ModelCard:  # fmt: skip
    """Write a model of random weights into a folder, and its card.

    Args:
        folder: where; made if need be.
        net: the architecture.
        name: of the model; the folder's by default.
        spread: standard deviation of the weights, and of the last layer's.
        overlap: in the card; all that can matter by default.
        args: of the net.
    """
    torch.manual_seed(0)
    built: Any = nets.build(net, args)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, 0, spread)
    weights = save({key: value.half() for key, value in built.state_dict().items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / modelcard.WEIGHTS_FILE).write_bytes(weights)
    card = {
        "card_version": modelcard.CARD_VERSION, "name": name or folder.name, "title": "Tiny",
        "net": net, "net_args": args, "scale": args.get("scale", 1), "stride": built.stride,
        "overlap": built.receptive_radius if overlap is None else overlap,
        "channels": args.get("channels", 3), "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
    (folder / modelcard.CARD_FILE).write_text(tomlkit.dumps(card), encoding="utf-8")
    return modelcard.load(folder)


def upscaler(folder: Path, scale: int, **args: Any) -> ModelCard:
    """A tiny model that enlarges; 'direct' and with small kernels unless said otherwise."""
    shape: dict[str, Any] = {"width": 8, "blocks": 2, "kernel": 3, "upsampling": "direct"}
    return model(folder, scale=scale, **(shape | args))
