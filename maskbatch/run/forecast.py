"""What a scan would do, in words, without doing it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maskbatch.media.video.probe import probe
from maskbatch.run.identity import deciding_settings
from maskbatch.run.progress import counted, num_analysed
from maskbatch.run.space import bytes_free, bytes_needed, too_little_space
from maskbatch.settings import ScanSettings
from maskbatch.store.database import STORE, is_store, open_store
from maskbatch.store.read import sessions
from maskbatch.store.resume import Plan, check_identity, make_plan, plan_afresh
from maskbatch.types import Source


def dry_plan(
    settings: ScanSettings, sources: Sequence[Source], inputs: Sequence[Path], out: Path, if_exists: str
) -> Plan:
    """Plan a scan, with what is pending probed, and device and weights left out of account; change nothing.

    Raises UsageError where the earlier scan in `out` could not be continued.
    """
    if if_exists == "overwrite" or not is_store(out / STORE):
        plan = plan_afresh(sources, out)
    else:
        with open_store(out, reader=True) as store:
            check_identity(store, deciding_settings(settings, inputs))
            plan = make_plan(store, sources, inputs)
    return replace(plan, pending=tuple(probe(source, upright=False) for source in plan.pending))


def forecast(plan: Plan, settings: ScanSettings) -> list[str]:
    """Lines about what is to be scanned and what is done, about time (by the rate of the sessions before) and disk."""
    videos = [source for source in plan.pending if source.kind == "video"]
    what = [counted(len(plan.pending) - len(videos), "photo")]
    if videos:
        length = _length(sum(source.duration_s or 0 for source in videos) / 60)
        what.append(f"{counted(len(videos), 'video')} of {length}")
    frames = sum(num_analysed(source, settings.sampling) for source in plan.pending)
    lines = [
        f"{counted(len(plan.sources), 'file')}, {plan.num_done} of them done, {len(plan.again)} to be done again",
        f"to scan: {', '.join(what)}, about {counted(frames, 'frame')}",
    ]
    if plan.vanished:
        lines.append(f"of the last session, {counted(len(plan.vanished), 'file')} no longer among the inputs")
    rate = _frames_per_second(plan.out)
    time_needed = f"about {_length(frames / rate / 60)} at {rate:.1f} frames/s, as before" if rate else "unknown"
    needed, free = bytes_needed(plan.pending, settings.output), bytes_free(plan.out)
    lines.append(f"time: {time_needed}; disk: about {needed / 1e9:.2f} GB of {(free or 0) / 1e9:.1f} GB that are free")
    warning = too_little_space(plan.pending, settings.output, plan.out)
    return [*lines, f"warning: {warning}"] if warning else lines


def _frames_per_second(out: Path) -> float | None:
    """Give the rate of the earlier sessions in `out` that ended by themselves, None when there was none."""
    if not is_store(out / STORE):
        return None
    with open_store(out, reader=True) as store, store.transaction() as connection:
        ended = [session for session in sessions(connection) if session.frames and session.seconds]
    seconds = sum(session.seconds for session in ended)
    return sum(session.frames for session in ended) / seconds if seconds else None


def _length(minutes: float) -> str:
    """A time in words that are as exact as they need to be."""
    if minutes < 1:
        return counted(round(minutes * 60), "second")
    return counted(round(minutes), "minute") if minutes < 100 else f"{minutes / 60:.1f} hours"
