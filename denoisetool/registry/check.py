"""Are these weights whole? The safetensors structure, and the sha256 with a memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from denoisetool.errors import ModelError

_MAX_HEADER = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
_RESERVED = {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(10))}


def is_safe_name(name: str) -> bool:
    """Whether `name` can be a model's name: a file name that is harmless on every system."""
    slug = re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name)
    return slug is not None and not name.endswith(".") and name.split(".")[0] not in _RESERVED


def weights_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, tensor name to dtype, shape and offsets.

    Only the header is read, and nothing in it can run code. Format: eight bytes of little-endian
    length, JSON of that length, then the tensors' bytes without gaps
    (https://github.com/huggingface/safetensors#format).

    Raises:
        ModelError: missing, unreadable, not safetensors, or truncated.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        _check_tensors(header, size - 8 - length)
    except FileNotFoundError as error:
        raise ModelError("the weights are missing", path=path) from error
    except OSError as error:
        raise ModelError(f"the weights cannot be read: {error.strerror}", path=path) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"the weights are not a whole safetensors file: {error}"
        raise ModelError(what, path=path, hint="get the model again") from error
    return dict(header)


def _check_tensors(header: Any, size: int) -> None:
    """Raise ValueError, TypeError or KeyError unless the tensors fill `size` bytes exactly."""
    if not isinstance(header, dict):
        raise TypeError("the header is not a table")
    spans = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        shape = tensor["shape"]
        if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            raise ValueError(f"tensor {name!r} has an impossible shape or place")
        if (end - begin) * 8 != math.prod(shape) * _BITS[tensor["dtype"]]:
            raise ValueError(f"tensor {name!r} has the wrong number of bytes")
        spans.append((begin, end))
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            raise ValueError("tensors overlap or leave gaps")
        reached = end
    if not spans or reached != size:
        raise ValueError(f"{reached} bytes of tensors announced, {size} there")


def sha256_of(path: Path) -> str:
    """Hex digest of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestMemory:
    """sha256 of files, computed again only when path, size or modification time changed.

    The memory is a convenience: when its file is damaged or cannot be written, digests are
    computed each time.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def digest(self, path: Path) -> str:
        """Hex digest of `path`. Raises OSError when that cannot be read."""
        status = path.stat()
        key, stamp = str(path.resolve()), [status.st_size, status.st_mtime_ns]
        known = self._read()
        if known.get(key, [])[:2] == stamp:
            return str(known[key][2])
        value = sha256_of(path)
        known = {k: v for k, v in self._read().items() if Path(k).exists()}
        self._write(known | {key: [*stamp, value]})
        return value

    def _read(self) -> dict[str, list[Any]]:
        try:
            data = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(data, dict):
            return {}
        return {k: v for k, v in data.items() if isinstance(v, list) and len(v) == 3}

    def _write(self, known: dict[str, list[Any]]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._file.parent, prefix=".sha256-")
        except OSError:
            return
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(known, file, indent=1)
            Path(name).replace(self._file)
        except OSError:
            Path(name).unlink(missing_ok=True)
