"""Options of the command line as settings."""

import re
from collections.abc import Mapping
from typing import Any

from maskbatch.errors import UsageError
from maskbatch.media.video.hwaccel import check_hwaccel
from maskbatch.media.write.encoders import choose_encoder
from maskbatch.settings import (
    ClassifierSettings,
    DetectorSettings,
    LoaderSettings,
    OutputSettings,
    RuntimeSettings,
    SamplingSettings,
    ScanSettings,
)


def scan_settings(options: Mapping[str, Any]) -> ScanSettings:
    """The options of `scan` and `video`, by click's names for them, as settings. Raises UsageError for values that do not
    go together."""
    save = frozenset() if options["save"] == "none" else frozenset(options["save"].split(","))
    if not save <= {"annotated", "crops"}:
        raise UsageError(f"--save takes annotated, crops, annotated,crops or none, not {options['save']!r}")
    if options["det_size"] % 32:
        raise UsageError(f"--det-size must be a multiple of 32, such as {round(options['det_size'] / 32) * 32}")
    if options["every"] != 1 and options["sample_fps"]:
        raise UsageError("--every and --sample-fps are two ways to say one thing: give one of them")
    device = options["device"]
    if device not in ("auto", "cpu", "gpu") and not re.fullmatch(r"gpu:\d{1,3}", device, re.ASCII):
        raise UsageError(f"--device takes auto, cpu, gpu or gpu:N, not {device!r}")
    return ScanSettings(
        loader=LoaderSettings(batch_size=options["batch_size"]),
        sampling=SamplingSettings(
            options["every"],
            options["sample_fps"],
            options["stall_limit"],
            check_hwaccel(options["hwaccel"]),
            options["decode_all"],
        ),
        runtime=RuntimeSettings(options["runtime"], device, options["precision"], options["require_gpu"]),
        detector=DetectorSettings(size_px=options["det_size"], threshold=options["det_threshold"]),
        classifier=ClassifierSettings(options["model"], options["threshold"]),
        output=OutputSettings(
            save, _encoder(options["codec"], save), options["crf"], keep_metadata=options["keep_metadata"]
        ),
        workers=options["workers"],
    )


def _encoder(codec: str, save: frozenset[str]) -> str:
    """The encoder that works here; nothing is tried when no video is written. Raises UsageError."""
    return choose_encoder(codec) if "annotated" in save else OutputSettings().codec
