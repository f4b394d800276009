"""Settings of each stage, with their defaults. Frozen dataclasses only: no I/O, no Click, no heavy import."""

import os
from dataclasses import dataclass, field
from pathlib import Path

# default number of frames that go through the networks together; OpenVINO processes them one by one in any case
CPU_BATCH, GPU_BATCH = 16, 64
# candidate frames per second from which a gate chooses: states shorter than half a second do not count, and a change is
# found within 0.2 s
CANDIDATES_PER_S = 6.0
# seconds between two looks where nothing moves, and their longest distance: looks are at candidates
QUIET_S, MOST_QUIET_S = 2.0, 2.0 + 0.5 / CANDIDATES_PER_S
# seconds between two looks of the classifier at a face that is sure, and has not changed
LOOK_AGAIN_S = 1.0
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
# default of the third state, in which masks that are worn incorrectly have their own label
THIRD_STATE = False
INCORRECT_THRESHOLD = 0.5


def third_state_or_default(asked: bool | None) -> bool:
    """Return whether there is a third state: the user's choice, or the default when `asked` is None."""
    return THIRD_STATE if asked is None else asked


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Minimum probabilities of the labels (see `states.labels_of`).

    `mask` is the minimum `p_mask` of with_mask. `incorrect` is the minimum `p_incorrect` of incorrect_mask, or None
    without the third state.
    """

    mask: float = 0.5
    incorrect: float | None = None


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Frames of a video to analyse: every n-th, or about `sample_fps` per second, which replaces `every` when set.

    With `is_gated`, these frames are candidates, and only frames that show something new are analysed (see
    `analyse/gate.py`). With `all_frames`, the frames between them are also decoded and passed on, for the annotated
    copy. With `with_planes`, frames carry their planes for that copy (see `types.Frames`); faces cannot be hidden in
    planes. Decoding stops when a video yields no frame for `stall_s` seconds. `hwaccel` is auto, none, or FFmpeg's name
    for a type of hardware decoder. With `decode_all`, the frames between the analysed ones are decoded too, to find
    damage in them. A face that is sure and has not changed is classified again after `look_again_s` (see
    `analyse/sparing.py`); None: every face of an analysed frame is classified.
    """

    every: int = 1
    sample_fps: float | None = None
    stall_s: float = 60.0
    hwaccel: str = "none"
    decode_all: bool = False
    is_gated: bool = False
    all_frames: bool = False
    with_planes: bool = False
    look_again_s: float | None = None


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """Sizes of batches, and limits on the frames that wait in memory.

    A batch holds at most `batch_size` frames (None: as many as suit the device) and `max_batch_pixels` pixels, but at
    least one frame. At most `num_parallel` photos are decoded at once, and at most `prefetch` decoded frames wait.
    Fewer large photos wait, so that their total is at most twice `max_batch_pixels`.
    """

    batch_size: int | None = None
    max_batch_pixels: int = 48_000_000
    num_parallel: int = min(os.cpu_count() or 1, 8)
    prefetch: int = 16


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Device and library that run the networks.

    `runtime`: auto (TensorFlow on a usable GPU, OpenVINO otherwise), tensorflow or openvino. `device`: auto, cpu, gpu or
    gpu:N. `precision`: auto, fp32, fp16, bf16 or int8 (see `choose_precision`).
    """

    runtime: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    require_gpu: bool = False


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Detector input and threshold.

    `min_face_px` is the smallest wanted face in pixels of the picture as recorded; it determines the scale of the
    network's input. `size_px` replaces it: the longest side of the network's input in pixels, a multiple of 32. Faces
    that score below `threshold` are dropped. When two boxes overlap by `nms_iou` or more, the box with the lower score
    is dropped. With `second_look`, photos without a face are searched again at other sizes and rotated. Faces that
    score at least `low_score` are also found, for the tracker and for hiding faces (see `run.stages.settings_for`).
    """

    size_px: int | None = None
    threshold: float = 0.7
    nms_iou: float = 0.3
    min_face_px: int = 24
    second_look: bool = True
    low_score: float | None = None


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """Mask classifier: the name of a shipped model or the path of a `.keras` file, and its `Thresholds`.

    With `confirms`, it corrects the detector's scores (see `run.stages.settings_for`).
    """

    model: str = "mask"
    threshold: float = 0.5
    incorrect_threshold: float | None = None
    confirms: bool = True

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of the labels."""
        return Thresholds(self.threshold, self.incorrect_threshold)


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """Limits of tracks, and of persons who have several tracks.

    In a video, a face that scores at least `low_score`, but less than the detector's threshold, may continue a track
    and never begins one. A face joins a track that it overlaps by `iou` or more. A track that is not seen for
    `max_gap_s` seconds ends. For `short_gap_s` seconds, the place alone may continue a track; later, the appearance
    must agree.

    Appearances (see `appearance.unlikeness`) may differ by `unlike` where a face has moved, by `unlike_later` after
    `short_gap_s`, by `other` where a face has not moved, and by `other_view` where it has not moved but the camera
    has, which may show somebody else at the same place. Within `instant_s`, nobody else can come to the same
    place, unless the camera moves. Two tracks are one person when the second begins within `link_s` seconds and
    their appearances differ by less than `same`. The next best person must differ more than `alone` times as much.
    """

    low_score: float = 0.2
    iou: float = 0.3
    max_gap_s: float = 3.0
    short_gap_s: float = 1.2
    instant_s: float = 0.4
    unlike: float = 0.36
    unlike_later: float = 0.3
    other: float = 0.8
    other_view: float = 0.46
    same: float = 0.19
    alone: float = 1.5
    link_s: float = 120.0


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Media to write into `folder`.

    `save` is a subset of {"annotated", "crops", "evidence"}. `crf` is the quality of H.264 video, where lower is
    better. A checkpoint is stored after every `segment_s` seconds of a video; each segment begins with a keyframe. With
    `keep_metadata`, annotated copies keep the time and the camera of the recording. `anonymize` is the way to hide
    faces in all media: none, or a mode of `drawing.anonymize.hide`. `whom` chooses the people to hide (see
    `analyse.hiding.HideRules`). With `mute`, annotated videos have no sound.
    """

    save: frozenset[str] = frozenset({"annotated", "evidence"})
    codec: str = "libx264"
    crf: int = 23
    segment_s: float = 60.0
    keep_metadata: bool = True
    anonymize: str = "none"
    whom: str = "everyone"
    mute: bool = False
    folder: Path = Path("maskbatch_out")


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """Rules that turn stored looks into people, episodes and tables. Changing them needs a new report, not a new scan.

    `threshold` and `incorrect_threshold` are those of `Thresholds`. With `bom`, tables begin with a byte order mark, so
    that Excel reads them as UTF-8. With `is_inline`, report.html contains the pictures of people.

    A bare episode decides when it lasts `min_bare_s` seconds. A person who is not seen for more than `max_gap_s`
    seconds is in no state during the gap. No state lasts less than `min_state_s`. A look is unsure when no state is
    more probable than `sure`. A person in a video counts when seen for `min_seen_s`, and twice where looks are
    frequent. A face that does not move for `static_s` is a picture, and counts only with `count_static`.

    `clock` is the origin of a recording's start: auto, name, metadata or none. `start` (ISO 8601) replaces it.
    `timezone` is the IANA name of the cameras' time zone; None is the time zone of this machine. `path_template`
    extracts site, camera and start from the names of sources. `places` is the path of a `places.toml`.
    """

    threshold: float = 0.5
    incorrect_threshold: float | None = None
    bom: bool = False
    is_inline: bool = False
    min_bare_s: float = 1.0
    max_gap_s: float = 3.0
    min_state_s: float = 0.5
    sure: float = 0.65
    min_seen_s: float = 0.2
    static_s: float = 60.0
    count_static: bool = False
    clock: str = "auto"
    start: str | None = None
    timezone: str | None = None
    path_template: str | None = None
    places: str | None = None

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of the labels."""
        return Thresholds(self.threshold, self.incorrect_threshold)


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Choice of files: the first `limit` (None: all), with or without hidden files."""

    limit: int | None = None
    include_hidden: bool = False


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The engine that scans shards, local or ray, and its use of a Ray cluster.

    `address` is that of the cluster. None takes RAY_ADDRESS, or starts a cluster on this machine. A worker takes
    `worker_cores` cores; None takes as many as the smallest machine has. A worker that gives no result for `patience_s`
    seconds is abandoned.
    """

    engine: str = "local"
    address: str | None = None
    worker_cores: int | None = None
    patience_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """All settings of a scan. `workers` videos, or groups of photos, are scanned at the same time."""

    inputs: InputSettings = field(default_factory=InputSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    loader: LoaderSettings = field(default_factory=LoaderSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    workers: int = 1
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
