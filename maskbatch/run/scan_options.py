"""The options of a scan, with their names, limits and defaults."""

from dataclasses import dataclass, field
from typing import Any

from maskbatch.settings import (
    INCORRECT_THRESHOLD,
    PRECISIONS,
    ClassifierSettings,
    ClusterSettings,
    DetectorSettings,
    OutputSettings,
    ReportSettings,
    RuntimeSettings,
    SamplingSettings,
    ScanSettings,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The range of a number from `least` to `most`, None for no limit; `is_open` excludes `least` itself."""

    least: float | None = None
    most: float | None = None
    is_open: bool = False


def _number(default: float | None, least: float | None = None, most: float | None = None, is_open: bool = False) -> Any:
    return field(default=default, metadata={"limits": Limits(least, most, is_open)})


def _one_of(*choices: str) -> Any:
    """Return a field with choices, of which the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """The options of a scan, for the command line and for `maskbatch.scan`.

    The command line writes them with dashes (`--sample-fps 2`), Python with underscores (`sample_fps=2`).
    `run/options.py` checks them and turns them into `ScanSettings`.

    Attributes:
        if_exists: action when the output folder holds an earlier scan: resume, overwrite or error.
        limit: scan only the first `limit` files; None: all files.
        shard: scan one share of the files, such as 3/20: see docs/cluster.md; None: all files.
        include_hidden: also scan hidden entries, thumbnail folders and recycle bins.
        sample_fps: frames per second of a video to analyse: a number; all; or auto, about 6 while something moves and
            one every two seconds otherwise.
        every: analyse every n-th frame of a video, in place of `sample_fps`; None: as `sample_fps` says.
        decode_all: also decode the frames between the analysed ones, to find damage in them.
        hwaccel: FFmpeg's name of a device that decodes videos; auto: the first that works; none: software.
        stall_limit: seconds without a frame after which a video is given up.
        save: media to write, separated by commas: annotated (copies); evidence (a few pictures of each person); crops
            (a picture of every face in every analysed frame); or none.
        codec: FFmpeg's name of the video encoder; auto: the fastest that works.
        crf: quality of annotated videos, from 0 (best) to 51.
        keep_metadata: keep the recording time and the camera in annotated copies.
        anonymize: way to hide faces in all media: none, solid (the only safe way), pixelate or blur.
        whom: people whose faces are hidden: everyone, masked, without, or except-zones (all outside the zones of
            `places`).
        mute: write annotated videos without sound.
        csv_bom: begin tables with a byte order mark, so that Excel reads them as UTF-8.
        min_bare: minimum seconds without a mask for a person to count as without one.
        max_gap: maximum seconds that a person may be out of sight within an episode.
        count_static: count faces that never move, as on posters and screens, as people.
        clock: source of the time of recording: auto, name, metadata or none.
        start: time at which the recordings begin (ISO 8601), in place of `clock`.
        timezone: IANA name of the cameras' time zone, such as Europe/Berlin; None: that of this machine.
        path_template: pattern of names of sources, such as "{site}/{camera}/{start:%Y-%m-%d_%H-%M-%S}".
        places: path of a places.toml with cameras, zones, lines and shifts.
        threshold: minimum probability for a face to count as masked.
        third_state: give masks that are worn incorrectly their own label; None: the default, if the model supports it.
        incorrect_threshold: minimum probability for a mask to count as worn incorrectly; needs the third state.
        det_threshold: minimum detector score for a face to be kept.
        min_face: smallest face to find, in pixels of the picture as recorded; smaller values take longer.
        det_size: longest side of the detector's input in pixels, a multiple of 32, in place of `min_face`.
        model: name of a shipped classifier, or the path of a `.keras` file.
        runtime: auto, openvino or tensorflow.
        device: auto, cpu, gpu or gpu:N.
        precision: auto, fp32, fp16, bf16 or int8.
        require_gpu: raise an error when no GPU is usable.
        batch_size: frames that go through the networks together; None: as many as suit the device.
        workers: number of videos, or groups of 256 photos, to scan at the same time on this machine.
        engine: local, or ray (the workers of a Ray cluster, see docs/cluster.md).
        address: address of the cluster, with `engine` ray; None: RAY_ADDRESS, or a cluster started on this machine.
        worker_cores: cores that a worker without a GPU takes, with `engine` ray; None: as many as the smallest machine has.
        patience: minutes without a result after which a worker is given up, with `engine` ray.
    """

    if_exists: str = _one_of("resume", "overwrite", "error")
    limit: int | None = _number(None, 1)
    shard: str | None = None
    include_hidden: bool = False
    sample_fps: float | str = field(
        default="auto", metadata={"limits": Limits(0, None, True), "words": ("auto", "all")}
    )
    every: int | None = _number(None, 1)
    decode_all: bool = False
    hwaccel: str = SamplingSettings().hwaccel
    stall_limit: float = _number(SamplingSettings().stall_s, 0, is_open=True)
    save: str = "annotated,evidence"
    codec: str = "auto"
    crf: int = _number(OutputSettings().crf, 0, 51)
    keep_metadata: bool = OutputSettings().keep_metadata
    anonymize: str = _one_of("none", "solid", "pixelate", "blur")
    whom: str = _one_of("everyone", "masked", "without", "except-zones")
    mute: bool = OutputSettings().mute
    csv_bom: bool = False
    min_bare: float = _number(ReportSettings().min_bare_s, 0)
    max_gap: float = _number(ReportSettings().max_gap_s, 0, is_open=True)
    count_static: bool = False
    clock: str = _one_of("auto", "name", "metadata", "none")
    start: str | None = None
    timezone: str | None = None
    path_template: str | None = None
    places: str | None = None
    threshold: float = _number(ClassifierSettings().threshold, 0, 1)
    third_state: bool | None = None
    incorrect_threshold: float = _number(INCORRECT_THRESHOLD, 0, 1)
    det_threshold: float = _number(DetectorSettings().threshold, 0, 1)
    min_face: int = _number(DetectorSettings().min_face_px, 1, 4096)
    det_size: int | None = _number(None, 64, 4096)
    model: str = ClassifierSettings().model
    runtime: str = _one_of("auto", "openvino", "tensorflow")
    device: str = RuntimeSettings().device
    precision: str = _one_of(*PRECISIONS)
    require_gpu: bool = False
    batch_size: int | None = _number(None, 1, 1024)
    workers: int = _number(ScanSettings().workers, 1, 64)
    engine: str = _one_of("local", "ray")
    address: str | None = None
    worker_cores: int | None = _number(None, 1, 1024)
    patience: float = _number(ClusterSettings().patience_s / 60, 0, is_open=True)
