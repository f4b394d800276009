"""Import corrections from another program as verdicts of a reviewer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np

from maskbatch.errors import UsageError
from maskbatch.exports.read_back import Corrected, read_corrections
from maskbatch.geometry.boxes import iou
from maskbatch.people.answer import Answer, find_answer
from maskbatch.people.evidence import STATES
from maskbatch.run.report import report_again
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.store.database import open_store
from maskbatch.store.read import boxes_of
from maskbatch.store.review import NOT_A_FACE, Verdict, add_verdict

_SAME_IOU = 0.5


class Imported(NamedTuple):
    """Counts of stored verdicts, of verdicts that differ from the model's, and of boxes without a face in the scan."""

    num_verdicts: int
    num_changed: int
    num_unknown: int


def import_corrections(folder: Path, path: Path, reviewer: str, source: str | None = None) -> Imported:
    """Store the boxes of a corrected file as verdicts on people, and write tables and page again.

    A box belongs to the face that it overlaps by half or more. The verdict on a person is the most frequent label of
    the person's boxes. A person in a corrected source without any box left is judged to be no face. New boxes are only
    counted, because the scan has no face there.

    Args:
        folder: the output folder of the scan.
        path: the file (see `read_corrections`).
        reviewer: name of the reviewer.
        source: name of the source in the tables, for a file that does not contain it.

    Raises:
        UsageError: the file cannot be read, or contains no source of the scan.

    Example:
        >>> import_corrections(Path("audit"), Path("corrected.xml"), "ann", "door.mp4")
        Imported(num_verdicts=1, num_changed=1, num_unknown=0)
    """
    corrected = read_corrections(path)
    names = [source] if source is not None else list(corrected.sources)
    boxes: dict[str, list[Corrected]] = {name: [] for name in names}
    for box in corrected.boxes:
        boxes.setdefault(source if source is not None else box.source, []).append(box)
    with open_store(folder, reader=True) as store, store.transaction() as connection:
        answer = find_answer(connection, report_settings(connection, Asked(), folder))
        known = {one.name: one for one in answer.sources}
        found = [
            _verdicts(connection, answer, known[name], own, reviewer) for name, own in boxes.items() if name in known
        ]
    if not found:
        raise UsageError(f"{path} is about {', '.join(names[:3]) or 'nothing'}: no source of this scan has that name; "
                         "name it with --source")  # fmt: skip
    verdicts = [verdict for own, _ in found for verdict in own]
    with open_store(folder) as store:
        for verdict in verdicts:
            add_verdict(store, verdict)
    report_again(folder, is_update=True)
    changed = sum(verdict.verdict != verdict.model_verdict for verdict in verdicts)
    return Imported(len(verdicts), changed, sum(unknown for _, unknown in found))


def _verdicts(
    connection: Connection, answer: Answer, source, corrected: Sequence[Corrected], reviewer: str
) -> tuple[list[Verdict], int]:
    """Return a verdict on each person in a source, and the number of boxes that belong to nobody."""
    faces = np.array(list(boxes_of(connection, source.id)), np.float64).reshape(-1, 6)
    labels: dict[int, Counter] = {}
    size = np.tile([source.width or 1, source.height or 1], 2)
    unknown, by_frame = 0, _by_frame(corrected)
    for frame, own in by_frame.items():
        here = faces[faces[:, 0] == frame]
        boxes = np.array([np.array(one.xyxy) * (size if one.is_share else 1) for one in own])
        overlap = iou(boxes, here[:, 2:])
        for position, one in enumerate(own):
            best = int(overlap[position].argmax()) if len(here) else -1
            if best < 0 or overlap[position, best] < _SAME_IOU:
                unknown += 1
            else:
                labels.setdefault(int(here[best, 1]), Counter())[one.label] += 1
    persons = answer.persons
    chosen = np.flatnonzero((persons.source_id == source.id) & (answer.counts | (answer.reviewed != "")))
    made = []
    for at in chosen.tolist():
        counts = labels.get(int(persons.person[at]))
        verdict = NOT_A_FACE if counts is None else max(sorted(counts), key=counts.get)
        made.append(Verdict(source.id, int(persons.person[at]), int(persons.best_frame[at]), int(persons.best_face[at]),
                            round(1e4 * float(persons.best_time_s[at])), verdict, round(1e4 * float(persons.p_mask[at])),
                            STATES[answer.model_verdict[at]], reviewer))  # fmt: skip
    return made, unknown


def _by_frame(corrected: Sequence[Corrected]) -> Mapping[int, list[Corrected]]:
    found: dict[int, list[Corrected]] = {}
    for one in corrected:
        found.setdefault(one.frame, []).append(one)
    return found
