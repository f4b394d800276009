"""The picture of the product: frames -> faces -> p_mask -> appearance -> track_id -> batches, boxes drawn between."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from maskbatch.analyse.appearance import describe
from maskbatch.analyse.between import between
from maskbatch.analyse.hiding import Hider
from maskbatch.overlap import in_order
from maskbatch.types import Batch, Faces, Frames


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of the analysis, in order.

    The networks are opened once in a process; the tracker is new for each shard. `tracks_of` returns the tracker's state
    for a source id, `persons_of` the (track, person) pairs of a source that has ended. With a `hider`, the detector also
    gives faces that are too uncertain to count.
    """

    detect: Callable[[Sequence[np.ndarray]], Faces]
    classify: Callable[[Sequence[np.ndarray], Faces], Faces]
    track: Callable[[Frames, Faces], Faces]
    tracks_of: Callable[[int], dict[str, object]]
    persons_of: Callable[[int], tuple[tuple[int, int], ...]]
    hider: Hider | None = None


def analyse(loaded: Iterable[Frames], stages: Stages, num_at_once: int = 2) -> Iterator[Batch]:
    """Yield batches in the order of `loaded`. Photos, videos and a mix of both take this same path.

    The networks get `num_at_once` batches at the same time. No core is then idle during one batch's letterboxing, boxes
    and crops, or at the end of a batch.
    """
    drawn = between(_tracked(loaded, stages, num_at_once))
    return drawn if stages.hider is None else stages.hider.over(drawn)


def _tracked(loaded: Iterable[Frames], stages: Stages, num_at_once: int) -> Iterator[Batch]:
    hider = stages.hider

    def find(frames: Frames) -> tuple[Frames, Faces, Faces]:
        looked_at = np.flatnonzero(frames.is_looked_at)
        images = [frames.images[row] for row in looked_at.tolist()]
        faces, uncertain = stages.detect(images), Faces.empty()
        if hider is not None:
            faces, uncertain = hider.split(faces)
        faces = describe(images, stages.classify(images, faces))
        return frames, *(replace(one, row=looked_at[one.row]) for one in (faces, uncertain))

    with closing(in_order(find, loaded, num_at_once)) as found:
        for frames, faces, uncertain in found:
            tracks = None if frames.cut is None else _state(stages, int(frames.source_id[0]))
            tracked = stages.track(frames, faces)
            if hider is not None:
                hider.note(frames, tracked, uncertain)
            persons = {ended.source_id: stages.persons_of(ended.source_id) for ended in frames.ended}
            yield Batch(frames, tracked, tracks, persons)


def _state(stages: Stages, source_id: int) -> dict[str, object]:
    """Return how tracker and hider stand before the next frame of a source, as plain values."""
    tracks = stages.tracks_of(source_id)
    return tracks if stages.hider is None else {**tracks, "hidden": stages.hider.state(source_id)}
