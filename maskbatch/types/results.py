"""Results of a shard, in the form that the driver stores."""

from dataclasses import dataclass, field
from typing import NamedTuple

from maskbatch.types.checkpoint import Checkpoint
from maskbatch.types.source import Ended, Source


class FaceRow(NamedTuple):
    """A row of the store's table `face`, in whole ten thousandths (`_e4`), hundredths (`_e2`) or tenths (`_e1`).

    `p_mask_e4` and `p_incorrect_e4` are None when the face was not classified. `p_incorrect_e4` is also None when the
    classifier has no third state. The last three fields are explained in `Faces`.
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
    """A part of the results of a shard.

    Attributes:
        faces: the faces.
        ended: the sources that ended.
        copies: (source id, True if the source has an annotated copy) of these sources.
        persons: (source id, track, person) of tracks that continue another track.
        evidence: (source id, frame, face) of the looks whose picture was written.
        checkpoint: the checkpoint after a finished segment, else None.
        num_frames: number of analysed frames.
        seconds: working time of each stage, in seconds.
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
        """True when this result ends a segment or a source: the driver then stores it with all earlier results."""
        return bool(self.ended) or self.checkpoint is not None
