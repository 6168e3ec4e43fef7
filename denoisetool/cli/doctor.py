"""`denoisetool doctor`: what this machine can do, and proof that it does it right."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typer

from denoisetool import __version__, events
from denoisetool.cli import options
from denoisetool.cli.console import print_line
from denoisetool.errors import DenoiseError
from denoisetool.settings import folder, resolve

HEAVY = 150.0
"""kMAC per pixel from which a model is tried on a smaller picture."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: `ok` is None where there is nothing to pass or fail."""

    name: str
    result: str
    ok: bool | None = None


def doctor(json: options.Json = False) -> None:
    """Check this machine: versions, folders, codecs, models, devices, precision and speed."""
    failed = False
    for check in _checks():
        failed = failed or check.ok is False
        if json:
            print_line(events.record("check", name=check.name, ok=check.ok, result=check.result))
        else:
            mark = {True: "ok", False: "FAIL", None: "--"}[check.ok]
            print_line(f"{mark:5}{check.name:12} {check.result}")
    raise typer.Exit(1 if failed else 0)


def _checks() -> Iterator[Check]:
    yield Check("version", f"denoisetool {__version__}, Python {platform.python_version()}, "
                           f"{platform.system()} {platform.machine()}")  # fmt: skip
    yield _guarded("settings", _settings)
    for kind in ("config", "data", "cache", "state"):
        yield _guarded(kind, lambda kind=kind: _folder(kind))  # type: ignore[misc]
    yield _guarded("formats", _formats)
    yield from _models()


def _guarded(name: str, work: Callable[[], str]) -> Check:
    try:
        return Check(name, work(), ok=True)
    except DenoiseError as error:
        return Check(name, str(error), ok=False)
    except Exception as error:  # noqa: BLE001 - whatever is wrong here is what is asked for
        return Check(name, f"{type(error).__name__}: {error}", ok=False)


def _settings() -> str:
    resolved = resolve({})
    changed = [name for name, origin in resolved.origins.items() if origin != "default"]
    return f"changed: {', '.join(changed)}" if changed else "all defaults"


def _folder(kind: str) -> str:
    """Whether the folder can be written; it is not made if it is not there."""
    place = folder(kind)  # type: ignore[arg-type]
    there = next(p for p in (place, *place.parents) if p.exists())
    probe = there / f".denoisetool-write-test-{os.getpid()}"
    probe.write_bytes(b"x")
    probe.unlink()
    return f"{place} is writable" if there == place else f"{place} can be made when needed"


def _formats() -> str:
    """Write and read a small picture in every format and depth, and compare."""
    import io

    import numpy as np

    from denoisetool import formats
    from denoisetool.formats.base import EncodeOptions, Limits
    from denoisetool.photo import Photo

    rng = np.random.default_rng(0)
    done = []
    for adapter in formats.FORMATS:
        for depth in adapter.depths:
            if depth not in (8, 16):
                continue
            peak = 2**depth - 1
            smooth = np.linspace(0, peak, 48)[None, :, None] * np.ones((32, 1, 3))
            noisy = np.clip(smooth + rng.integers(0, 2, smooth.shape), 0, peak)
            pixels = noisy.astype(np.uint8) if depth == 8 else noisy.astype(np.uint16)
            photo = Photo(pixels, "memory", "RGB")
            out = io.BytesIO()
            adapter.encode(photo, out, EncodeOptions())
            back = formats.decode(out.getvalue(), Limits())
            error = np.abs(back.pixels.astype(float) - photo.pixels.astype(float)).mean()
            tolerance = 3 * peak / 255
            if back.pixels.shape != photo.pixels.shape or error > tolerance:
                raise ValueError(f"{adapter.name} {depth}-bit comes back changed")
            done.append(f"{adapter.name} {depth}")
    return ", ".join(done)


def _models() -> Iterator[Check]:
    from denoisetool.engine import devices
    from denoisetool.registry import Registry

    registry = Registry()
    entries = registry.list()
    if not entries:
        yield Check("models", "none is installed", ok=False)
        return
    import torch

    available = devices()
    threads = torch.get_num_threads()
    yield Check("torch", f"{torch.__version__}, {threads} threads; devices: {', '.join(available)}")
    for entry in entries:
        if entry.problem is not None:
            yield Check(entry.name, str(entry.problem), ok=False)
            continue
        yield _guarded(entry.name, lambda e=entry: _verified(registry, e))  # type: ignore[misc]
        for device in available:
            for precision in ("fp32", "auto"):
                name = f"{entry.name} {device}"
                yield _guarded(name, lambda e=entry, d=device, p=precision: _speed(e, d, p))  # type: ignore[misc]


def _verified(registry: object, entry: object) -> str:
    from denoisetool.registry import Entry, Registry

    assert isinstance(registry, Registry)
    assert isinstance(entry, Entry)
    registry.verify(entry)
    return f"{entry.origin}, weights are the ones the card speaks of"


def _speed(entry: object, device: str, precision: str) -> str:
    """Denoise a rendered picture whose truth is known; it must get better, and tiles must agree.

    A model that enlarges must come closer to the truth than the bicubic enlargement.
    """
    import numpy as np

    from denoisetool import bicubic, metrics
    from denoisetool.denoiser import Denoiser
    from denoisetool.engine import Engine
    from denoisetool.photo import Photo
    from denoisetool.registry import Entry

    assert isinstance(entry, Entry)
    engine = Engine(entry.card, entry.folder, device, precision, folder("cache"))
    side = 768 if entry.card.kmac_per_pixel < HEAVY else 256
    scale = entry.card.scale
    noise = np.random.default_rng(0).normal(0, 20, (side, side, 3))
    noisy = np.clip(np.rint(_rendered(side) + noise), 0, 255).astype(np.uint8)
    clean, before = _rendered(side, scale), bicubic.enlarged(noisy, scale, 255)
    results = []
    seconds = 0.0
    for tile in (4096, side // 2):
        photo = Photo(noisy.copy(), "png", "RGB")
        started = time.perf_counter()
        Denoiser(engine, tile=tile).denoise(photo)
        seconds = time.perf_counter() - started if tile == 4096 else seconds
        results.append(photo.pixels.astype(float))
    gain = metrics.psnr(results[0], clean) - metrics.psnr(before, clean)
    seam = float(np.abs(results[0] - results[1]).max())
    text = f"{engine.choice.precision}: {side * side / 1e6 / seconds:.2f} MP/s, +{gain:.1f} dB, "
    text += f"tiles differ by at most {seam:g} levels"
    if gain < 6 or seam > (1 if engine.choice.precision == "fp32" else 4):
        raise ValueError(text)
    return text


def _rendered(side: int, scale: int = 1) -> Any:
    """A smooth picture of whole levels, (scale side, scale side, 3), the same in every scale."""
    import numpy as np

    place = ((np.arange(scale * side) + 0.5) / scale - 0.5) / (side - 1)
    rows, columns = np.meshgrid(place, place, indexing="ij")
    picture = np.stack([rows, columns, 0.5 + 0.5 * np.sin(20 * rows * columns)], 2)
    return np.rint(255 * picture.clip(0, 1))
