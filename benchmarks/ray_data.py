"""Let one row of a Ray Data pipeline kill its worker, as a photo may, and see whether the others come.

    timeout 150 python benchmarks/ray_data.py

A fixed pool of two actors, and no limit to the blocks that may fail. The scan uses Ray's actors themselves (see
`maskbatch/run/ray.py`); this program is the reason.
"""

import os
import signal
import time

import ray

_DEADLY = 37


class Actor:
    """Passes rows on, and dies of one."""

    def __call__(self, batch: dict) -> dict:
        """Return the batch."""
        if _DEADLY in batch["id"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch


def main() -> None:
    """Count the rows that come, with the time of each tenth."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    ray.data.DataContext.get_current().max_errored_blocks = -1
    begun = time.monotonic()
    rows = ray.data.range(100, override_num_blocks=10).map_batches(Actor, batch_size=10, concurrency=2).iter_rows()
    for number, _ in enumerate(rows, 1):
        if number % 10 == 0:
            print(f"{number} rows after {time.monotonic() - begun:.0f} s", flush=True)
    print(f"end after {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
