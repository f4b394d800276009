"""The output folders of scans to merge: read them, and check that they belong together."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.errors import UsageError
from maskbatch.media.names import named
from maskbatch.media.shares import Dealt
from maskbatch.store.database import open_store
from maskbatch.store.read import Session, last_session
from maskbatch.store.settings import differences

_SOURCES = """
    SELECT id, name, position, path, kind, state, size, mtime_ns, quick_hash FROM source
    WHERE position IS NOT NULL ORDER BY position, id
"""
_MEDIA = """
    SELECT media.kind, folded_name, media.name, source_id, media.state FROM media JOIN source ON source.id = source_id
    WHERE position IS NOT NULL AND source.state = 'done' ORDER BY media.kind, folded_name
"""
# media that must exist: copies, and at least one picture of each source that has crops or evidence
_WRITTEN = """
    SELECT source_id, 'annotated', folded_name, name FROM media WHERE kind = 'annotated' AND state = 'written'
    UNION ALL SELECT source_id, 'evidence', folded_name, name FROM media
        WHERE kind = 'crops' AND source_id IN (SELECT source_id FROM evidence)
    UNION ALL SELECT source_id, 'crops', folded_name, name FROM media
        WHERE kind = 'crops' AND state != 'purged' AND :with_crops AND source_id IN (SELECT source_id FROM track)
"""


class PieceSource(NamedTuple):
    """A source of a piece, with its columns of the table `source`."""

    id: int
    name: str
    position: int
    path: str
    kind: str
    state: str
    size: int | None
    mtime_ns: int | None
    quick_hash: str | None


class PieceMedia(NamedTuple):
    """A media name of a source that is done, with its columns of the table `media`."""

    kind: str
    folded_name: str
    name: str
    source_id: int
    state: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A folder to merge, as it was when it was read. `sources` are those of its last session, in order.

    `written` has source id, kind (annotated, crops or evidence), folded name and name of the media that must exist;
    `purges` are the rows of the table `purge`.
    """

    folder: Path
    last: Session
    sources: tuple[PieceSource, ...]
    media: tuple[PieceMedia, ...]
    written: tuple[tuple[int, str, str, str], ...]
    purges: frozenset[tuple] = frozenset()

    @property
    def dealt(self) -> Dealt | None:
        """The shard of the inputs that was scanned, None without --shard."""
        return None if self.last.facts.get("shard") is None else Dealt(**self.last.facts["shard"])

    def is_as_it_was(self, connection: Connection) -> bool:
        """Return whether no session has begun or ended since the piece was read."""
        now = last_session(connection)
        return (now.id, now.ended) == (self.last.id, self.last.ended)


def read_piece(folder: Path) -> Piece:
    """Read a folder to merge. Raises UsageError when the folder holds no scan of this version."""
    with open_store(folder, reader=True) as store, store.transaction() as connection:
        sources = tuple(PieceSource(*row) for row in connection.execute(_SOURCES))
        media = tuple(PieceMedia(*row) for row in connection.execute(_MEDIA))
        last = last_session(connection)
        with_crops = "crops" in last.facts["settings"]["output"]["save"]
        written = tuple(connection.execute(_WRITTEN, {"with_crops": with_crops}))
        return Piece(folder, last, sources, media, written, frozenset(purges(connection)))


def purges(connection: Connection) -> set[tuple]:
    """Return the purges of a folder, as rows of the table `purge` without their numbers."""
    return set(connection.execute("SELECT at, what, sources, files FROM purge"))


def check_agree(pieces: Sequence[Piece], any_versions: bool = False) -> None:
    """Check that all pieces were scanned alike, and that no two pieces have the same source.

    Args:
        pieces: the folders to merge; all others are compared with the first.
        any_versions: allow different versions of libraries.

    Raises:
        UsageError: settings, models or versions differ, only some pieces are shards, or two pieces have the same
            source.
    """
    first = pieces[0]
    for piece in pieces[1:]:
        differing = _differences(first, piece, any_versions)
        if differing:
            lines = "\n".join(f"  {name}: {one} in {first.folder.name}, {other} in {piece.folder.name}"
                              for name, (one, other) in differing.items())  # fmt: skip
            are_versions = all(name.startswith("packages.") for name in differing)
            more = "; --any-versions merges them anyway" if are_versions else ""
            raise UsageError(
                f"{piece.folder} was not scanned as {first.folder}:\n{lines}\nScan one of them again{more}"
            )
    if len({None if piece.dealt is None else piece.dealt.count for piece in pieces}) > 1:
        counts = ", ".join(f"{piece.folder.name}: {_share(piece) or 'no shard'}" for piece in pieces[:9])
        raise UsageError(f"these are not shards of one scan ({counts}): merge shards K/N with the same N")
    _check_claims(pieces)


