"""A scan on OpenVINO needs no TensorFlow: the slim install of docs/slim.md."""

import configparser
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maskbatch.run import doctor

TOP = Path(__file__).parents[1]
SAMPLES = TOP / "sample_media"
# a machine on which nobody installed TensorFlow
BLOCKED = """
import importlib.abc, importlib.util, json, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "h5py", "sklearn", "matplotlib", "onnx", "nncf"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def without_tensorflow(code, cache):
    """Runs Python code where TensorFlow and Keras cannot be imported, with a cache of its own."""
    environment = os.environ | {"PYTHONPATH": str(TOP), "MASKBATCH_CACHE": str(cache)}
    command = [sys.executable, "-c", BLOCKED + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)


def command(*words):
    """Code that runs a command of maskbatch."""
    return f"sys.argv = {['maskbatch', *map(str, words)]!r}\nfrom maskbatch.__main__ import run\nrun()"


def test_a_scan_works_without_tensorflow(tmp_path):
    """Photos and a video, with copies and evidence, in a cache that nothing was ever converted into: the same people."""
    (tmp_path / "in").mkdir()
    for name in ("groups/meeting.jpg", "portrait_surgical.jpg", "video/doorway.webm"):
        shutil.copy(SAMPLES / name, tmp_path / "in")
    out = tmp_path / "out"
    result = without_tensorflow(command("scan", tmp_path / "in", "--out", out), tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    with open(out / "files.csv", newline="", encoding="utf-8") as file:
        people = {row["source"]: (row["people"], row["with_mask"]) for row in csv.DictReader(file)}
    assert people["portrait_surgical.jpg"] == ("1", "1") and people["meeting.jpg"][0] == "6"
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["doorway.webm.mp4", "meeting.jpg",
                                                                         "portrait_surgical.jpg"]  # fmt: skip
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["device"].endswith("OpenVINO")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "fp32"], "yunet.weights.h5 must be converted for OpenVINO, which takes TensorFlow"),
        (["--runtime", "tensorflow"], "TensorFlow is not installed"),
        (["--device", "gpu"], "no usable GPU"),
    ],
)
def test_what_needs_tensorflow_says_so(tmp_path, words, said):
    """One sentence with what to do, and no output folder."""
    photo = SAMPLES / "portrait_bare.jpg"
    result = without_tensorflow(command("scan", photo, "--out", tmp_path / "out", *words), tmp_path / "cache")
    assert result.returncode == 1 and said in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_slim_requirements_are_those_of_the_package():
    """The same ranges, without TensorFlow, and with the OpenCV that has no windows."""
    setup = configparser.ConfigParser()
    setup.read(TOP / "setup.cfg", encoding="utf-8")
    lines = [line.split("#")[0].strip() for line in setup["options"]["install_requires"].splitlines()]
    wanted = {line.replace("opencv-python>", "opencv-python-headless>") for line in lines if line}
    text = (TOP / "requirements-slim.txt").read_text(encoding="utf-8")
    slim = {line for line in text.splitlines() if not line.startswith("#")}
    assert {re.split("[<>=]", line)[0] for line in wanted - slim} == {"tensorflow"} and slim <= wanted


def test_the_doctor_finds_a_slim_machine_well(monkeypatch):
    """Without TensorFlow and Keras it says what does not work; without another package it still says what to install."""
    for missing, is_ok in (
        (("tensorflow", "keras"), True),
        (("tensorflow", "keras", "av"), False),
        (("keras",), False),
    ):
        found = {name: None if name in missing else "1.0" for name in ("tensorflow", "keras", "av", "numpy")}
        monkeypatch.setattr(doctor, "installed", lambda _, found=found: found)
        monkeypatch.setattr(doctor, "_device", lambda: doctor.Finding("device", True, "CPU"))
        [versions] = [finding for finding in doctor.examine() if finding.subject == "versions"]
        assert versions.ok == is_ok and ("no training" if is_ok else "pip install") in versions.message
