"""Describe what a scan would do, without doing it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from maskbatch.media.video.probe import probe
from maskbatch.reports.content import with_same_content
from maskbatch.run.estimate import trial_estimate
from maskbatch.run.identity import deciding_settings
from maskbatch.run.progress import counted, num_analysed
from maskbatch.run.space import bytes_free, bytes_needed, in_words, too_little_space
from maskbatch.settings import ScanSettings
from maskbatch.store.database import STORE, is_store, open_store
from maskbatch.store.plan import Plan, Standard, make_plan, plan_afresh
from maskbatch.store.read import sessions
from maskbatch.store.resume import check_identity
from maskbatch.types import Source

_NIGHT_S = 8 * 3600
_SPARSE_FPS = 2


def dry_plan(
    settings: ScanSettings, sources: Sequence[Source], inputs: Sequence[Path], out: Path, if_exists: str
) -> Plan:
    """Plan a scan without changing anything. Probe the pending sources, but ignore device and weights.

    Raises UsageError when the earlier scan in `out` could not be continued.
    """
    if if_exists == "overwrite" or not is_store(out / STORE):
        plan = plan_afresh(sources, out)
    else:
        with open_store(out, reader=True) as store:
            check_identity(store, deciding_settings(settings, inputs))
            standard = Standard(settings.output.save, with_same_content=partial(with_same_content, out))
            plan = make_plan(store, sources, inputs, standard)
    return replace(plan, pending=tuple(probe(source, upright=False) for source in plan.pending))


def forecast(plan: Plan, settings: ScanSettings) -> list[str]:
    """Return lines about the files to scan, the files that are done, the time and the disk space.

    The time is estimated from the rate of earlier sessions, or from a trial of a few seconds.
    """
    videos = [source for source in plan.pending if source.kind == "video"]
    what = [counted(len(plan.pending) - len(videos), "photo")]
    if videos:
        length = _length(sum(source.duration_s or 0 for source in videos))
        what.append(f"{counted(len(videos), 'video')} of {length}{' in all' if len(videos) > 1 else ''}")
    frames = sum(num_analysed(source, settings.sampling) for source in plan.pending)
    lines = [
        f"{counted(len(plan.sources), 'file')}, {plan.num_done} of them done, {len(plan.again)} to be scanned again",
        f"to scan: {', '.join(what)}, about {counted(frames, 'frame')}",
    ]
    if plan.vanished:
        lines.append(f"{counted(len(plan.vanished), 'file')} of the last session: no longer among the inputs")
    seconds, how = _seconds_needed(plan, settings, frames)
    time_needed = "unknown" if seconds is None else f"about {_length(seconds)}{how}"
    needed, free = bytes_needed(plan.pending, settings.output), bytes_free(plan.out)
    lines.append(f"time: {time_needed}; disk: about {in_words(needed)} of {in_words(free or 0)} that are free")
    warnings = [too_little_space(plan.pending, settings.output, plan.out), too_little_time(seconds, videos, settings)]
    return [*lines, *(f"warning: {warning}" for warning in warnings if warning)]


def too_little_time(seconds: float | None, videos: Sequence[Source], settings: ScanSettings) -> str | None:
    """Return a warning about a scan that takes longer than a night, with the option that helps, otherwise None."""
    if seconds is None or seconds <= _NIGHT_S:
        return None
    words = f"this takes about {_length(seconds)}, longer than a night of {_NIGHT_S // 3600} hours"
    if videos and (settings.sampling.sample_fps or math.inf) > _SPARSE_FPS and settings.sampling.every == 1:
        return (
            f"{words}: --sample-fps {_SPARSE_FPS} analyses {_SPARSE_FPS} frames per second of video and is much faster"
        )
    return f"{words}; the scan can be stopped with Ctrl-C and continued at any time"


def _seconds_needed(plan: Plan, settings: ScanSettings, frames: int) -> tuple[float | None, str]:
    """Estimate the seconds for the pending sources, and describe the method of the estimate."""
    if not plan.pending:
        return 0.0, ""
    if rate := _frames_per_second(plan.out):
        return frames / rate, f" at {rate:.1f} frames/s, as before"
    return trial_estimate(plan.pending, settings), " by a trial of a few seconds"


def _frames_per_second(out: Path) -> float | None:
    """Return the rate of the earlier sessions in `out` that recorded frames and seconds, None without such sessions."""
    if not is_store(out / STORE):
        return None
    with open_store(out, reader=True) as store, store.transaction() as connection:
        ended = [session for session in sessions(connection) if session.frames and session.seconds]
    seconds = sum(session.seconds for session in ended)
    return sum(session.frames for session in ended) / seconds if seconds else None


def _length(seconds: float) -> str:
    """Return a duration in words, rounded to seconds, minutes or tenths of an hour."""
    if seconds < 60:
        return counted(round(seconds), "second")
    return counted(round(seconds / 60), "minute") if seconds < 6000 else f"{seconds / 3600:.1f} hours"
