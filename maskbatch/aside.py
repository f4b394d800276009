"""Sets aside the sources, or only their sound, that kill their decoder, so that they cost one run and not every one."""

import logging
from collections.abc import Sequence

from maskbatch.checkpoint import folder_of, read_checkpoint
from maskbatch.config import ScanSettings
from maskbatch.data import Batch, Ended, Shard, Source
from maskbatch.journal import SOUND, left_open
from maskbatch.media.names import named
from maskbatch.media.segments import Segments
from maskbatch.media.trial import crash_reasons
from maskbatch.plan import Plan
from maskbatch.shard_sink import open_shard
from maskbatch.stopping import Stop

_log = logging.getLogger(__name__)


def set_aside(plan: Plan, settings: ScanSettings, unit: int, stop: Stop) -> list[Source]:
    """What is pending, without the sources that were open when the last run died and that kill a process of their own,
    too. Those get their row, in units from `unit` on. A run that was killed from outside sets nothing aside. Raises
    Interrupted when `stop` is asked for; the next run then tries them again."""
    names = set(left_open(plan.out))
    suspects = [(source, _segments(plan, source, settings)) for source in plan.pending if source.name in names]
    if suspects:
        which = named([source.name for source, _ in suspects])
        _log.warning("%s: open when the last run died; tried in a process of their own first", which)
    reasons = crash_reasons(suspects, settings.sampling, lambda: stop.is_asked)
    for source in plan.pending:
        if source.name in reasons:
            _log.warning("%s: %s; set aside", source.name, reasons[source.name])
            with open_shard(Shard(unit, (source,)), plan.out, settings) as sink:
                sink.write(Batch.of_ended(Ended(source.id, 0, 0, error=reasons[source.name])))
            unit += 1
    return [source for source in plan.pending if source.name not in reasons]


def silence(plan: Plan, pending: Sequence[Source], settings: ScanSettings, stop: Stop) -> dict[str, str]:
    """Why the sound of sources must not be read, by their names: it was read when the last run died, and kills a process of
    its own, too. Raises Interrupted when `stop` is asked for."""
    names = set(left_open(plan.out, SOUND))
    suspects = [(source, None) for source in pending if source.name in names]
    if suspects:
        which = named([source.name for source, _ in suspects])
        _log.warning("%s: its sound was read when the last run died; tried in a process of its own first", which)
    return crash_reasons(suspects, settings.sampling, lambda: stop.is_asked)


def _segments(plan: Plan, source: Source, settings: ScanSettings) -> Segments:
    """From where the scan of a source would go on."""
    checkpoint = read_checkpoint(folder_of(plan.out, source.name))
    return Segments(settings.output.segment_s, None if checkpoint is None else checkpoint.reader)
