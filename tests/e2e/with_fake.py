"""The command line with an engine that takes SECONDS a tile and no net: for tests of processes.

python -m tests.e2e.with_fake SECONDS ARGUMENTS...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import denoisetool.session
from denoisetool.cli import main
from denoisetool.errors import ModelError
from tests.e2e.fakes import PoisonedEngine, SlowEngine


def _engine(*given: object) -> SlowEngine:
    seconds = float(os.environ["FAKE_ENGINE_SECONDS"])
    broken = os.environ.get("FAKE_ENGINE_BROKEN")
    if broken is not None and Path(broken).exists():
        raise ModelError("the weights are damaged")
    poison = os.environ.get("FAKE_ENGINE_POISON")
    return SlowEngine(seconds, *given) if poison is None else PoisonedEngine(seconds, int(poison))


if __name__ == "__main__":
    os.environ["FAKE_ENGINE_SECONDS"] = sys.argv.pop(1)
if __name__ in {"__main__", "__mp_main__"}:  # the latter is this file in the worker of a watch
    vars(denoisetool.session)["Engine"] = _engine
if __name__ == "__main__":
    main()
