import base64
import io
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisetool import formats, server
from denoisetool.denoiser import Denoiser
from denoisetool.lanes import CALLER
from denoisetool.server.turns import LOOK, MEASURE, RUN, Aborted, SharedEngine, Turns, User
from tests import tiny
from tests.e2e import fakes, processes
from tests.fakes import ConstantEngine

LIMIT = 60.0


class Window:
    """A window's end of the two pipes, with the server in a thread."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._out = _Out()
        self.events = self._out.events
        self._number = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        server.serve(iter(self._lines.get, None), self._out)  # type: ignore[arg-type]

    def ask(self, request: str, **body: Any) -> int:
        self._number += 1
        line = {"request": request, "id": self._number, **body}
        self._lines.put(json.dumps(line).encode())
        return self._number

    def raw(self, line: bytes) -> None:
        self._lines.put(line)

    def wait(self, event: str, **keys: Any) -> dict[str, Any]:
        """The first event of a kind with these keys; fails if time runs out."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            for each in list(self.events):
                if each["event"] == event and all(each.get(k) == v for k, v in keys.items()):
                    return each
            time.sleep(0.005)
        raise AssertionError([event, keys, [e["event"] for e in self.events]])

    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


class _Out(io.RawIOBase):
    """Takes a few bytes at a time, as a pipe may."""

    def __init__(self) -> None:
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def write(self, data: Any) -> int:
        part = bytes(data[:5000])
        *lines, self._rest = (self._rest + part).split(b"\n")
        self.events += [json.loads(line) for line in lines]
        return len(part)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The engine waits for it; open at first."""
    import denoisetool.session

    opened = threading.Event()
    opened.set()
    engine = lambda *given: fakes.GatedEngine(lambda: _wait(opened), *given)  # noqa: E731
    monkeypatch.setattr(denoisetool.session, "Engine", engine)
    return opened


def _wait(opened: threading.Event) -> None:
    assert opened.wait(LIMIT)


@pytest.fixture
def window(home: Path, gate: threading.Event) -> Iterator[Window]:
    made = Window()
    yield made
    gate.set()
    made.close()


def test_a_run_is_what_the_command_does(window: Window, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "clean"
    before = {p: p.read_bytes() for p in photos.rglob("*") if p.is_file()}
    number = window.ask("run", photos=[str(photos)], output=f"{out}/", settings={"strength": 0.8})
    summary = window.wait("summary", request=number)
    assert (summary["done"], summary["failed"], summary["exit_code"]) == (3, 0, 0)
    assert {p.relative_to(out) for p in out.rglob("*.*")} == {
        Path("a.jpg"), Path("b.png"), Path("sub/c.jpg")
    }  # fmt: skip
    planned = {each["source"] for each in window.of("planned")}
    assert planned == {str(photos / n) for n in ("a.jpg", "b.png", "sub/c.jpg")}
    assert {each["source"] for each in window.of("progress")} == planned
    assert all(0 <= each["share"] <= 1 for each in window.of("progress"))
    assert {each["target"] for each in window.of("photo")} == {
        str(out / n) for n in ("a.jpg", "b.png", "sub/c.jpg")
    }  # fmt: skip
    assert window.wait("start")["device"] == "cpu"
    assert {p: p.read_bytes() for p in photos.rglob("*") if p.is_file()} == before

    again = window.ask("run", photos=[str(photos)], output=f"{out}/", settings={"strength": 0.8})
    assert window.wait("summary", request=again)["skipped"] == 3
    other = window.ask("run", photos=[str(photos)], output=f"{out}/", settings={"strength": 0.5})
    assert window.wait("summary", request=other)["failed"] == 3  # nothing is overwritten
    third = window.ask(
        "run", photos=[str(photos)], output=f"{out}/", settings={"strength": 0.5}, overwrite=True
    )
    assert window.wait("summary", request=third)["done"] == 3
    assert len(window.of("start")) == 1  # the model was loaded once


def test_what_was_taken_out_of_the_queue_is_left_out(
    window: Window, photos: Path, tmp_path: Path
) -> None:
    number = window.ask(
        "run", photos=[str(photos)], output=f"{tmp_path}/clean/", without=[str(photos / "b.png")]
    )
    assert window.wait("summary", request=number)["done"] == 2
    assert not (tmp_path / "clean" / "b.png").exists()


def test_pause_holds_the_run_and_stop_finishes_the_photo_in_hand(
    window: Window, gate: threading.Event, photos: Path, tmp_path: Path
) -> None:
    gate.clear()
    number = window.ask("run", photos=[str(photos)], output=f"{tmp_path}/clean/")
    window.wait("start")
    window.ask("pause", on=True)
    window.ask("models")
    window.wait("models")  # so the pause was heard
    gate.set()
    time.sleep(0.2)
    held = len(window.of("photo"))
    assert held < 3
    window.ask("pause", on=False)
    window.wait("photo", status="done")
    window.ask("stop")
    summary = window.wait("summary", request=number)
    assert summary["done"] >= 1
    assert summary["done"] + summary["left"] == 3
    assert summary["interrupted"] == (summary["left"] > 0)
    assert not processes.leftovers(tmp_path)


def test_abort_ends_a_paused_run_at_once(
    window: Window, gate: threading.Event, photos: Path, tmp_path: Path
) -> None:
    gate.clear()
    number = window.ask("run", photos=[str(photos)], output=f"{tmp_path}/clean/")
    window.wait("start")
    window.ask("pause", on=True)
    window.ask("abort")
    window.ask("models")
    window.wait("models")
    gate.set()
    summary = window.wait("summary", request=number)
    assert summary["interrupted"]
    assert summary["left"] >= 2
    assert summary["failed"] == 0
    assert not processes.leftovers(tmp_path)


def test_one_run_at_a_time(
    window: Window, gate: threading.Event, photos: Path, tmp_path: Path
) -> None:
    gate.clear()
    first = window.ask("run", photos=[str(photos)], output=f"{tmp_path}/clean/")
    second = window.ask("run", photos=[str(photos)], output=f"{tmp_path}/clean/")
    assert "under way" in window.wait("error", request=second)["what"]
    gate.set()
    assert window.wait("summary", request=first)["done"] == 3


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"photos": ["nowhere.jpg"]}, None),
        ({"photos": []}, "NoInputError"),
        ({}, "UnexpectedError"),
        ({"photos": ["x"], "settings": {"strength": 7}}, "UsageError"),
        ({"photos": ["x"], "settings": {"model": "nosuch"}}, "ModelError"),
    ],
)
def test_what_is_wrong_with_a_run_is_told(
    window: Window, body: dict[str, Any], error: str | None
) -> None:
    number = window.ask("run", **body)
    if error is None:
        assert window.wait("photo", request=number)["error"] == "UnreadablePhoto"
        assert window.wait("summary", request=number)["exit_code"] == 3
        return
    told = window.wait("error", request=number)
    assert told["kind"] == error
    assert told["about"] == "run"
    window.ask("models")
    assert "fast" in [model["name"] for model in window.wait("models")["models"]]  # it lives


def test_nonsense_is_answered_and_survived(window: Window) -> None:
    for line in (b"not json\n", b"[1]\n", b'{"request": "dance"}\n', b"{}\n"):
        window.raw(line)
    window.ask("models")
    window.wait("models")
    assert len(window.of("error")) == 4


def _pixels(reply: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    shape = (reply["height"], reply["width"], reply["channels"])
    return np.frombuffer(base64.b64decode(reply["data"]), np.uint8).reshape(shape)


def test_a_preview_becomes_exactly_what_a_run_writes(
    window: Window, photos: Path, tmp_path: Path
) -> None:
    photo, settings = photos / "b.png", {"strength": 0.7, "luma": 0.5}
    size = formats.read(photo)
    first = window.ask("preview", photo=str(photo), part=[0, 0, 99999, 99999], settings=settings)
    reply = window.wait("preview", request=first)
    assert reply["part"] == [0, 0, size.width, size.height]
    window.wait("measured", photo=str(photo))
    second = window.ask("preview", photo=str(photo), part=[3, 5, 40, 30], settings=settings)
    reply = window.wait("preview", request=second)
    assert reply["exact"]
    assert reply["noise"] > 0
    run = window.ask("run", photos=[str(photo)], output=f"{tmp_path}/clean/", settings=settings)
    window.wait("summary", request=run)
    made = formats.read(tmp_path / "clean" / "b.png").pixels
    np.testing.assert_array_equal(_pixels(reply), made[5:35, 3:43])
    reduced = window.ask(
        "preview", photo=str(photo), part=[0, 0, 40, 30], reduce=4, settings=settings
    )
    assert _pixels(window.wait("preview", request=reduced)).shape == (8, 10, made.shape[2])


def test_a_preview_of_a_model_that_enlarges_is_as_detailed_as_can_be_seen(
    window: Window, photos: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoisetool.server import previews

    tiny.upscaler(home / "data" / "models" / "upscale-x4", 4)
    photo, settings = photos / "b.png", {"scale": 4, "color_lock": False}
    run = window.ask("run", photos=[str(photo)], output=f"{tmp_path}/big/", settings=settings)
    window.wait("summary", request=run)
    assert window.wait("photo", request=run)["width"] == 4 * formats.read(photo).width
    made = formats.read(tmp_path / "big" / "b.png").pixels
    words: dict[str, Any] = {"photo": str(photo), "part": [4, 8, 40, 30], "settings": settings}
    for more, shape in (
        ({"enlarge": 4}, (120, 160)), ({"enlarge": 2}, (60, 80)), ({}, (30, 40)),
        ({"reduce": 4}, (8, 10)),
    ):  # fmt: skip
        reply = window.wait("preview", request=window.ask("preview", **words, **more))
        assert _pixels(reply).shape == (*shape, made.shape[2])
        assert (reply["scale"], reply["noise"], reply["exact"]) == (4, None, False)
        assert reply["part"] == words["part"]
    reply = window.wait("preview", request=window.ask("preview", **words, enlarge=4))
    np.testing.assert_array_equal(_pixels(reply), made[32:152, 16:176])
    monkeypatch.setattr(previews, "QUICK_ENLARGED", 0.0001)
    words["part"] = [0, 0, 40, 40]
    reply = window.wait("preview", request=window.ask("preview", **words))
    assert (reply["data"], reply["why"]) == (None, "too_large")
    assert not window.of("measured")
    words["settings"] = {"scale": 4, "strength": 1.5}
    error = window.wait("error", request=window.ask("preview", **words))
    assert "second pass" in error["what"]


def test_models_are_loaded_once_for_all_who_want_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import denoisetool.session
    from denoisetool.server.engines import Engines, session_for

    loaded: list[str] = []

    def load(*given: Any) -> fakes.IdentityEngine:
        loaded.append(given[0].name)
        return fakes.IdentityEngine(*given)

    monkeypatch.setattr(denoisetool.session, "Engine", load)
    tiny.upscaler(home / "data" / "models" / "upscale-x4", 4)
    engines, told = Engines(lambda event: told.append(event.model)), list[str]()
    turns = Turns()
    made = [
        engines.denoiser(session_for({"scale": scale}), User(turns, rank))
        for scale, rank in ((4, LOOK), (4, RUN), (1, LOOK), (1, RUN))
    ]
    assert loaded == ["upscale-x4", "fast"]
    assert told == ["upscale-x4"]
    first = made[1].first
    assert isinstance(first, Denoiser)
    assert isinstance(first.engine, SharedEngine)
    engines.denoiser(session_for({"scale": 4}), User(turns, LOOK))
    assert len(loaded) == 3  # the small one was kept


def test_large_parts_wait_for_the_whole_photo_and_too_large_ones_say_so(
    window: Window, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoisetool.server import previews

    monkeypatch.setattr(previews, "QUICK", 0.0001)
    photo, part = str(photos / "a.jpg"), [0, 0, 64, 64]
    first = window.ask("preview", photo=photo, part=part)
    assert window.wait("preview", request=first)["why"] == "later"
    window.wait("measured")
    second = window.ask("preview", photo=photo, part=part)
    assert window.wait("preview", request=second)["exact"]
    monkeypatch.setattr(previews, "KEPT", 0.0001)
    third = window.ask("preview", photo=str(photos / "b.png"), part=part)
    reply = window.wait("preview", request=third)
    assert (reply["why"], reply["data"]) == ("too_large", None)


def test_a_run_may_begin_as_the_going_through_the_photo_ends() -> None:
    from denoisetool.server.previews import Previews

    user = User(Turns(), MEASURE)

    class Ending(Previews):
        """Who goes through the photo ends right after it was asked who does."""

        _found: User | None = user

        @property
        def _measurer(self) -> User | None:
            found, self._found = self._found, None
            return found

        @_measurer.setter
        def _measurer(self, value: User | None) -> None:
            self._found = value

    previews = Ending.__new__(Ending)
    previews.rest()
    assert user.aborted


def test_a_preview_of_a_broken_photo_is_an_error_and_the_next_one_works(
    window: Window, photos: Path
) -> None:
    bad = photos / "bad.jpg"
    bad.write_bytes((photos / "a.jpg").read_bytes()[:300])
    for path in (bad, photos / "nowhere.jpg"):
        number = window.ask("preview", photo=str(path), part=[0, 0, 9, 9])
        assert window.wait("error", request=number)["about"] == "preview"
    number = window.ask("preview", photo=str(photos / "a.jpg"), part=[0, 0, 9, 9])
    assert window.wait("preview", request=number)["data"]


def test_loading_the_model_never_takes_the_place_of_a_preview(
    window: Window, gate: threading.Event, photos: Path
) -> None:
    gate.clear()
    ask = {"photo": str(photos / "a.jpg"), "part": [0, 0, 9, 9]}
    window.ask("preview", **ask)
    window.wait("start")  # it is under way, so the next ones wait
    number = window.ask("preview", **ask)
    window.ask("warm")
    window.ask("models")
    window.wait("models")
    gate.set()
    assert window.wait("preview", request=number)["data"]


def test_a_photo_that_was_changed_is_read_again(window: Window, photos: Path) -> None:
    photo = photos / "b.png"
    ask = {"photo": str(photo), "part": [0, 0, 32, 32], "settings": {"strength": 0}}
    first = _pixels(window.wait("preview", request=window.ask("preview", **ask)))
    photo.write_bytes((photos / "a.jpg").read_bytes())
    second = _pixels(window.wait("preview", request=window.ask("preview", **ask)))
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_a_preview_comes_between_the_tiles_of_a_run(
    window: Window, gate: threading.Event, photos: Path, tmp_path: Path
) -> None:
    gate.clear()
    run = window.ask("run", photos=[str(photos)], output=f"{tmp_path}/clean/")
    window.wait("start")
    look = window.ask("preview", photo=str(photos / "a.jpg"), part=[0, 0, 32, 32])
    gate.set()
    window.wait("preview", request=look)
    window.wait("summary", request=run)


def test_the_process_speaks_json_only_and_ends_with_its_window(home: Path, photos: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", *processes.fake(), "--worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=processes.ROOT,
        env=processes.environment(home),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"request": "models", "id": 1}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["event"] == "models"
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(LIMIT) == 0


# -- turns -----------------------------------------------------------------------------------------


def _holding(turns: Turns, user: User, order: list[int], go: threading.Event) -> threading.Thread:
    def work() -> None:
        with turns.turn(user):
            order.append(user.rank)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_whoever_looks_goes_before_a_run_and_a_run_before_the_rest() -> None:
    turns, order = Turns(), []  # type: ignore[var-annotated]
    go = threading.Event()
    with turns.turn(User(turns, RUN)):
        threads = [_holding(turns, User(turns, r), order, go) for r in (MEASURE, RUN, LOOK)]
        deadline = time.monotonic() + LIMIT
        while len(turns._waiting) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
    for thread in threads:
        thread.join(LIMIT)
    assert order == [LOOK, RUN, MEASURE]


def test_who_is_aborted_gets_no_turn_even_while_held() -> None:
    turns = Turns()
    user = User(turns, RUN)
    user.hold(True)
    ended: list[bool] = []

    def work() -> None:
        with pytest.raises(Aborted), turns.turn(user):
            pass
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    user.abort()
    thread.join(LIMIT)
    assert ended == [True]
    with turns.turn(User(turns, MEASURE)):  # nobody is in the way
        pass


def test_a_shared_engine_does_all_items_in_rounds() -> None:
    turns = Turns()
    shared = SharedEngine(ConstantEngine(0.5), User(turns, RUN))
    seen: list[int] = []
    shared.lanes.each(seen.append, range(7))
    assert seen == list(range(7))
    assert shared.lanes.count == CALLER.count
    assert float(shared.noise([np.zeros((8, 8, 3), np.float32)])[0].mean()) == 0.5
    assert (shared.kinds, shared.tile_side(), shared.batch) == ((), 1024, 1)
