"""A command line that fine-tunes in no time: `python -m tests.fake_finetune finetune DIR --json`.

What is in DIR decides how it goes: a file called `refused`, `slow`, `crash` or `error`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from denoisetool.events import record


def main(words: list[str]) -> int:
    folder = Path(words[1])
    if (folder / "error").exists():
        print(record("error", kind="UsageError", what="there are no pairs", path=folder, hint="",
                     exit_code=2))  # fmt: skip
        return 2
    for scene, reason, held in (("a", None, False), ("b", "it moved", False), ("c", None, True)):
        photos = [str(folder / f"{scene}{number}.jpg") for number in (1, 2)]
        print(record("pair", scene=scene, photos=photos, taken=reason is None, reason=reason,
                     held_out=held, more="not known"))  # fmt: skip
    print(record("pairs", how="two photos of each scene", taken=2, rejected=1, supervised=False))
    print("a library says something")
    print(record("something_new", value=1), flush=True)
    if "--dry-run" in words:
        return 0
    for step in (0, 50):
        gain = None if step == 0 else 0.25
        print(record("finetuning", step=step, steps=100, gain_db=gain, eta_seconds=30.0))
    sys.stdout.flush()
    if (folder / "slow").exists():
        time.sleep(60)
    if (folder / "crash").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    installed = not (folder / "refused").exists()
    print(record("finetuned", installed=installed, name="mine", why="it is so", gain_db=0.4,
                 low_db=0.1, high_db=0.7, report=folder / "report.html"))  # fmt: skip
    return 0 if installed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
