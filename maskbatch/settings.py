"""Settings of each stage, with their defaults. Frozen dataclasses only: no I/O, no Click, no heavy import."""

import os
from dataclasses import dataclass, field
from pathlib import Path

# default number of frames that go through the networks together; OpenVINO takes them one by one in any case
CPU_BATCH, GPU_BATCH = 16, 64
# frames per second of a video that a gate chooses from: a state of less than half a second is none, and a change is found
# within 0.2 s
CANDIDATES_PER_S = 6.0
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
# the default of the third state: masks that are worn incorrectly are a label of their own
THIRD_STATE = False
INCORRECT_THRESHOLD = 0.5


def third_state_or_default(asked: bool | None) -> bool:
    """Return if there is a third state: what the user asked for, the default when that is None."""
    return THIRD_STATE if asked is None else asked


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities from which a label holds (see `states.labels_of`).

    `mask` is the minimum `p_mask` of with_mask, `incorrect` the minimum `p_incorrect` of incorrect_mask, None without that
    third state.
    """

    mask: float = 0.5
    incorrect: float | None = None


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Frames of a video to analyse: every n-th, or about `sample_fps` per second, which replaces `every` when set.

    With `is_gated` these are candidates, and those are analysed that differ from what was seen (see `analyse/gate.py`).
    With `all_frames` the frames between are decoded and passed on too, for the annotated copy; `with_planes`, frames have
    their planes for it (see `types.Frames`), in which nobody can be hidden.
    A video that yields no frame for `stall_s` seconds is given up. `hwaccel` is FFmpeg's name for a kind of device that
    decodes, auto or none. With `decode_all`, frames between the analysed ones are decoded too, which finds damage in them.
    """

    every: int = 1
    sample_fps: float | None = None
    stall_s: float = 60.0
    hwaccel: str = "none"
    decode_all: bool = False
    is_gated: bool = False
    all_frames: bool = False
    with_planes: bool = False


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """Sizes of batches, and limits of the frames that wait in memory.

    A batch holds at most `batch_size` frames (None: as many as suit the device) and `max_batch_pixels` pixels, but at least
    one frame. At most `num_parallel` photos are decoded at once, and `prefetch` decoded frames wait; of large photos fewer,
    so that together they hold at most twice `max_batch_pixels`.
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

    `min_face_px` is the smallest wanted face in pixels of the picture as recorded; the scale of the network's input
    follows from it. `size_px` replaces it: the longest side of the network's input in pixels, a multiple of 32. Faces that
    score below `threshold` are dropped. Of two boxes that overlap by `nms_iou` or more, the one with the lower score is
    dropped. With `second_look`, photos in which nothing is found are looked at again, at other sizes and turned. Faces from
    `low_score` on are found too: for the tracker, and for whoever hides faces (see `run.stages.settings_for`).
    """

    size_px: int | None = None
    threshold: float = 0.65
    nms_iou: float = 0.3
    min_face_px: int = 24
    second_look: bool = True
    low_score: float | None = None


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """Mask classifier. `model` is the name of a shipped one, or the path of a `.keras` file. The others are `Thresholds`."""

    model: str = "mask"
    threshold: float = 0.5
    incorrect_threshold: float | None = None

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of the labels."""
        return Thresholds(self.threshold, self.incorrect_threshold)


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """Limits of a track, and of a person who has several.

    In a video, a face below the detector's threshold continues a track from `low_score` on, and begins none.

    A face joins the track that it overlaps by `iou` or more. A track that is not seen for `max_gap_s` seconds ends. Up to
    `short_gap_s` place alone may continue it; after that, the appearance must agree. Appearances differ by `unlike` at most
    where a face has moved, by `unlike_later` after that time, and by `other` where it has not moved (see
    `appearance.unlikeness`), or by `other_view` while the camera moves, which may show somebody else at the same place.
    Within `instant_s` nobody else can come to the same place, unless the camera moves. Two tracks whose appearances
    differ by less than `same` are one person when the second begins within `link_s` seconds, and the next best person is
    `alone` times as unlike.
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

    `save` is a subset of {"annotated", "crops", "evidence"}. `crf` is the quality of H.264 video, where lower is better.
    Work on a video is stored every `segment_s` seconds of it; each segment begins with a keyframe. With `keep_metadata`,
    annotated copies say when and with which camera the source was recorded. `anonymize` is how faces are hidden in all media
    (none, or a mode of `drawing.anonymize.hide`), `whom` says whose (see `analyse.hiding.HideRules`). With `mute`, annotated
    videos have no sound.
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
    """The rules by which stored looks become people, episodes and tables. Other ones make a new report without a new scan.

    `threshold` and `incorrect_threshold` are those of `Thresholds`. With `bom`, tables begin with a byte order mark, by
    which Excel knows that they are UTF-8. With `is_inline`, report.html holds the pictures of people itself.

    A bare episode decides when it lasts `min_bare_s` seconds. A person who is not seen for more than `max_gap_s` seconds is
    in no state meanwhile. No state lasts less than `min_state_s`. A look is unsure when no state is more probable than
    `sure`. A person in a video counts when seen for `min_seen_s`, and twice where looks are frequent. A face that does not
    move for `static_s` is a picture, and counts only with `count_static`.

    `clock` says where the start of a recording comes from: auto, name, metadata or none. `start` (ISO 8601) replaces it.
    `timezone` is the IANA name of the cameras' time zone, None for that of this machine. `path_template` tells site, camera
    and start from the names of sources; `places` is the path of a `places.toml`.
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
    """Choice of files: the first `limit` (None: all), and hidden ones too."""

    limit: int | None = None
    include_hidden: bool = False


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The engine that scans shards, local or ray, and how it uses a Ray cluster.

    `address` None is that of RAY_ADDRESS, or a cluster that is started on this machine. A worker takes `worker_cores`, None
    for as many as the smallest machine has, and is given up after `patience_s` seconds without a result.
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
