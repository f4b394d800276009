"""Read ahead from several iterators (lanes), by tf.data or by threads, with the same items in the same order.

A scan on TensorFlow uses tf.data. A scan on OpenVINO does not import TensorFlow, which would take most of the time before
the first photo, and most of the memory.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from typing import TypeVar

from maskbatch.errors import Interrupted
from maskbatch.overlap import Ahead, in_own_context

Item = TypeVar("Item")
# (lanes, number of items that may wait) -> the items, from each lane in turn
ReadAhead = Callable[[Sequence[Generator[Item, None, None]], int], Generator[Item, None, None]]


def by_threads(lanes: Sequence[Generator[Item, None, None]], num_waiting: int) -> Generator[Item, None, None]:
    """Read ahead with a thread for each lane. Closing the iterator stops the threads and closes the lanes."""
    with ExitStack() as stack:
        depth = -(-num_waiting // max(1, len(lanes)))
        running = [iter(stack.enter_context(Ahead(lane, depth))) for lane in lanes]
        end = object()
        while running:
            for lane in list(running):
                if (item := next(lane, end)) is end:
                    running.remove(lane)
                else:
                    yield item


def by_tf_data(lanes: Sequence[Generator[Item, None, None]], num_waiting: int) -> Generator[Item, None, None]:
    """Read ahead with `interleave` and `prefetch` of tf.data, in its threads. A scan has no other tf.data code."""
    import tensorflow as tf  # slow to import

    # only tickets pass through tf.data: it would copy a frame, which halves the rate of HD video
    waiting: dict[int, Item] = {}
    tickets = count()
    interrupted: list[Interrupted] = []  # TensorFlow would replace them by errors of its own
    end = object()
    next_of = [in_own_context(partial(next, lane, end)) for lane in lanes]

    def tickets_of(number: int) -> Iterator[int]:
        with closing(lanes[int(number)]):
            try:
                while (item := next_of[int(number)]()) is not end:
                    ticket = next(tickets)
                    waiting[ticket] = item
                    yield ticket
            except Interrupted as error:
                interrupted.append(error)

    dataset = tf.data.Dataset.range(len(lanes)).interleave(
        lambda lane: tf.data.Dataset.from_generator(
            tickets_of, output_signature=tf.TensorSpec((), tf.int64), args=(lane,)
        ),
        cycle_length=max(1, len(lanes)),
        block_length=1,
        num_parallel_calls=max(1, len(lanes)),
        deterministic=True,
    )
    options = tf.data.Options()
    options.autotune.enabled = False  # autotuning would lengthen the queues and take memory
    for ticket in dataset.prefetch(num_waiting).with_options(options).as_numpy_iterator():
        yield waiting.pop(int(ticket))
        if interrupted:
            break
    if interrupted:
        raise interrupted[0]
