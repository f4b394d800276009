"""Lanes of items that are made ahead of the reader, by tf.data or by plain threads; the same items in the same order.

A scan that runs on TensorFlow reads by tf.data. One that runs on OpenVINO does without TensorFlow altogether, whose import
takes longer than all else that a scan does before its first photo, and most of its memory.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count
from typing import TypeVar

from maskbatch.errors import Interrupted
from maskbatch.overlap import Ahead

Item = TypeVar("Item")
# lanes and the number of items that may wait behind them -> the items, the lanes taking turns
ReadAhead = Callable[[Sequence[Generator[Item, None, None]], int], Generator[Item, None, None]]


def by_threads(lanes: Sequence[Generator[Item, None, None]], num_waiting: int) -> Generator[Item, None, None]:
    """A thread for each lane. Closing the iterator stops them and closes the lanes."""
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
    """tf.data's `interleave` and `prefetch`, decoding in its threads. The only tf.data code of the scan path."""
    import tensorflow as tf  # slow to import

    # tf.data passes on the tickets only: a frame that went through it would be copied, which halves the rate of HD video
    waiting: dict[int, Item] = {}
    tickets = count()
    interrupted: list[Interrupted] = []  # TensorFlow would make errors of its own of them

    def tickets_of(lane: int) -> Iterator[int]:
        with closing(lanes[int(lane)]) as items:
            try:
                for item in items:
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
    options.autotune.enabled = False  # it would lengthen the queues, and with them the memory
    for ticket in dataset.prefetch(num_waiting).with_options(options).as_numpy_iterator():
        yield waiting.pop(int(ticket))
        if interrupted:
            break
    if interrupted:
        raise interrupted[0]
