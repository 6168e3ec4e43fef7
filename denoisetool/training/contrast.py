"""The contrastive loss of IPT (Chen et al. 2021, section 3.3).

Tokens of one picture belong together, those of different pictures apart: what the transformer is to
learn of pictures whose damage it has not seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(features: Tensor, temperature: float = 1.0) -> Tensor:
    """How little a picture's tokens are like each other, against those of other pictures.

    With the cosine similarity d, over pictures i of B and their tokens j and l of T,

        1 / (B T^2) sum_i sum_j sum_l -log( exp(d(f_ij, f_il) / t)
                                            / sum_{k != i} exp(d(f_ij, f_kl) / t) ),

    which is log(B - 1) where all tokens are alike, and 1 / t less than that where only those of a
    picture are and the others at right angles. The paper's equation has no temperature, t = 1. It
    takes B^2 T^2 products and numbers: a part of the tokens, `features[:, ::4]`, is a fair sample.

    Args:
        features: (B, T, dim), of any length; B at least 2.
        temperature: t, above 0; the smaller, the more the most similar ones count.

    Returns:
        One number, not bounded by 0.

    Raises:
        ValueError: a picture alone, or no such temperature.
    """
    pictures, tokens = features.shape[:2]
    if pictures < 2:
        raise ValueError("a contrast needs at least two pictures")
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, not {temperature}")
    unit = F.normalize(features.float(), dim=-1).flatten(0, 1)
    alike = (unit @ unit.T).float().view(pictures, tokens, pictures, tokens) / temperature
    own = torch.eye(pictures, dtype=torch.bool, device=alike.device)[:, None, :, None]
    others = alike.masked_fill(own, -torch.inf).logsumexp(2)
    return others.mean() - alike.diagonal(dim1=0, dim2=2).mean()
