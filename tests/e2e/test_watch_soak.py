"""The short form of the soak; `python -m tests.e2e.soak 20` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.soak import Soak


@pytest.mark.parametrize("words", [(), ("--poll", "0.5")], ids=["events", "polling"])
def test_nothing_missed_nothing_twice_nothing_half_written(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    report = Soak(tmp_path, 12.0, burst=300, kill_every=3.0, words=words).run()
    assert report["wrong"] == []
    assert sum(report["kills"].values()) >= 1, report
    assert report["ledger"]["done"] >= 600, report
    assert report["habits"]["over_old"] >= 1, report
