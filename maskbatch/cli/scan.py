"""The commands that scan: `scan`, `video` and `watch`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maskbatch.cli.options import BESIDE, scan_options, video_options, watch_options
from maskbatch.cli.parameters import PLACE, GroupedCommand, Several
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import Terminal, open_terminal
from maskbatch.errors import UsageError
from maskbatch.media.storage import located
from maskbatch.run.memory import check_address_space
from maskbatch.run.scan_options import ScanOptions

if TYPE_CHECKING:  # pandas is heavy
    from maskbatch.reports.summary import Summary

EXIT_SOME_FAILED, EXIT_UNDER = 3, 4
_SCAN_EXAMPLES = """
maskbatch scan photos/                              results go to photos_maskbatch/
maskbatch scan photos/ night.mp4 --out audit        folders and files, in any mix
maskbatch scan clips/ --sample-fps 2 --save none    two frames per second, tables only
maskbatch scan clips/ --dry-run                     estimates of time and disk space
maskbatch scan photos/ --threshold 0.7              after a scan: the tables at 0.7
"""
_VIDEO_EXAMPLES = """
maskbatch video door.mp4                 results go to door_maskbatch/ in the current folder
maskbatch video /media/door.mp4 --out    results go to door_maskbatch/ beside the video
"""
_WATCH_EXAMPLES = """
maskbatch watch incoming/ --out audit                looks every five minutes
maskbatch watch incoming/ --every 1h --settle 2m     for recorders that write to a file at intervals
"""


@click.command(cls=GroupedCommand, epilog=_SCAN_EXAMPLES)
@click.argument("paths", cls=Several, nargs=-1, type=PLACE, metavar="PATH...")
@scan_options
def scan(paths: tuple[Path, ...], out: Path | None, from_list: Path | None, **options: object) -> None:
    """Scan photos and videos: folders (recursively) and files, in any mix.

    Give the same command again to continue a scan that was stopped.
    """
    if not paths and not from_list:
        raise UsageError("nothing to scan: name folders or files, or use --from-list")
    from maskbatch.media.sources import read_list

    listed = read_list(from_list) if from_list else []
    _scan((*paths, *listed), out, options)


@click.command(cls=GroupedCommand, epilog=_VIDEO_EXAMPLES)
@click.argument("files", cls=Several, nargs=-1, required=True, type=PLACE, metavar="FILE...")
@video_options
def video(files: tuple[Path, ...], out: str | None, **options: object) -> None:
    """Scan videos, and write tables and annotated H.264 copies with sound.

    `maskbatch scan` does the same for videos and photos in any mix.
    """
    _check_videos(files)
    folder = None if out is None else located(out)
    if out == BESIDE:
        folder = files[0].with_name(f"{files[0].stem}_maskbatch")
    _scan(files, folder, options)


@click.command(cls=GroupedCommand, epilog=_WATCH_EXAMPLES)
@click.argument("paths", cls=Several, nargs=-1, required=True, type=PLACE, metavar="DIR...")
@watch_options
def watch(paths: tuple[Path, ...], out: Path | None, interval: float, settle: float, **options: object) -> None:
    """Watch folders: scan new files once they stop growing, and update the tables each time.

    Ctrl-C stops at any time, and the same command continues. Results of files that are deleted after their scan stay.
    """
    check_address_space()  # before libraries are loaded, which crash where memory ends
    with quiet_libraries(), open_terminal(options["quiet"], options["log_file"], options["progress"]) as terminal:
        from maskbatch.run.job import Job
        from maskbatch.run.watch import Rhythm
        from maskbatch.run.watch import watch as run_watch

        job = Job(paths, out, ScanOptions(**_own(options)))
        run_watch(job, Rhythm(interval, settle), terminal, terminal.results)


def _own(options: dict) -> dict[str, object]:
    """Return the options that are fields of `ScanOptions`."""
    return {item.name: options[item.name] for item in fields(ScanOptions) if item.name in options}


def _check_videos(files: tuple[Path, ...]) -> None:
    from maskbatch.media.kinds import kind_by_name

    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: use maskbatch scan {path}")
        if path.is_file() and kind_by_name(path) == "image":
            raise UsageError(f"{path} is a photo: use maskbatch scan {path}")


def check_rate(summary: Summary, least: float | None, terminal: Terminal) -> None:
    """End the program with EXIT_UNDER when the rate may be `least` or less, or has no interval."""
    if least is None or (summary.rate_low is not None and summary.rate_low > least):
        return
    found = "has no interval" if summary.rate_low is None else f"may be as low as {summary.rate_low:.1%}"
    terminal.warn(f"the rate with a mask {found}: --fail-under {least:g}")
    click.get_current_context().exit(EXIT_UNDER)


def _scan(paths: tuple[Path, ...], out: Path | None, options: dict) -> None:
    """Run the job of `scan` or `video`, or its dry run."""
    check_address_space()  # before libraries are loaded, which crash where memory ends
    with quiet_libraries(), open_terminal(options["quiet"], options["log_file"], options["progress"]) as terminal:
        from maskbatch.run.job import Job, dry_run, run_job

        job = Job(paths, out, ScanOptions(**_own(options)))
        if options["dry_run"]:
            terminal.dry_run(*dry_run(job, terminal))
            return
        outcome = run_job(job, terminal)
        terminal.results(outcome)
        summary = outcome.written.summary
        check_rate(summary, options["fail_under"], terminal)
    if summary.failed or summary.partial or outcome.unreadable:
        click.get_current_context().exit(EXIT_SOME_FAILED)
