"""The results of a part of a shard, as the driver stores them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from maskbatch.types.checkpoint import Checkpoint
from maskbatch.types.source import Ended, Source


class FaceRow(NamedTuple):
    """A row of the store's table `face`, in whole ten thousandths (`_e4`), hundredths (`_e2`) or tenths (`_e1`).

    `p_mask_e4` is None when the face was not classified, `p_incorrect_e4` also when the classifier has no third state. The
    last three say how well the face can be seen (see `Faces`).
    """

    source_id: int
    frame: int
    face: int
    time_e4: int
    track_id: int
    x_min_e1: int
    y_min_e1: int
    x_max_e1: int
    y_max_e1: int
    score_e4: int
    p_mask_e4: int | None
    p_incorrect_e4: int | None = None
    sharpness_e2: int | None = None
    brightness: int | None = None
    turn_e2: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """A part of a shard's results: faces, sources that ended, and whether these have an annotated copy (source id, bool).

    `persons` are (source id, track, person) for tracks that continue an earlier one. `evidence` are (source id, frame, face)
    of looks whose picture was written. A `checkpoint` ends a segment.
    `seconds` is the working time of each stage for this part.
    """

    faces: tuple[FaceRow, ...] = ()
    ended: tuple[tuple[Source, Ended], ...] = ()
    copies: tuple[tuple[int, bool], ...] = ()
    persons: tuple[tuple[int, int, int], ...] = ()
    evidence: tuple[tuple[int, int, int], ...] = ()
    checkpoint: Checkpoint | None = None
    num_frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """True when this result ends a segment or a source, so that it is stored now together with those before it."""
        return bool(self.ended) or self.checkpoint is not None
