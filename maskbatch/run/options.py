"""Check the options of a scan, and turn them into the settings of its stages."""

import math
import re
from dataclasses import Field, fields
from numbers import Integral, Real
from typing import Any

from maskbatch.errors import UsageError
from maskbatch.media.video.hwaccel import check_hwaccel
from maskbatch.media.write.encoders import choose_encoder
from maskbatch.people.where import Known, where_of
from maskbatch.run.scan_options import Limits, ScanOptions
from maskbatch.settings import (
    CANDIDATES_PER_S,
    INCORRECT_THRESHOLD,
    LOOK_AGAIN_S,
    ClassifierSettings,
    ClusterSettings,
    DetectorSettings,
    InputSettings,
    LoaderSettings,
    OutputSettings,
    ReportSettings,
    RuntimeSettings,
    SamplingSettings,
    ScanSettings,
    third_state_or_default,
)

_FIELDS = {item.name: item for item in fields(ScanOptions)}


def scan_settings(options: ScanOptions) -> ScanSettings:
    """Turn the options of a scan into settings. Raises UsageError for wrong or contradictory values."""
    for name in _FIELDS:
        checked(name, getattr(options, name))
    save = _save(options.save)
    if options.det_size is not None and options.min_face != DetectorSettings().min_face_px:
        raise UsageError("--min-face and --det-size both choose the size of the detector's input: give one of them")
    if options.det_size is not None and options.det_size % 32:
        raise UsageError(f"--det-size must be a multiple of 32, such as {round(options.det_size / 32) * 32}")
    if options.every is not None and options.sample_fps != "auto":
        raise UsageError("--every and --sample-fps both choose the frames of a video: give one of them")
    checked_device(options.device)
    _check_hiding(options)
    has_third_state = third_state_or_default(options.third_state)
    check_incorrect_threshold(has_third_state, options.incorrect_threshold != INCORRECT_THRESHOLD)
    hwaccel = check_hwaccel(options.hwaccel)
    return ScanSettings(
        inputs=InputSettings(options.limit, options.include_hidden),
        loader=LoaderSettings(batch_size=options.batch_size),
        sampling=SamplingSettings(
            options.every or 1, _sample_fps(options), options.stall_limit, hwaccel, options.decode_all, _is_gated(options),
            "annotated" in save, "annotated" in save and options.anonymize == "none", _look_again_s(options),
        ),
        runtime=RuntimeSettings(options.runtime, options.device, options.precision, options.require_gpu),
        detector=DetectorSettings(options.det_size, options.det_threshold, min_face_px=options.min_face),
        classifier=ClassifierSettings(
            options.model, options.threshold, options.incorrect_threshold if has_third_state else None
        ),
        output=OutputSettings(
            save, _encoder(options.codec, save), options.crf, anonymize=options.anonymize, whom=options.whom,
            keep_metadata=options.keep_metadata and options.anonymize == "none", mute=options.mute
        ),
        workers=options.workers,
        cluster=_cluster(options),
        report=checked_report(ReportSettings(
            bom=options.csv_bom, min_bare_s=options.min_bare, max_gap_s=options.max_gap, count_static=options.count_static,
            clock=options.clock, start=options.start, timezone=options.timezone, path_template=options.path_template,
            places=options.places,
        )),
    )  # fmt: skip


def _check_hiding(options: ScanOptions) -> None:
    """Raise UsageError for `whom` without `anonymize`, and for zones without `places`."""
    if options.whom != "everyone" and options.anonymize == "none":
        raise UsageError("--whom says whose faces to hide: give --anonymize as well")
    if options.whom == "except-zones" and options.places is None:
        raise UsageError("--whom except-zones needs the zones: give --places")


def _cluster(options: ScanOptions) -> ClusterSettings:
    """Return the settings of the engine. Raises UsageError for options of a cluster without `engine` ray."""
    given = [
        name for name in ("address", "worker_cores", "patience") if getattr(options, name) != _FIELDS[name].default
    ]
    if given and options.engine != "ray":
        raise UsageError(f"--{given[0].replace('_', '-')} is for a cluster: give --engine ray as well")
    if options.engine == "ray" and options.workers != ScanSettings().workers:
        raise UsageError("--workers is for this machine only: with --engine ray, use --worker-cores")
    return ClusterSettings(options.engine, options.address, options.worker_cores, options.patience * 60)


