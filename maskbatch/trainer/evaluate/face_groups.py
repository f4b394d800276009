"""Figures of a classifier by groups of faces: skin tone, mask colour, pose, blur and size."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from maskbatch.analyse.appearance import describe
from maskbatch.states import reaches
from maskbatch.trainer.data.samples import Samples
from maskbatch.trainer.evaluate import mask_colour, skin_tone
from maskbatch.trainer.evaluate.figures import SIZE_BINS_PX, Judged
from maskbatch.trainer.evaluate.intervals import recalls
from maskbatch.trainer.evaluate.patches import UNKNOWN
from maskbatch.types import Faces

# lower limits of `Faces.turn`; at the last limit, a scan also calls a face turned
_POSES = {"frontal": -np.inf, "turned": 0.4, "profile": 0.8}
# lower limits of `Faces.sharpness`, whose maximum of 1 means as much detail as a face of 32 pixels can show
_BLURS = {"blurred": -np.inf, "soft": 0.5, "sharp": 1.0}
_SIZES = {f"{low} px and more" if high == np.inf else f"{low}-{high} px": low for low, high in SIZE_BINS_PX}
# the groups of each kind, in the order of tables
GROUPS = {
    "tone": skin_tone.TONES, "colour": mask_colour.COLOURS, "pose": (*_POSES, UNKNOWN),
    "blur": (*_BLURS, UNKNOWN), "size": tuple(_SIZES),
}  # fmt: skip


def group_report(samples: Samples, judged: Judged, threshold: float, kinds: Sequence[str]) -> dict:
    """Return the figures of a classifier by groups of faces, which the detector's landmarks help to find.

    Args:
        samples: N faces with or without a mask.
        judged: the classifier's answers for them, in the same order.
        threshold: minimum p_mask of a face with a mask.
        kinds: keys of `GROUPS`; "colour" has the faces with a mask only.

    Returns:
        {"by": {kind: {group: `Recalls` as a dict}}}, without empty groups; with "tone" also {"tone_roughness":
        `Roughness` as a dict}.
    """
    predicted = reaches(judged.p_mask, threshold).astype(int)
    report, by = {}, {}
    for kind in kinds:
        if kind == "tone":
            skin = _skin_of_all(samples)
            report["tone_roughness"] = asdict(skin_tone.roughness(skin))
            name = skin_tone.tones_of(skin)
        else:
            name = _NAMES[kind](samples)
        chosen = {group: name == group for group in GROUPS[kind] if (name == group).any()}
        by[kind] = {
            group: asdict(recalls(judged.label[k], predicted[k], judged.group[k])) for group, k in chosen.items()
        }
    return {**report, "by": by}


def _skin_of_all(samples: Samples) -> skin_tone.Skin:
    found = [
        skin_tone.skin_of(samples.image(i), samples.landmarks[i], bool(samples.label[i])) for i in range(len(samples))
    ]
    return skin_tone.Skin(*np.array(found, np.float32).reshape(-1, 3, 3).transpose(1, 0, 2))


def _colours(samples: Samples) -> np.ndarray:
    """Return the colour (N,) of each mask; "" for a bare face."""
    return np.array([
        mask_colour.mask_colour(samples.image(i), samples.landmarks[i]) if samples.label[i] else ""
        for i in range(len(samples))
    ], np.str_)  # fmt: skip


def _poses(samples: Samples) -> np.ndarray:
    return _ranges(_described(samples).turn, _POSES)


def _blurs(samples: Samples) -> np.ndarray:
    return _ranges(_described(samples).sharpness, _BLURS)


def _sizes(samples: Samples) -> np.ndarray:
    return _ranges(samples.size_px, _SIZES)


_NAMES = {"colour": _colours, "pose": _poses, "blur": _blurs, "size": _sizes}


def _described(samples: Samples) -> Faces:
    """Return the N faces, one in each image, with sharpness and turn as in a scan."""
    count = len(samples)
    faces = Faces(np.arange(count), samples.xyxy[:, 1], np.ones(count, np.float32), samples.landmarks)
    return describe(_Images(samples), faces)


class _Images(Sequence):
    """The regions of samples, decoded on access."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: int) -> np.ndarray:
        return self._samples.image(position)


def _ranges(values: np.ndarray, least: dict[str, float]) -> np.ndarray:
    """Return the name (N,) of the range of each value (N,), with ascending lower limits; "not known" for NaN."""
    names = np.array([*least, UNKNOWN])
    number = np.searchsorted(list(least.values()), values, side="right") - 1
    return names[np.where(np.isnan(values), len(least), number)]
