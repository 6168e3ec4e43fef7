"""What a net trained to recognise things sees in a picture, to compare two pictures by.

The layers of SqueezeNet 1.1 (Iandola et al. 2016) before its classifier: 0.7 million weights and a
hundredth of VGG19's arithmetic. The weights are a file of the user's own; none come with the
program, and none end up in a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from denoisetool.errors import UsageError

STEPS = {
    "conv1": 1, "fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9, "fire7": 10,
    "fire8": 11, "fire9": 12,
}  # fmt: skip
"""The maps there are, as the paper calls them, and the layer of `Features.features` each is after.
The first has half the picture's resolution, up to fire3 a quarter, fire5 an eighth, then 1/16."""
ALL = ("conv1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9")
"""One map or more of each resolution, those of LPIPS (Zhang et al. 2018)."""
DEEPEST = ("fire9",)
SMALLEST = 32
"""Side in pixels of the smallest picture."""
MEANS = (103.939, 116.779, 123.68)
"""Of ImageNet's blue, green and red, in levels: what the net was given is without them."""


class Fire(nn.Module):
    """A 1x1 convolution to few channels, and 1x1 and 3x3 ones side by side to many; all ReLU."""

    def __init__(self, channels: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, few, 1)
        self.expand1x1 = nn.Conv2d(few, each, 1)
        self.expand3x3 = nn.Conv2d(few, each, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, 2 each, H, W)."""
        few = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(few), self.expand3x3(few)], 1))


class Features(nn.Module):
    """SqueezeNet 1.1 without its classifier, frozen.

    Args:
        path: safetensors file of its weights: torchvision's names, and no others, for a net that
            was given blue, green, red in 0..255 without `MEANS`, as Caffe's and Keras' are.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), _pool(),
            Fire(64, 16, 64), Fire(128, 16, 64), _pool(),
            Fire(128, 32, 128), Fire(256, 32, 128), _pool(),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        )  # fmt: skip
        try:
            self.load_state_dict({key: value.float() for key, value in load_file(path).items()})
        except FileNotFoundError as error:
            hint = "give a safetensors file of SqueezeNet 1.1's features"
            raise UsageError("there is no such file of features", path=path, hint=hint) from error
        except (OSError, safetensors.SafetensorError) as error:
            raise UsageError(f"the features cannot be read: {error}", path=path) from error
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            what = f"these are not the features of SqueezeNet 1.1: {first}"
            raise UsageError(what, path=path) from error
        self.requires_grad_(False).eval()
        self.register_buffer("means", torch.tensor(MEANS).reshape(3, 1, 1), persistent=False)

    def forward(self, picture: Tensor, depths: Sequence[str] = ALL) -> list[Tensor]:
        """What is seen in `picture`, at several depths.

        Args:
            picture: (N, 3, H, W), sRGB in [0, 1], 32 x 32 or larger.
            depths: which maps, of `STEPS`.

        Returns:
            Maps (N, C, h, w), 0 and up, float32 unless autocast says otherwise, the shallowest
            first.

        Raises:
            ValueError: the picture is too small, or an unknown depth.
        """
        if min(picture.shape[-2:]) < SMALLEST:
            raise ValueError(f"a picture of {tuple(picture.shape)} is under {SMALLEST} pixels")
        if unknown := set(depths) - STEPS.keys():
            raise ValueError(f"no depth is called {', '.join(sorted(unknown))}")
        wanted = {STEPS[depth] for depth in depths}
        means = self.get_buffer("means")
        x = picture.float().flip(1) * 255 - means
        found = []
        for index, layer in enumerate(self.features):
            if index > max(wanted):
                break
            x = layer(x)
            if index in wanted:
                found.append(x)
        return found


def content_loss(
    features: Features, output: Tensor, target: Tensor, depths: Sequence[str] = DEEPEST
) -> Tensor:
    """Mean squared difference of what is seen in two pictures, mean over the maps.

    With the deepest map alone it is the nearest there is to the content loss of SRGAN (Ledig et al.
    2017, VGG54: the deepest map, after its ReLU, 1/16 of the resolution). It hardly hears a tint,
    so a loss on the pixels belongs beside it. On kodim04 it is 19 where the two differ by noise of
    sigma 5 and 92 at sigma 50, whose mean squared errors are 0.0004 and 0.04: a small weight does.

    Args:
        features: what sees.
        output: (N, 3, H, W) in [0, 1]; the gradient goes here.
        target: the same shape; no gradient goes there.
        depths: which maps, of `STEPS`.
    """
    with torch.no_grad():
        wanted = features(target, depths)
    found = features(output, depths)
    errors = [F.mse_loss(x, y) for x, y in zip(found, wanted, strict=True)]
    return torch.stack(errors).mean()


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
