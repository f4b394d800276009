"""Evidence: for each track and minute, the picture that shows the face best, masked and bare."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskbatch.media.names import crop_name, inside
from maskbatch.media.write import write_image
from maskbatch.people.looks import visibility
from maskbatch.settings import ScanSettings
from maskbatch.sinks.annotated import by_frame, warn_or_raise
from maskbatch.sinks.crops import cut
from maskbatch.types import Batch, Source

# head and shoulders: margin around the box, as a share of its sides
_MARGIN = 0.6
# looks on the two sides of this probability are evidence of two things
_EDGE = 0.5


class _Look(NamedTuple):
    visibility: float
    frame: int
    face: int
    crop: np.ndarray


class EvidenceSink:
    """Write JPEGs `evidence/<source>_f<frame>_<face>.jpg` of videos, a few for each segment; photos are evidence themselves.

    Of each track, the look that shows the face best is kept among those with a mask, and among those without.
    """

    def __init__(self, sources: Sequence[Source], settings: ScanSettings) -> None:
        self._sources = {source.id: source for source in sources if source.kind == "video"}
        self._folder = settings.output.folder / "evidence"
        self._best: dict[tuple[int, int, bool], _Look] = {}

    def write(self, batch: Batch) -> None:
        """Keep the best looks of a batch."""
        frames, seen = batch.frames, visibility(batch.faces)
        for row, faces in by_frame(frames, batch.faces):
            source_id = int(frames.source_id[row])
            if source_id not in self._sources or not len(faces):
                continue
            own = seen[batch.faces.row == row]
            for face, (track, p_mask, xyxy) in enumerate(zip(faces.track_id, faces.p_mask, faces.xyxy, strict=True)):
                key = source_id, int(track), bool(p_mask >= _EDGE)
                if key not in self._best or own[face] > self._best[key].visibility:
                    crop = cut(frames.images[row], xyxy, _MARGIN).copy()
                    self._best[key] = _Look(float(own[face]), int(frames.index[row]), face, crop)

    def take(self, source: Source) -> tuple[tuple[int, int, int], ...]:
        """Write the pictures of a segment that ends; return (source id, frame, face) of each. Raises OSError."""
        chosen = sorted((key, look) for key, look in self._best.items() if key[0] == source.id)
        written = []
        for key, look in chosen:
            del self._best[key]
            try:
                if look.crop.size:
                    write_image(inside(self._folder, crop_name(source, look.frame, look.face)), look.crop)
                    written.append((source.id, look.frame, look.face))
            except OSError as error:
                warn_or_raise(source, error, "a person without evidence")
        return tuple(sorted(set(written)))
