"""Scan one shard, from its files to rows and media.

`run_shard` is a plain function of a shard, its checkpoint and settings. These and the results can be pickled, so that
a thread, a process or a worker on another machine can run it (see `run/engine.py`). Only the driver (`run/local.py`)
stores results.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from maskbatch.analyse.gate import Gate
from maskbatch.analyse.pipeline import analyse
from maskbatch.errors import DecodeError, Interrupted, TransientError
from maskbatch.media.decode import open_source
from maskbatch.media.fingerprint import fingerprint
from maskbatch.media.guard.limits import TimeLimitedReader, with_time_limit
from maskbatch.media.loader import load
from maskbatch.media.read_ahead import by_tf_data, by_threads
from maskbatch.media.sound.reader import SoundReader
from maskbatch.media.video.probe import probe
from maskbatch.media.write import Unnamed
from maskbatch.networks.device import Device
from maskbatch.overlap import Ahead, IsOver, in_order, never
from maskbatch.run import checkpoints
from maskbatch.run.stages import Conditions, open_networks, settings_for, stages_at
from maskbatch.run.timings import TimedReader, Timings
from maskbatch.settings import CPU_BATCH, GPU_BATCH, LoaderSettings, SamplingSettings, ScanSettings
from maskbatch.sinks import Copy, Sinks, open_sinks
from maskbatch.store.rows import face_rows
from maskbatch.types import Batch, Checkpoint, Ended, SegmentResult, Shard, Source

# time limit of a reader as a multiple of the stall limit, so that the reader itself can end a stall first
HANG = 2
# batches of photos whose files are synced while the next batch is written; the few files of a video's segment need no such
# overlap, and its checkpoints follow its parts at once
_NUM_UNSETTLED = 2
_log = logging.getLogger(__name__)


class _Written(NamedTuple):
    """Files that must be settled first, and then a function that returns the result they belong to."""

    files: Unnamed
    result: Callable[[], SegmentResult]


def run_shard(
    shard: Shard, checkpoint: Checkpoint | None, settings: ScanSettings, is_over: IsOver = never
) -> Iterator[SegmentResult]:
    """Scan the sources of a shard, a video from its `checkpoint`, and yield the results of each batch.

    A result that `is_whole` ends a segment of a video, or sources. The driver stores it with all earlier results; its
    media are on the disk. If the iterator is closed before a whole result, the driver drops the results since the last
    whole one. The annotated copy of a video is joined in a separate step after a checkpoint. If the sound kills the
    process, only this step is lost. A source that cannot be read ends with a reason. Callers in the same process may
    give `is_over`: once it returns True, only the batches that are already analysed are yielded. Raises OSError when
    media cannot be written, DeviceError and WeightsError.
    """
    timings = Timings()
    sources = tuple(probed(source, _limit_s(settings), is_over=is_over) for source in shard.sources)
    at = checkpoints.beginning(sources[0]) if checkpoint is None else checkpoints.with_claims(checkpoint, sources[0])
    if at.ended is not None and fingerprint(at.source.path) is None:
        _log.warning("%s cannot be read now: its annotated copy waits for the sound", at.source.name)
        return
    sources = (at.source, *sources[1:])  # if the file cannot be probed now, the checkpoint's source
    with open_sinks(sources, at, settings) as sinks:
        if at.ended is None:
            with closing(_analysed(sources, at, sinks, Conditions(settings, timings, is_over))) as results:
                for result in results:
                    yield result
                    at = result.checkpoint or at
        if at.ended is not None:
            yield _joined(at, sinks, Conditions(settings, timings, is_over))


def _analysed(
    sources: Sequence[Source], at: Checkpoint, sinks: Sinks, conditions: Conditions
) -> Iterator[SegmentResult]:
    """Read, analyse and write the frames of a shard from the checkpoint `at`."""
    settings, timings, is_over = conditions
    networks, by_id = open_networks(settings_for(at.source.kind, settings)), {source.id: source for source in sources}

    def opener(source: Source, sampling: SamplingSettings) -> TimeLimitedReader:
        reader = open_source(source, sampling, settings.output.segment_s, at.reader, _gate(settings))
        return TimeLimitedReader(TimedReader(reader, timings), _limit_s(settings), is_over)

    read_ahead = by_tf_data if networks.device.runtime == "tensorflow" else by_threads
    loading = load(sources, settings.sampling, _share_of_loader(settings, networks.device), opener, read_ahead)
    stages = stages_at(at, sources, networks, conditions)
    analysed = analyse(loading, stages, _num_at_once(settings, networks.device))
    settle = timings.timed("sync", _settled)
    # analyse the next batch while this one is drawn, encoded and written, and the files of the one before are synced; the
    # end of the block stops all decoding
    with closing(loading), suppress(Interrupted), Ahead(analysed, is_over=is_over) as batches:
        written = _written(batches, by_id, at, sinks, timings)
        num_unsettled = 1 if at.source.kind == "video" else _NUM_UNSETTLED
        with closing(in_order(settle, written, num_unsettled)) as settled:
            for result in settled:
                yield result()


def _written(
    batches: Iterable[Batch], by_id: Mapping[int, Source], at: Checkpoint, sinks: Sinks, timings: Timings
) -> Iterator[_Written]:  # fmt: skip
    """Draw, encode and write the batches and the evidence of segments, from the checkpoint `at`."""
    write = timings.timed("annotate, encode, write", sinks.write)
    for batch in batches:
        if batch.frames.cut is not None:
            at = checkpoints.cut(at, batch, sinks)
            yield _Written(sinks.end_segment(at.source), partial(_segment_result, at, sinks, timings))
        at = checkpoints.counted(at, batch)
        if any(checkpoints.is_away(ended, at) for ended in batch.frames.ended):
            _log.warning("%s cannot be read now: its results so far are kept", at.source.name)
            return
        ended = tuple((by_id[one.source_id], checkpoints.whole(one, at)) for one in batch.frames.ended)
        files = write(batch, [source for source, _ in ended])
        yield _Written(files, partial(_result, batch, ended, at, sinks, timings))


def _settled(written: _Written) -> Callable[[], SegmentResult]:
    written.files.settle()
    return written.result


def _segment_result(at: Checkpoint, sinks: Sinks, timings: Timings) -> SegmentResult:
    """Return the result that ends a segment of a video."""
    return SegmentResult(evidence=sinks.evidence(at.source), checkpoint=at, seconds=timings.taken())


def _result(batch: Batch, ended: tuple, at: Checkpoint, sinks: Sinks, timings: Timings) -> SegmentResult:
    """Return the result of a batch. A source in `ended` is done, or has a checkpoint until its copy is joined."""
    rows, copies, checkpoint = tuple(face_rows(batch)), [], None
    for source, one in ended:
        if sinks.is_to_join(source):
            checkpoint = replace(at, num_segments=at.num_segments + 1, copy=sinks.cut(source), ended=one)
        else:
            copies.append(sinks.end(source))
    done = () if checkpoint is not None else tuple(map(_noted, ended, copies))
    persons = tuple((source_id, *pair) for source_id, pairs in batch.persons.items() for pair in pairs)
    evidence = tuple(one for source, _ in ended for one in sinks.evidence(source))
    num_frames = batch.frames.num_looked_at
    return SegmentResult(rows, done, _states(copies), persons, evidence, checkpoint, num_frames, timings.taken())


def _noted(ended: tuple[Source, Ended], copy: Copy) -> tuple[Source, Ended]:
    """Add the reason to the notes of a source if its annotated copy could not be written."""
    source, one = ended
    return (source, replace(one, notes=(*one.notes, f"no annotated copy: {copy.reason}"))) if copy.reason else ended


def _states(copies: Sequence[Copy]) -> tuple[tuple[int, bool], ...]:
    return tuple((copy.source_id, copy.is_there) for copy in copies)


def _joined(at: Checkpoint, sinks: Sinks, conditions: Conditions) -> SegmentResult:
    """Join the annotated copy of a video after all of its frames are read."""

    def guard(reader: SoundReader) -> TimeLimitedReader:
        if at.silenced or conditions.settings.output.mute:
            raise DecodeError(at.silenced or "--mute")
        return TimeLimitedReader(reader, _limit_s(conditions.settings), conditions.is_over)

    ended = replace(at.ended, notes=(*at.ended.notes, f"sound left out: {at.silenced}")) if at.silenced else at.ended
    copy = sinks.join(at.source, ended.pieces, guard, conditions.is_over)
    return SegmentResult(ended=(_noted((at.source, ended), copy),), copies=_states([copy]))


def give_up(
    source: Source, checkpoint: Checkpoint | None, reason: str, settings: ScanSettings, is_transient: bool = False
) -> SegmentResult:
    """End a source without reading more of it, not even its sound. Its results so far are kept. Raises OSError."""
    at = checkpoints.beginning(source) if checkpoint is None else checkpoint
    at = replace(at, ended=checkpoints.whole(Ended(source.id, 0, 0, error=reason, is_transient=is_transient), at))
    with open_sinks([at.source], at, settings) as sinks:
        if not sinks.is_to_join(source):
            copy = sinks.end(source)
            return SegmentResult(ended=(_noted((at.source, at.ended), copy),), copies=_states([copy]))
        return _joined(replace(at, silenced=reason), sinks, Conditions(settings, Timings(), never))


def probed(source: Source, limit_s: float, upright: bool = True, is_over: IsOver = never) -> Source:
    """Return a video with the claims of its container.

    A photo is returned unchanged, and so is a video that takes longer than `limit_s` seconds to probe. Raises
    Interrupted once `is_over()` returns True.
    """
    if source.kind == "image":
        return source
    try:
        return with_time_limit(partial(probe, source, upright), limit_s, is_over)
    except TransientError:  # its decoder hangs; its reader will report that
        return source


def _gate(settings: ScanSettings) -> Gate | None:
    return Gate() if settings.sampling.is_gated else None


def _limit_s(settings: ScanSettings) -> float:
    return HANG * settings.sampling.stall_s


def _num_at_once(settings: ScanSettings, device: Device) -> int:
    """Return the number of batches that a shard gives to the networks at the same time.

    All shards together give one batch to each GPU, and at least two, so that no core is idle while another prepares a
    batch.
    """
    return -(-max(2, len(device.names)) // settings.workers)


def _share_of_loader(settings: ScanSettings, device: Device) -> LoaderSettings:
    """Return the loader settings of one shard: an equal share of memory and decoders, and the size of batches."""
    loader, num_shards = settings.loader, settings.workers
    return replace(
        loader,
        batch_size=loader.batch_size or (GPU_BATCH if device.is_gpu else CPU_BATCH),
        max_batch_pixels=max(1, loader.max_batch_pixels // num_shards),
        num_parallel=max(1, loader.num_parallel // num_shards),
        prefetch=max(1, loader.prefetch // num_shards),
    )
