"""Noise as a camera makes it, and as textbooks have it, added to clean patches on the fly.

The camera chain follows Brooks et al. 2019, "Unprocessing images for learned raw denoising": undo
the tone curve and white balance, add shot and read noise (variance = shot * signal + read), develop
again. The noise alone is carried through the mosaic and the demosaicking, all linear, so that the
target stays the clean patch and demosaicking errors are not taught as noise. Then what cameras do
to noise before we ever see it: stronger smoothing of chroma than of luma and of flat parts than of
edges, resizing, clipping, 4:2:0 JPEG. Real camera noise is therefore correlated over several
pixels; see `statistics`. Where a raw file is developed without any of that, such as a phone's of a
dark scene, noise is strong, hardly correlated, and cut off at black before the mosaic was
interpolated.

All functions take and give float32 tensors (N, 3, H, W) in [0, 1] (noise: about 0). Everything is
cheap on a CPU: shifted slices and pooled boxes, no grouped convolutions.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from denoisetool import clipping
from denoisetool.training.demosaic import bilinear, gradient_corrected, mosaic
from denoisetool.training.tone import ToneCurve

KINDS = (
    "camera", "raw", "gaussian", "clipped", "correlated", "textbook", "clean", "colour", "cut",
    "grain",
)  # fmt: skip
DEFAULT_MIX = {
    "camera": 0.28,  # the camera chain
    "raw": 0.12,  # a sensor's noise that nothing but development has changed
    "gaussian": 0.24,  # white Gaussian, neither clipped nor rounded
    "clipped": 0.12,  # white Gaussian in an 8-bit file
    "correlated": 0.12,  # smoothed, resampled Gaussian in an 8-bit file
    "textbook": 0.07,  # Poisson, per-channel, and grey photos
    "clean": 0.05,  # nothing but perhaps a JPEG
}
MAX_SIGMA = 55 / 255
SOFT, SOFT_SHARE, SOFTEST = ("camera", "raw", "correlated", "clean"), 0.7, (1.3, 4.0)
"""Kinds whose patches are made soft, the share of them, and how far they are enlarged for that.