def missing_from(pieces: Sequence[Piece]) -> list[str]:
    """Return the reasons why the pieces are not a complete scan; none when they are."""
    reasons = [f"{piece.folder} has not finished" for piece in pieces if not _is_finished(piece)]
    dealt = [piece.dealt for piece in pieces if piece.dealt is not None]
    if not dealt:
        return reasons
    count, there = dealt[0].count, {one.number for one in dealt}
    if absent := [f"{number}/{count}" for number in range(1, count + 1) if number not in there]:
        reasons.append(f"no folder has shard {named(absent)}")
    # of shards that began in the same second, the one that saw more files counts as later
    latest = max(pieces, key=lambda piece: (piece.last.started, piece.dealt.files)).dealt
    others = [piece for piece in pieces if piece.dealt.listing != latest.listing]
    later = f"shard {_share_of(latest)} later others ({latest.files})"
    reasons += [f"{piece.folder} knew {piece.dealt.files} files, and {later}: scan shard {_share(piece)} again, which "
                "only adds what is new" for piece in others]  # fmt: skip
    return reasons


def in_order(pieces: Sequence[Piece]) -> list[tuple[int, PieceSource]]:
    """Return all sources as (number of the piece, source), in the order of one scan over all inputs.

    Shards know the position of each source among all inputs. Other folders follow each other in the given order.
    """
    found = [(number, source) for number, piece in enumerate(pieces) for source in piece.sources]
    if pieces[0].dealt is None:
        return found
    return sorted(found, key=lambda item: (item[1].position, item[0]))


def _differences(one: Piece, other: Piece, any_versions: bool) -> dict[str, tuple[str, str]]:
    was, now = (_deciding(piece.last, any_versions) for piece in (one, other))
    return differences(was, now)


def _deciding(session: Session, any_versions: bool) -> dict[str, object]:
    """Return all values that determine the rows, media and tables of a scan."""
    settings = session.facts["settings"]
    thresholds = {name: settings["classifier"][name] for name in ("threshold", "incorrect_threshold")}
    versions = {} if any_versions else {"packages": session.facts["packages"]}
    return session.identity | {"classifier": thresholds, "report": settings["report"]} | versions


def _is_finished(piece: Piece) -> bool:
    return piece.last.how == "finished" and all(source.state == "done" for source in piece.sources)


def _check_claims(pieces: Sequence[Piece]) -> None:
    """Raise UsageError for a source, a shard or a media name that two pieces have."""
    what = (
        ("source", _claims(pieces, lambda piece: (source.name for source in piece.sources))),
        ("shard", _claims(pieces, lambda piece: filter(None, [_share(piece)]))),
        ("name", _claims(pieces, lambda piece: (f"{kind}: {name}" for kind, name, *_ in piece.media))),
    )
    for noun, claims in what:
        twice = {claim: by for claim, by in claims.items() if len(by) > 1}
        if twice:
            claim, by = next(iter(twice.items()))
            more = f", and {len(twice) - 1} more like it" if len(twice) > 1 else ""
            raise UsageError(f"the {noun} {claim} is in {by[0]} and in {by[1]}{more}: merge each only once")


def _claims(pieces: Iterable[Piece], names_of: Callable[[Piece], Iterable[str]]) -> dict[str, list[Path]]:
    claims: dict[str, list[Path]] = defaultdict(list)
    for piece in pieces:
        for name in names_of(piece):
            claims[name].append(piece.folder)
    return claims


def _share(piece: Piece) -> str:
    return "" if piece.dealt is None else _share_of(piece.dealt)


def _share_of(dealt: Dealt) -> str:
    return f"{dealt.number}/{dealt.count}"
