"""Decodes sources in a process of its own, to see whether that kills the process.

A program, too: python -m maskbatch.media.trial, with a request in JSON on standard input.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import av

from maskbatch.config import SamplingSettings
from maskbatch.data import Source
from maskbatch.errors import Interrupted
from maskbatch.media.audio import AudioTrack, unguarded
from maskbatch.media.decode import open_source
from maskbatch.media.probe import probe
from maskbatch.media.segments import ReaderState, Segments
from maskbatch.media.sound import CannotCopy, SoundReader

_PHOTO_S, _VIDEO_S = 120, 600
_EXIT_MEMORY = 12
_LOOK_S, _LEAVE_S = 0.2, 5.0
# signals that a decoder brings upon its process; the last is what it gets for taking all memory
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, getattr(signal, "SIGBUS", 7), 9)
_UNKNOWN = "unknown"
_LEAST_MEMORY = 4 << 30
# exit codes of Windows from here on are what signals are elsewhere
_WINDOWS_CRASH = 0xC0000000

# a video without segments: not its picture is tried, but its sound
Suspect = tuple[Source, Segments | None]


def crash_reasons(
    suspects: Sequence[Suspect], sampling: SamplingSettings, is_over: Callable[[], bool] = lambda: False
) -> dict[str, str]:
    """Why sources must not be decoded in this process, by their names; those that can be, even damaged ones, are not in it.

    All are tried in one process; only when that dies, each in one of its own. A video is decoded from the start of its
    segments over two of their cuts, further than any reading ahead; sound is tried as a whole. Raises Interrupted once
    `is_over` says so.
    """
    together = _verdict(suspects, sampling, is_over) if suspects else None
    if together is None:
        return {}
    alone = len(suspects) == 1
    reasons = {one[0].name: together if alone else _verdict([one], sampling, is_over) for one in suspects}
    return {name: reason for name, reason in reasons.items() if reason not in (None, _UNKNOWN)}


def _verdict(suspects: Sequence[Suspect], sampling: SamplingSettings, is_over: Callable[[], bool]) -> str | None:
    """How a process that decodes the suspects died. Photos must not take too long either; a video may (_UNKNOWN),
    and a process that others ended says nothing."""
    request = {"sampling": asdict(sampling), "suspects": [_plain(*suspect) for suspect in suspects]}
    is_photos = all(source.kind == "image" for source, _ in suspects)
    limit_s = _PHOTO_S if is_photos else _VIDEO_S
    try:
        code = _exit_code(json.dumps(request).encode(), limit_s, is_over)
    except TimeoutError:
        return f"crashed the decoder (no end after {limit_s} s)" if is_photos else _UNKNOWN
    if code == _EXIT_MEMORY:
        return "crashed the decoder (out of memory)"
    if code < 0 and -code not in _CRASHES:
        return _UNKNOWN
    if code < 0:
        return f"crashed the decoder (signal {-code})"
    return f"crashed the decoder (exit code {code:#x})" if code >= _WINDOWS_CRASH else None


def _exit_code(request: bytes, limit_s: float, is_over: Callable[[], bool]) -> int:
    """How a process ended that was given the request. Raises TimeoutError and Interrupted, the process then killed."""
    with tempfile.TemporaryFile() as given:  # of any length, and nobody has to write while it reads
        given.write(request)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "maskbatch.media.trial"], stdin=given, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,  # the user's Ctrl-C is not for it
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # nor on Windows
        )  # fmt: skip
    ends_at = time.monotonic() + limit_s
    try:
        while time.monotonic() < ends_at:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK_S)
            if is_over():
                raise Interrupted("stopped")
        raise TimeoutError
    finally:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # what waits for a dead network drive cannot be killed
            process.wait(_LEAVE_S)


def _plain(source: Source, segments: Segments) -> dict:
    plain = {"path": str(source.path), "kind": source.kind, "is_sound": segments is None}
    if segments is None:
        return plain
    start = None if segments.start is None else asdict(segments.start)
    return plain | {"start": start, "length_s": segments.length_s}


def _decode(suspect: dict, sampling: SamplingSettings) -> None:
    """Reads as far as `crash_reasons` says; what is wrong with the file, as long as it can be said, does not matter."""
    source = Source(0, Path(suspect["path"]), "trial", suspect["kind"])
    try:
        if suspect["is_sound"]:
            _join_sound(source.path)
        else:
            _read(source, suspect, sampling)
    except MemoryError:
        sys.exit(_EXIT_MEMORY)
    except Exception:
        return


def _read(source: Source, suspect: dict, sampling: SamplingSettings) -> None:
    start = None if suspect["start"] is None else ReaderState(**suspect["start"])
    segments = Segments(suspect["length_s"], start)
    if source.kind == "video":
        probe(source)
    with open_source(source, sampling, segments) as reader:
        for _ in reader:
            if len(segments.cuts) == 2:
                return


def _join_sound(path: Path) -> None:
    """Reads and encodes the sound as `joiner` does, for no file."""
    for may_copy in (True, False):
        reader = SoundReader(path, (), may_copy)
        with suppress(CannotCopy, av.error.FFmpegError), ExitStack() as stack:
            output = stack.enter_context(av.open(os.devnull, "w", format="null"))
            return stack.enter_context(AudioTrack(path, output, reader, unguarded)).write_until(None)


def _limit_memory() -> None:
    """Half of the machine's memory, where the system can be told."""
    if sys.platform == "linux":
        import resource

        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit = max(_LEAST_MEMORY, memory // 2)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """Tries what standard input asks for."""
    _limit_memory()
    request = json.load(sys.stdin)
    for suspect in request["suspects"]:
        _decode(suspect, SamplingSettings(**request["sampling"]))


if __name__ == "__main__":
    main()
