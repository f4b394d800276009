"""Set aside sources that kill the process that reads them, so that each costs at most a session or a few workers."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace

from maskbatch.media.guard.trial import Suspect, crash_reasons
from maskbatch.media.names import name_text, named
from maskbatch.run.engine import Losses
from maskbatch.run.shard import give_up
from maskbatch.run.stop import Stop
from maskbatch.settings import ScanSettings
from maskbatch.sinks.relabel import remove_crops_without_rows
from maskbatch.store.database import Store
from maskbatch.store.folder import segments_of
from maskbatch.store.plan import Plan
from maskbatch.store.read import is_unfinished, left_open
from maskbatch.store.resume import usable_checkpoint
from maskbatch.store.write import add_results, close_sources, replace_checkpoint
from maskbatch.types import Checkpoint, SegmentResult, Shard, Source

# maximum number of workers that a source may cost: at the same place, and in total
MOST_LOSSES, MOST_LOSSES_IN_ALL = 3, 10
_log = logging.getLogger(__name__)


def set_aside(plan: Plan, store: Store, settings: ScanSettings, stop: Stop) -> list[Source]:
    """Return the pending sources, without those that kill a process.

    Sources that were open when the last session died are tried in a process of their own. A source that kills that
    process is ended with an error. If only the sound of a video kills it, the video is scanned without sound. A session
    that was killed from outside sets no source aside. Raises Interrupted when `stop` is requested; the next session
    then tries the sources again.
    """
    with store.transaction() as connection:
        names = set(left_open(connection))
    opened = [source for source in plan.pending if name_text(source.name) in names]
    if not opened:
        return list(plan.pending)
    _log.warning("%s: open when the last session died; tried in a process of their own first",
                 named([source.name for source in opened]))  # fmt: skip
    given_up = _tried(opened, store, settings, stop)
    return [source for source in plan.pending if source not in given_up]


def after_loss(shard: Shard, losses: Losses, store: Store, settings: ScanSettings, stop: Stop) -> list[Shard]:
    """Return the remaining shards of a shard whose worker was lost.

    Sources that kill a process of their own are ended with an error. After the second loss at the same place, each
    other source becomes a separate shard. After three losses at the same place, or ten in total, the source is ended
    with an error, and the next scan reads it again. Raises Interrupted when `stop` is requested.
    """
    with store.transaction() as connection:
        left = [source for source in shard.sources if is_unfinished(connection, source)]
    given_up = _tried(left, store, settings, stop)
    left = [source for source in left if source not in given_up]
    if losses.num < MOST_LOSSES and losses.num_all < MOST_LOSSES_IN_ALL:
        groups = [left] if losses.num < MOST_LOSSES - 1 else [[source] for source in left]
        return [Shard(shard.index, tuple(group)) for group in groups if group]
    for source in left:
        reason = f"{losses.num_all} workers were lost while they read it"
        _log.warning("%s: %s; set aside", source.name, reason)
        at = usable_checkpoint(store, source)
        _end(source, give_up(source, at, reason, settings, is_transient=True), store, settings)
    return []


def _tried(sources: Sequence[Source], store: Store, settings: ScanSettings, stop: Stop) -> set[Source]:
    """Try sources in processes of their own. End sources that kill their process, and return them.

    If only the sound of a video kills the process, the video loses its sound.
    """
    opened = {source: usable_checkpoint(store, source) for source in sources}
    suspects = [_suspect(source, at, settings) for source, at in opened.items()]
    reasons = crash_reasons(suspects, settings.sampling, lambda: stop.is_asked)
    given_up = set()
    for suspect, at in zip(suspects, opened.values(), strict=True):
        if reason := reasons.get(suspect.source.name):
            _log.warning("%s%s: %s; set aside", suspect.source.name, " (sound)" if suspect.is_sound else "", reason)
            if suspect.is_sound:
                replace_checkpoint(store, replace(at, silenced=reason))
            else:
                _end(suspect.source, give_up(suspect.source, at, reason, settings), store, settings)
                given_up.add(suspect.source)
    close_sources(store, list(opened))
    return given_up


def _end(source: Source, result: SegmentResult, store: Store, settings: ScanSettings) -> None:
    """Store the `result` of a source that was given up, and remove its crops without rows and its parts."""
    if settings.output.save & {"crops", "evidence"}:
        remove_crops_without_rows(store, {source.id})
    add_results(store, [result])
    shutil.rmtree(segments_of(store.folder, source.id), ignore_errors=True)


def _suspect(source: Source, at: Checkpoint | None, settings: ScanSettings) -> Suspect:
    """Return a source with the place at which its scan would continue, or its sound if only that is left to read."""
    start = None if at is None else at.reader
    return Suspect(source, settings.output.segment_s, start, is_sound=at is not None and at.ended is not None)
