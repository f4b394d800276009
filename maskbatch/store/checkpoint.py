"""Checkpoints as JSON: how reader, tracker and writer of a video stand at the end of a segment."""

import json
from dataclasses import asdict

from maskbatch.types import Checkpoint, CopyState, Ended, ReaderState, Source, WriterState


def encoded(checkpoint: Checkpoint) -> str:
    """Give a checkpoint as JSON, without its source, which has a row of its own."""
    values = asdict(checkpoint)
    del values["source"]
    return json.dumps(values)


def decoded(text: str, source: Source) -> Checkpoint:
    """Give the checkpoint of `source` that `encoded` made. Raises ValueError, TypeError or KeyError for anything else."""
    values = json.loads(text)
    values["reader"] = None if values["reader"] is None else _reader(values["reader"])
    values["ended"] = None if values["ended"] is None else _ended(values["ended"])
    copy = values["copy"]
    parts = tuple((name, first) for name, first in copy["parts"])
    values["copy"] = CopyState(WriterState(**copy["writer"]), parts, copy["is_broken"])
    return Checkpoint(source=source, **values | {"names": tuple(values["names"])})


def _reader(values: dict) -> ReaderState:
    return ReaderState(**values | {"pieces": _pieces(values)})


def _ended(values: dict) -> Ended:
    return Ended(**values | {"notes": tuple(values["notes"]), "pieces": _pieces(values)})


def _pieces(values: dict) -> tuple[tuple[int, int], ...]:
    return tuple((pts, offset) for pts, offset in values["pieces"])
