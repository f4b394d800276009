"""Write evidence: a picture of each face in a photo, and the best pictures of each track in a segment of a video."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from maskbatch.geometry.resize import resize
from maskbatch.media.names import crop_name, inside
from maskbatch.media.write import Unnamed, encode_image
from maskbatch.people.looks import qualities, visibility
from maskbatch.settings import ScanSettings
from maskbatch.sinks.annotated import by_frame
from maskbatch.sinks.crops import cut
from maskbatch.sinks.trouble import warn_or_raise
from maskbatch.types import Batch, Source

# head and shoulders: margin around the box, as a share of its sides
_MARGIN = 0.6
# probability that separates evidence with a mask from evidence without
_EDGE = 0.5
# maximum side of a picture in pixels: reports of ten thousand people must stay usable
_MOST_PX = 480


class _Look(NamedTuple):
    visibility: float
    frame: int
    face: int
    crop: np.ndarray


class EvidenceSink:
    """Write the evidence of photos, and of each segment of a video, as JPEGs `evidence/<source>_f<frame>_<face>.jpg`.

    The sink keeps the best visible look of each track with a mask, and the best without a mask. A picture shows head and
    shoulders, and its longest side has at most 480 pixels.
    """

    def __init__(self, sources: Sequence[Source], settings: ScanSettings) -> None:
        self._sources = {source.id: source for source in sources}
        self._folder = settings.output.folder / "evidence"
        self._best: dict[tuple[int, int, bool], _Look] = {}
        self._written: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)

    def write(self, batch: Batch) -> None:
        """Keep the best looks of a batch."""
        frames, seen = batch.frames, visibility(batch.faces, qualities(batch.faces).prod(axis=1))
        for row, faces in by_frame(frames, batch.faces):
            source_id = int(frames.source_id[row])
            own = seen[batch.faces.row == row]
            for face, (track, p_mask, xyxy) in enumerate(zip(faces.track_id, faces.p_mask, faces.xyxy, strict=True)):
                key = source_id, int(track), bool(p_mask >= _EDGE)
                if key not in self._best or own[face] > self._best[key].visibility:
                    crop = _shrunk(cut(frames.images[row], xyxy, _MARGIN))
                    self._best[key] = _Look(float(own[face]), int(frames.index[row]), face, crop)

    def end(self, source: Source, files: Unnamed) -> None:
        """Write the pictures of a finished segment into `files`. Raises OSError when the disk fails."""
        chosen = [self._best.pop(key) for key in sorted(self._best) if key[0] == source.id]
        crops = {(look.frame, look.face): look.crop for look in chosen if look.crop.size}
        for face, crop in crops.items():
            failed, path = partial(self._lose, source, face), inside(self._folder, crop_name(source, *face))
            self._written[source.id].add(face)
            try:
                files.write(path, encode_image(path, crop, is_drawn_on=False), failed)
            except OSError as error:
                failed(error)

    def take(self, source: Source) -> tuple[tuple[int, int, int], ...]:
        """Return (source id, frame, face) of each picture that was written and settled since the last call."""
        return tuple((source.id, *face) for face in sorted(self._written.pop(source.id, ())))

    def _lose(self, source: Source, face: tuple[int, int], error: OSError) -> None:
        self._written[source.id].discard(face)
        warn_or_raise(source, "a person without evidence", error)


def _shrunk(crop: np.ndarray) -> np.ndarray:
    """Return a copy of a picture (H, W, 3) whose longest side has at most _MOST_PX pixels."""
    height, width = crop.shape[:2]
    share = _MOST_PX / max(height, width, 1)
    return crop.copy() if share >= 1 else resize(crop, (max(1, round(share * width)), max(1, round(share * height))))
