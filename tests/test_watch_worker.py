"""What the worker's process makes of a task, without the process."""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from denoisetool import files
from denoisetool.pipeline import Job
from denoisetool.watch import worker as module
from denoisetool.watch.worker import Task

TARGET = "a.out"


@pytest.fixture
def index(tmp_path: Path) -> files.Index:
    """An index that knows of one output."""
    source, target = tmp_path / "a.jpg", tmp_path / TARGET
    source.write_bytes(b"old")
    target.write_bytes(b"made")
    found = files.Index.open(tmp_path / "state")
    found.intend(
        target, source=source, identity=files.identify(source), fingerprint="f", size=4,
        digest=files.digest(b"made"),
    )  # fmt: skip
    found.confirm(target)
    return found


def judge(index: files.Index, place: Path, name: str = "a.jpg") -> Any:
    pipeline = SimpleNamespace(fingerprint="f")
    server = module._Server(
        cast("Any", None), queue.SimpleQueue(), threading.Event(), index,
        lambda *_: cast("Any", pipeline),
    )  # fmt: skip
    return server._judge(Task("do", 1, place / name, place / TARGET, own=True))


def test_what_is_done_is_skipped(index: files.Index, tmp_path: Path) -> None:
    outcome = judge(index, tmp_path)
    assert (outcome.status, outcome.reason) == ("skipped", "already done")
    assert outcome.digest == files.digest(b"old").hex()


def test_new_content_between_two_looks_is_work(
    index: files.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identify(path: Path) -> files.Identity:
        path.write_bytes(b"something new")
        return files.identify(path)

    monkeypatch.setattr(module, "files", SimpleNamespace(**{**vars(files), "identify": identify}))
    assert isinstance(judge(index, tmp_path), Job)


def test_new_content_of_equal_size_and_time_is_work(index: files.Index, tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    status = source.stat()
    source.write_bytes(b"new")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    job = judge(index, tmp_path)
    assert isinstance(job, Job)
    assert job.overwrite


def test_the_output_of_another_photo_is_not_replaced(index: files.Index, tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"another")
    outcome = judge(index, tmp_path, "b.jpg")
    assert (outcome.status, outcome.error) == ("failed", "OutputExists")