def _is_gated(options: ScanOptions) -> bool:
    return options.sample_fps == "auto" and options.every is None


def _look_again_s(options: ScanOptions) -> float | None:
    """Return the seconds between two looks at a face that is sure and unchanged; None: every face is classified.

    That is so where the label of a single face decides who is hidden.
    """
    return LOOK_AGAIN_S if _is_gated(options) and options.whom not in ("masked", "without") else None


def _sample_fps(options: ScanOptions) -> float | None:
    """Return the frames per second to analyse, or the candidates per second with a gate; None for every n-th frame."""
    if options.sample_fps in ("auto", "all"):
        return CANDIDATES_PER_S if _is_gated(options) else None
    return options.sample_fps


def checked_report(report: ReportSettings) -> ReportSettings:
    """Check and return settings of a report. Raises UsageError for a bad time, zone, template or `places.toml`."""
    where_of(Known(0, "", "video", None, None, None, None, 0, 0, ()), report)
    return report


def checked_device(device: str) -> str:
    """Check and return the name of a device. Raises UsageError for a name that no device has."""
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|gpu(:\d{1,3})?", device, re.ASCII):
        raise UsageError(f"--device takes auto, cpu, gpu or gpu:N, not {device!r}")
    return device


def check_incorrect_threshold(has_third_state: bool, is_given: bool) -> None:
    """Raise UsageError when the threshold of the third state is given without that state."""
    if is_given and not has_third_state:
        raise UsageError("--incorrect-threshold needs the third state: give --third-state as well")


def checked(name: str, value: Any) -> Any:
    """Check and return the value of an option of a scan.

    Args:
        name: a field of `ScanOptions`.
        value: its value.

    Raises:
        UsageError: the option does not accept the value.

    Example:
        >>> checked("min_face", 12)
        12
    """
    if reason := _why_not(_FIELDS[name], value):
        raise UsageError(f"--{name.replace('_', '-')} {reason}, not {value!r}")
    return value


def _why_not(item: Field, value: object) -> str | None:
    """Return the values that an option takes if `value` is not one of them, otherwise None."""
    if value is None and item.default is None:
        return None
    if limits := item.metadata.get("limits"):
        words, is_whole = item.metadata.get("words", ()), "int" in str(item.type)
        if (isinstance(value, str) and value in words) or _is_within(limits, value, is_whole):
            return None
        number = f"a {'whole ' * is_whole}number{_range(limits)}"
        return f"takes {', '.join([*words, ''])}or {number}" if words else f"takes {number}"
    if choices := item.metadata.get("choices"):
        return None if value in choices else f"takes {', '.join(choices[:-1])} or {choices[-1]}"
    is_flag = "bool" in str(item.type)
    if isinstance(value, bool if is_flag else str):
        return None
    return "takes True or False" if is_flag else "takes a text"


def _is_within(limits: Limits, value: object, is_whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral if is_whole else Real) or not math.isfinite(value):
        return False
    too_low = limits.least is not None and (value <= limits.least if limits.is_open else value < limits.least)
    return not too_low and (limits.most is None or value <= limits.most)


def _range(limits: Limits) -> str:
    if limits.most is not None:
        return f" from {limits.least} to {limits.most}"
    return f" above {limits.least}" if limits.is_open else f" from {limits.least} on"


def _save(words: str) -> frozenset[str]:
    save = frozenset() if words == "none" else frozenset(words.split(","))
    if not save <= {"annotated", "crops", "evidence"}:
        raise UsageError(
            f"--save takes annotated, evidence and crops, with commas between them, or none, not {words!r}"
        )
    return save


def _encoder(codec: str, save: frozenset[str]) -> str:
    """Return an encoder that works here; try none when no video is written. Raises UsageError."""
    return choose_encoder(codec) if "annotated" in save else OutputSettings().codec
