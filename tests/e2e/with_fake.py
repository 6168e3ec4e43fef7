"""The command line with an engine that takes SECONDS a tile and no net: for tests of processes.

python -m tests.e2e.with_fake SECONDS ARGUMENTS...
"""

from __future__ import annotations

import sys

import denoisetool.session
from denoisetool.cli import main
from tests.e2e.fakes import SlowEngine


def _engine(*_: object) -> SlowEngine:
    return SlowEngine(SECONDS)


if __name__ == "__main__":
    SECONDS = float(sys.argv.pop(1))
    vars(denoisetool.session)["Engine"] = _engine
    main()
