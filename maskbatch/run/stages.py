"""The networks of a scan, opened once per process, and the stages that each shard makes of them."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskbatch.analyse.classifier import Classifier, least_score
from maskbatch.analyse.detector import Detector
from maskbatch.analyse.hiding import HIDE_SCORE, Hider, HideRules
from maskbatch.analyse.pipeline import Stages
from maskbatch.analyse.sparing import SparingClassifier
from maskbatch.analyse.tracker import Tracker
from maskbatch.errors import UsageError
from maskbatch.networks import weights, yunet
from maskbatch.networks.device import Device, Infer, choose_device, choose_precision, open_network
from maskbatch.networks.weights import Network
from maskbatch.overlap import IsOver, never
from maskbatch.people.places_file import read_places
from maskbatch.people.where import in_zones
from maskbatch.run.timings import Timings
from maskbatch.settings import RuntimeSettings, ScanSettings
from maskbatch.trainer.model import classifier_network
from maskbatch.types import Checkpoint, Faces, Source

Detect = Callable[[Sequence[np.ndarray]], Faces]
Classify = Callable[[Sequence[np.ndarray], Faces], Faces]


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """Facts about the networks of a scan, for its record.

    `precision` and `weights` (file and sha256) are by network. `has_third_state` is true if the classifier recognises
    masks that are worn incorrectly.
    """

    device: Device
    precision: dict[str, str]
    weights: dict[str, dict[str, str]]
    has_third_state: bool


@dataclass(frozen=True, slots=True)
class Networks:
    """Both networks, ready to run, and the facts about them (see `NetworkFacts`).

    `detector` and `classifier` make the stages, which raise Interrupted once `is_over()` is true, even during an image.
    """

    detector: Callable[[IsOver], Detect]
    classifier: Callable[[IsOver], Classify]
    device: Device
    precision: dict[str, str]
    weights: dict[str, dict[str, str]]

    def facts(self) -> NetworkFacts:
        """Return the facts. The output for a grey picture shows whether there is a third state."""
        grey, box = np.full((32, 32, 3), 128, np.uint8), np.array([[8, 8, 24, 24]], np.float32)
        face = Faces(np.zeros(1, np.int64), box, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
        has_third_state = not np.isnan(self.classifier(never)([grey], face).p_incorrect).any()
        return NetworkFacts(self.device, self.precision, self.weights, bool(has_third_state))


class Conditions(NamedTuple):
    """The settings, timings and stop condition of a shard's scan."""

    settings: ScanSettings
    timings: Timings
    is_over: IsOver


@dataclass(frozen=True, slots=True)
class _Opened:
    """Both networks with the facts about them, independent of the settings of stages."""

    detect: Infer
    classify: Infer
    device: Device
    precision: dict[str, str]
    weights: dict[str, dict[str, str]]


def open_networks(settings: ScanSettings) -> Networks:
    """Open the networks for `settings`, or reuse those of this process.

    Raises DeviceError, UsageError and WeightsError.
    """
    opened = _open(settings.runtime, settings.classifier.model)
    return Networks(
        lambda is_over: Detector(partial(opened.detect, is_over=is_over), settings.detector),
        lambda is_over: Classifier(
            partial(opened.classify, is_over=is_over), opened.classify.size_px, confirms=settings.classifier.confirms
        ),
        opened.device, opened.precision, opened.weights,
    )  # fmt: skip


def settings_for(kind: str, settings: ScanSettings) -> ScanSettings:
    """Return the settings for sources of one kind.

    Only photos get a second look, and a confirmation of each face by the classifier. In a video, most frames without a
    detection show no face, and the next frame is a second look at each face. Faces with a low score are needed in
    videos, where they continue tracks, in photos, where the classifier may confirm them, and for hiding faces.

    Args:
        kind: image or video, as in `Source`.
        settings: the settings of the scan.

    Returns:
        The same settings, with the detector's `second_look` and `low_score`, and the classifier's `confirms`, as the
        kind of source needs them.

    Example:
        >>> settings_for("video", ScanSettings()).detector.second_look
        False
        >>> settings_for("image", ScanSettings()).classifier.confirms
        True
    """
    is_video, detector = kind == "video", settings.detector
    confirms = settings.classifier.confirms and not is_video
    scores = [settings.tracker.low_score] if is_video else []
    scores += [least_score(detector.threshold)] if confirms else []
    scores += [] if settings.output.anonymize == "none" else [HIDE_SCORE]
    second_look = detector.second_look and not is_video
    return replace(
        settings,
        detector=replace(detector, second_look=second_look, low_score=min(scores, default=None)),
        classifier=replace(settings.classifier, confirms=confirms),
    )


