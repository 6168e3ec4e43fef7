"""The new model's folder: weights, card, recipe."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomlkit
import torch
from safetensors.torch import save
from torch import Tensor

from denoisetool import files, nets
from denoisetool.denoiser import Denoiser
from denoisetool.engine import load_net
from denoisetool.errors import ModelError
from denoisetool.finetune.align import Float
from denoisetool.finetune.verdict import Verdict, seam
from denoisetool.formats.exif import Shot
from denoisetool.modelcard import CARD_FILE, OWN, RECIPE_FILE, WEIGHTS_FILE
from denoisetool.nets.experts import members
from denoisetool.registry import Entry
from denoisetool.training.export import effective_radius

TUNABLE = ("unet", "experts")
"""Nets that can be fine-tuned."""
OVERLAPS = (16, 24, 32, 40, 48, 64, 80, 96, 128)
"""Overlaps of tiles that are tried, in pixels."""
UNSEEN = 0.9 / 255
"""Largest difference at the edge of a tile, a little under the level that may be seen."""


def check_start(entry: Entry) -> None:
    """Raise ModelError for a model that cannot be fine-tuned."""
    card = entry.card
    if card.scale > 1 or card.net not in TUNABLE:
        does = f"enlarges {card.scale} times" if card.scale > 1 else f"is a {card.net}"
        raise ModelError(
            f"model {entry.name!r} {does}, and cannot be fine-tuned",
            hint="give another one with --from, such as fast",
        )


def start_of(entry: Entry, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A model as fine-tuning begins with it: the arguments of its net, and its weights.

    A net of experts gets one more, for the camera, that begins as a copy of the one for `kind`.
    """
    weights = load_net(entry.card, entry.weights).state_dict()
    if not kind:
        return entry.card.net_args, weights
    if not any(key.startswith(f"{OWN}.") for key in weights):
        copied = {
            OWN + key.removeprefix(kind): value.clone()
            for key, value in weights.items()
            if key.startswith(f"{kind}.")
        }
        weights = {**weights, **copied}
    return entry.card.net_args | {"own": entry.card.net_args.get("own") or kind}, weights


def write(
    folder: Path, parent: Entry, net_args: Mapping[str, Any], weights: Mapping[str, Tensor], *,
    name: str, expert: str, shots: Sequence[Shot], provenance: Mapping[str, Any], pairs: int,
) -> Path:  # fmt: skip
    """Write the model.

    Args:
        folder: made if need be.
        parent: the model it comes from, whose card it keeps but for what changed.
        net_args: of its net, see `start_of`.
        weights: of its net.
        name: of the new model.
        expert: the one that was trained, '' for the one net.
        shots: how the photos were taken.
        provenance: what is to be said about its making.
        pairs: how many pairs of photos it was trained on.

    Returns:
        The folder.
    """
    half = {key: value.half().contiguous() for key, value in weights.items()}
    data = save(half)
    card = tomllib.loads((parent.folder / CARD_FILE).read_text(encoding="utf-8"))
    net = nets.build(parent.card.net, dict(net_args))
    net.load_state_dict({key: value.float() for key, value in half.items()})
    net.eval()
    own = members(net)[expert]
    stride: int = getattr(own, "stride", 1)
    with torch.inference_mode():
        radius = -(-effective_radius(own, stride) // stride) * stride
    _set_overlap(card, expert, max(radius, card.get("overlap", 0)))
    if stride != parent.card.stride:
        card.setdefault("strides", {})[expert] = stride
    made_for = cameras(shots)
    of = ", ".join(c["camera"] for c in made_for) or "the user's own photos"
    card |= {
        "name": name,
        "title": f"{parent.name}, fine-tuned for {of}",
        "net_args": dict(net_args),
        "parameters": sum(p.numel() for p in net.parameters()),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        "cameras": made_for,
        "provenance": {"parent": parent.name, "parent_sha256": parent.card.weights_sha256}
        | dict(provenance),
        "training_data": [
            *card.get("training_data", []),
            {"name": "the user's own pairs", "licence": "the user's", "photos": 2 * pairs},
        ],
    }
    card.pop("scores", None)  # they are the parent's
    with files.errors_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS_FILE).write_bytes(data)
        (folder / CARD_FILE).write_text(tomlkit.dumps(card), encoding="utf-8")
        if parent.recipe.is_file():
            (folder / RECIPE_FILE).write_bytes(parent.recipe.read_bytes())
    return folder


def widen(folder: Path, denoiser: Denoiser, noisy: Float) -> None:
    """Let tiles overlap as much as they must not to show, in the card and in the engine's copy.

    Args:
        folder: of the model.
        denoiser: the model in float32.
        noisy: a picture of the camera, (H, W, 3) in [0, 1].
    """
    path = folder / CARD_FILE
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    engine = denoiser.engine
    kind = OWN if OWN in engine.kinds else ""
    for overlap in OVERLAPS:
        if overlap < engine.card.overlap_for(kind):
            continue
        _set_overlap(data, kind, overlap)
        overlaps = data.get("overlaps", {})
        engine.card = replace(engine.card, overlap=data["overlap"], overlaps=overlaps)
        if seam(noisy, denoiser) <= UNSEEN:
            break
    with files.errors_told(path):
        path.write_text(tomlkit.dumps(data), encoding="utf-8")


def _set_overlap(card: dict[str, Any], expert: str, overlap: int) -> None:
    if expert:
        card.setdefault("overlaps", {})[expert] = overlap
    else:
        card["overlap"] = overlap


def add_scores(folder: Path, verdict: Verdict) -> None:
    """Write into the card what the held-out pairs said."""
    path = folder / CARD_FILE
    card = tomllib.loads(path.read_text(encoding="utf-8"))
    card["scores"] = {
        "pairs held out": {
            "protocol": "against another noisy photo of the scene, through the whole chain",
            "psnr_in": verdict.psnr_noisy,
            "psnr_parent": verdict.psnr_start,
            "psnr": verdict.psnr_new,
            "gain": verdict.gain,
            "gain_low": verdict.low,
            "gain_high": verdict.high,
            "synthetic": round(verdict.synthetic, 3),
            "pairs": verdict.pairs,
        }
    }
    with files.errors_told(path):
        path.write_text(tomlkit.dumps(card), encoding="utf-8")


def cameras(shots: Sequence[Shot]) -> list[dict[str, Any]]:
    """Each camera with the range of its sensitivities; photos that do not tell are left out."""
    found: dict[str, list[int]] = {}
    for shot in shots:
        if shot.camera is not None:
            found.setdefault(shot.camera, []).extend([shot.iso] if shot.iso else [])
    return [
        {"camera": camera, **({"iso": [min(isos), max(isos)]} if isos else {})}
        for camera, isos in sorted(found.items())
    ]


def name_for(shots: Sequence[Shot], folder: Path) -> str:
    """A name for the model: its camera's, or the folder's."""
    made_for = cameras(shots)
    text = made_for[0]["camera"] if len(made_for) == 1 else folder.resolve().name
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48]
    return slug or "own"
