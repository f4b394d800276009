"""What a scan would do, in words, without doing it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maskbatch.errors import MaskbatchError
from maskbatch.media.video.probe import probe
from maskbatch.outputs import read_run
from maskbatch.plan import Plan, check_settings, deciding, make_plan, plan_afresh
from maskbatch.reports.record import frames_per_second
from maskbatch.run.progress import counted, num_analysed
from maskbatch.run.space import bytes_free, bytes_needed, too_little_space
from maskbatch.settings import ScanSettings
from maskbatch.types import Source


def dry_plan(
    settings: ScanSettings, sources: Sequence[Source], inputs: Sequence[Path], out: Path, if_exists: str
) -> Plan:
    """The plan of a scan, what is pending probed, device and weights left out of account. Raises UsageError where what is in
    `out` would not be gone on with; touches nothing."""
    if if_exists == "overwrite":
        plan = plan_afresh(sources, out)
    else:
        check_settings(out, deciding(settings, inputs))
        plan = make_plan(sources, out, inputs)
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
        f"{counted(len(plan.sources), 'file')}, {plan.num_done} of them done, {len(plan.changed)} to be done again",
        f"to scan: {', '.join(what)}, about {counted(frames, 'frame')}",
    ]
    if plan.vanished:
        lines.append(f"of the last run, {counted(len(plan.vanished), 'file')} no longer among the inputs")
    try:
        rate = frames_per_second(read_run(plan.out))
    except MaskbatchError:
        rate = None
    time_needed = f"about {_length(frames / rate / 60)} at {rate:.1f} frames/s, as before" if rate else "unknown"
    needed, free = bytes_needed(plan.pending, settings.output), bytes_free(plan.out)
    lines.append(f"time: {time_needed}; disk: about {needed / 1e9:.2f} GB of {(free or 0) / 1e9:.1f} GB that are free")
    warning = too_little_space(plan.pending, settings.output, plan.out)
    return [*lines, f"warning: {warning}"] if warning else lines


def _length(minutes: float) -> str:
    """A time in words that are as exact as they need to be."""
    if minutes < 1:
        return counted(round(minutes * 60), "second")
    return counted(round(minutes), "minute") if minutes < 100 else f"{minutes / 60:.1f} hours"
