"""The whole gate, in order: `python -m tests.gate`. Stops at the first step that fails.

The linters run first, since they take seconds; what is under test is always this folder's code.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent
STEPS = (
    [sys.executable, "-m", "ruff", "format", "--check", "."],
    [sys.executable, "-m", "ruff", "check", "."],
    [sys.executable, "-m", "mypy"],
    [str(TOOLS / "lint-imports"), "--no-cache"],
    [sys.executable, "-m", "pytest", *sys.argv[1:]],
)


def main() -> int:
    for step in STEPS:
        print("$", " ".join(Path(word).name for word in step), flush=True)
        code = subprocess.run(step, cwd=ROOT, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
