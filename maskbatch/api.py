"""The functions of maskbatch for Python, which the command line uses too.

>>> import maskbatch as mb
>>> faces = mb.find("sample_media/portrait_surgical.jpg")
>>> len(faces), faces.p_mask.round(1).tolist()
(1, [1.0])
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from threading import Event

from maskbatch.errors import UsageError
from maskbatch.media.storage import located
from maskbatch.model import Frame, Model, draw, find
from maskbatch.results import Results, open
from maskbatch.run.job import Job, run_job
from maskbatch.run.merge import run_merge
from maskbatch.run.merge_plan import MergeJob
from maskbatch.run.progress import Listener, Progress, Tally
from maskbatch.run.scan_options import ScanOptions
from maskbatch.run.stop import Stop
from maskbatch.settings import SamplingSettings
from maskbatch.types import Faces, SegmentResult, Shard, Source

__all__ = ["Faces", "Frame", "Model", "Progress", "Results", "ScanOptions", "draw", "find", "merge", "open", "scan"]

Paths = str | PathLike | Sequence[str | PathLike]
_log = logging.getLogger(__name__)


def scan(
    paths: Paths,
    out: str | PathLike | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
    **options: object,
) -> Results:
    """Scan photos and videos into an output folder, or continue its scan, like `maskbatch scan`.

    After an error or a kill, the same call continues where the scan stopped. A scan may run in any thread. Warnings go to
    the logger `maskbatch`.

    Args:
        paths: a path, or several: folders (recursively) and files, in any mix.
        out: the output folder; default: a folder named after the input, in the current folder.
        progress: called after each batch, in one thread at a time. An exception that it raises ends the scan.
        stop: once any thread sets this event, the scan stores the analysed frames and raises Interrupted.
        options: the fields of `ScanOptions`, such as `sample_fps=2` or `save="none"`.

    Returns:
        The results, with the threshold of this scan. A file that could not be read is a row in `files()`, not an error.

    Raises:
        UsageError: an option is unknown or wrong, or the folder holds a scan of other inputs or settings.
        DeviceError: the device is not usable here.
        WeightsError: a weight file is missing or damaged.
        MaskbatchError: another scan is writing to the folder, or the folder cannot be written.
        Interrupted: `stop` was set before the last file was done. The tables show the finished part.

    Example:
        >>> results = scan("sample_media/groups", out="groups", save="none")
        >>> results.summary.files, results.summary.failed
        (4, 0)
    """
    try:
        chosen = ScanOptions(**options)
    except TypeError:
        names = ", ".join(sorted(options.keys() - {item.name for item in fields(ScanOptions)}))
        raise UsageError(f"scan has no option {names}; help(maskbatch.ScanOptions) lists the options") from None
    if isinstance(chosen.model, PathLike):
        chosen = replace(chosen, model=str(chosen.model))
    job = Job(_all_of(paths), None if out is None else located(out), chosen)
    return Results(run_job(job, _Caller(progress, Event() if stop is None else stop)).out)


def merge(
    folders: Paths,
    out: str | PathLike,
    media: str = "copy",
    if_exists: str = "resume",
    incomplete: bool = False,
    any_versions: bool = False,
) -> Results:
    """Merge the output folders of scans, such as those of all shards, into one folder, like `maskbatch merge`.

    No file is analysed. The tables and media are byte for byte equal to those of one scan over all inputs. After an
    error or a kill, the same call continues the merge.

    Args:
        folders: the output folders.
        out: the output folder of the merged scan.
        media: how annotated copies, evidence and crops get to `out`: copy; link (hard links, or copies if the file
            system has no links); or move, which leaves no media in `folders`.
        if_exists: when `out` holds an earlier merge: resume (update or continue the merge), overwrite or error.
        incomplete: shards may be missing or unfinished; the logger `maskbatch` gets a warning for each reason.
        any_versions: the scans may use different versions of libraries.

    Returns:
        The results of the merged scan.

    Raises:
        UsageError: an argument is wrong; the folders do not belong together, are not finished, or `out` holds something
            else.
        MaskbatchError: a scan is writing to one of the folders.
        OSError: a file cannot be read or written.

    Example:
        >>> parts = [scan("sample_media/groups", out=f"part_{k}", shard=f"{k}/2", save="none").folder for k in (1, 2)]
        >>> merge(parts, out="whole").summary.files
        4
    """
    job = MergeJob(_all_of(folders), Path(out), media, if_exists, incomplete, any_versions)
    merged = run_merge(job, Listener())
    for reason in merged.missing:
        _log.warning("not all files are in the tables of %s: %s", merged.out, reason)
    return Results(merged.out)


def _all_of(paths: Paths) -> tuple[Path, ...]:
    """Return one or several paths as a tuple."""
    return tuple(map(located, [paths] if isinstance(paths, (str, PathLike)) else paths))


class _StopOnEvent(Stop):
    """A request to stop that is an event of the caller."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self._event = event

    @property
    def is_asked(self) -> bool:
        return self._event.is_set()


class _Caller(Listener):
    """A listener that reports progress to a function of the caller, and stops the scan when the caller's event is set."""

    def __init__(self, progress: Callable[[Progress], None] | None, stop: Event) -> None:
        self._progress, self._stop = progress, _StopOnEvent(stop)
        self._tally: Tally | None = None

    @contextmanager
    def at_work(self, sampling: SamplingSettings) -> Iterator[Stop]:
        self._tally = Tally(sampling)
        yield self._stop

    def expect(self, sources: Sequence[Source]) -> None:
        self._tally.expect(sources)

    def add(self, shard: Shard, result: SegmentResult) -> None:
        self._tally.add(shard, result)
        if self._progress is not None:
            self._progress(self._tally.progress())
