"""A model for other programs: ONNX, checked against torch before anybody gets it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from denoisetool.engine.core import load_net
from denoisetool.errors import ModelError, UsageError
from denoisetool.modelcard import WEIGHTS_FILE, ModelCard

EQUAL = 1e-4
"""Largest difference from torch, a fortieth of a level of 255, with which a file is good."""
LARGEST = 1 << 15
"""Side in pixels up to which the file takes pictures."""


def to_onnx(card: ModelCard, folder: Path, kind: str | None = None) -> tuple[bytes, float]:
    """The net of a model as an ONNX file, in float32.

    Its input `photo` is (N, C, H, W) in [0, 1], sRGB, H and W multiples of the card's stride and at
    least two of them; its output `noise` has the same shape, and the clean photo is the one minus
    the other. Where the card has a scale, it is as much larger, and is to be taken from the photo's
    bicubic enlargement. Name, stride, overlap, scale, kind and the hash of the weights stand in its
    metadata.

    Args:
        card: the model's card.
        folder: its folder.
        kind: which expert, for a net that has them; None for the first.

    Returns:
        The file's content, and the largest difference from torch that was found with pictures of
        several sizes.

    Raises:
        UsageError: the packages for it are not installed, or the net has no such expert.
        ModelError: the weights are damaged, or what came out does not compute the same.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch exports with
    except ImportError as error:
        raise UsageError(
            f"ONNX export needs the package {error.name}",
            hint="pip install 'denoisetool[onnx]'",
        ) from error
    import torch

    net = load_net(card, folder / WEIGHTS_FILE)
    kinds: tuple[str, ...] = getattr(net, "kinds", ())
    if kind is not None and kind not in kinds:
        known = f"it has {', '.join(kinds)}" if kinds else "it has one net for all noise"
        raise UsageError(f"model {card.name!r} has no expert for {kind!r} noise", hint=known)
    chosen = kind or (kinds[0] if kinds else None)
    if chosen is not None:
        net = net.for_kind(chosen)  # type: ignore[operator]
    dim, stride = torch.export.Dim, card.stride_for(chosen)
    sizes = {0: dim("count", min=1, max=256)} | {
        axis: stride * dim(name, min=2, max=LARGEST // stride)
        for axis, name in ((2, "rows"), (3, "columns"))
    }
    example = torch.rand(2, card.channels, 8 * stride, 12 * stride)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about itself
        program: Any = torch.onnx.export(
            net, (example,), dynamo=True, verbose=False, dynamic_shapes=(sizes,),
            input_names=["photo"], output_names=["noise"],
        )  # fmt: skip
    proto = program.model_proto
    about = {
        "name": card.name, "stride": stride, "overlap": card.overlap_for(chosen),
        "scale": card.scale, "kind": chosen or "", "weights_sha256": card.weights_sha256,
        "licence": card.licence,
    }  # fmt: skip
    for key, value in about.items():
        proto.metadata_props.add(key=key, value=str(value))
    data: bytes = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    difference = 0.0
    for shape in ((1, 2, 2), (2, 5, 3), (1, 12, 17)):
        count, rows, columns = shape
        given = torch.rand(count, card.channels, rows * stride, columns * stride)
        with torch.inference_mode():
            wanted = net(given).numpy()
        found = session.run(None, {"photo": given.numpy()})[0]
        difference = max(difference, float(np.abs(wanted - found).max()))
    if not difference <= EQUAL:
        raise ModelError(
            f"the ONNX file is {difference * 255:.2f} levels from the model and was not written",
            path=folder,
            hint="please report it",
        )
    return data, difference
