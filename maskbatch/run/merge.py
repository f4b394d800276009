"""Merge the output folders of several scans into one folder, equal to that of one scan over all inputs."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from maskbatch.media.walk import NotLookedAt
from maskbatch.reports.content import input_checksums
from maskbatch.reports.manifest import write_manifest
from maskbatch.reports.run_json import write_run_json
from maskbatch.reports.tables import WRITTEN, Written, write_reports
from maskbatch.run.bring import bring
from maskbatch.run.merge_plan import MergeFolder, MergeJob, MergePlan, check_earlier, plan_merge
from maskbatch.run.progress import Listener, counted
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.store.database import Store
from maskbatch.store.folder import media_files, prepared, remove_media
from maskbatch.store.merge import add_piece, begin_merge, forget_media, merge_facts, plan_media
from maskbatch.store.read import all_media
from maskbatch.store.write import end_session


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge that ended. `missing` are the reasons why the merged scan is not complete."""

    out: Path
    written: Written
    missing: tuple[str, ...]
    remarks: tuple[str, ...]
    unreadable: tuple[str, ...]


def run_merge(job: MergeJob, listener: Listener) -> Merged:
    """Merge output folders, or continue a merge that was stopped, and write all tables.

    Args:
        job: the folders, and the settings of the merge.
        listener: receives messages.

    Returns:
        What was written, and the reasons why the merged scan is not complete.

    Raises:
        UsageError: an option is wrong; the folders do not belong together, are not finished, or `out` holds something
            else.
        MaskbatchError: a scan writes to one of the folders.
        OSError: a file cannot be read or written. The same call continues the merge.

    Example:
        >>> run_merge(MergeJob((Path("out_1"), Path("out_2")), Path("audit")), Listener()).written.summary.files
        6
    """
    with ExitStack() as stack:
        plan = plan_merge(job, stack)
        store, _ = stack.enter_context(prepared(job.out, job.if_exists))
        check_earlier(store, job, plan.pieces)
        facts = _fill(store, plan, job, listener)
        written = _write_reports(store, facts)
        if not plan.missing:
            write_manifest(store, WRITTEN, others=job.folders)
    passed_by = NotLookedAt(**facts["not_looked_at"])
    return Merged(job.out, written, plan.missing, tuple(passed_by.remarks()), tuple(passed_by.unreadable))


def _fill(store: Store, plan: MergePlan, job: MergeJob, listener: Listener) -> dict[str, object]:
    """Fill the output folder with all rows and media in one session, and return the facts of that session."""
    start, num_files, num_folders = time.monotonic(), len(plan.ordered), len(plan.pieces)
    listener.say(f"{counted(num_files, 'file')} of {counted(num_folders, 'folder')}; the merged scan goes to {job.out}")
    facts = merge_facts(plan.pieces, num_files, "move" if plan.moved else job.media)
    session = begin_merge(store, plan.pieces, plan.ordered, facts, input_checksums([*job.folders, job.out]))
    write_run_json(store, job.out)
    _remove_left(store, plan.folders)
    plan_media(store, plan.pieces, [one.ids for one in plan.folders])
    brought = _bring_all(plan.folders, job, listener)
    if job.media != "move" and not plan.moved:  # moved media are no longer in the folders
        _remove_old(store, plan.folders, brought)
    for piece, own, _ in plan.folders:
        add_piece(store, piece, own)
    how = f"merged in part: {'; '.join(plan.missing)}" if plan.missing else "finished"
    end_session(store, session, how, {"seconds": round(time.monotonic() - start, 2)})
    return facts


def _names(folders: Sequence[MergeFolder]) -> set[tuple[str, str]]:
    """Return the kind and folded name of all media to merge."""
    return {
        (media.kind, media.folded_name) for piece, ids, _ in folders for media in piece.media if media.source_id in ids
    }


def _remove_left(store: Store, folders: Sequence[MergeFolder]) -> None:
    """Remove media of sources that are no longer in the folders. Raises OSError."""
    kept = _names(folders)
    with store.transaction() as connection:
        left = [(kind, name) for kind, name, _ in all_media(connection) if (kind, name) not in kept]
    remove_media(store.folder, left)
    forget_media(store, left)


def _bring_all(folders: Sequence[MergeFolder], job: MergeJob, listener: Listener) -> set[str]:
    """Bring all media to the output folder, and return their names. Raises OSError."""
    num_files = sum(len(files) for _, _, files in folders)
    if num_files:
        listener.say(f"media: {job.media} {counted(num_files, 'file')}")
    brought = set()
    for piece, _, files in folders:
        for file in files:
            bring(piece.folder / file.name, job.out / file.name, job.media)
            brought.add(file.name)
    return brought


def _remove_old(store: Store, folders: Sequence[MergeFolder], brought: set[str]) -> None:
    """Remove media whose source has changed since an earlier merge, or from whose folder people were purged."""
    kept = _names(folders)
    for file in list(media_files(store.folder)):
        if file.name not in brought and (file.kind, file.folded_name) in kept:
            (store.folder / file.name).unlink(missing_ok=True)


def _write_reports(store: Store, facts: dict) -> Written:
    """Write all tables with the settings of the scans, and run.json."""
    with store.transaction() as connection:
        settings = report_settings(connection, Asked())
    settings = replace(settings, bom=facts["settings"]["report"]["bom"])
    written = write_reports(store, settings)
    write_run_json(store, store.folder, settings, asdict(written.summary))
    return written
