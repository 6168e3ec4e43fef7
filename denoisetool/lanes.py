"""Work done side by side: each core takes a tile of its own, or a band of rows.

Two threads that share every operation wait for each other at the end of each; with a part of the
picture each they meet only at the photo's end. NumPy and PyTorch release the interpreter's lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class Lanes:
    """A few threads that are kept.

    Args:
        count: how many; with 1 all work is done by the caller.
        prepare: called once in each of the threads, before there is anything to do.
    """

    def __init__(self, count: int = 1, prepare: Callable[[], None] | None = None) -> None:
        self.count = max(1, count)
        self._pool = ThreadPoolExecutor(self.count, "lane", initializer=prepare)
        if prepare is not None and self.count > 1:
            all_there = threading.Barrier(self.count)
            wait([self._pool.submit(all_there.wait) for _ in range(self.count)])

    def each(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        """Call `work` with every item, in any order, and return when all are done.

        What does not fill the lanes, such as the last of three items for two, is done by the
        caller, who has the whole machine then. After an exception nothing new is begun, what is
        under way is waited for, and the exception is raised here. Nothing else holds it, so that
        the memory of the call that failed is free again as soon as it was handled.
        """
        shared = len(items) - len(items) % self.count if self.count > 1 else 0
        waiting = iter(items[:shared])  # each lane takes the next one when it is done with one

        def run() -> None:
            try:
                for item in waiting:
                    work(item)
            finally:
                deque(waiting, maxlen=0)

        futures = [self._pool.submit(run) for _ in range(min(shared, self.count))]
        try:
            for _ in map(Future.result, futures):
                pass
        finally:
            deque(waiting, maxlen=0)  # Ctrl-C
            wait(futures)
            futures.clear()  # else the exception, whose traceback has this frame, holds itself
        for item in items[shared:]:
            work(item)


CALLER = Lanes()
"""No threads at all."""
