"""Nothing leaves the machine, and nothing is written into the user's home: each command, in a process of its own."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from makers import numbered, write_photo, write_video
from trainer_makers import class_folders

# what each process of a command does first: it notes in a file what Python is asked to do with the network
RECORDER = """
import os, sys

def note(event, arguments):
    # urllib3 asks whether there is IPv6 by a socket on ::1 that nobody talks to
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname", "socket.bind"):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{event} {arguments[-1]!r}\\n")

sys.addaudithook(note)
"""
COMMAND = [sys.executable, "-m", "maskbatch"]
TRAIN = """
import sys
sys.path.insert(0, {tests!r})
from trainer_makers import tiny_model
from maskbatch.trainer.classifier import train
from maskbatch.cli.main import main
train.build_model = tiny_model
main()
"""


def photo(folder):
    return ["scan", write_photo(folder / "a.png"), "--out", folder / "out", "-q"]


def photo_by_keras(folder):
    return [*photo(folder), "--precision", "fp32"]


def photo_by_tensorflow(folder):
    return [*photo(folder), "--runtime", "tensorflow"]


def video(folder):
    return ["video", write_video(folder / "v.mp4", numbered(6)), "--out", folder / "out", "-q"]


def doctor(folder):
    return ["doctor"]


def train(folder):
    return ["train", class_folders(folder / "faces"), "--out", folder / "out", "--steps", 1, "--batch-size", 4, "-q"]


def environment(folder):
    """A home of its own with nothing in it, and the recorder in each process that starts there."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(RECORDER)
    (folder / "home").mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MASKBATCH_", "XDG_", "CI"))}
    paths = [str(folder / "site"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return own | {
        "HOME": str(folder / "home"), "USERPROFILE": str(folder / "home"), "LOCALAPPDATA": str(folder / "home/.cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)), "NETWORK_LOG": str(folder / "network.log"),
    }  # fmt: skip


def run(folder, arguments, before=()):
    """Runs the command in `folder`, which must end well."""
    program = COMMAND
    if arguments[0] == "train":
        program = [sys.executable, "-c", TRAIN.format(tests=str(Path(__file__).parent))]
    result = subprocess.run(
        [*before, *program, *map(str, arguments)], env=environment(folder), cwd=folder, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A function that gives the folder in which a command has run, once for all tests. Where there is strace, `trace` in it
    has the system calls of the commands in `TRACED`."""

    @cache
    def ended(command):
        folder = tmp_path_factory.mktemp(command.__name__)
        is_traced = command in TRACED and shutil.which("strace") is not None
        calls = ["--seccomp-bpf", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
        run(folder, command(folder), ["strace", *calls, "-o", folder / "trace"] if is_traced else ())
        return folder

    return ended


TRACED = (photo_by_keras, video, doctor)


@pytest.mark.parametrize("command", [photo, photo_by_keras, photo_by_tensorflow, video, doctor, train])
def test_no_command_speaks_to_the_network_or_writes_into_the_home(ended, command):
    """No host is looked up and no connection made, by any library; the home has our cache and nothing else."""
    folder = ended(command)
    assert not (folder / "network.log").exists(), (folder / "network.log").read_text()
    cache = folder / "home" / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "maskbatch"
    written = [path for path in (folder / "home").rglob("*") if path.is_file() and cache not in path.parents]
    assert written == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("command", TRACED)
def test_no_system_call_speaks_to_the_network(ended, command):
    """Nor do libraries that are not written in Python, or processes they start."""
    calls = re.findall(r"^.*AF_INET.*$", (ended(command) / "trace").read_text(errors="replace"), re.M)
    assert calls == []


def test_the_recorder_records(tmp_path):
    """Else the tests above would prove nothing."""
    code = "import socket; socket.getaddrinfo('localhost', 80)"
    subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), check=True)
    assert "socket.getaddrinfo" in (tmp_path / "network.log").read_text()


def test_a_home_that_the_user_has_is_used(tmp_path, monkeypatch):
    """Keras's and matplotlib's own folders stay theirs; where there are none, they go into the cache."""
    from maskbatch.networks.cache import keep_libraries_out_of_home

    for name in ("KERAS_HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / ".keras").mkdir()
    keep_libraries_out_of_home()
    assert "KERAS_HOME" not in os.environ
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "cache" / "matplotlib")


@pytest.mark.skipif(sys.platform == "win32", reason="a user of Windows has a home")
def test_a_user_without_a_home_gets_a_cache_for_one_run(tmp_path):
    """Not a folder named "~" in the current one."""
    code = """
import os, pwd
def nobody(_):
    raise KeyError
pwd.getpwuid = nobody
from maskbatch.networks.cache import cache_folder
folder = cache_folder()
assert folder.is_dir() and folder == cache_folder()
print(folder)
"""
    own = {name: value for name, value in environment(tmp_path).items() if name != "HOME"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=own, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert not Path(result.stdout.strip()).exists() and not (tmp_path / "~").exists()
