"""A disk that fills up in the middle of a batch: a small one, mounted for this process alone."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import pictures, processes

MOUNT = "mount -t tmpfs -o size=100k none {disk} && "


def on_a_small_disk(script: str, disk: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT.format(disk=disk) + script],
        capture_output=True, text=True, check=False, timeout=processes.LIMIT,
        cwd=processes.ROOT, env=processes.environment(home),
    )  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    place = tmp_path / "disk"
    place.mkdir()
    try:
        ready = on_a_small_disk("true", place, tmp_path).returncode == 0
    except FileNotFoundError:
        ready = False
    if not ready:
        pytest.skip("nothing may be mounted here")
    return place


def test_a_report_on_a_full_disk_costs_no_photo(disk: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(30):
        (photos / f"{number:02}.png").write_bytes(pictures.png(seed=number))
    report = str(disk / "report.html")
    words = [sys.executable, "-W", "error", *processes.fake(), str(photos), "-o", str(out)]
    script = f"{shlex.join([*words, '--report', report])}; echo code $?; ls -A {disk} | wc -l"
    ran = on_a_small_disk(script, disk, tmp_path / "home")

    assert ran.stdout.split() == ["code", "6", "0"], ran.stderr
    assert f"error: {report}: the disk is full (the photos are done and kept" in ran.stderr
    assert "30 done" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert len(processes.finished(out)) == 30


def test_a_full_disk_ends_the_run_and_leaves_only_whole_files(disk: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        (photos / f"{number:02}.png").write_bytes(pictures.png(seed=number))
    words = [sys.executable, *processes.fake(), str(photos), "-o", str(disk / "out"), "--json"]
    script = f"{shlex.join(words)}; echo code $?; find {disk} -type f; cp -r {disk} {tmp_path}/seen"
    ran = on_a_small_disk(script, disk, tmp_path / "home")

    lines = ran.stdout.splitlines()
    position = next(i for i, line in enumerate(lines) if line.startswith("code "))
    assert lines[position] == "code 6", ran.stderr
    events = [json.loads(line) for line in lines[:position]]
    outcomes = [event for event in events if event["event"] == "photo"]
    assert {event["error"] for event in outcomes} == {None, "DiskFull"}
    assert "free some space" in next(e["reason"] for e in outcomes if e["error"])
    summary = events[-1]
    assert (summary["exit_code"], summary["interrupted"]) == (6, False)
    assert summary["left"] > 0
    assert summary["done"] > 0
    assert summary["done"] + summary["failed"] + summary["left"] == 30
    assert "the disk is full: free some space" in ran.stderr
    seen = [p for p in (tmp_path / "seen").rglob("*") if p.is_file()]
    assert len(seen) == summary["done"]
    for path in seen:
        assert pictures.upright(path).shape == (48, 64, 3)
    assert len(list(photos.iterdir())) == 30
