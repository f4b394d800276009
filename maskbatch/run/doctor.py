"""Check that this machine has everything that a scan needs, and say how to solve each problem."""

import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from maskbatch import __version__
from maskbatch.errors import MaskbatchError
from maskbatch.networks import weights
from maskbatch.networks.cache import cache_folder
from maskbatch.networks.device import choose_device
from maskbatch.run.versions import installed
from maskbatch.settings import RuntimeSettings

_PACKAGES = ("tensorflow", "keras", "openvino", "cv2", "av", "numpy", "pandas")
_OF_TENSORFLOW = {"tensorflow", "keras"}
# converted networks are some 100 MB; an hour of annotated HD video is about 2 GB
_LEAST_CACHE_GB, _LEAST_OUT_GB = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `message` describes the result and, unless it is `ok`, says what to do."""

    subject: str
    ok: bool
    message: str


def examine() -> list[Finding]:
    """Check versions, device, codecs, all shipped weight files, and the folders for output."""
    shipped = [_weights(name) for name in weights.SHIPPED]
    cache, here = cache_folder(), Path.cwd()
    folders = [
        _folder("cache folder", cache, _LEAST_CACHE_GB, "set MASKBATCH_CACHE to another folder"),
        _folder("current folder", here, _LEAST_OUT_GB, "write elsewhere with --out"),
    ]
    return [_versions(), _device(), _video(), _audio(), *shipped, *folders]


def _versions() -> Finding:
    versions = installed(_PACKAGES)
    missing = [name for name, number in versions.items() if number is None]
    own = [f"maskbatch {__version__}", f"Python {platform.python_version()}"]
    message = ", ".join([*own, *(f"{name} {number}" for name, number in versions.items() if number is not None)])
    if {*missing} == _OF_TENSORFLOW:
        missing, message = (
            [],
            f"{message}; no TensorFlow, so no GPU, no training and no models of your own (docs/slim.md)",
        )
    if missing:
        return Finding("versions", False, f"{message}; missing: {', '.join(missing)}: pip install {' '.join(missing)}")
    opencv = [name for name in versions if name.startswith("opencv-")]
    if len(opencv) > 1:
        return Finding("versions", False, f"{message}; {' and '.join(opencv)} write over each other's files: pip uninstall "
                       f"{' '.join(opencv)}, then pip install {opencv[0]}")  # fmt: skip
    return Finding("versions", True, message)


def _device() -> Finding:
    try:
        device = choose_device(RuntimeSettings())
    except MaskbatchError as error:
        return Finding("device", False, str(error))
    return Finding("device", True, device.description)


def _video() -> Finding:
    """Write a video with the encoder that a scan would choose, and read it back."""
    from maskbatch.media.write.encoders import choose_encoder, why_not

    encoder = choose_encoder("auto")
    reason = why_not(encoder)
    if reason is not None:
        return Finding("H.264", False, f"no annotated video can be written ({encoder}: {reason}): reinstall PyAV from its "
                       "wheel (pip install -U --only-binary av av), or scan with --save none")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        try:
            num_frames = _round_trip(Path(folder) / "trial.mp4", encoder)
        except (OSError, MaskbatchError) as error:
            return Finding("H.264", False, f"a trial video cannot be written and read again: {error}. Is {folder} "
                           "writable and not full? Otherwise reinstall PyAV: pip install -U av")  # fmt: skip
    return Finding("H.264", True, f"{num_frames} frames written with {encoder} and read again")


def _round_trip(path: Path, encoder: str) -> int:
    """Encode five frames, decode them, and return the number of decoded frames. Raises OSError or DecodeError."""
    import numpy as np

    from maskbatch.media.decode import open_source
    from maskbatch.media.write.files import write_image
    from maskbatch.media.write.video import VideoWriter
    from maskbatch.settings import OutputSettings, SamplingSettings
    from maskbatch.types import Source

    frames = [np.full((240, 320, 3), 40 * number, np.uint8) for number in range(5)]
    silent = path.with_suffix(".png")  # the writer looks for sound in its source
    write_image(silent, frames[0])
    with VideoWriter(path, Source(0, silent, silent.name, "video"), OutputSettings(codec=encoder)) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / 25)
    with open_source(Source(0, path, path.name, "video"), SamplingSettings()) as reader:
        return sum(1 for _ in reader)


def _audio() -> Finding:
    import av

    if "aac" in av.codecs_available:
        return Finding("AAC", True, "sound that MP4 cannot hold is encoded again")
    return Finding("AAC", False, "not in this PyAV, some sound would be lost: reinstall it (pip install -U av)")


def _folder(subject: str, folder: Path, least_gb: float, instead: str) -> Finding:
    """Check that a folder can be written to and has free space; create a missing folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"trial")
        free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding(subject, False, f"{folder} cannot be written ({error.strerror or error}): {instead}")
    if free_gb < least_gb:
        return Finding(subject, False, f"{folder} has only {free_gb:.1f} GB free: make room, or {instead}")
    return Finding(subject, True, f"{folder} can be written, {free_gb:.0f} GB free")


def _weights(name: str) -> Finding:
    try:
        path = weights.find(name)
        weights.find_int8(path)
    except MaskbatchError as error:
        return Finding(f"weights {name}", False, str(error))
    shipped = weights.SHIPPED[name]
    return Finding(f"weights {name}", True, f"{path} and {shipped.int8_file}, checksums as recorded; {shipped.licence}")
