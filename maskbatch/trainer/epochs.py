"""The finished epochs of a training run: `state/rows.json`, what the run was to do, and `history.csv`."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.media.writers import partial_file
from maskbatch.trainer.outputs import plain, write_json

_ROWS, _PLAN = "rows.json", "plan.json"


def state_folder(out: Path) -> Path:
    """Return the folder in which a run keeps what resuming it needs."""
    return out / "state"


def check_begun(out: Path, resume: bool) -> None:
    """Raise UsageError when there is a run to resume and nobody wants to, or the other way round."""
    begun = (state_folder(out) / _ROWS).is_file()
    if begun and not resume:
        raise UsageError(f"{out} holds an unfinished run: add --resume, or choose another --out")
    if resume and not begun:
        raise UsageError(f"nothing to resume: {out} holds no finished epoch. Start without --resume")


def check_plan(plan: dict, out: Path, resume: bool) -> None:
    """Keep what the run is about to do, or compare it with what the run to be resumed did. Raises UsageError."""
    kept = state_folder(out) / _PLAN
    if resume and kept.is_file():
        other = json.loads(kept.read_text(encoding="utf-8"))
        changed = [name for name, value in plain(plan).items() if other.get(name) != value]
        if changed:
            raise UsageError(f"cannot resume: {', '.join(changed)} differ from those of the run in {out}")
    else:
        write_json(plan, kept)


def read_rows(out: Path) -> list[dict]:
    """Return a row for each finished epoch. Raises UsageError when there is none."""
    check_begun(out, resume=True)
    return json.loads((state_folder(out) / _ROWS).read_text(encoding="utf-8"))


def check_finite(row: dict, weights: Iterable[np.ndarray], rows: Sequence[dict]) -> None:
    """Raise MaskbatchError when an epoch ended in numbers that are none; `rows` are those of the epochs before it.

    To be called before anything of the epoch is kept, so that the last good one stays.
    """
    wrong = [name for name, value in row.items() if not np.isfinite(value)]
    if not wrong and all(np.isfinite(weight).all() for weight in weights):
        return
    kept = f"epoch {rows[-1]['epoch'] + 1} is kept, and --resume goes on after it" if rows else "nothing is kept"
    raise MaskbatchError(
        f"the training diverged in epoch {row['epoch'] + 1}: {', '.join(wrong) or 'a weight'} is not a finite number; "
        f"{kept}. If that happens again, look for wrong boxes, or begin anew with larger batches or a lower learning rate"
    )


def write_rows(rows: Sequence[dict], columns: Sequence[str], out: Path) -> None:
    """Write the list of finished epochs, which makes the last one count, and `history.csv` with some of its columns."""
    with partial_file(state_folder(out) / _ROWS) as partial:
        partial.write_text(json.dumps(rows, allow_nan=False), encoding="utf-8")
    with partial_file(out / "history.csv") as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
