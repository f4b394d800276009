"""Crops follow other thresholds: they move between the folders of the labels."""

import re
from pathlib import Path

from maskbatch.media.names import folded, name_text
from maskbatch.settings import Thresholds
from maskbatch.states import LABELS, WITHOUT_MASK, label_sql, sql_parameters
from maskbatch.store.database import Store
from maskbatch.store.folder import files_below
from maskbatch.store.read import all_media

_CROP = re.compile(r"(.+)_f(\d{6,})_(\d+)\.jpg", re.DOTALL)
_LABEL = f"""
    SELECT {label_sql("p_mask_e4 / 10000.0", "p_incorrect_e4 / 10000.0")} FROM face
    WHERE source_id = :source_id AND frame = :frame AND face = :face
"""


def sort_crops(store: Store, thresholds: Thresholds) -> None:
    """Move each crop of a scan to the folder of its label at `thresholds`; files of others stay. Raises OSError."""
    crops, parameters = store.folder / "crops", sql_parameters(thresholds)
    with store.transaction() as connection:
        owners = {name: source_id for kind, name, source_id in all_media(connection) if kind == "crops"}
        for label in LABELS:
            for name, path in list(files_below(crops / label)):
                found = _CROP.fullmatch(folded(name))
                owner = found and owners.get(name_text(found[1]))
                if owner is None:
                    continue
                place = {"source_id": owner, "frame": int(found[2]), "face": int(found[3])}
                row = connection.execute(_LABEL, parameters | place).fetchone()
                if row is None:  # of a segment that was not stored; its frames are analysed again
                    Path(path).unlink(missing_ok=True)
                    continue
                right = row[0] or WITHOUT_MASK
                if right != label:
                    _move(Path(path), crops / right / name)


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
