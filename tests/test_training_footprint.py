from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from denoisetool import nets
from denoisetool.training import footprint
from denoisetool.training.footprint import counted_bytes, peak_bytes

NET = {"depth": 4, "width": 16, "batch_norm": False}


@pytest.mark.parametrize("width", [16, 40])
def test_two_maps_of_features_are_alive_at_the_worst_moment(width: int) -> None:
    net = nets.build("dncnn", NET | {"width": width})
    maps, tile = 2 * 4 * width, 4 * 3
    assert maps + tile <= counted_bytes(net) <= maps + 2 * tile + 1
    assert counted_bytes(net, side=24) == pytest.approx(counted_bytes(net), rel=0.01)


def test_a_larger_result_counts() -> None:
    shape: dict[str, Any] = {"width": 4, "blocks": 1, "kernel": 3, "upsampling": "direct"}
    bytes_of = [counted_bytes(nets.build("srresnet", shape | {"scale": s})) for s in (1, 4)]
    assert bytes_of[1] >= bytes_of[0] + 15 * 3 * 4  # sixteen pixels for one


def test_a_process_that_takes_more_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = counted_bytes(nets.build("dncnn", NET))
    small, large = (side**2 for side in footprint.SIDES)
    asked: list[list[str]] = []

    def grown(by: float) -> Any:
        def run(command: list[str], **_: Any) -> Any:
            asked.append(command)
            pixels = small if command[-1] == str(footprint.SIDES[0]) else large
            return SimpleNamespace(stdout=str(int(1e8 + by * pixels)).encode())

        return run

    monkeypatch.setattr(subprocess, "run", grown(5 * counted))
    assert peak_bytes("dncnn", NET) == pytest.approx(5 * counted, rel=0.001)
    assert json.loads(asked[0][-2]) == NET
    monkeypatch.setattr(subprocess, "run", grown(counted / 2))
    assert peak_bytes("dncnn", NET) == counted

    def fails(*_: Any, **__: Any) -> Any:
        raise subprocess.CalledProcessError(-9, "python")

    monkeypatch.setattr(subprocess, "run", fails)
    assert peak_bytes("dncnn", NET) == counted


def test_the_child_tells_how_large_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    if not footprint.STATUS.exists():
        return
    threads = torch.get_num_threads()
    footprint._child("dncnn", json.dumps(NET), "64")
    torch.set_num_threads(threads)
    assert int(capsys.readouterr().out) > 50e6
