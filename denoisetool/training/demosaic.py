"""What a sensor samples, and how its samples become a picture again.

All functions take and give tensors whose sides are even; a mosaic begins with red, green in its
first row and green, blue in its second.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mosaic(planes: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, 1, H, W): what an RGGB sensor would sample."""
    out = planes[:, 1:2].clone()
    out[..., ::2, ::2] = planes[:, :1, ::2, ::2]
    out[..., 1::2, 1::2] = planes[:, 2:, 1::2, 1::2]
    return out


def bilinear(raw: Tensor) -> Tensor:
    """Bilinear interpolation of an RGGB mosaic (N, 1, H, W) to (N, 3, H, W)."""
    red, green, blue = torch.zeros_like(raw), raw.clone(), torch.zeros_like(raw)
    red[..., ::2, ::2] = raw[..., ::2, ::2]
    blue[..., 1::2, 1::2] = raw[..., 1::2, 1::2]
    green[..., ::2, ::2] = 0
    green[..., 1::2, 1::2] = 0
    padded = F.pad(green, (1, 1, 1, 1), mode="reflect")
    around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    around = around + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return torch.cat([_tent(red), green + 0.25 * around, _tent(blue)], 1)


def gradient_corrected(raw: Tensor) -> Tensor:
    """Gradient-corrected interpolation of an RGGB mosaic (Malvar, He and Cutler 2004)."""
    height, width = raw.shape[-2:]
    padded = F.pad(raw, (2, 2, 2, 2), mode="reflect")

    def at(down: int, right: int) -> Tensor:
        return padded[..., 2 + down : 2 + down + height, 2 + right : 2 + right + width]

    beside, above = at(0, -1) + at(0, 1), at(-1, 0) + at(1, 0)
    wide, tall = at(0, -2) + at(0, 2), at(-2, 0) + at(2, 0)
    corners = at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1)
    cross = (4 * raw + 2 * (beside + above) - wide - tall) / 8
    across = (5 * raw + 4 * beside - corners - wide + 0.5 * tall) / 8
    down = (5 * raw + 4 * above - corners - tall + 0.5 * wide) / 8
    opposite = (6 * raw + 2 * corners - 1.5 * (wide + tall)) / 8
    red, green, blue = raw.clone(), raw.clone(), raw.clone()
    even, odd = slice(None, None, 2), slice(1, None, 2)
    for rows, columns in ((even, even), (odd, odd)):
        green[..., rows, columns] = cross[..., rows, columns]
    for one, other, rows, columns in ((red, blue, even, odd), (blue, red, odd, even)):
        one[..., rows, columns] = across[..., rows, columns]
        other[..., rows, columns] = down[..., rows, columns]
    red[..., odd, odd] = opposite[..., odd, odd]
    blue[..., even, even] = opposite[..., even, even]
    return torch.cat([red, green, blue], 1)


def _tent(sparse: Tensor) -> Tensor:
    padded = F.pad(sparse, (1, 1, 1, 1), mode="reflect")
    rows = padded[..., 1:-1, :] + 0.5 * (padded[..., :-2, :] + padded[..., 2:, :])
    return rows[..., 1:-1] + 0.5 * (rows[..., :-2] + rows[..., 2:])
