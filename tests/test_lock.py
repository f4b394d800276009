"""The lock of an output folder, beside processes that only look whether a scan is at work."""

import os
import threading
from contextlib import contextmanager

import pytest

from maskbatch.errors import MaskbatchError
from maskbatch.store.lock import LOCK, at_work, locked

fcntl = pytest.importorskip("fcntl")


@contextmanager
def looking(out, seconds):
    """Another process that looks at the lock of a folder, and needs so long for it."""
    descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    end = threading.Timer(seconds, os.close, [descriptor])
    end.start()
    yield
    end.join()


def test_a_scan_begins_while_others_look(tmp_path):
    """A process that holds the lock for a moment, only to look, stops no scan."""
    with looking(tmp_path, 0.07), locked(tmp_path):
        assert at_work(tmp_path) is not None


def test_those_who_look_do_not_see_each_other(tmp_path):
    """Two processes that look at the same time both find nobody at work."""
    with looking(tmp_path, 0.5):
        assert at_work(tmp_path) is None


def test_a_scan_at_work_is_seen_and_stops_others(tmp_path):
    """The process that holds the lock is named; nobody is named afterwards."""
    with locked(tmp_path):
        assert at_work(tmp_path).startswith(f"process {os.getpid()} on")
        with pytest.raises(MaskbatchError, match=f"process {os.getpid()} on"), locked(tmp_path):
            pass
    assert at_work(tmp_path) is None
