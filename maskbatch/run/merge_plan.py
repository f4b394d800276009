"""Plan a merge: read the output folders of scans, and check that they can be merged."""

import os
from collections.abc import Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.media.names import named
from maskbatch.run.bring import MEDIA
from maskbatch.run.options import checked
from maskbatch.store.database import STORE, Store, is_store, open_store
from maskbatch.store.folder import MediaFile, media_files
from maskbatch.store.lock import at_work, locked
from maskbatch.store.merge import Ids
from maskbatch.store.pieces import Piece, PieceSource, check_agree, in_order, missing_from, purges, read_piece
from maskbatch.store.read import sessions


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


class MergeFolder(NamedTuple):
    """A folder to merge, the new ids of its finished sources, and the files of their media."""

    piece: Piece
    ids: Ids
    files: list[MediaFile]


class MergePlan(NamedTuple):
    """The checked folders of a merge, and all their sources in order (see `in_order`).

    `missing` are the reasons why they are not a complete scan; `moved` are the kinds and names of media that an earlier
    merge moved to the output folder.
    """

    folders: tuple[MergeFolder, ...]
    ordered: tuple[tuple[int, PieceSource], ...]
    missing: tuple[str, ...]
    moved: frozenset[tuple[str, str]]

    @property
    def pieces(self) -> list[Piece]:
        """The folders."""
        return [one.piece for one in self.folders]


def plan_merge(job: MergeJob, stack: ExitStack) -> MergePlan:
    """Check a merge, and read its folders; `stack` holds their locks for `move`.

    Raises UsageError when they cannot be merged, MaskbatchError when a scan writes to one of them.
    """
    _check_job(job)
    pieces = [_read(folder, job.media, stack) for folder in job.folders]
    check_agree(pieces, job.any_versions)
    missing = _missing(pieces, job)
    ordered = in_order(pieces)
    plan = MergePlan(tuple(_folders(pieces, ordered)), tuple(ordered), tuple(missing), frozenset(_moved_before(job)))
    _check_media(plan.folders, plan.moved)
    return plan


def check_earlier(store: Store, job: MergeJob, pieces: Sequence[Piece]) -> None:
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


def _check_job(job: MergeJob) -> None:
    """Raise UsageError for an option that is wrong, and for a folder that is given twice or is the output."""
    if not job.folders:
        raise UsageError("nothing to merge: name the output folders of scans")
    checked("if_exists", job.if_exists)
    if job.media not in MEDIA:
        raise UsageError(f"--media takes {', '.join(MEDIA[:-1])} or {MEDIA[-1]}, not {job.media!r}")
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


def _folders(pieces: Sequence[Piece], ordered: Sequence) -> list[MergeFolder]:
    """Return the finished sources and media of each piece; `ordered` are all sources, from `in_order`."""
    ids = _new_ids(ordered, len(pieces))
    return [MergeFolder(piece, own, _files_of(piece, own)) for piece, own in zip(pieces, ids, strict=True)]


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


def _check_media(folders: Sequence[MergeFolder], moved: Set[tuple[str, str]]) -> None:
    """Raise UsageError when media that a store lists were deleted."""
    for piece, ids, files in folders:
        there = moved | {_key(file) for file in files}
        gone = [f"{kind}/{name}" for source_id, kind, folded, name in piece.written
                if source_id in ids and (kind, folded) not in there]  # fmt: skip
        if gone:
            raise UsageError(
                f"media are missing from {piece.folder} ({named(gone)}): run its scan again to restore them"
            )
