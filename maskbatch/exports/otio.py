"""OpenTimelineIO: the stretches without a mask as clips, for video editors (opentimelineio.readthedocs.io)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from maskbatch.errors import MaskbatchError
from maskbatch.exports.tables import Exported, number_or_none
from maskbatch.states import WITHOUT_MASK

# rate for videos of unknown frame rate, and tolerance for stored times (rounded to 0.1 ms), in seconds
_MILLISECONDS, _ROUNDED_S = 1000.0, 0.6e-4


def as_otio(results: Exported) -> dict[str, str]:
    """Return a timeline for each video that has a stretch without a mask: the stretches as clips, one after another.

    A clip refers to the video and has a marker at its best look, with the person and the probability of a mask in its
    metadata. Times are time stamps of frames from the start of the file, in frames at the mean rate of the video. Frame
    numbers are fractional if the frame rate varies, or if a stretch begins between two frames. Raises MaskbatchError
    when OpenTimelineIO is missing.
    """
    try:
        import opentimelineio as otio
    except ImportError:
        raise MaskbatchError("OpenTimelineIO is missing: pip install 'maskbatch[otio]'") from None
    rows = {row.source: row for row in results.files.itertuples()}
    found = results.episodes_of_videos({WITHOUT_MASK})
    return {
        f"{source}.otio": _timeline(otio, rows[source], results.paths[source], own) for source, own in found.items()
    }


def _timeline(otio: ModuleType, row: object, path: Path, episodes: Sequence) -> str:
    rate = row.fps if row.fps > 0 else _MILLISECONDS
    timeline, track = otio.schema.Timeline(row.source), otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    end_s = max([one.to_s for one in episodes] + [row.duration_s if row.duration_s > 0 else 0.0])
    media = otio.schema.ExternalReference(path.absolute().as_uri(), _range(otio, 0.0, end_s, rate))
    for one in episodes:
        clip = otio.schema.Clip(
            f"Person {one.person}", media.clone(), _range(otio, one.from_s, one.to_s, rate), _facts(one)
        )
        clip.markers.append(otio.schema.Marker(
            f"Person {one.person}, p_mask {one.p_mask:.2f}", _range(otio, one.best_time_s, one.best_time_s, rate),
            otio.schema.MarkerColor.RED, {"maskbatch": {"person": int(one.person), "p_mask": number_or_none(one.p_mask)}},
        ))  # fmt: skip
        track.append(clip)
    return timeline.to_json_string() + "\n"


def _range(otio: ModuleType, from_s: float, to_s: float, rate: float) -> object:
    """Return a time range of at least one frame."""
    begin, end = _frames(from_s, rate), _frames(to_s, rate)
    times = [otio.opentime.RationalTime(value, rate) for value in (begin, max(end - begin, 1.0))]
    return otio.opentime.TimeRange(*times)


def _frames(seconds: float, rate: float) -> float:
    """Return a time in frames, rounded to a whole number if it is that of a frame within the tolerance."""
    frames = seconds * rate
    return float(round(frames)) if abs(frames - round(frames)) <= _ROUNDED_S * rate else frames


def _facts(one: object) -> dict[str, object]:
    texts = {
        name: str(getattr(one, name)) for name in ("source", "state", "from_clock", "to_clock", "reason", "evidence")
    }
    numbers = {name: number_or_none(getattr(one, name)) for name in ("from_s", "to_s", "p_mask", "best_time_s")}
    return {"maskbatch": {"person": int(one.person), "best_frame": int(one.best_frame), **texts, **numbers}}
