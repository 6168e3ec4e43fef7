"""Running a net: device, precision, memory. The only inference code that imports torch.

    core.py      the engine: noisy tiles in, their noise out
    devices.py   what this machine has to compute with
    probes.py    what the precision probe found, remembered
    onnx.py      a model as a file for other programs

torch itself is imported when an engine is made, not when this package is.
"""

from denoisetool.engine.core import Choice, Engine, Float, OutOfMemoryError, check_model, load_net
from denoisetool.engine.devices import (
    devices,
    expected_gpu,
    free_memory,
    native_bf16,
    pick_device,
    prepare,
)

__all__ = [
    "Choice",
    "Engine",
    "Float",
    "OutOfMemoryError",
    "check_model",
    "devices",
    "expected_gpu",
    "free_memory",
    "load_net",
    "native_bf16",
    "pick_device",
    "prepare",
]
