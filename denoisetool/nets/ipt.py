"""IPT: one transformer for several tasks, each with a head and a tail of its own.

Chen et al. 2021, "Pre-trained image processing transformer". A window of 48 x 48 pixels goes
through its task's head, a convolution and two residual blocks of 5x5 convolutions, which gives 64
features. They are cut into 256 tokens of 3 x 3 pixels, 576 numbers each, that a transformer with a
learned position goes over: 12 layers encode, 12 decode. The decoder is told the task by a learned
embedding, added to the queries and keys of its self-attention and to the queries of the attention
to what was encoded. The tokens, put together again and added to the head's features, go through the
task's tail: sub-pixel convolutions that enlarge (Shi et al. 2016) where the task is to, and one to
colours.

The published 115.5 million parameters are those of the net with the head, embedding and tail of one
task, twice enlarging, which are 115 460 419 here: linear layers in front of and behind the
transformer included, as in the authors' code, attention without biases, an embedding for each
token. Unlike the published net this one gives what is to be taken away from the photo, or from its
bicubic enlargement, and not the picture. So an untrained one changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoisetool.nets.parts import shuffled

TASK = re.compile(r"denoise[a-z0-9_]*|upscale(?P<scale>[234])")
STEPS = {1: (), 2: (2,), 3: (3,), 4: (2, 2)}
"""How the tails enlarge, by scale."""
CHUNK = 32
"""Windows that go through the net at once: a large photo's would not fit into the memory."""
MOST = 64
"""Layers, or attention heads, beyond which a card is nonsense."""
WIDEST = 1 << 14
"""Numbers per token, tokens per window or hidden features beyond which it is."""


