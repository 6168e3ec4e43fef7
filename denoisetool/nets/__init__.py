"""Architectures by name. torch is imported only when a net is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from denoisetool.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

NAMES = ("unet", "experts")


def build(name: str, args: dict[str, Any]) -> nn.Module:
    """Build an untrained net.

    A net maps float tensors (N, C, H, W), nominally in [0, 1], H and W multiples of its stride, to
    the estimated noise of the same shape: the clean picture is the input minus the output. One
    with `kinds` also takes the kind of noise, one of these names.

    Args:
        name: one of `NAMES`.
        args: keyword arguments of that architecture.

    Raises:
        ModelError: the name is unknown or an argument is.
    """
    if name not in NAMES:
        raise ModelError(
            f"unknown net {name!r}; this version knows {', '.join(NAMES)}",
            hint="update denoisetool, or install a model made for this version",
        )
    from denoisetool.nets.experts import Experts
    from denoisetool.nets.unet import UNet

    try:
        return UNet(**args) if name == "unet" else Experts(**args)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the arguments of net {name!r} are wrong: {error}") from error
