"""The Containerfile, a hosted CI and completion: what can be checked without an engine and a host."""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CONTAINERFILE = (TOP / "Containerfile").read_text(encoding="utf-8")
WORKFLOW = (TOP / ".github/workflows/tests.yml").read_text(encoding="utf-8")


def steps(word):
    """The arguments of all instructions of this kind, without their options."""
    return [line.split()[1:] for line in CONTAINERFILE.splitlines() if line.startswith(word + " ")]


def test_the_image_has_all_that_the_package_is_made_of():
    """Each copied path is in the repository, and so is each file that setup.cfg names."""
    copied = [path for words in steps("COPY") if not words[0].startswith("--") for path in words[:-1]]
    assert all((TOP / path).exists() for path in copied)
    setup = configparser.ConfigParser()
    setup.read(TOP / "setup.cfg", encoding="utf-8")
    named = {"setup.cfg", "pyproject.toml", "README.md", *setup["metadata"]["license_files"].split()}
    assert named | {"maskbatch", "models", "requirements-slim.txt", "requirements-gpu.txt"} == set(copied)


def test_every_package_is_installed():
    """setup.cfg names each folder with modules. An editable install has them all, and hides one that is left out."""
    setup = configparser.ConfigParser()
    setup.read(TOP / "setup.cfg", encoding="utf-8")
    folders = {path.parent.relative_to(TOP) for path in (TOP / "maskbatch").rglob("*.py")}
    named = setup["options"]["packages"].split()
    assert sorted(".".join(folder.parts) for folder in folders) == sorted(set(named) - {"maskbatch.models"})
    assert len(named) == len(set(named))


def test_the_image_for_gpus_is_the_slim_one_with_the_extra_gpu():
    """The build argument chooses a file that the image has; that of GPUs adds the extra `gpu` of setup.cfg, and nothing
    else. Nobody who gives no argument gets TensorFlow."""
    setup = configparser.ConfigParser()
    setup.read(TOP / "setup.cfg", encoding="utf-8")
    lines = (TOP / "requirements-gpu.txt").read_text(encoding="utf-8").splitlines()
    extra = [line.split("#")[0].strip() for line in setup["options.extras_require"]["gpu"].splitlines()]
    assert [line for line in lines if not line.startswith("#")] == ["-r requirements-slim.txt", *filter(None, extra)]
    assert steps("ARG") == [["REQUIREMENTS=requirements-slim.txt"]]
    assert '-r "$REQUIREMENTS"' in CONTAINERFILE
    named = re.findall(r"REQUIREMENTS=(\S+)", CONTAINERFILE + (TOP / "docs/container.md").read_text(encoding="utf-8"))
    assert set(named) == {"requirements-slim.txt", "requirements-gpu.txt"} and all(
        (TOP / one).is_file() for one in named
    )


def test_the_containerfile_can_be_parsed():
    """Every instruction is one of an engine; a continued line is followed by its rest; ENV has pairs of name and value."""
    lines = [line for line in CONTAINERFILE.splitlines() if not line.startswith("#")]
    assert not lines[-1].endswith("\\")
    instructions = [one for one in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines() if one.strip()]
    known = {"FROM", "RUN", "WORKDIR", "COPY", "ARG", "ENV", "USER", "ENTRYPOINT", "CMD"}
    assert {one.split()[0] for one in instructions} <= known and instructions[0].startswith("FROM ")
    [pairs] = [one.split()[1:] for one in instructions if one.startswith("ENV ")]
    assert all(re.fullmatch(r"[A-Z_]+=\S+", pair) for pair in pairs) and len(pairs) >= 5
    for one in instructions:
        if one.startswith(("ENTRYPOINT ", "CMD ")):
            assert json.loads(one.partition(" ")[2])


def test_the_image_is_debians_and_runs_without_rights():
    """One base, a user by number who is not root, and files from Debian and PyPI alone."""
    assert {words[0] for words in steps("FROM")} == {"docker.io/library/debian:trixie-slim"}
    [[user]] = steps("USER")
    assert all(int(part) >= 1000 for part in user.split(":"))
    assert CONTAINERFILE.index("\nUSER ") > CONTAINERFILE.rindex("\nRUN ")
    code = re.sub("(?m)^#.*$", "", CONTAINERFILE)
    assert not re.search(r"https?://|curl|wget|\bADD\b|--index-url|sudo", code)


def test_the_workflow_has_all_systems_and_pythons():
    """Those of setup.cfg, each on three systems."""
    setup = (TOP / "setup.cfg").read_text(encoding="utf-8")
    pythons = re.findall(r"Programming Language :: Python :: (3\.\d+)", setup)
    assert (
        f"python: [{', '.join(f'{chr(34)}{number}{chr(34)}' for number in pythons)}]" in WORKFLOW and len(pythons) == 4
    )
    assert WORKFLOW.count("os: [ubuntu-latest, windows-latest, macos-latest]") == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_options_and_choices(shell):
    """The script that docs/container.md installs, and the answers that it asks for: commands, options, and choices."""

    def asked(**environment):
        command = [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['maskbatch']; from maskbatch.__main__ import run; run()",
        ]
        own = os.environ | {"PYTHONPATH": str(TOP)} | environment
        return subprocess.run(command, capture_output=True, text=True, check=False, env=own).stdout

    assert "_MASKBATCH_COMPLETE" in asked(_MASKBATCH_COMPLETE=f"{shell}_source")
    for typed, last, expected in (("maskbatch", "wat", "watch"), ("maskbatch scan", "--sh", "--shard"),
                                  ("maskbatch export audit", "ot", "otio")):  # fmt: skip
        line, number = (typed, last) if shell == "fish" else (f"{typed} {last}", str(len(typed.split())))
        found = asked(_MASKBATCH_COMPLETE=f"{shell}_complete", COMP_WORDS=line, COMP_CWORD=number)
        assert expected in re.split(r"[\s,]+", found), found
