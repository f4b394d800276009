"""Crops follow another threshold: they move between the folders of the labels."""

import re
from pathlib import Path

from maskbatch.media.names import folded, name_text
from maskbatch.store.database import Store
from maskbatch.store.folder import files_below
from maskbatch.store.read import all_media

_CROP = re.compile(r"(.+)_f(\d{6,})_(\d+)\.jpg", re.DOTALL)
_LABELS = ("without_mask", "with_mask")
_P_MASK = "SELECT p_mask_e4 FROM face WHERE source_id = ? AND frame = ? AND face = ?"


def sort_crops(store: Store, threshold: float) -> None:
    """Move each crop of a scan to the folder of its label at `threshold`; files of others stay. Raises OSError."""
    crops = store.folder / "crops"
    with store.transaction() as connection:
        owners = {name: source_id for kind, name, source_id in all_media(connection) if kind == "crops"}
        for label in _LABELS:
            for name, path in list(files_below(crops / label)):
                found = _CROP.fullmatch(folded(name))
                owner = found and owners.get(name_text(found[1]))
                if owner is None:
                    continue
                p_mask_e4 = connection.execute(_P_MASK, [owner, int(found[2]), int(found[3])]).fetchone()
                if p_mask_e4 is None:  # of a segment that was not stored; its frames are analysed again
                    Path(path).unlink(missing_ok=True)
                    continue
                right = _LABELS[p_mask_e4[0] is not None and p_mask_e4[0] / 10000.0 >= threshold]
                if right != label:
                    _move(Path(path), crops / right / name)


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