def classified_score(settings: ScanSettings) -> float:
    """Return the minimum score of faces to classify before tracking, for the settings of one kind of source."""
    threshold = settings.detector.threshold
    return least_score(threshold) if settings.classifier.confirms else threshold


def sparing_for(kind: str, classify: Classify, settings: ScanSettings) -> SparingClassifier | None:
    """Return the stage that classifies only some faces of a source, a video; None where every face is classified."""
    again_s = settings.sampling.look_again_s
    return None if kind == "image" or again_s is None else SparingClassifier(classify, again_s)


def stages_at(at: Checkpoint, sources: Sequence[Source], networks: Networks, conditions: Conditions) -> Stages:
    """Return the stages of a shard, in their states at the checkpoint `at`."""
    settings, timings, is_over = conditions
    kind, timed = at.source.kind, timings.timed
    tracker = Tracker(settings.tracker, settings.detector.threshold)
    if at.tracks:
        tracker.restore(at.source.id, at.tracks)
    classify = timed("classify", networks.classifier(is_over))
    sparing = sparing_for(kind, classify, settings)
    if sparing is not None:
        sparing.restore(at.source.id, at.tracks.get("looks", ()))
    return Stages(
        timed("detect", networks.detector(is_over)), classify, timed("track", tracker), tracker.state, tracker.persons,
        _hider(sources, at, settings), settings.detector.threshold, classified_score(settings_for(kind, settings)), sparing,
        with_appearance=kind == "video",
    )  # fmt: skip


def _hider(sources: Sequence[Source], at: Checkpoint, settings: ScanSettings) -> Hider | None:
    """Return the stage that hides faces, in its state at the checkpoint `at`; None when nobody is hidden."""
    output, detector = settings.output, settings.detector
    if output.anonymize == "none":
        return None
    names, places = {source.id: source.name for source in sources}, read_places(settings.report.places)

    def may_show(source_id: int, xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return in_zones(places.camera_of(names[source_id]), xyxy, size)

    hider = Hider(HideRules(output.whom, detector.threshold, settings.classifier.thresholds, settings.sampling.is_gated,
                            may_show))  # fmt: skip
    if "hidden" in at.tracks:
        hider.restore(at.source.id, at.tracks["hidden"])
    return hider


@functools.lru_cache(maxsize=4)
def _open(wanted: RuntimeSettings, model: str) -> _Opened:
    chosen = choose_device(wanted)
    networks = {"detector": yunet.shipped_network(), "classifier": classifier_network(classifier_path(model))}
    precision = {network.role: choose_precision(network, chosen, wanted.precision) for network in networks.values()}
    detect, classify = (open_network(network, chosen, precision[network.role]) for network in networks.values())
    used = {name: _used(network, precision[network.role]) for name, network in networks.items()}
    return _Opened(detect, classify, chosen, precision, used)


def classifier_path(model: str) -> Path:
    """Return the file of a classifier from the name of a shipped one, or a path. Raises UsageError if there is none."""
    names = [name for name, shipped in weights.SHIPPED.items() if "with_mask" in shipped.labels]
    if model in names:
        return weights.find(model)
    if not Path(model).is_file():
        raise UsageError(
            f"there is no model {model!r}: give a .keras file, or the name of a shipped one: {', '.join(names)}"
        )
    return Path(model)


def _used(network: Network, precision: str) -> dict[str, str]:
    path = network.int8 if precision == "int8" else network.path
    return {"file": path.name, "sha256": weights.sha256(path)}
