"""Checkpoints as JSON: the state of a video's reader, tracker and writer at the end of a segment."""

import json
from dataclasses import asdict, replace
from fractions import Fraction

from maskbatch.types import Checkpoint, CopyState, Ended, ReaderState, Recorded, Source, WriterState, YuvColours


def encoded(checkpoint: Checkpoint) -> str:
    """Return a checkpoint as JSON, with the facts of the source's container: the file may be gone in the next session."""
    values, source = asdict(checkpoint), checkpoint.source
    values["source"] = {
        "fps": _text(source.fps), "time_base": _text(source.time_base), "duration_s": source.duration_s,
        "width": source.width, "height": source.height, "recorded": source.recorded, "colours": source.colours,
    }  # fmt: skip
    return json.dumps(values)


def decoded(text: str, source: Source) -> Checkpoint:
    """Return the checkpoint of `source` from the JSON of `encoded`. Raises ValueError, TypeError or KeyError."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("no checkpoint")
    claims = values.pop("source")
    claims["recorded"] = tuple((name, value) for name, value in claims["recorded"])
    matrix, is_full, stated = claims["colours"]
    claims["colours"] = YuvColours(matrix, is_full, tuple(stated))
    claims |= {name: None if claims[name] is None else Fraction(claims[name]) for name in ("fps", "time_base")}
    source = replace(source, **claims)
    values["reader"] = None if values["reader"] is None else _reader(values["reader"])
    values["ended"] = None if values["ended"] is None else _ended(values["ended"])
    copy = values["copy"]
    parts = tuple(tuple(part) if len(part) == 2 else Recorded(*part) for part in copy["parts"])
    values["copy"] = CopyState(WriterState(**copy["writer"]), parts, copy["broken"])
    return Checkpoint(source=source, **values | {"names": tuple(values["names"])})


def _text(number: Fraction | None) -> str | None:
    return None if number is None else str(number)


def _reader(values: dict) -> ReaderState:
    return ReaderState(**values | {"pieces": _pieces(values)})


def _ended(values: dict) -> Ended:
    recorded = tuple((name, text) for name, text in values["recorded"])
    return Ended(**values | {"notes": tuple(values["notes"]), "pieces": _pieces(values), "recorded": recorded})


def _pieces(values: dict) -> tuple[tuple[int, int], ...]:
    return tuple((pts, offset) for pts, offset in values["pieces"])