class Block(nn.Module):
    """x + conv(ReLU(conv(x))), 5x5."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 5, padding=2)
        self.second = nn.Conv2d(width, width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        moved: Tensor = x + self.second(F.relu(self.first(x)))
        return moved


class Tail(nn.Module):
    """Features to colours, (N, width, H, W) to (N, channels, scale H, scale W)."""

    def __init__(self, width: int, channels: int, scale: int) -> None:
        super().__init__()
        self.steps = STEPS[scale]
        self.up = nn.ModuleList(nn.Conv2d(width, s * s * width, 3, padding=1) for s in self.steps)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # an untrained net leaves the picture as it is
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        for conv, factor in zip(self.up, self.steps, strict=True):
            x = shuffled(conv(x), factor)
        found: Tensor = self.out(x)
        return found


class Attention(nn.MultiheadAttention):
    """Multi-head attention without biases; batch first, no weights returned."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads, bias=False, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        """(N, T, dim) each, to the shape of the query."""
        return super().forward(query, key, value, need_weights=False)[0]


class Layer(nn.Module):
    """A transformer's layer, normalised before each part; nn's own cannot be told the task.

    Args:
        dim: numbers per token.
        heads: of the attention.
        hidden: features between the two linear layers.
        decodes: whether it also looks at what was encoded.
    """

    def __init__(self, dim: int, heads: int, hidden: int, decodes: bool) -> None:
        super().__init__()
        self.self_norm, self.self_attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.cross_norm = nn.LayerNorm(dim) if decodes else None
        self.cross_attention = Attention(dim, heads) if decodes else None
        self.last_norm, self.feed_forward = nn.LayerNorm(dim), _feed_forward(dim, hidden)

    def forward(
        self, x: Tensor, encoded: Tensor | None = None, task: Tensor | None = None
    ) -> Tensor:
        """One layer on.

        Args:
            x: (N, T, dim) tokens.
            encoded: what the encoder made of them, for a layer that decodes.
            task: (T, dim) embedding of the task, for the same.

        Returns:
            (N, T, dim).
        """
        values = self.self_norm(x)
        asked = values if task is None else values + task
        x = x + self.self_attention(asked, asked, values)
        if self.cross_norm is not None and self.cross_attention is not None:
            assert encoded is not None
            asked = self.cross_norm(x) if task is None else self.cross_norm(x) + task
            x = x + self.cross_attention(asked, encoded, encoded)
        out: Tensor = x + self.feed_forward(self.last_norm(x))
        return out


class IPT(nn.Module):
    """What to take from a photo, or from its enlargement, to have a clean one, for several tasks.

    A photo is cut into windows of `patch` pixels whose inner parts, without `margin` pixels on each
    side, lie side by side; beyond the photo's borders it is reflected. Where a window lies does not
    depend on where a tile starts, as long as that is at a multiple of `stride`. A picture of
    just `patch` x `patch` pixels is one window without margins: so patches are trained.

    Args:
        channels: colour channels of the photo, 3 or 1.
        width: features of heads and tails; 64 as published.
        patch: side of a window in pixels; 48 as published.
        token: side of a token in pixels; 3 as published.
        encoders: layers that encode; 12 as published.
        decoders: layers that decode; 12 as published.
        heads: of each attention; 12 as published.
        hidden: features between the linear layers; 2304, four times a token, as published.
        tasks: their names: `denoise` and any word, or `upscale2`, `upscale3`, `upscale4`.
        task: the one that `forward` is for unless it is told; None for the first.
        margin: pixels on each side of a window that are looked at and thrown away.

    Attributes:
        stride: height and width of a photo must be multiples of this, `patch` - 2 `margin`.
        receptive_radius: pixels of the photo on each side that can influence an output pixel.
        dim: numbers per token.

    Raises:
        ValueError: no such task, or sizes that do not fit each other.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        patch: int = 48,
        token: int = 3,
        encoders: int = 12,
        decoders: int = 12,
        heads: int = 12,
        hidden: int = 2304,
        tasks: Sequence[str] = ("denoise30", "denoise50", "upscale2", "upscale4"),
        task: str | None = None,
        margin: int = 8,
    ) -> None:
        super().__init__()
        if min(channels, width, patch, token, encoders, decoders, heads, hidden) < 1:
            raise ValueError("sizes and counts must be at least 1")
        if patch % token:
            raise ValueError(
                f"a patch of {patch} pixels has no whole number of {token}-pixel tokens"
            )
        self.side, self.dim = patch // token, width * token**2
        if max(encoders, decoders, heads) > MOST or max(self.side**2, self.dim, hidden) > WIDEST:
            raise ValueError(f"at most {MOST} layers or heads, and {WIDEST} tokens or features")
        if self.dim % heads:
            raise ValueError(f"{heads} heads cannot share tokens of {self.dim} numbers")
        if margin < 0 or 3 * margin >= patch or 4 * margin == patch:
            raise ValueError("the margin must be less than a third of the patch, and no quarter")
        known = [TASK.fullmatch(name) for name in tasks]
        if not known or None in known or len(set(tasks)) < len(known):
            raise ValueError(f"tasks are denoise..., upscale2, 3 or 4, once each; not {tasks}")
        if task is not None and task not in tasks:
            raise ValueError(f"task must be one of {', '.join(tasks)}, not {task!r}")
        self.scales = {match[0]: int(match["scale"] or 1) for match in known if match}
        self.task = tasks[0] if task is None else task
        self.channels, self.patch, self.token, self.margin = channels, patch, token, margin
        self.stride = patch - 2 * margin
        self.receptive_radius = patch - margin - 1
        self.heads = nn.ModuleDict({name: _head(channels, width) for name in tasks})
        self.embed = nn.Linear(self.dim, self.dim)
        self.position = _embedding(self.side**2, self.dim)
        self.encoder = nn.ModuleList(
            Layer(self.dim, heads, hidden, decodes=False) for _ in range(encoders)
        )
        self.told = nn.ParameterDict({name: _embedding(self.side**2, self.dim) for name in tasks})
        self.decoder = nn.ModuleList(
            Layer(self.dim, heads, hidden, decodes=True) for _ in range(decoders)
        )
        self.after = _feed_forward(self.dim, hidden)
        self.tails = nn.ModuleDict(
            {name: Tail(width, channels, scale) for name, scale in self.scales.items()}
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.scales)

    @property
    def scale(self) -> int:
        """How many times larger the result of `forward`'s own task is on each side."""
        return self.scales[self.task]

    def for_task(self, name: str) -> Task:
        """This net with another task for its own; the parameters are the same, not copies.

        Raises:
            ValueError: no such task.
        """
        return Task(self, name)

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """What to take from `x`, or from its bicubic enlargement.

        Args:
            x: (N, C, H, W) in [0, 1], H and W both `patch` or multiples of `stride`; centred on 0
                before it is rounded to the weights' precision.
            task: which; None for the net's own.

        Returns:
            (N, C, scale H, scale W).

        Raises:
            ValueError: no such task.
            RuntimeError: no such size.
        """
        return self._through(x, task, [])

    def forward_features(self, x: Tensor, task: str | None = None) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the tokens behind the decoder, for the contrastive loss.

        Returns:
            (N, C, scale H, scale W), and (N, T, dim) with the tokens of all windows of a picture.
        """
        tokens: list[Tensor] = []
        found = self._through(x, task, tokens, keep=True)
        return found, torch.cat(tokens).reshape(len(x), -1, self.dim)

    def _through(
        self, x: Tensor, task: str | None, tokens: list[Tensor], keep: bool = False
    ) -> Tensor:
        """`forward`; where tokens are to be kept, they are appended, by chunks of windows."""
        name = self.task if task is None else task
        if name not in self.scales:
            raise ValueError(f"task must be one of {', '.join(self.tasks)}, not {name!r}")
        count, channels, height, width = x.shape
        exporting = torch.compiler.is_exporting()  # then sizes are unknown, and there is no loop
        single = not exporting and height == width == self.patch
        if not single and (height % self.stride or width % self.stride):
            raise RuntimeError(f"height and width must be multiples of {self.stride}")
        x = x - 0.5
        if not single:
            x = F.pad(x, (self.margin,) * 4, mode="reflect")
            x = x.unfold(2, self.patch, self.stride).unfold(3, self.patch, self.stride)
            x = x.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, self.patch, self.patch)
        parts = []
        for windows in [x] if exporting else torch.split(x, CHUNK):
            found, decoded = self._window(windows, name)
            scale = self.scales[name]
            edge = 0 if single else self.margin * scale
            parts.append(found[..., edge : found.shape[-2] - edge, edge : found.shape[-1] - edge])
            if keep:
                tokens.append(decoded)
        found = parts[0] if len(parts) == 1 else torch.cat(parts)
        if single:
            return found
        rows, columns, side = height // self.stride, width // self.stride, self.stride * scale
        found = found.reshape(count, rows, columns, channels, side, side)
        found = found.permute(0, 3, 1, 4, 2, 5)
        return found.reshape(count, channels, rows * side, columns * side)

    def _window(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """(N, C, patch, patch), centred on 0, to what `name` finds, and the decoded tokens."""
        features = self.heads[name](x.to(self.embed.weight.dtype))
        (count, width), side, token = features.shape[:2], self.side, self.token
        cells = features.permute(0, 2, 3, 1).reshape(count, side, token, side, token, width)
        tokens = cells.transpose(2, 3).reshape(count, side * side, self.dim)
        tokens = tokens + self.embed(tokens) + self.position
        for layer in self.encoder:
            tokens = layer(tokens)
        encoded = tokens
        for layer in self.decoder:
            tokens = layer(tokens, encoded, self.told[name])
        tokens = tokens + self.after(tokens)
        cells = tokens.reshape(count, side, side, token, token, width).transpose(2, 3)
        merged = cells.reshape(count, self.patch, self.patch, width).permute(0, 3, 1, 2)
        return self.tails[name](merged + features), tokens


class Task(nn.Module):
    """One task of an `IPT`, whose parameters it shares.

    Args:
        net: the net.
        name: one of its tasks.

    Attributes:
        scale: how many times larger the result is on each side.
        stride: as of the net.
        receptive_radius: as of the net.

    Raises:
        ValueError: no such task.
    """

    def __init__(self, net: IPT, name: str) -> None:
        super().__init__()
        if name not in net.scales:
            raise ValueError(f"task must be one of {', '.join(net.tasks)}, not {name!r}")
        self.net, self.name = net, name
        self.scale, self.stride = net.scales[name], net.stride
        self.receptive_radius = net.receptive_radius

    def forward(self, x: Tensor) -> Tensor:
        """See `IPT.forward`."""
        found: Tensor = self.net(x, self.name)
        return found

    def forward_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `IPT.forward_features`."""
        return self.net.forward_features(x, self.name)


def _head(channels: int, width: int) -> nn.Sequential:
    """Colours to features, (N, channels, H, W) to (N, width, H, W)."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), Block(width), Block(width))


def _feed_forward(dim: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))


def _embedding(tokens: int, dim: int) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(tokens, dim), std=0.02))
