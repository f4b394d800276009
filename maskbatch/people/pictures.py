"""Find pictures of a person: crops in evidence/, and the annotated copy of the source."""

from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.media.names import crop_of, from_name_text

_CROPS = """
    SELECT evidence.source_id, coalesce(person_id, face.track_id), time_e4 / 10000.0, p_mask_e4 / 10000.0, evidence.frame,
           evidence.face, media.name
    FROM evidence JOIN face USING (source_id, frame, face)
         JOIN media ON media.source_id = evidence.source_id AND media.kind = 'crops'
         LEFT JOIN track ON track.source_id = face.source_id AND track.track_id = face.track_id
    ORDER BY evidence.source_id, time_e4
"""
_COPIES = """
    SELECT source.id, source.kind, media.name FROM source
    JOIN media ON media.source_id = source.id AND media.kind = 'annotated' WHERE media.state = 'written'
"""


class _Picture(NamedTuple):
    time_s: float
    p_mask: float
    path: str


class Pictures:
    """The pictures of all people, as paths relative to the output folder, as they are on the disk."""

    def __init__(self, connection: Connection) -> None:
        self._of_person: dict[tuple[int, int], list[_Picture]] = {}
        for source_id, person, time_s, p_mask, frame, face, name in connection.execute(_CROPS):
            path = f"evidence/{crop_of(from_name_text(name), frame, face)}"
            self._of_person.setdefault((source_id, person), []).append(_Picture(time_s, p_mask, path))
        self._copies, self._photos = {}, set()
        for source_id, kind, name in connection.execute(_COPIES):
            self._copies[source_id] = f"annotated/{from_name_text(name)}"
            if kind == "image":
                self._photos.add(source_id)

    def copy_of(self, source_id: int) -> str:
        """Return the path of the annotated copy of a source, "" when there is none."""
        return self._copies.get(source_id, "")

    def nearest(self, source_id: int, person: int, when: tuple[float, float, float], p_mask: float) -> str:
        """Return the path of a person's picture for an episode, "" when there is none.

        Args:
            source_id, person: the person.
            when: start, end and best look of the episode, in seconds.
            p_mask: probability of a mask in the episode; pictures on the same side of 0.5 are preferred.
        """
        begin_s, end_s, best_s = when
        own = [one for one in self._of_person.get((source_id, person), ()) if begin_s <= one.time_s <= end_s]
        alike = [one for one in own if (one.p_mask >= 0.5) == (p_mask >= 0.5)]
        if alike or own:
            return min(alike or own, key=lambda one: abs(one.time_s - best_s)).path
        return self.copy_of(source_id) if source_id in self._photos else ""
