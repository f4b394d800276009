"""Boxes for the frames between the analysed frames of a video, for the annotated copy. Arrays only.

Frames are held until the next analysed frame arrives. A box moves evenly from one analysed frame to the next, and is
never drawn after the end of its track.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from maskbatch.types import Batch, Faces, Frames

# maximum number of pixels in the frames between two analysed frames: more would fill the memory. Beyond this limit, the
# frames get no boxes; two seconds of 1080p at 30 frames per second stay below it
_MOST_HELD_PIXELS = 128_000_000
# between two equally distant analysed frames, the earlier frame gives the state of a face
_MIDDLE = 0.5 + 1e-6


class _Held:
    """Frames of one video after its last analysed frame. `faces` and `time_s` are those of the analysed frame."""

    def __init__(self, faces: Faces, time_s: float, frames: Frames) -> None:
        self.faces, self.time_s, self.frames = faces, time_s, frames


def between(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the same frames in the same order, with the faces to draw on all frames.

    Args:
        batches: batches with the faces of analysed frames. The first frame of a source is analysed.

    Yields:
        Batches with `drawn`. Segments still begin with a batch, and sources end with a batch. The boxes do not depend on
        the grouping of frames into batches.
    """
    held: _Held | None = None
    for batch in batches:
        if held is not None and batch.frames.cut is not None and len(held.frames):
            # the first frame of this segment, which is analysed, completes the previous segment
            yield _drawn(Batch(held.frames, Faces.empty()), held, _first(batch))
            held = None
        if held is not None and len(held.frames):
            batch = replace(
                batch, frames=_joined(held.frames, batch.frames), faces=_moved(batch.faces, len(held.frames))
            )
        drawn = _drawn(batch, held, None)
        looked = np.flatnonzero(drawn.frames.is_looked_at)
        last = _last(drawn, looked, held)
        if last is None or _is_over(drawn.frames) or _is_too_much(map(last.frames.size, range(len(last.frames)))):
            held = None
            yield drawn
            continue
        held, num_out = last, len(drawn.frames) - len(last.frames)
        yield replace(drawn, frames=_part(drawn.frames, num_out), drawn=drawn.drawn.take(drawn.drawn.row < num_out))


def _last(batch: Batch, looked: np.ndarray, held: _Held | None) -> _Held | None:
    """Return the faces of the last analysed frame, and all later frames; None without faces or analysed frames."""
    if len(looked):
        faces = batch.faces.take(batch.faces.row == looked[-1])
        time_s, begin = float(batch.frames.timestamp_s[looked[-1]]), int(looked[-1]) + 1
    elif held is not None:
        faces, time_s, begin = held.faces, held.time_s, 0
    else:
        return None
    return _Held(faces, time_s, _rest(batch.frames, begin)) if len(faces) else None


def _is_over(frames: Frames) -> bool:
    """Return True when the source of the last frame has ended. Ends of earlier sources may be in the same batch."""
    return not len(frames) or int(frames.source_id[-1]) in {ended.source_id for ended in frames.ended}


def _is_too_much(sizes: Iterable[tuple[int, int]]) -> bool:
    return sum(width * height for width, height in sizes) > _MOST_HELD_PIXELS


def _first(batch: Batch) -> tuple[Faces, float]:
    """Return the faces and the time of the first frame of a batch."""
    return batch.faces.take(batch.faces.row == 0), float(batch.frames.timestamp_s[0])


def _drawn(batch: Batch, held: _Held | None, following: tuple[Faces, float] | None) -> Batch:
    """Return the batch with the faces to draw, including faces between two analysed frames.

    `held` has the analysed frame before the batch; `following` has the faces and time of the analysed frame after it.
    """
    frames, parts = batch.frames, [batch.faces]
    before = None if held is None else (held.faces, held.time_s)
    waiting: list[int] = []
    for row, is_looked_at in enumerate([*frames.is_looked_at.tolist(), True]):
        is_own = row < len(frames)
        if is_own and row and frames.source_id[row] != frames.source_id[row - 1]:
            before, waiting = None, []  # track numbers start again in each source
        if not is_looked_at:
            waiting.append(row)
            continue
        now = (batch.faces.take(batch.faces.row == row), float(frames.timestamp_s[row])) if is_own else following
        if before is not None and now is not None and not _is_too_much(map(frames.size, waiting)):
            parts += [_at(float(frames.timestamp_s[at]), at, before, now) for at in waiting]
        before, waiting = now, []
    joined = Faces.joined([part for part in parts if len(part)])
    return replace(batch, drawn=joined.take(np.argsort(joined.row, kind="stable")))


def _at(time_s: float, row: int, before: tuple[Faces, float], after: tuple[Faces, float]) -> Faces:
    """Return the faces of tracks in both analysed frames, moved to `time_s`, with other values of the nearer frame."""
    (first, first_s), (second, second_s) = before, after
    _, one, other = np.intersect1d(first.track_id, second.track_id, return_indices=True)
    share = (time_s - first_s) / max(second_s - first_s, 1e-9)
    nearer = first.take(one) if share <= _MIDDLE else second.take(other)
    start, end = first.xyxy[one], second.xyxy[other]
    xyxy = (start + np.float32(share) * (end - start)).astype(np.float32)
    return replace(nearer, xyxy=xyxy, row=np.full(len(xyxy), row, np.int64))


def _moved(faces: Faces, by: int) -> Faces:
    return replace(faces, row=faces.row + by)


def _joined(first: Frames, second: Frames) -> Frames:
    arrays = {name: np.concatenate([getattr(first, name), getattr(second, name)])
              for name in ("source_id", "index", "timestamp_s", "is_looked_at")}  # fmt: skip
    joined = {name: (*getattr(first, name), *getattr(second, name)) for name in ("images", "planes", "stored")}
    return replace(second, **joined, **arrays)


def _part(frames: Frames, end: int) -> Frames:
    """Return the first `end` frames."""
    return replace(
        frames, images=frames.images[:end], source_id=frames.source_id[:end], index=frames.index[:end],
        timestamp_s=frames.timestamp_s[:end], is_looked_at=frames.is_looked_at[:end], planes=frames.planes[:end],
        stored=frames.stored[:end],
    )  # fmt: skip


def _rest(frames: Frames, begin: int) -> Frames:
    """Return the frames from `begin`, without the cut and the ended sources."""
    return Frames(
        frames.images[begin:], frames.source_id[begin:], frames.index[begin:], frames.timestamp_s[begin:],
        is_looked_at=frames.is_looked_at[begin:], planes=frames.planes[begin:], stored=frames.stored[begin:],
    )  # fmt: skip
