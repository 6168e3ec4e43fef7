"""Architectures by name. torch is imported only when a net is built."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoisetool.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

CLASSES = {
    "unet": "UNet",
    "experts": "Experts",
    "srresnet": "SRResNet",
    "dncnn": "DnCNN",
    "ipt": "IPT",
}
"""Names of the nets, which are those of their modules, and the class in each."""


def build(name: str, args: dict[str, Any]) -> nn.Module:
    """Build an untrained net.

    A net maps float tensors (N, C, H, W), nominally in [0, 1], H and W multiples of its `stride`,
    to the estimated noise of the same shape: the clean picture is the input minus the output. One
    with `kinds` also takes the kind of noise, one of these names. One with a `scale` above 1 gives
    (N, C, scale H, scale W), and the clean picture is the input's bicubic enlargement
    (`parts.enlarged`) minus the output.

    Args:
        name: one of `CLASSES`.
        args: keyword arguments of that architecture.

    Raises:
        ModelError: the name is unknown or an argument is.
    """
    if name not in CLASSES:
        raise ModelError(
            f"unknown net {name!r}; this version knows {', '.join(CLASSES)}",
            hint="update denoisetool, or install a model made for this version",
        )
    net = getattr(import_module(f"denoisetool.nets.{name}"), CLASSES[name])
    try:
        built: nn.Module = net(**args)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the arguments of net {name!r} are wrong: {error}") from error
    return built
