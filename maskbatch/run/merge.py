"""Merge the output folders of several scans into one folder, equal to that of one scan over all inputs."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.media.names import named
from maskbatch.media.walk import NotLookedAt
from maskbatch.reports.content import input_checksums
from maskbatch.reports.manifest import write_manifest
from maskbatch.reports.run_json import write_run_json
from maskbatch.reports.tables import WRITTEN, Written, write_reports
from maskbatch.run.bring import bring
from maskbatch.run.progress import Listener, counted
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.store.database import STORE, Store, is_store, open_store
from maskbatch.store.folder import MediaFile, media_files, prepared, remove_media
from maskbatch.store.lock import at_work, locked
from maskbatch.store.merge import Ids, add_piece, begin_merge, forget_media, merge_facts, plan_media
from maskbatch.store.pieces import Piece, check_agree, in_order, missing_from, purges, read_piece
from maskbatch.store.read import all_media, sessions
from maskbatch.store.write import end_session


@dataclass(frozen=True, slots=True)
class MergeJob:
    """A requested merge.

    `media`: copy; link (hard links, or copies if the file system has no links); or move, which leaves no media in
    `folders`. `incomplete`: shards may be missing or unfinished. `any_versions`: versions of libraries may differ.
    """

    folders: tuple[Path, ...]
    out: Path
    media: str = "copy"
    if_exists: str = "resume"
    incomplete: bool = False
    any_versions: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge that ended. `missing` are the reasons why the merged scan is not complete."""

    out: Path
    written: Written
    missing: tuple[str, ...]
    remarks: tuple[str, ...]
    unreadable: tuple[str, ...]


class _Found(NamedTuple):
    """A folder to merge, the new ids of its finished sources, and the files of their media."""

    piece: Piece
    ids: Ids
    files: list[MediaFile]


def run_merge(job: MergeJob, listener: Listener) -> Merged:
    """Merge output folders, or continue a merge that was stopped, and write all tables.

    Args:
        job: the folders, and the settings of the merge.
        listener: receives messages.

    Returns:
        The summary of the merged scan, and the reasons why it is not complete.

    Raises:
        UsageError: the folders do not belong together, are not finished, or `out` holds something else.
        MaskbatchError: a scan writes to one of the folders.
        OSError: a file cannot be read or written. The same call continues the merge.

    Example:
        >>> run_merge(MergeJob((Path("out_1"), Path("out_2")), Path("audit")), Listener()).summary.files
        6
    """
    start = time.monotonic()
    _check_folders(job)
    with ExitStack() as stack:
        pieces = [_read(folder, job.media, stack) for folder in job.folders]
        check_agree(pieces, job.any_versions)
        missing = _missing(pieces, job)
        ordered = in_order(pieces)
        found, moved = _found(pieces, ordered), _moved_before(job)
        _check_media(found, moved)
        store, _ = stack.enter_context(prepared(job.out, job.if_exists))
        _check_earlier(store, job, pieces)
        listener.say(
            f"{counted(len(ordered), 'file')} of {counted(len(pieces), 'folder')}; the merged scan goes to {job.out}"
        )
        facts = merge_facts(pieces, len(ordered), "move" if moved else job.media)
        session = begin_merge(store, pieces, ordered, facts, input_checksums([*job.folders, job.out]))
        write_run_json(store, job.out)
        brought = _bring_all(store, found, job, listener)
        if job.media != "move" and not moved:  # moved media are no longer in the folders
            _remove_old(store, found, brought)
        for piece, own, _ in found:
            add_piece(store, piece, own)
        how = f"merged in part: {'; '.join(missing)}" if missing else "finished"
        end_session(store, session, how, {"seconds": round(time.monotonic() - start, 2)})
        written = _write_reports(store, facts)
        if not missing:
            write_manifest(store, WRITTEN, others=job.folders)
    passed_by = NotLookedAt(**facts["not_looked_at"])
    return Merged(job.out, written, tuple(missing), tuple(passed_by.remarks()), tuple(passed_by.unreadable))


def _check_folders(job: MergeJob) -> None:
    """Raise UsageError for a folder that is given twice or is the output, and for `move` with `incomplete`."""
    real = [os.path.realpath(folder) for folder in (*job.folders, job.out)]
    if real[-1] in real[:-1]:
        raise UsageError(f"{job.out} is a folder to merge and the output folder: choose another one with --out")
    if len(set(real)) < len(real):
        raise UsageError("a folder is given twice: give each folder once")
    if job.media == "move" and job.incomplete:
        raise UsageError("--media move takes media out of the folders, and needs a complete scan: drop --incomplete")


def _read(folder: Path, media: str, stack: ExitStack) -> Piece:
    """Read a folder to merge. For `move`, lock it until the merge ends. Raises MaskbatchError if a scan writes to it."""
    if media == "move":
        stack.enter_context(locked(folder))
    elif session := at_work(folder):
        raise MaskbatchError(f"{folder} is being written to by a scan ({session}): wait for its end, and merge again")
    return read_piece(folder)


