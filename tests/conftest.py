"""Settings of the whole test run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# before TensorFlow and OpenCV are imported by any test
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

# the files that take longest run first, so that no process of pytest -n is left with one of them at the end; the times
# come from `python -m pytest --durations=0`
LONGEST_FIRST = (
    "test_resume.py",
    "test_ray.py",
    "test_cli.py",
    "test_offline.py",
    "test_standard_streams.py",
    "test_detector_training.py",
    "test_train_run.py",
    "test_trainer.py",
    "test_merge.py",
    "test_ctrl_c.py",
    "test_storage.py",
    "test_engine.py",
    "test_beside.py",
    "test_killed_program.py",
    "test_sound.py",
    "test_report.py",
    "test_hostile.py",
    "test_going_on.py",
    "test_skipping.py",
    "test_slim.py",
    "test_api.py",
)


@pytest.fixture(autouse=True, scope="session")
def disk_without_waits():
    """Let `os.fsync` return at once: a scan of a test syncs hundreds of files, which costs seconds, and only a power cut
    could show it. The order of syncs and renames stays visible to tests that replace `os.fsync` themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", checked)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of killed_runs.py in `in`, which no test changes, and their uninterrupted scan in `whole`."""
    from killed_runs import make_inputs, scan

    folder = tmp_path_factory.mktemp("made")
    scan(make_inputs(folder / "in"), folder / "whole")
    return folder


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Run TensorFlow's functions as plain Python: a training of a few steps takes less time than the making of its graph."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def checked(descriptor: int) -> None:
    """Raise OSError for a descriptor of no open file, as `os.fsync` does."""
    os.fstat(descriptor)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by file, those of `LONGEST_FIRST` first; tests of one file keep their order."""
    rank = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(Path(item.fspath).name, len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """Escape lone surrogates, which tests of file names print and pytest-xdist cannot send to its main process."""
    return _sendable((yield))


def _sendable(value):
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_sendable(key): _sendable(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_sendable, value))
    return value
