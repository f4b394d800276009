"""Decode suspect sources in a separate process, to find sources that crash it.

The process runs this module: python -m maskbatch.media.guard.trial, with a request in JSON on standard input.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av

from maskbatch.errors import Interrupted
from maskbatch.media.decode import open_source
from maskbatch.media.photo.reader import MAX_PIXELS
from maskbatch.media.sound.reader import CannotCopy, SoundReader
from maskbatch.media.storage import Remote, located
from maskbatch.media.video.probe import probe
from maskbatch.media.write.sound import AudioTrack, unguarded
from maskbatch.settings import SamplingSettings
from maskbatch.types import ReaderState, Source

_PHOTO_S, _VIDEO_S = 120, 600
_EXIT_MEMORY = 12
_LOOK_S, _LEAVE_S = 0.2, 5.0
# signals that end a process whose decoder crashes; the last one ends a process that takes all memory
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, getattr(signal, "SIGBUS", 7), 9)
_UNKNOWN = "unknown"
_LEAST_MEMORY = 4 << 30
# a time behind all sound, so that a trial reads what a copy may leave out
_ALWAYS_S = Fraction(1 << 60)
# on Windows, exit codes from this value on correspond to signals
_WINDOWS_CRASH = 0xC0000000


@dataclass(frozen=True, slots=True)
class Suspect:
    """A source that may crash the process that reads its sound or its pictures.

    A video is read from `start` on, in segments of `segment_s` seconds.
    """

    source: Source
    segment_s: float = math.inf
    start: ReaderState | None = None
    is_sound: bool = False


def crash_reasons(
    suspects: Sequence[Suspect], sampling: SamplingSettings, is_over: Callable[[], bool] = lambda: False
) -> dict[str, str]:
    """Return the reason why a source must not be decoded in this process, by source name.

    Harmless sources are left out, even if damaged. One process tries all suspects; when it dies, a process for each
    half tries again, and so on. A video is decoded from its start past two segment boundaries, further than any reader
    reads ahead. Sound is decoded completely. Raises Interrupted once `is_over` returns true.
    """
    verdict = _verdict(suspects, sampling, is_over) if suspects else None
    if verdict is None:
        return {}
    if len(suspects) == 1:
        return {} if verdict == _UNKNOWN else {suspects[0].source.name: verdict}
    middle = len(suspects) // 2
    halves = (suspects[:middle], suspects[middle:])
    return {name: reason for half in halves for name, reason in crash_reasons(half, sampling, is_over).items()}


def _verdict(suspects: Sequence[Suspect], sampling: SamplingSettings, is_over: Callable[[], bool]) -> str | None:
    """Return how a process that decodes the suspects died, or None when it did not.

    A trial of photos that takes too long counts as a crash. The result is _UNKNOWN for a video that takes too long, and
    for a process that someone else ended.
    """
    request = {"sampling": asdict(sampling), "suspects": [_plain(suspect) for suspect in suspects]}
    is_photos = all(suspect.source.kind == "image" for suspect in suspects)
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
    """Return the exit code of a process that serves the request.

    Kills the process and raises TimeoutError after `limit_s`, or Interrupted.
    """
    with tempfile.TemporaryFile() as given:  # a file takes any length at once; a pipe would need a writer
        given.write(request)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "maskbatch.media.guard.trial"], stdin=given, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS)},
            start_new_session=True,  # the user's Ctrl-C must not reach it
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
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
        with suppress(subprocess.TimeoutExpired):  # a process that waits for a dead network drive cannot be killed
            process.wait(_LEAVE_S)


def _plain(suspect: Suspect) -> dict:
    start = None if suspect.start is None else asdict(suspect.start)
    source = suspect.source
    # the full address with its signature, which is never stored
    path = source.path.address if isinstance(source.path, Remote) else str(source.path)
    return {
        "path": path, "kind": source.kind, "start": start, "segment_s": suspect.segment_s, "is_sound": suspect.is_sound,
    }  # fmt: skip


def _decode(suspect: dict, sampling: SamplingSettings) -> None:
    """Decode as far as `crash_reasons` describes, and ignore errors that Python can report."""
    source = Source(0, located(suspect["path"]), "trial", suspect["kind"])
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
    num_cuts = 0
    if source.kind == "video":
        probe(source)
    with open_source(source, sampling, suspect["segment_s"], start) as reader:
        for frame in reader:
            num_cuts += frame.cut is not None
            if num_cuts == 2:
                return


def _join_sound(path: Path) -> None:
    """Read and encode the sound as for an annotated copy, but write no file."""
    for may_copy in (True, False):
        reader = SoundReader(path, (), may_copy)
        with suppress(CannotCopy, av.error.FFmpegError), ExitStack() as stack:
            output = stack.enter_context(av.open(os.devnull, "w", format="null"))
            return stack.enter_context(AudioTrack(path, output, reader, unguarded)).write_until(_ALWAYS_S)


def _limit_memory() -> None:
    """Limit this process to half of the machine's memory, on systems with such limits."""
    if sys.platform == "linux":
        import resource

        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit = max(_LEAST_MEMORY, memory // 2)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """Try the suspects of the request on standard input."""
    _limit_memory()
    request = json.load(sys.stdin)
    for suspect in request["suspects"]:
        _decode(suspect, SamplingSettings(**request["sampling"]))


if __name__ == "__main__":
    main()
