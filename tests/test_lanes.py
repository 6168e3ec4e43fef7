import gc
import threading
import time
import weakref

import pytest

from denoisetool.lanes import CALLER, Lanes


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 5, 6])
def test_every_item_is_done_once(count: int, items: int) -> None:
    done: list[int] = []
    Lanes(count).each(done.append, range(items))
    assert sorted(done) == list(range(items))


def test_items_are_done_at_the_same_time_in_prepared_threads() -> None:
    prepared: list[str] = []
    together = threading.Barrier(2, timeout=10)
    lanes = Lanes(2, lambda: prepared.append(threading.current_thread().name))
    assert len(prepared) == 2  # what they set for the whole process is settled

    def meet(_: int) -> None:
        together.wait()

    lanes.each(meet, range(4))
    assert len(set(prepared)) == 2


def test_what_does_not_fill_the_lanes_is_the_callers() -> None:
    names: dict[int, str] = {}
    Lanes(2).each(lambda i: names.update({i: threading.current_thread().name}), range(3))
    assert names[2] == threading.current_thread().name
    assert threading.current_thread().name not in (names[0], names[1])
    CALLER.each(lambda i: names.update({i: threading.current_thread().name}), range(2))
    assert names[0] == names[1] == threading.current_thread().name


def test_an_exception_ends_it_and_leaves_nothing_running() -> None:
    running, begun = threading.Semaphore(0), []

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise MemoryError
        running.release()

    lanes = Lanes(2)
    with pytest.raises(MemoryError):
        lanes.each(work, range(200))
    count = len(begun)
    assert count < 200
    lanes.each(lambda _: None, range(4))
    assert len(begun) == count


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_of_a_failed_call_is_kept_once_its_exception_was_handled(count: int) -> None:
    class Tensor:
        pass

    made: list[weakref.ref[Tensor]] = []
    together = threading.Barrier(count, timeout=10)

    def work(_: int) -> None:
        tensor = Tensor()
        made.append(weakref.ref(tensor))
        together.wait()
        raise MemoryError

    lanes = Lanes(count)
    gc.disable()
    try:
        with pytest.raises(MemoryError):
            lanes.each(work, range(2))
        lanes.each(lambda _: time.sleep(0.01), range(4))  # the threads have let go by then
        assert [ref() for ref in made] == [None] * count
    finally:
        gc.enable()
