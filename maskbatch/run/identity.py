"""Settings and facts of a scan: those that determine its results, and those that its record keeps."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from maskbatch import __version__
from maskbatch.media.sources import common_folder
from maskbatch.run.stages import NetworkFacts
from maskbatch.run.versions import installed
from maskbatch.settings import ScanSettings
from maskbatch.store.plan import Plan

_PACKAGES = ("tensorflow", "openvino", "cv2", "av", "PIL", "pillow_heif", "numpy")


def deciding_settings(settings: ScanSettings, inputs: Sequence[Path]) -> dict[str, object]:
    """Return the settings that determine the rows and media of a scan, with the common folder of its inputs."""
    values = _plain(settings)
    del values["classifier"]  # the checksum is more exact than the model's name, and reports can use any threshold
    # "hwaccel" stays, because devices conceal damage in videos, and compute JPEG pictures, in different ways
    del values["sampling"]["stall_s"]  # the time limit changes no row of a readable file
    root = common_folder(inputs)
    return {
        "maskbatch": __version__,
        "input folder": None if root is None else str(root),
        **{name: values[name] for name in ("sampling", "detector", "tracker", "output")},
    }


def identity_of(settings: ScanSettings, inputs: Sequence[Path], networks: NetworkFacts) -> dict[str, object]:
    """Return all values that determine the rows and media of a scan; sessions of one folder have the same values."""
    return (
        deciding_settings(settings, inputs)
        | _who_is_hidden(settings)
        | {
            "runtime": networks.device.runtime,
            "precision": networks.precision,
            "weights": {name: used["sha256"] for name, used in networks.weights.items()},
        }
    )


def _who_is_hidden(settings: ScanSettings) -> dict[str, object]:
    """Return the rules that decide whose face the media hide: a scan must not go on by others."""
    output = settings.output
    if output.anonymize == "none" or output.whom == "everyone":
        return {}
    if output.whom == "except-zones":
        return {"hidden outside the zones with SHA-256": sha256(Path(settings.report.places).read_bytes()).hexdigest()}
    return {"hidden by": asdict(settings.classifier.thresholds)}


def facts_of(settings: ScanSettings, plan: Plan, networks: NetworkFacts) -> Mapping[str, object]:
    """Return the facts that an auditor needs to reproduce the numbers."""
    return {
        "maskbatch": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": installed(_PACKAGES),
        "device": networks.device.description,
        "precision": networks.precision,
        "weights": networks.weights,
        "settings": _plain(settings),
        "inputs": [str(path.absolute()) for path in plan.inputs],
        "files": len(plan.sources),
        "not_looked_at": asdict(plan.not_looked_at),
        "files_done_before": plan.num_done,
        "files_changed": len(plan.again),
        "files_vanished": list(plan.vanished[:1000]),
        **({} if plan.dealt is None else {"shard": asdict(plan.dealt)}),
    }


def _plain(settings: ScanSettings) -> dict:
    """Return settings as plain JSON values, without the output folder, which may move."""
    values = asdict(settings)
    values["output"]["save"] = sorted(values["output"]["save"])
    del values["output"]["folder"]
    return values
