"""Run a scan from paths and options to reports, for the command line and `maskbatch.scan`."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from maskbatch.errors import UsageError
from maskbatch.media.names import named
from maskbatch.media.shares import Dealt, deal, read_share
from maskbatch.media.sources import Found, look_for
from maskbatch.media.storage import Remote
from maskbatch.people.templates import suggested_template
from maskbatch.people.where import unmatched
from maskbatch.run.engine import Engine
from maskbatch.run.forecast import dry_plan, forecast
from maskbatch.run.local import Driver
from maskbatch.run.log import collected_warnings
from maskbatch.run.options import scan_settings
from maskbatch.run.output import default_out
from maskbatch.run.progress import Listener, counted
from maskbatch.run.scan_options import ScanOptions
from maskbatch.run.space import too_little_space
from maskbatch.run.threshold import words_about_threshold
from maskbatch.run.working_folder import folder_for, uploaded
from maskbatch.settings import ScanSettings
from maskbatch.store.folder import check_inputs, check_out, prepared

if TYPE_CHECKING:
    from maskbatch.reports.tables import Written

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A requested scan. `out` None means a folder named after the inputs, in the current folder."""

    paths: tuple[Path | Remote, ...]
    out: Path | Remote | None = None
    options: ScanOptions = field(default_factory=ScanOptions)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scan that ended. `remarks` are lines about skipped entries; `unreadable` are paths that could not be read."""

    out: Path
    written: "Written"
    remarks: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class _Prepared(NamedTuple):
    """The settings, the output folder and the files of a job, all checked."""

    settings: ScanSettings
    out: Path
    found: Found
    dealt: Dealt | None


def run_job(job: Job, listener: Listener, found: Found | None = None) -> Outcome:
    """Scan, or continue a scan, and write the reports. `found` are its files if the caller has already listed them.

    The networks are opened before the output folder is made, so that a scan that cannot run writes nothing. Raises
    UsageError, DeviceError and WeightsError before the first file is read; Interrupted when the listener's `Stop` was
    requested; MaskbatchError when another scan writes to the folder, or the folder can no longer be written.
    """
    with collected_warnings() as warnings, ExitStack() as stack:
        if isinstance(job.out, Remote):
            if job.options.engine == "ray":  # workers would write media into folders of their own machines
                raise UsageError("--engine ray needs an output folder that all machines see, and no address: see --out")
            working = stack.enter_context(uploaded(job.out))
            listener.say(f"working in {working}; results go to {job.out}")
            job = replace(job, out=working)
        settings, out, found, dealt = _prepared(job, listener, found)
        driver = stack.enter_context(closing(Driver(settings, warnings, job.options.third_state, _engine(settings))))
        settings = driver.settings
        with prepared(out, job.options.if_exists) as (store, lock):
            plan = replace(
                driver.plan(store, found.sources, job.paths, found.not_looked_at, found.growing), dealt=dealt
            )
            done = f", {plan.num_done} of them done already" if plan.num_done else ""
            listener.say(f"{counted(len(plan.sources), 'file')}{done}, {driver.networks.device.description}")
            videos = [source.name for source in plan.sources if source.kind == "video"]
            for line in (words_about_threshold(store, settings), too_little_space(plan.pending, settings.output, out),
                         _hint(settings, videos)):  # fmt: skip
                if line:
                    listener.say(line)
            with listener.at_work(settings.sampling) as stop:
                written = driver.scan(plan, store, lock, stop, listener)
    return Outcome(out, written, tuple(found.not_looked_at.remarks()), found.not_looked_at.unreadable)


def _engine(settings: ScanSettings) -> Engine | None:
    """Return the requested engine, None for this process. Raises UsageError, DeviceError and WeightsError."""
    if settings.cluster.engine == "local":
        return None
    from maskbatch.run.ray import RayEngine  # Ray is an extra

    return RayEngine(settings, settings.cluster)


def _hint(settings: ScanSettings, names: Sequence[str]) -> str | None:
    """Return a hint about the path template that the folders of videos suggest, None when nothing is obvious."""
    if settings.report.path_template is not None or settings.report.places is not None:
        return None
    suggested = suggested_template(names)
    return suggested and f"the folders look like cameras: --path-template '{suggested}' adds them to the tables"


def dry_run(job: Job, listener: Listener) -> tuple[list[Path], list[str]]:
    """Return the files that a scan would read, and lines about files, time and disk space. Change nothing.

    Raises UsageError like `run_job`.
    """
    if isinstance(job.out, Remote):
        job = replace(job, out=folder_for(job.out))
    settings, out, found, _ = _prepared(job, listener)
    plan = dry_plan(settings, found.sources, job.paths, out, job.options.if_exists)
    return [source.path for source in plan.pending], forecast(plan, settings)


def _prepared(job: Job, listener: Listener, found: Found | None = None) -> _Prepared:
    """Check a job, and find its files unless `found` is given. Raises UsageError."""
    settings, options = scan_settings(job.options), job.options
    _check_paths(job.paths)
    share = None if options.shard is None else read_share(options.shard)
    out = default_out(job.paths, share) if job.out is None else job.out
    settings = replace(settings, output=replace(settings.output, folder=out))
    check_out(out, options.if_exists)
    if found is None:
        listener.say(f"looking for photos and videos; results go to {out}")
        found = look_for(job.paths, out, options.limit, options.include_hidden)
        for remark in found.not_looked_at.remarks():
            listener.say(remark)
    if not found.sources:
        raise UsageError(f"no photo or video in {named([str(path) for path in job.paths])}")
    dealt = None
    if share is None:
        for line in unmatched([source.name for source in found.sources], settings.report):
            _log.warning("%s", line)
    else:
        own, dealt = deal(found.sources, share)
        listener.say(f"shard {share}: {len(own)} of {counted(len(found.sources), 'file')}")
        found = replace(found, sources=own)
    check_inputs(out, (source.path for source in found.sources))
    return _Prepared(settings, out, found, dealt)


def _check_paths(paths: Sequence[Path]) -> None:
    if not paths:
        raise UsageError("no photo or video in the list")
