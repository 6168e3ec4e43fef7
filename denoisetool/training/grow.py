"""A wider net, or one of more blocks, that starts from what a smaller one has learned.

Function-preserving growth (Chen et al. 2016, "Net2Net"), with new features instead of copies: they
see all that the old ones see, and nothing old listens to them yet; new blocks add nothing, and a
new estimator tells nothing. So the grown net computes what the small one did, and its first step
uses all of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from denoisetool.errors import ModelError

CELLS = 4
"""Places within a cell that the steps up of a `UNet` give all features for, one after the other."""


def grown(small: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a larger `UNet`, or of `Experts` of such, that computes what a smaller one does.

    Args:
        small: weights of the smaller one.
        fresh: weights of the larger one as it is built, whose new features stay as they are.

    Returns:
        All weights of the larger one. One that is smaller than it was, or has another kernel, stays
        as it is built: the nets are not of one kind then, and do not compute the same.

    Raises:
        ModelError: the larger one has more scales. Its coarsest blocks work at another scale than
            those of the smaller one.
    """
    result = {}
    for key, weight in fresh.items():
        new, old = weight.clone(), small.get(key)
        net, step_up, _ = key.rpartition("up.")
        if old is None and step_up and f"{net}head.weight" in small:
            what = "the recipe's net has more scales than the one that it starts from"
            raise ModelError(what, hint="start from a net of as many widths, or from none")
        closing = key.endswith(".second.weight")  # what a block adds
        if old is not None and _fits(old, new):
            if ".up." in f".{key}":
                old, new = (t.view(CELLS, -1, *t.shape[1:]).transpose(0, 1) for t in (old, new))
            rows, columns = len(old), slice(old.shape[-3])
            if closing:
                new[rows:] = 0
            new[:rows] = 0
            new[:rows, ..., columns, :, :] = old
            if new.ndim > weight.ndim:
                new = new.transpose(0, 1).flatten(0, 1).contiguous()
        elif old is None and (closing or key.endswith("tell.weight")):
            new.zero_()
        result[key] = new
    return result


def _fits(old: Tensor, new: Tensor) -> bool:
    return (
        old.ndim == new.ndim == 4
        and old.shape[2:] == new.shape[2:]
        and all(o <= n for o, n in zip(old.shape, new.shape, strict=True))
    )
