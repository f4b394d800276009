"""Make the checkpoints of a video, from its first frame to its last."""

from dataclasses import replace

from maskbatch.media.names import written_names
from maskbatch.media.write import made_with
from maskbatch.sinks import Sinks
from maskbatch.types import Batch, Checkpoint, Ended, Source


def beginning(source: Source) -> Checkpoint:
    """Return the checkpoint of a source before its first frame."""
    return Checkpoint(source, made_with(), written_names(source))


def with_claims(checkpoint: Checkpoint, source: Source) -> Checkpoint:
    """Return the checkpoint with `source` as probed now. If the probe failed, the checkpoint is unchanged."""
    return checkpoint if source.time_base is None else replace(checkpoint, source=source)


def cut(at: Checkpoint, batch: Batch, sinks: Sinks) -> Checkpoint:
    """End the segment before `batch`, and return the checkpoint after that segment."""
    first = batch.frames.stored[0]
    copy = sinks.cut(at.source, is_clean=first is not None and first.is_exit)
    return replace(at, num_segments=at.num_segments + 1, reader=batch.frames.cut, tracks=batch.tracks, copy=copy)


def counted(at: Checkpoint, batch: Batch) -> Checkpoint:
    """Return the checkpoint with the frames of a batch counted. Only checkpoints of videos are used."""
    if not len(batch.frames):
        return at
    width, height = batch.frames.size(0)
    return replace(
        at,
        frames_analysed=at.frames_analysed + batch.frames.num_looked_at,
        width=at.width or width,
        height=at.height or height,
    )


def whole(ended: Ended, at: Checkpoint) -> Ended:
    """Return the end of a source with the frames of earlier sessions, which count even if the file is unreadable now."""
    if at.source.kind == "image":
        return ended
    before = 0 if at.reader is None else at.reader.index
    return replace(
        ended, frames_decoded=max(ended.frames_decoded, before), frames_analysed=at.frames_analysed,
        width=at.width, height=at.height,
    )  # fmt: skip


def is_away(ended: Ended, at: Checkpoint) -> bool:
    """Return whether a partly scanned video cannot be opened now. A later scan continues it."""
    return at.num_segments > 0 and ended.is_transient and ended.frames_analysed == 0