def _missing(pieces: Sequence[Piece], job: MergeJob) -> list[str]:
    """Return the reasons why the pieces are not a complete scan. Raises UsageError unless the job allows them."""
    missing = missing_from(pieces)
    if missing and not job.incomplete:
        raise UsageError("\n".join([f"the folders are not a complete scan: {missing[0]}", *missing[1:9],
                                    "Give --incomplete to merge them anyway"]))  # fmt: skip
    return missing


def _found(pieces: Sequence[Piece], ordered: Sequence) -> list[_Found]:
    """Return the finished sources and media of each piece; `ordered` are all sources, from `in_order`."""
    ids = _new_ids(ordered, len(pieces))
    return [_Found(piece, own, _files_of(piece, own)) for piece, own in zip(pieces, ids, strict=True)]


def _new_ids(ordered: Sequence, num_pieces: int) -> list[dict[int, int]]:
    """Return, for each piece, the merged ids of its finished sources by their ids in the piece."""
    ids: list[dict[int, int]] = [{} for _ in range(num_pieces)]
    for number, (piece, source) in enumerate(ordered, 1):
        if source.state == "done":
            ids[piece][source.id] = number
    return ids


def _files_of(piece: Piece, ids: Ids) -> list[MediaFile]:
    """Return the media files in the folder of a piece that belong to the sources in `ids`."""
    names = {(one.kind, one.folded_name) for one in piece.media if one.source_id in ids}
    return [file for file in media_files(piece.folder) if (file.kind, file.folded_name) in names]


def _moved_before(job: MergeJob) -> set[tuple[str, str]]:
    """Return the kinds and names of media that an earlier merge has moved to the output folder.

    Raises UsageError when the merge would overwrite these media, because there are no other copies.
    """
    if not is_store(job.out / STORE):
        return set()
    with open_store(job.out, reader=True) as store, store.transaction() as connection:
        last = sessions(connection)[-1:]
    if not last or last[0].facts.get("merged", {}).get("media") != "move":
        return set()
    if job.if_exists == "overwrite":
        raise UsageError(
            f"an earlier merge moved the only copies of media to {job.out}: choose another folder with --out"
        )
    return {_key(file) for file in media_files(job.out)}


def _key(file: MediaFile) -> tuple[str, str]:
    """Return the kind of a file (annotated, crops or evidence) and its folded name."""
    return file.name.partition("/")[0], file.folded_name


def _check_media(found: Sequence[_Found], moved: set[tuple[str, str]]) -> None:
    """Raise UsageError when media that a store lists were deleted."""
    for piece, ids, files in found:
        there = moved | {_key(file) for file in files}
        gone = [f"{kind}/{name}" for source_id, kind, folded, name in piece.written
                if source_id in ids and (kind, folded) not in there]  # fmt: skip
        if gone:
            raise UsageError(
                f"media are missing from {piece.folder} ({named(gone)}): run its scan again to restore them"
            )


def _check_earlier(store: Store, job: MergeJob, pieces: Sequence[Piece]) -> None:
    """Raise UsageError when the output folder holds other than a merge of these folders, or a purge that they lack."""
    with store.transaction() as connection:
        last = sessions(connection)[-1:]
        purged = purges(connection) - {one for piece in pieces for one in piece.purges}
    if not last:
        return
    if purged:
        raise UsageError(f"people were purged from {job.out}, but not from the folders: their pictures would come back. "
                         "Purge the folders as well, and merge them into another output folder")  # fmt: skip
    earlier = last[0].facts.get("merged")
    if earlier is None:
        raise UsageError(f"{job.out} holds a scan that is not a merge: choose another folder with --out")
    before = {one["folder"] for one in earlier["folders"]}
    if not before <= {str(folder.absolute()) for folder in job.folders}:
        raise UsageError(f"{job.out} holds a merge of other folders ({named(sorted(before))}): choose another folder with "
                         "--out, or replace it with --if-exists overwrite")  # fmt: skip


def _names(found: Sequence[_Found]) -> set[tuple[str, str]]:
    """Return the kind and folded name of all media to merge."""
    return {
        (media.kind, media.folded_name) for piece, ids, _ in found for media in piece.media if media.source_id in ids
    }


def _bring_all(store: Store, found: Sequence[_Found], job: MergeJob, listener: Listener) -> set[str]:
    """Bring all media to the output folder, remove media of sources that left, and return the names. Raises OSError."""
    pieces, kept = [one.piece for one in found], _names(found)
    with store.transaction() as connection:
        stale = [(kind, name) for kind, name, _ in all_media(connection) if (kind, name) not in kept]
    remove_media(job.out, stale)
    forget_media(store, stale)
    plan_media(store, pieces, [one.ids for one in found])
    num_files = sum(len(files) for _, _, files in found)
    if num_files:
        listener.say(f"{counted(num_files, 'file')} of media: {job.media}")
    brought = set()
    for piece, _, files in found:
        for file in files:
            bring(piece.folder / file.name, job.out / file.name, job.media)
            brought.add(file.name)
    return brought


def _remove_old(store: Store, found: Sequence[_Found], brought: set[str]) -> None:
    """Remove media of an earlier merge whose source has changed, or from whose folder people were purged."""
    kept = _names(found)
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
