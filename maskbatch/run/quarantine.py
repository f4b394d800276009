"""Keep away from sources that kill the process that reads them, so that they cost one session and not every one."""

import logging
from collections.abc import Sequence

from maskbatch.media.guard.trial import Suspect, crash_reasons
from maskbatch.media.names import name_text, named
from maskbatch.run.shard import give_up
from maskbatch.run.stop import Stop
from maskbatch.settings import ScanSettings
from maskbatch.store.database import Store
from maskbatch.store.read import left_open
from maskbatch.store.resume import Plan, usable_checkpoint
from maskbatch.store.write import add_results, close_sources
from maskbatch.types import Source

_log = logging.getLogger(__name__)


def set_aside(plan: Plan, store: Store, settings: ScanSettings, stop: Stop) -> list[Source]:
    """Give what is pending, without the sources that were open when the last session died and that kill a process of their
    own, too. Those get their row. A session that was killed from outside sets nothing aside.

    Raises Interrupted when `stop` is asked for; the next session then tries them again.
    """
    with store.transaction() as connection:
        names = set(left_open(connection))
    opened = [source for source in plan.pending if name_text(source.name) in names]
    reasons = (
        crash_reasons(_suspects(opened, store, settings), settings.sampling, lambda: stop.is_asked) if opened else {}
    )
    for source in opened:
        if reason := reasons.get(source.name):
            _log.warning("%s: %s; set aside", source.name, reason)
            add_results(store, [give_up(source, usable_checkpoint(store, source), reason, settings)])
    close_sources(store, opened)
    return [source for source in plan.pending if source.name not in reasons]


def _suspects(opened: Sequence[Source], store: Store, settings: ScanSettings) -> list[Suspect]:
    """Give the sources, each with the place where its scan would be continued."""
    _log.warning("%s: open when the last session died; tried in a process of their own first",
                 named([source.name for source in opened]))  # fmt: skip
    checkpoints = [usable_checkpoint(store, source) for source in opened]
    return [
        Suspect(source, settings.output.segment_s, None if at is None else at.reader)
        for source, at in zip(opened, checkpoints, strict=True)
    ]
