"""The short form of the soak; `python -m tests.e2e.soak 20` is the long one."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.soak import Soak


def test_nothing_missed_nothing_twice_nothing_half_written(tmp_path: Path) -> None:
    report = Soak(tmp_path, 15.0, burst=300, kill_every=3.0).run()
    assert report["wrong"] == []
    assert sum(report["kills"].values()) >= 1, report
    assert report["ledger"]["done"] >= 600, report
    assert report["habits"]["over_old"] >= 1, report
