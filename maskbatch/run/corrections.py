"""Import corrections from another program as verdicts of a reviewer."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np

from maskbatch.errors import UsageError
from maskbatch.exports.read_back import Corrected, read_corrections
from maskbatch.geometry.boxes import iou
from maskbatch.people.answer import Answer, find_answer
from maskbatch.people.evidence import STATES
from maskbatch.people.where import Known
from maskbatch.run.report import report_again
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.settings import Thresholds
from maskbatch.states import labels_of
from maskbatch.store.database import open_store
from maskbatch.store.read import boxes_of
from maskbatch.store.review import NOT_A_FACE, Verdict, add_verdicts

_SAME_IOU = 0.5


class _Compared(NamedTuple):
    """The boxes of a source, compared with the faces of the scan.

    `persons` have a box, `changes` count the changed labels of boxes by person, and `num_unknown` boxes belong to nobody.
    """

    persons: Set[int]
    changes: Mapping[int, Counter]
    num_unknown: int


class Imported(NamedTuple):
    """Counts of stored verdicts, of verdicts that differ from the model's, and of boxes without a face in the scan."""

    num_verdicts: int
    num_changed: int
    num_unknown: int


def import_corrections(folder: Path, path: Path, reviewer: str, source: str | None = None) -> Imported:
    """Store the boxes of a corrected file as verdicts on people, and write tables and page again.

    A box belongs to the face that it overlaps by half or more. The verdict on a person is the most frequent label among
    the person's boxes whose label was changed, and a person without such a box has no verdict. A person in a corrected
    source without any box left is judged to be no face. New boxes are only counted, because the scan has no face there.
    All verdicts are stored in one transaction.

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
        settings = report_settings(connection, Asked(), folder)
        answer = find_answer(connection, settings)
        known = {one.name: one for one in answer.sources}
        found = {
            known[name].id: _compared(connection, known[name], own, settings.thresholds)
            for name, own in boxes.items()
            if name in known
        }
    if not found:
        raise UsageError(f"{path} is about {', '.join(names[:3]) or 'nothing'}: no source of this scan has that name; "
                         "name it with --source")  # fmt: skip
    verdicts = [verdict for source_id, own in found.items() for verdict in _verdicts(answer, source_id, own, reviewer)]
    with open_store(folder) as store:
        add_verdicts(store, verdicts)
    report_again(folder, is_update=True)
    changed = sum(verdict.verdict != verdict.model_verdict for verdict in verdicts)
    return Imported(len(verdicts), changed, sum(own.num_unknown for own in found.values()))


def _compared(
    connection: Connection, source: Known, corrected: Sequence[Corrected], thresholds: Thresholds
) -> _Compared:
    """Compare the boxes of a source with its faces and their labels, as `export` writes them."""
    faces = np.array(list(boxes_of(connection, source.id)), np.float64).reshape(-1, 8)
    labels = labels_of(faces[:, 6], faces[:, 7], thresholds)
    person = faces[:, 1].astype(np.int64)
    size = np.tile([source.width or 1, source.height or 1], 2)
    persons, changes, unknown = set(), {}, 0
    for frame, own in _by_frame(corrected).items():
        here = np.flatnonzero(faces[:, 0] == frame)
        boxes = np.array([np.array(one.xyxy) * (size if one.is_share else 1) for one in own])
        overlap = iou(boxes, faces[here, 2:6])
        for position, one in enumerate(own):
            best = int(overlap[position].argmax()) if len(here) else -1
            if best < 0 or overlap[position, best] < _SAME_IOU:
                unknown += 1
                continue
            at = here[best]
            persons.add(who := int(person[at]))
            if one.label != (_most_frequent(Counter(labels[person == who])) if one.is_common else labels[at]):
                changes.setdefault(who, Counter())[one.label] += 1
    return _Compared(persons, changes, unknown)


def _verdicts(answer: Answer, source_id: int, compared: _Compared, reviewer: str) -> list[Verdict]:
    """Return the verdicts on the persons in a source whose boxes were changed or are gone."""
    persons = answer.persons
    chosen = np.flatnonzero((persons.source_id == source_id) & (answer.counts | (answer.reviewed != "")))
    made = []
    for at in chosen.tolist():
        who = int(persons.person[at])
        if who in compared.persons and who not in compared.changes:
            continue
        verdict = _most_frequent(compared.changes[who]) if who in compared.persons else NOT_A_FACE
        made.append(Verdict(source_id, who, int(persons.best_frame[at]), int(persons.best_face[at]),
                            round(1e4 * float(persons.best_time_s[at])), verdict, round(1e4 * float(persons.p_mask[at])),
                            STATES[answer.model_verdict[at]], reviewer))  # fmt: skip
    return made


def _most_frequent(counts: Counter) -> str:
    """Return the most frequent label, of equals the first by name."""
    return str(max(sorted(counts), key=counts.get))


def _by_frame(corrected: Sequence[Corrected]) -> Mapping[int, list[Corrected]]:
    found: dict[int, list[Corrected]] = {}
    for one in corrected:
        found.setdefault(one.frame, []).append(one)
    return found
