from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_faces, fake_frames

from maskbatch.analyse.hiding import Hider, HideRules
from maskbatch.analyse.pipeline import Stages, analyse
from maskbatch.analyse.sparing import SparingClassifier
from maskbatch.analyse.tracker import Tracker
from maskbatch.settings import Thresholds, TrackerSettings
from maskbatch.types import Ended

# scores of a face on the left and of one on the right in each frame: the left one is sure at first, the right one never
SCORES = [(0.9, 0.5), (0.9, 0.4), (0.5, 0.3), (0.9, 0.5)]
LEFT, RIGHT = [20.0, 20, 40, 40], [70.0, 20, 90, 40]


def stages(asked, hider=None):
    """Stages without networks; `asked` gets the scores of faces that are classified."""

    def detect(images):
        levels = [(int(image[0, 0, 0]) - 40) // 10 for image in images]  # see `fake_frames`
        faces = fake_faces(np.repeat(range(len(images)), 2), [LEFT, RIGHT] * len(images))
        return replace(faces, score=np.array([SCORES[level] for level in levels], np.float32).reshape(-1))

    def classify(images, faces):
        asked.extend(faces.score.astype(float).round(2).tolist())
        return faces.with_state(faces.score / 2)

    tracker = Tracker(TrackerSettings(), 0.65)
    return Stages(detect, classify, tracker, tracker.state, tracker.persons, hider, sure_score=0.65)


def loaded(size):
    """The frames of a video, in batches of `size`."""
    for start in range(0, len(SCORES), size):
        images = fake_frames([1] * len(SCORES), range(len(SCORES)), [0.0] * len(SCORES), size=(120, 80)).images
        rows = range(start, min(start + size, len(SCORES)))
        frames = fake_frames([1] * len(rows), list(rows), [row / 6 for row in rows], size=(120, 80))
        ended = (Ended(1, len(SCORES), len(SCORES)),) if rows[-1] == len(SCORES) - 1 else ()
        yield replace(frames, images=images[start : rows[-1] + 1], ended=ended)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_of_faces_with_a_low_score_those_that_continue_a_track_count_and_are_classified(size):
    """The others leave no row, and the classifier never sees them, however frames are grouped."""
    asked = []
    faces = [batch.faces for batch in analyse(loaded(size), stages(asked))]
    scores, p_mask = (np.concatenate([getattr(one, name) for one in faces]).astype(float).round(2).tolist()
                      for name in ("score", "p_mask"))  # fmt: skip
    assert scores == [0.9, 0.9, 0.5, 0.9] and sorted(asked) == [0.5, 0.9, 0.9, 0.9]
    assert p_mask == [0.45, 0.45, 0.25, 0.45]


def test_the_classifier_decides_about_the_scores_of_photos():
    """Faces from `classified_score` on are classified first. Those that it raises to the threshold count, and those that
    it lowers do not, but are hidden."""
    asked, plain = [], stages([])

    def classify(images, faces):
        asked.extend(faces.score.astype(float).round(2).tolist())
        lowered = np.where(faces.score > 0.8, 0.6, 0.7).astype(np.float32)
        return faces.with_state(faces.score / 2, score=lowered)

    photo = replace(fake_frames([1], [0], [0.0], size=(120, 80)), ended=(Ended(1, 1, 1),))
    hider = Hider(HideRules("masked", 0.65, Thresholds(0.1), False))
    confirming = replace(plain, classify=classify, classified_score=0.45, hider=hider)
    [batch] = analyse([photo], confirming)
    assert sorted(asked) == [0.5, 0.9]
    np.testing.assert_allclose(batch.faces.xyxy, [RIGHT])
    np.testing.assert_allclose(batch.faces.score, [0.7])
    assert {tuple(box) for box in batch.hidden[0].tolist()} == {tuple(LEFT), tuple(RIGHT)}


@pytest.mark.parametrize("size", [1, 3, 4])
def test_faces_that_are_classified_sparingly_are_chosen_among_those_that_count(size):
    """They are chosen once they have tracks. The face with a low score adds nothing; at last the picture is brighter."""
    asked = []
    plain = stages(asked)

    def classify(images, faces):
        return plain.classify(images, faces).with_state(np.ones_like(faces.score))

    sparing = SparingClassifier(classify, 1.0)
    faces = [batch.faces for batch in analyse(loaded(size), replace(plain, sparing=sparing))]
    scores, p_mask = (np.concatenate([getattr(one, name) for one in faces]).astype(float).round(2).tolist()
                      for name in ("score", "p_mask"))  # fmt: skip
    assert scores == [0.9, 0.9, 0.5, 0.9] and p_mask == [1, 1, 1, 1]
    assert asked == [0.9, 0.9, 0.9]


def test_uncertain_faces_are_hidden_whether_they_count_or_not():
    """Both faces are below the threshold in the third frame: neither is shown, whatever the classifier says."""
    hider = Hider(HideRules("without", 0.65, Thresholds(0.1), False))  # nobody is without a mask
    hidden = [boxes for batch in analyse(loaded(2), stages([], hider)) for boxes in batch.hidden]
    assert {tuple(box) for box in hidden[2].tolist()} >= {tuple(LEFT), tuple(RIGHT)}
