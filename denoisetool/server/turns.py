"""One engine, several users: what is looked at first, then the run, then everything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from denoisetool.engine import Float
from denoisetool.finder import NoiseEstimator
from denoisetool.lanes import Lanes
from denoisetool.photo import Half

T = TypeVar("T")
LOOK, RUN, MEASURE = range(3)
"""Who goes first."""


class Aborted(BaseException):
    """Whoever works is to stop at once; no Exception, so that no photo is blamed."""


class Turns:
    """Lets one user at a time work, the first in rank first; a turn is about one tile a core."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: list[int] = []
        self._busy = False

    @contextmanager
    def turn(self, user: User) -> Iterator[None]:
        """Wait for a turn and have it. Raises Aborted."""
        with self._change:
            if not user.held:
                self._waiting.append(user.rank)
            ready = self._change.wait_for
            try:
                ready(lambda: user.aborted or (not user.held and self._may(user.rank)))
            finally:
                if user.rank in self._waiting:
                    self._waiting.remove(user.rank)
            if user.aborted:
                self._change.notify_all()
                raise Aborted
            self._busy = True
        try:
            yield
        finally:
            with self._change:
                self._busy = False
                self._change.notify_all()

    def _may(self, rank: int) -> bool:
        return not self._busy and all(rank <= other for other in self._waiting)

    def look_again(self) -> None:
        """Somebody was held, let go or aborted."""
        with self._change:
            self._change.notify_all()


class User:
    """Somebody who works with the engine.

    Args:
        turns: where to queue.
        rank: `LOOK`, `RUN` or `MEASURE`.

    Attributes:
        held: whether to pause; aborted: whether to end at once.
    """

    def __init__(self, turns: Turns, rank: int) -> None:
        self.turns, self.rank = turns, rank
        self.held = self.aborted = False

    def hold(self, on: bool) -> None:
        """Pause before the next turn, or go on."""
        self.held = on
        self.turns.look_again()

    def abort(self) -> None:
        """End before the next turn."""
        self.aborted = True
        self.turns.look_again()


class _TurnLanes(Lanes):
    """Lanes that wait for a turn before each round."""

    def __init__(self, inner: Lanes, user: User) -> None:
        self.count, self._inner, self._user = inner.count, inner, user

    def each(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        """Call `work` with every item, a round at a time."""
        for start in range(0, len(items), self.count):
            with self._user.turns.turn(self._user):
                self._inner.each(work, items[start : start + self.count])


class SharedEngine:
    """An engine as one of its users sees it; a `NoiseEstimator`."""

    def __init__(self, engine: NoiseEstimator, user: User) -> None:
        self._engine = engine
        self.card, self.kinds = engine.card, engine.kinds
        self.lanes: Lanes = _TurnLanes(engine.lanes, user)
        self.batch = engine.batch

    def noise(self, tiles: list[Float], kind: str | None = None) -> list[Half]:
        """See `Engine.noise`."""
        found = self._engine.noise(tiles, kind)
        self.batch = self._engine.batch
        return found

    def exact_noise(self, tile: Float, kind: str | None = None) -> Half:
        """See `Engine.exact_noise`."""
        return self._engine.exact_noise(tile, kind)

    def levels(self, tiles: list[Float], kind: str | None = None) -> list[Float]:
        """See `Engine.levels`."""
        return self._engine.levels(tiles, kind)

    def tile_side(self) -> int:
        """See `Engine.tile_side`."""
        return self._engine.tile_side()
