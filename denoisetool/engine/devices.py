"""What this machine has to compute with: devices, their precisions, memory."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from denoisetool.errors import DeviceError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
NODES = {
    "cuda": ("/dev/nvidiactl", "/dev/dxg"),
    "hip": ("/dev/kfd",),
    "xpu": ("/dev/dri/renderD128", "/dev/dxg"),
}
"""Where Linux shows the drivers of the GPUs that torch can be built for."""
GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", ""),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
"""Where Linux tells of this process's control group, in version 2 and in version 1: the folder, the
files with its limit and its use, and what the names in `memory.stat` begin with."""
KEPT = 128 << 20
"""Bytes of the largest buffer whose memory is kept: more than any layer's; those of
large photos are not."""


def pick_device(wanted: str) -> tuple[str, str]:
    """The torch device for `--device`, and why.

    Raises:
        DeviceError: a device was named that this machine or this build of torch does not have.
    """
    import torch

    available = devices()
    if wanted == "auto":
        best = next(iter(available))
        names = {"cuda": "an NVIDIA or AMD GPU was found", "mps": "an Apple GPU was found",
                 "xpu": "an Intel GPU was found", "cpu": "no supported GPU was found"}  # fmt: skip
        return available[best], names[best]
    if wanted not in available:
        build = f"this is torch {torch.__version__}"
        raise DeviceError(
            f"no {wanted} device is available here ({build})",
            hint=f"available: {', '.join(available)}; or use --device auto",
        )
    return available[wanted], "as asked"


def devices() -> dict[str, str]:
    """Devices that are here, best first: kind to torch name."""
    import torch

    found = {}
    if torch.cuda.is_available():
        found["cuda"] = "cuda:0"
    if torch.backends.mps.is_available():
        found["mps"] = "mps"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        found["xpu"] = "xpu:0"
    found["cpu"] = "cpu"
    return found


def expected_gpu(wanted: str) -> str | None:
    """The kind of GPU that `pick_device` is likely to take; told at once, without torch.

    Args:
        wanted: `auto`, or a named device.

    Returns:
        `cuda` (AMD's too), `mps` or `xpu`; None for the CPU.
    """
    if wanted != "auto":
        return None if wanted == "cpu" else wanted
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else None
    built = _built_for()
    if os.name == "nt":
        driver = Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll"
        there = [kind for kind in built if kind == "xpu" or (kind == "cuda" and driver.exists())]
    else:
        there = [kind for kind in built if any(Path(node).exists() for node in NODES[kind])]
    return next(("xpu" if kind == "xpu" else "cuda" for kind in there), None)


def _built_for() -> set[str]:
    """Kinds of GPU that the installed torch was built for, from the file that says so."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return set()
    try:
        about = runpy.run_path(str(Path(torch.origin).with_name("version.py")))
    except OSError:  # a bundle has its modules in an archive; its torch is for CPUs
        return set()
    return {kind for kind in NODES if about.get(kind)}


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or Arm's BF16)."""
    import torch

    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        check = getattr(torch.cpu, name, None)
        if check is not None and check():
            return True
    if platform.machine().lower() in ("aarch64", "arm64") and sys.platform == "linux":
        return " bf16" in cpu_line()
    return False


def native_bf16(kind: str) -> bool:
    """Whether a kind of device, such as `cpu` or `cuda`, multiplies bfloat16 in hardware."""
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_has_bf16() if kind == "cpu" else kind == "xpu"


def free_memory() -> float:
    """Bytes of memory that can be had without swapping; a cautious guess where nobody tells.

    A control group's limit counts when it is lower than the machine's. Files that the system keeps
    in memory, such as photos that were read, are in the way of nobody.
    """
    free = 4e9
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = float(line.split()[1]) * 1024
    except OSError:
        return free
    for folder, limit, used, prefix in GROUPS:
        try:
            most = float(Path(folder, limit).read_text(encoding="ascii"))
            taken = float(Path(folder, used).read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such group, or one without a limit: "max"
            continue
        free = min(free, most - max(0, taken - _cached(Path(folder, "memory.stat"), prefix)))
    return max(free, 64e6)


def _cached(stat: Path, prefix: str) -> float:
    """Bytes of a control group that are files and go when the memory is wanted."""
    try:
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0
    names = (f"{prefix}inactive_file", f"{prefix}active_file")
    return sum(float(size) for name, size in lines if name in names)


def cpu_line() -> str:
    """What the system says this CPU can do."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return platform.processor()


def prepare() -> None:
    """Set what must be set before torch is loaded, and better before there are threads.

    Threads that wait for one another soon sleep instead of spinning, since decoding and encoding
    want those cores: 10 % of a batch's time on two of them. And the buffers between a net's layers
    are kept for the next layer instead of going back to the system page by page, which costs a
    seventh of a batch's time. (In huge pages, which begin at multiples of 4096 bytes, they fit into
    each other's places less often: a batch took 1.7 GB instead of 1.2, and 5 % more time.)
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # the GNU C library; other ones do as they like
            mallopt(M_ARENA_MAX, 1)
            mallopt(M_MMAP_THRESHOLD, KEPT)
            mallopt(M_TRIM_THRESHOLD, 4 * KEPT)


def load() -> None:
    """Import torch with the garbage collector at rest.

    Its hundred thousand objects stay for good; that they need not be looked through again and again
    saves a twentieth of the import and a hundredth of a batch.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