Photos in a camera's own size are soft: at a quarter of a cycle per pixel the truths of `nam` have
39 dB less power than at a sixteenth and below, those of `polyu` 31 dB, training photos, which were
made smaller, 25 dB. A net that has seen only these takes mild, correlated noise for texture: it had
41.7 and 37.7 dB on the two sets, and 42.0 and 37.9 dB after ten minutes with soft, clean patches
(see `args.Recipe.patches`), told the level as it reads it and not more."""


class Degradation:
    """Draws noisy versions of clean patches.

    Args:
        mix: share of each of `KINDS`; missing kinds have none, {} means `DEFAULT_MIX`.
        seed: of every choice.
        soft: whether patches of the kinds `SOFT` are made soft; then the target is a part of the
            clean patch, enlarged.

    Raises:
        ValueError: an unknown kind, or shares below 0 or that do not add up to 1.
    """

    def __init__(
        self, mix: Mapping[str, float] | None = None, seed: int = 0, soft: bool = True
    ) -> None:
        self.mix = dict(mix or DEFAULT_MIX)
        total = sum(self.mix.values())
        adds_up = abs(total - 1) <= 1e-6 and min(self.mix.values()) >= 0
        if set(self.mix) - set(KINDS) or not adds_up:
            raise ValueError(f"the mix must give shares of {', '.join(KINDS)} that add up to 1")
        if total > 1:  # by a rounding
            self.mix = {kind: share / total for kind, share in self.mix.items()}
        self.soft = soft
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Degrade a batch.

        Args:
            clean: (N, 3, H, W) in [0, 1].

        Returns:
            (noisy, target), both (N, 3, H, W); the target is the clean patch as the camera would
            have shown it (darker where the scene was dark).
        """
        noisy, target = torch.empty_like(clean), clean.clone()
        counts = self.rng.multinomial(len(clean), [self.mix.get(k, 0.0) for k in KINDS])
        start = 0
        for kind, count in zip(KINDS, counts, strict=True):
            # In groups of at most 8, which share the choices that cost time (kernel, scale).
            for offset in range(start, start + int(count), 8):
                part = slice(offset, min(offset + 8, start + int(count)))
                shown = self._soft(clean[part]) if self.soft and kind in SOFT else clean[part]
                noisy[part], target[part] = getattr(self, f"_{kind}")(shown)
            start += int(count)
        return noisy, target

    # -- kinds ---------------------------------------------------------------------------------

    def _camera(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        count = len(clean)
        curve = ToneCurve(*(self._uniform(count, *ends) for ends in CURVES))
        gains = torch.cat([self._uniform(count, lo, hi) for lo, hi in WHITE_BALANCE], 1)
        target = clean
        if self.rng.random() < 0.35:  # a dark scene
            target = clean * self._log_uniform(count, 0.12, 0.8)
        linear = curve.light(target)

        shot = self._log_uniform(count, 5e-5, 0.02)
        jitter = self._normal((count, 1, 1, 1)) * 0.26
        read = torch.exp(2.18 * torch.log(shot) + 1.20 + jitter)
        scale = self._scale(0.3, 1.0, 1.9)
        signal = linear if scale == 1.0 else _resize(linear, scale)
        raw = signal / gains
        sigma = (shot * raw + read).clamp(min=0).sqrt()
        if self.rng.random() < 0.8:
            turned = self._turn()
            noise = self._normal(tuple(sigma[:, :1].shape)) * mosaic(sigma.flip(turned))
            interpolate = gradient_corrected if self.rng.random() < 0.5 else bilinear
            noise = interpolate(noise).flip(turned)
        else:  # already reduced by at least two, or a three-layer sensor
            noise = self._normal(tuple(sigma.shape)) * sigma
        noise = _mix_channels(noise * gains, self._uniform(count, 0.0, 0.35))
        if scale != 1.0:
            noise = F.interpolate(noise, clean.shape[-2:], mode="bilinear", align_corners=False)
        black = self._uniform(count, 0.0, 0.004) if self.rng.random() < 0.3 else 0.0
        residual = self._in_camera(curve.shown(linear + noise - black) - target, target)
        strongest = residual.square().mean((1, 2, 3), keepdim=True).sqrt()
        residual = residual * (MAX_SIGMA / strongest.clamp(min=MAX_SIGMA))
        return self._as_file(target + residual, jpeg=0.75), target

    def _raw(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Dark scenes mostly, as phones' raw files show them: no smoothing, cut off at black."""
        count, turned = len(clean), self._turn()
        gamma = self._uniform(count, 1.9, 2.5)
        gains = torch.cat([self._uniform(count, lo, hi) for lo, hi in WHITE_BALANCE], 1)
        target = clean * self._log_uniform(count, 0.15, 1.0)
        linear = target.clamp(min=1e-4) ** gamma
        shot = self._log_uniform(count, 3e-4, 0.03)
        read = torch.exp(2.18 * torch.log(shot) + 1.20 + self._normal((count, 1, 1, 1)) * 0.26)
        signal = mosaic((linear / gains).flip(turned))
        noise = (shot * signal + read).sqrt() * self._normal(tuple(signal.shape))
        if self.rng.random() < 0.6:
            noise = (signal + noise).clamp(min=0) - signal
        full = (gradient_corrected if self.rng.random() < 0.6 else bilinear)(noise).flip(turned)
        full = _mix_channels(full * gains, self._uniform(count, 0.0, 0.7))
        if self.rng.random() < 0.25:
            full = full + 0.7 * (_blur(full, 1, 1) - full)
        developed = (linear + full).clamp(0, 1) ** (1 / gamma)
        return self._as_file(developed, jpeg=0.3), target

    def _turn(self) -> list[int]:
        """Dimensions to flip, so that a mosaic begins with any of its four colours."""
        return [dim for dim in (2, 3) if self.rng.random() < 0.5]

    def _in_camera(self, noise: Tensor, shown: Tensor) -> Tensor:
        """Chroma smoothed more than luma, and edges less than what is flat, as cameras do."""
        luma = noise.mean(1, keepdim=True)
        chroma = noise - luma
        if self.rng.random() < 0.95:
            radius = int(self.rng.choice([1, 2, 3, 4], p=[0.15, 0.3, 0.3, 0.25]))
            chroma = _blur(chroma, radius, 1 if self.rng.random() < 0.35 else 2)
            chroma = chroma * float(self.rng.uniform(0.6, 1.8))
        if self.rng.random() < 0.85:
            weight = float(self.rng.uniform(0.1, 0.9))
            luma = luma + weight * (_blur(luma, 1, 1) - luma)
        smoothed = luma + chroma
        if self.rng.random() < 0.5:
            flat = 1 - _edges(shown, self._log_uniform(len(noise), 1 / 255, 12 / 255))
            smoothed = smoothed * (1 - float(self.rng.uniform(0.1, 0.8)) * flat)
        return smoothed

    def _gaussian(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        return clean + self._white(clean), clean

    def _clipped(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        return self._as_file(clean + self._white(clean), jpeg=0.15), clean

    def _cut(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """White noise in an 8-bit file, whose mean is kept: `clipping.undo` finds what was there.

        A net that is to find that too, from `clipped`, learns something between the two, which is
        then taken for the mean. A large part of 4 levels in noise of 40 (18.0 in the file) came out
        at 8.4 with a net of 27500 steps, at 13.6 after 17500 more with a third of `clipped`, and at
        5.7 after another 3000 with two fifths of this.
        """
        sigma = self._uniform(len(clean), 1e-3, MAX_SIGMA)
        noisy = self._as_file(clean + sigma * self._normal(tuple(clean.shape)), jpeg=0.15)
        means = []
        for level, patch in zip(sigma.flatten().tolist(), clean, strict=True):
            known = clipping.cut(level)
            means.append(torch.from_numpy(np.interp(patch.numpy(), known.scale, known.mean)))
        return noisy, torch.stack(means).to(clean.dtype)

    def _correlated(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        count, side = len(clean), clean.shape[-1]
        sigma = self._log_uniform(count, 1 / 255, 30 / 255)
        small = -(-side // self._scale(0.4, 1.0, 2.0))
        noise = self._normal((count, 3, int(small), int(small)))
        shared = self._uniform(count, 0.0, 0.4)
        noise = (1 - shared) ** 0.5 * noise + shared**0.5 * noise[:, 1:2]
        noise = F.interpolate(noise, (side, side), mode="bilinear", align_corners=False)
        noise = self._in_camera(noise, clean)
        noise = noise / noise.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)
        strength = sigma * (0.4 + self._uniform(count, 0.3, 2.0) * _middle(clean))
        return self._as_file(clean + strength * noise, jpeg=0.6), clean

    def _grain(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of any breadth, other along rows than along columns, and blotches of colour.

        Film has it, and photos at high sensitivity that a camera or a program smoothed its own way.
        """
        count = len(clean)
        shape = tuple(clean.shape)
        luma = self._broad((count, 1, *shape[2:]), *LUMA_BREADTH)
        chroma = self._broad(shape, *CHROMA_BREADTH)
        chroma = chroma - chroma.mean(1, keepdim=True)
        noise = luma + self._log_uniform(count, 0.2, 1.5) * chroma
        noise = noise + self._uniform(count, 0.0, 0.3) * self._normal(shape)
        noise = noise / noise.square().mean((1, 2, 3), keepdim=True).sqrt()
        strength = self._uneven(clean)
        sigma = self._log_uniform(count, 1.5 / 255, 26 / 255)
        return self._as_file(clean + sigma * strength * noise, jpeg=0.6), clean

    def _broad(self, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        """White noise through Gaussians of `low` to `high` pixels; its standard deviation is 1."""
        margin = 24  # what comes out of a transform goes on at the opposite side
        height, width = (side + margin for side in shape[2:])
        down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
        breadth = self._log_uniform(shape[0], low, high)
        stretch = self._log_uniform(shape[0], 0.6, 1 / 0.6)
        rows, columns = breadth * stretch, breadth / stretch
        gain = torch.exp(-2 * np.pi**2 * ((rows * down) ** 2 + (columns * across) ** 2))
        white = self._normal((*shape[:2], height, width))
        found: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(height, width))
        lines = torch.full_like(across, 2.0)  # all but the first, and the last of an even number,
        lines[:, 0] = 1.0  # stand for two frequencies
        if width % 2 == 0:
            lines[:, -1] = 1.0
        power = (gain.square() * lines).sum((2, 3), keepdim=True) / (height * width)
        return found[..., : shape[2], : shape[3]] / power.sqrt()

    def _textbook(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        kind = self.rng.integers(3)
        count = len(clean)
        if kind == 0:
            peak = self._log_uniform(count, 15, 1500)
            noisy = torch.poisson(clean * peak, generator=self.generator) / peak
        elif kind == 1:
            sigma = torch.cat([self._log_uniform(count, 1 / 255, 50 / 255) for _ in range(3)], 1)
            noisy = clean + sigma * self._normal(tuple(clean.shape))
        else:  # a grey photo: three equal channels, picture and noise
            clean = clean.mean(1, keepdim=True).expand_as(clean)
            sigma = self._log_uniform(count, 1 / 255, 50 / 255)
            noise = self._normal((count, 1, *clean.shape[2:]))
            if self.rng.random() < 0.4:
                noise = _blur(noise, 1, 1) * 2.5
            noisy = clean + sigma * noise
        return (self._as_file(noisy, jpeg=0.2) if self.rng.random() < 0.7 else noisy), clean

    def _clean(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        file = self._as_file(clean, jpeg=0.5)
        return file, file

    def _colour(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """What a first look leaves, in a photo made smaller: in colours more than in brightness."""
        count = len(clean)
        noise = self._normal(tuple(clean.shape))
        luma = noise.mean(1, keepdim=True)
        noise = noise - luma * (1 - self._uniform(count, 0.1, 1.0))
        if self.rng.random() < 0.6:
            noise = noise + self._uniform(count, 0.0, 0.8) * (_blur(noise, 1, 1) - noise)
        noise = noise * self._uneven(clean)
        noise = noise / noise.square().mean((1, 2, 3), keepdim=True).sqrt()
        return clean + self._log_uniform(count, 0.5 / 255, 14 / 255) * noise, clean

    # -- parts ---------------------------------------------------------------------------------

    def _soft(self, clean: Tensor) -> Tensor:
        """A part of each patch, enlarged to the side of the patch."""
        if self.rng.random() >= SOFT_SHARE:
            return clean
        side = clean.shape[-1]
        scale = float(np.exp(self.rng.uniform(*np.log(SOFTEST))))
        inner = int(np.ceil(side / scale))
        top, left = (int(v) for v in self.rng.integers(0, side - inner + 1, 2))
        part = clean[..., top : top + inner, left : left + inner]
        mode = "bicubic" if self.rng.random() < 0.7 else "bilinear"
        return F.interpolate(part, (side, side), mode=mode, align_corners=False).clamp(0, 1)

    def _uneven(self, clean: Tensor) -> Tensor:
        """How strong noise is at each brightness, as a share of the most: from even to a third."""
        return 1 - self._uniform(len(clean), 0.0, 0.7) * (1 - _middle(clean))

    def _white(self, clean: Tensor) -> Tensor:
        sigma = self._uniform(len(clean), 0.0, MAX_SIGMA)
        return sigma * self._normal(tuple(clean.shape))

    def _as_file(self, picture: Tensor, jpeg: float) -> Tensor:
        """Clipped and rounded to 8 bits, and with the given probability through a JPEG."""
        levels = picture.clamp(0, 1).mul(255).round()
        if self.rng.random() >= jpeg:
            return levels / 255
        dy, dx = (int(v) for v in self.rng.integers(0, 16, 2))  # where the 16-pixel grid falls
        count, _, height, width = levels.shape
        padded = F.pad(levels, (dx, -(width + dx) % 16, dy, -(height + dy) % 16), mode="reflect")
        tall = padded.permute(0, 2, 3, 1).reshape(-1, padded.shape[-1], 3)
        quality = int(
            self.rng.integers(84, 99) if self.rng.random() < 0.8 else self.rng.integers(65, 84)
        )
        buffer = io.BytesIO()
        Image.fromarray(tall.to(torch.uint8).numpy()).save(
            buffer, "jpeg", quality=quality, subsampling=2 if self.rng.random() < 0.75 else 0
        )
        decoded = torch.from_numpy(np.array(Image.open(buffer)))
        decoded = decoded.view(count, *padded.shape[2:], 3)[:, dy : dy + height, dx : dx + width]
        return decoded.permute(0, 3, 1, 2).float() / 255

    def _scale(self, chance: float, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high)) if self.rng.random() < chance else 1.0

    def _normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        return torch.rand((count, 1, 1, 1), generator=self.generator) * (high - low) + low

    def _log_uniform(self, count: int, low: float, high: float) -> Tensor:
        return torch.exp(self._uniform(count, float(np.log(low)), float(np.log(high))))


CURVES = ((1.7, 2.5), (1.2, 2.3), (1.2, 2.6))
"""Of the parameters of a `ToneCurve`."""
WHITE_BALANCE = ((1.4, 2.4), (1.0, 1.0), (1.3, 2.1))
"""Gains of red, green and blue that daylight and tungsten white balance use."""


LUMA_BREADTH, CHROMA_BREADTH = (0.3, 1.8), (0.6, 6.0)
"""Standard deviations in pixels of the Gaussians that make `grain` broad."""


def _middle(shown: Tensor) -> Tensor:
    """How much noise a tone curve makes of the same light noise, as a share of the most, 0..1."""
    bent = shown**0.66
    return 4 * bent * (1 - bent)


def _edges(shown: Tensor, strong: Tensor) -> Tensor:
    """Where a picture has edges, 0..1, (N, 1, H, W); 1/2 where neighbours differ by `strong`."""
    luma = F.pad(shown.mean(1, keepdim=True), (0, 1, 0, 1), mode="replicate")
    here = luma[..., :-1, :-1]
    rise = (luma[..., :-1, 1:] - here).abs() + (luma[..., 1:, :-1] - here).abs()
    rise = _blur(rise, 2, 1)
    return rise / (rise + strong)


def _mix_channels(noise: Tensor, amount: Tensor) -> Tensor:
    """A camera colour matrix: each channel minus some of the others, rows summing to one."""
    return noise * (1 + 1.5 * amount) - amount * noise.sum(1, keepdim=True) * 0.5


def _resize(picture: Tensor, scale: float) -> Tensor:
    side = [max(8, round(s / scale)) for s in picture.shape[-2:]]
    side = [s + s % 2 for s in side]  # whole mosaic cells
    return F.interpolate(picture, side, mode="bilinear", align_corners=False)


def _blur(picture: Tensor, radius: int, passes: int) -> Tensor:
    """`passes` box blurs of side 2 radius + 1, which keep the mean."""
    for _ in range(passes):
        padded = F.pad(picture, (radius,) * 4, mode="reflect")
        size = 2 * radius + 1
        rows = sum(padded[..., i : i + picture.shape[-2], :] for i in range(size))
        assert isinstance(rows, Tensor)
        total = sum(rows[..., i : i + picture.shape[-1]] for i in range(size))
        assert isinstance(total, Tensor)
        picture = total / size**2
    return picture


def statistics(noise: Tensor) -> dict[str, float]:
    """What distinguishes real camera noise from white noise.

    Args:
        noise: (N, 3, H, W) residuals, noisy minus clean.

    Returns:
        Standard deviation in levels of 255; correlation at lags 1 to 4 of luma (`luma1`..) and
        chroma (`chroma1`..); `red_green`, their correlation; `kurtosis` (3 for a Gaussian).
        Averages over patches.
    """
    noise = noise - noise.mean((2, 3), keepdim=True)
    luma = noise.mean(1, keepdim=True)
    chroma = torch.cat([noise[:, :1] - noise[:, 1:2], noise[:, 2:] - noise[:, 1:2]], 1)
    result = {"sigma": float(noise.std((1, 2, 3)).mean() * 255)}
    for name, plane in (("luma", luma), ("chroma", chroma)):
        power = plane.square().mean((1, 2, 3)).clamp(min=1e-12)
        for lag in range(1, 5):
            across = (plane[..., lag:] * plane[..., :-lag]).mean((1, 2, 3)) / power
            down = (plane[..., lag:, :] * plane[..., :-lag, :]).mean((1, 2, 3)) / power
            result[f"{name}{lag}"] = float((across + down).mean() / 2)
    red, green = noise[:, 0], noise[:, 1]
    joint = (red * green).mean((1, 2)) / (red.std((1, 2)) * green.std((1, 2)) + 1e-9)
    result["red_green"] = float(joint.mean())
    fourth = noise.pow(4).mean((1, 2, 3)) / noise.square().mean((1, 2, 3)).square().clamp(min=1e-18)
    result["kurtosis"] = float(fourth.median())
    return result
