"""Steps that run at the same time."""

import logging
import threading
import time

import pytest

from maskbatch.errors import Interrupted
from maskbatch.overlap import Ahead, Behind, for_each, in_order


def test_items_come_through_in_order():
    """What goes in comes out, in order, for more items than may wait, and for none."""
    with Ahead(iter(range(20))) as items:
        assert list(items) == list(range(20))
    with Ahead(()) as items:
        assert list(items) == []


def test_the_next_item_is_made_while_this_one_is_used():
    """The second item begins before the first is given back; without a thread this would wait for ever."""
    begun = threading.Event()

    def make():
        yield 1
        begun.set()
        yield 2

    with Ahead(make()) as items:
        assert next(iter(items)) == 1
        assert begun.wait(10)
        assert list(items) == [2]


def test_no_more_items_are_made_than_may_wait():
    """A slow reader holds the maker back: one item is used, `depth` wait, one is in the making."""
    made = []

    def make():
        for i in range(100):
            made.append(i)
            yield i

    with Ahead(make(), depth=2) as items:
        next(iter(items))
        threading.Event().wait(0.3)
        assert len(made) <= 4


def test_an_exception_comes_where_its_item_would_have_been():
    """The items before it are not lost."""

    def make():
        yield 1
        raise OSError("disk")

    with Ahead(make()) as items:
        assert next(iter(items)) == 1
        with pytest.raises(OSError, match="disk"):
            next(iter(items))


def test_leaving_early_stops_the_thread_and_closes_the_items():
    """Nothing goes on in the background after an error in the caller."""
    closed = threading.Event()

    def make():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with pytest.raises(KeyboardInterrupt), Ahead(make()) as items:
        next(iter(items))
        raise KeyboardInterrupt
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "maskbatch-ahead"]


def test_results_come_in_order_though_later_items_are_done_first():
    """Two items at once: the second is done while the first still waits for it, and comes after it."""
    second_done = threading.Event()

    def work(item):
        if item == 0:
            assert second_done.wait(10)
        if item == 1:
            second_done.set()
        return 10 * item

    assert list(in_order(work, range(7), 2)) == [10 * i for i in range(7)]
    assert list(in_order(work, (), 3)) == []


def test_items_are_taken_only_as_they_are_worked_on():
    """Memory is bounded: of many items only as many are taken as run at once."""
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    results = in_order(lambda item: item, items(), 3)
    assert next(results) == 0 and len(taken) == 3
    assert next(results) == 1 and len(taken) == 4
    results.close()
    assert len(taken) == 4


def test_an_exception_of_the_items_comes_after_earlier_results():
    """What was taken before the error is worked on and given; then the error is raised."""

    def items():
        yield from (1, 2)
        raise KeyError("no more")

    results = in_order(lambda item: 10 * item, items(), 3)
    assert [next(results), next(results)] == [10, 20]
    with pytest.raises(KeyError, match="no more"):
        next(results)


def test_an_exception_of_the_function_comes_in_its_place():
    """The results before it are given; the error is the caller's."""
    results = in_order(lambda item: 1 // item, [2, 1, 0, 3], 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_several_items_are_worked_on_at_once():
    """Three items that wait for each other come to an end; all items are worked on, also more than there are threads."""
    together, done = threading.Barrier(3), []

    def work(item):
        together.wait(10)
        done.append(item)

    for_each(work, range(9), 3, halt=lambda: None)
    assert sorted(done) == list(range(9))


def test_the_first_error_halts_the_others():
    """Who is at work is told, and ends; no other item is begun; the error is the caller's."""
    halted, begun, ended = threading.Event(), [], []

    def work(item):
        begun.append(item)
        if item == 1:
            raise OSError("disk")
        assert halted.wait(10)
        ended.append(item)

    with pytest.raises(OSError, match="disk"):
        for_each(work, range(50), 2, halt=halted.set)
    assert ended and sorted(begun) == sorted([*ended, 1]) and len(begun) < 5


def test_an_error_is_not_lost_behind_interrupted(caplog):
    """Asked to end, one worker says so, and another finds the disk full: that is what the caller must know. It is logged
    while others are still at work."""
    logged = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            logged.set()

    def work(item):
        if item == 0:
            raise Interrupted("stopped")
        if item == 1:
            time.sleep(0.3)
            raise OSError("disk")
        assert logged.wait(10)

    handler = Handler()
    logging.getLogger("maskbatch.overlap").addHandler(handler)
    try:
        with pytest.raises(OSError, match="disk"):
            for_each(work, range(3), 3, halt=lambda: None)
    finally:
        logging.getLogger("maskbatch.overlap").removeHandler(handler)
    assert "disk" in caplog.text


def test_no_error_beside_another_is_silent(caplog):
    """One is raised, the other logged."""
    together = threading.Barrier(2)

    def work(item):
        together.wait(10)
        raise OSError(f"disk {item}")

    with pytest.raises(OSError, match="disk") as raised:
        for_each(work, range(2), 2, halt=lambda: None)
    assert {f"disk {item}" for item in range(2)} - {str(raised.value)} <= set(
        caplog.text.replace("\n", ": ").split(": ")
    )


def test_a_thread_works_through_calls_in_order():
    """All calls are done when it is finished, in the order in which they were made."""
    done, behind = [], Behind(2)
    for number in range(9):
        behind.call(done.append, number)
    behind.finish()
    assert done == list(range(9))


def test_an_error_behind_is_raised_with_a_later_call_or_at_the_end():
    """Nothing that failed goes unnoticed, and the thread has ended afterwards."""
    for num_later in (0, 3):
        behind = Behind(2)
        behind.call(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            for _ in range(num_later):
                behind.call(int, "1")
            behind.finish()
        behind.drop()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("maskbatch-behind")]


def test_dropped_calls_are_not_made():
    """The call that runs is waited for; those that wait are forgotten."""
    done, gate, behind = [], threading.Event(), Behind(4)
    behind.call(gate.wait)
    for number in range(3):
        behind.call(done.append, number)
    threading.Timer(0.05, gate.set).start()
    behind.drop()
    assert done == []
