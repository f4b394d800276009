"""The analysis: frames -> faces -> appearance -> p_mask -> track_id -> batches, with boxes for all frames.

With a `sparing` stage, p_mask comes after track_id, because the tracks decide which faces are classified.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from maskbatch.analyse.appearance import describe
from maskbatch.analyse.between import between
from maskbatch.analyse.hiding import Hider
from maskbatch.analyse.sparing import SparingClassifier
from maskbatch.overlap import in_order
from maskbatch.settings import DetectorSettings
from maskbatch.types import Batch, Faces, Frames

Classify = Callable[[Sequence[np.ndarray], Faces], Faces]


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of the analysis, in order.

    The networks are opened once in a process; the tracker is new for each shard. Faces below `sure_score` count only
    when they continue a track; the `hider` alone gets all other faces.

    Attributes:
        detect: finds faces in images.
        classify: sets the probabilities of faces.
        track: sets the track ids of faces.
        tracks_of: returns the tracker's state for a source id.
        persons_of: returns the (track, person) pairs of a source that has ended.
        hider: chooses the boxes to hide, None when nobody is hidden.
        sure_score: minimum score for a face to count without an earlier track.
        classified_score: minimum score of a face to be classified before tracking; below `sure_score` where the
            classifier may raise scores. None: `sure_score`.
        sparing: replaces `classify`, and classifies only tracked faces that may show something new.
        with_appearance: describe the colours of people, so that videos can follow them; photos need none.
    """

    detect: Callable[[Sequence[np.ndarray]], Faces]
    classify: Classify
    track: Callable[[Frames, Faces], Faces]
    tracks_of: Callable[[int], dict[str, object]]
    persons_of: Callable[[int], tuple[tuple[int, int], ...]]
    hider: Hider | None = None
    sure_score: float = DetectorSettings().threshold
    classified_score: float | None = None
    sparing: SparingClassifier | None = None
    with_appearance: bool = True


def analyse(loaded: Iterable[Frames], stages: Stages, num_at_once: int = 2) -> Iterator[Batch]:
    """Yield batches in the order of `loaded`: photos, videos, or both.

    The networks get `num_at_once` batches at the same time, so that no core is idle while one batch is prepared or
    ends.
    """
    drawn = between(_tracked(loaded, stages, num_at_once))
    return drawn if stages.hider is None else stages.hider.over(drawn)


def _tracked(loaded: Iterable[Frames], stages: Stages, num_at_once: int) -> Iterator[Batch]:
    first = stages.sure_score if stages.classified_score is None else stages.classified_score

    def find(frames: Frames) -> tuple[Frames, Faces]:
        looked_at = np.flatnonzero(frames.is_looked_at)
        images = [frames.images[row] for row in looked_at.tolist()]
        faces = describe(images, stages.detect(images), stages.with_appearance)
        if stages.sparing is None:
            faces = _classified(images, faces, faces.score >= first, stages.classify)
        return frames, replace(faces, row=looked_at[faces.row])

    with closing(in_order(find, loaded, num_at_once)) as found:
        for frames, faces in found:
            tracks = None if frames.cut is None else _state(stages, int(frames.source_id[0]))
            tracked = stages.track(frames, faces)
            counts = tracked.track_id >= 0
            # only counted faces below `sure_score` are classified: most other boxes with such scores are not faces
            counted = tracked.take(counts)
            if stages.sparing is None:
                counted = _classified(frames.images, counted, np.isnan(counted.p_mask), stages.classify)
            else:
                counted = stages.sparing(frames, counted)
            if stages.hider is not None:
                stages.hider.note(frames, counted, tracked.take(~counts))
            persons = {ended.source_id: stages.persons_of(ended.source_id) for ended in frames.ended}
            yield Batch(frames, counted, tracks, persons)


def _classified(images: Sequence[np.ndarray], faces: Faces, chosen: np.ndarray, classify: Classify) -> Faces:
    """Return the same faces, with the classifier's results for the faces that `chosen` (N,) bool marks."""
    if chosen.all():
        return classify(images, faces)
    results = np.stack([faces.p_mask, faces.p_incorrect, faces.score])
    if chosen.any():
        own = classify(images, faces.take(chosen))
        results[:, chosen] = own.p_mask, own.p_incorrect, own.score
    return faces.with_state(*results)


def _state(stages: Stages, source_id: int) -> dict[str, object]:
    """Return the states of tracker, hider and sparing classifier before the next frame of a source, as plain values."""
    others = {"hidden": stages.hider, "looks": stages.sparing}
    kept = {name: stage.state(source_id) for name, stage in others.items() if stage is not None}
    return {**stages.tracks_of(source_id), **kept}
