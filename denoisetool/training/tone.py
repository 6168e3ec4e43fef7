"""The tone curve of a camera: from light to what a photo shows, and back.

A power of the light, then an S around the middle, then a shoulder below white, as cameras have them
for a pleasing picture (Brooks et al. 2019, "Unprocessing images for learned raw denoising", take a
fixed S of this kind). Noise is magnified by the slope. With the power alone it would be as strong
in the light as in the dark; real noise is strongest at a third of the scale, half as strong near
black and a third near white: 1.0, 0.50, 0.34 of its greatest in `nam`, 1.0, 0.47, 0.32 in `polyu`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

LEAST = 1e-4
"""What is shown as black takes part with this much before the power, which is steep there."""


@dataclass(frozen=True, slots=True)
class ToneCurve:
    """One curve for each of N pictures; all parameters are (N, 1, 1, 1).

    Attributes:
        gamma: light is raised to 1 / gamma.
        contrast: slope of the S in the middle, at least 1; 1 for none.
        shoulder: how much flatter it gets towards white, at least 1; 1 for none.
    """

    gamma: Tensor
    contrast: Tensor
    shoulder: Tensor

    def light(self, shown: Tensor) -> Tensor:
        """The light behind pictures (N, C, H, W) in [0, 1], in [0, 1] too."""
        bent = 1 - (1 - shown) ** (1 / self.shoulder)
        return _steeper(bent, 1 / self.contrast).clamp(min=LEAST) ** self.gamma

    def shown(self, light: Tensor) -> Tensor:
        """What is shown of light (N, C, H, W); what is not in [0, 1] is cut off."""
        bent = light.clamp(1e-6, 1) ** (1 / self.gamma)
        return 1 - (1 - _steeper(bent, self.contrast)) ** self.shoulder


def _steeper(values: Tensor, power: Tensor) -> Tensor:
    """An S from 0 through 1/2 to 1, with the slope `power` in the middle; 1 / power undoes it."""
    up, down = values.clamp(0, 1) ** power, (1 - values).clamp(0, 1) ** power
    return up / (up + down)
