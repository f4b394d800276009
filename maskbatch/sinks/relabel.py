"""Keep crops in step with the store: move them to the folder of their label, and remove crops without a row."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from sqlite3 import Connection

from maskbatch.media.names import folded, name_text
from maskbatch.settings import Thresholds
from maskbatch.states import LABELS, WITHOUT_MASK, label_sql, sql_parameters
from maskbatch.store.database import Store
from maskbatch.store.folder import files_below
from maskbatch.store.read import all_media

_CROP = re.compile(r"(.+)_f(\d{6,})_(\d+)\.jpg", re.DOTALL)
_ROW = "SELECT 1 FROM {} WHERE source_id = :source_id AND frame = :frame AND face = :face"
# folders of crops, and the table that has a row for each file
_TABLES = {**{f"crops/{label}": "face" for label in LABELS}, "evidence": "evidence"}
_LABEL = f"""
    SELECT {label_sql("p_mask_e4 / 10000.0", "p_incorrect_e4 / 10000.0")} FROM face
    WHERE source_id = :source_id AND frame = :frame AND face = :face
"""


def remove_crops_without_rows(store: Store, source_ids: Collection[int] | None = None) -> None:
    """Remove crops and evidence of segments that were not stored, for these sources or all unfinished videos.

    A continued video writes them again; a video that is abandoned earlier does not. Raises OSError.
    """
    with store.transaction() as connection:
        in_work = source_ids
        if in_work is None:
            in_work = {source_id for (source_id,) in connection.execute("SELECT id FROM source WHERE state = 'part'")}
        owners = {name: owner for name, owner in _owners(connection).items() if owner in in_work}
        for folder, table in _TABLES.items() if owners else ():
            for name, path in list(files_below(store.folder / folder)):
                place = _place(name, owners)
                if place is not None and connection.execute(_ROW.format(table), place).fetchone() is None:
                    Path(path).unlink(missing_ok=True)


def sort_crops(store: Store, thresholds: Thresholds) -> None:
    """Move each crop to the folder of its label at `thresholds`; other files stay. Raises OSError."""
    crops, parameters = store.folder / "crops", sql_parameters(thresholds)
    with store.transaction() as connection:
        owners = _owners(connection)
        for label in LABELS:
            for name, path in list(files_below(crops / label)):
                place = _place(name, owners)
                if place is None:
                    continue
                row = connection.execute(_LABEL, parameters | place).fetchone()
                if row is None:  # its segment was not stored, and the frames are analysed again
                    Path(path).unlink(missing_ok=True)
                    continue
                right = row[0] or WITHOUT_MASK
                if right != label:
                    _move(Path(path), crops / right / name)


def _owners(connection: Connection) -> dict[str, int]:
    """Return the source id for each folded stem of crops."""
    return {name: source_id for kind, name, source_id in all_media(connection) if kind == "crops"}


def _place(name: str, owners: Mapping[str, int]) -> dict[str, int] | None:
    """Return source id, frame and face of a crop, None for any other file."""
    found = _CROP.fullmatch(folded(name))
    owner = found and owners.get(name_text(found[1]))
    return None if owner is None else {"source_id": owner, "frame": int(found[2]), "face": int(found[3])}


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
