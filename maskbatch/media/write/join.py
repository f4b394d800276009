"""Join the parts of an annotated video and the source's sound to one MP4, without encoding pictures again."""

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
from av.container import OutputContainer

from maskbatch.errors import Interrupted
from maskbatch.media.containers import for_ffmpeg
from maskbatch.media.sound.reader import SoundReader
from maskbatch.media.write.files import partial_file
from maskbatch.media.write.sound import AudioTrack, Guard, unguarded
from maskbatch.media.write.video import time_base
from maskbatch.overlap import IsOver, never
from maskbatch.types import Source

# (file, time of its first frame in ticks of the video's time base)
Part = tuple[Path, int]
Pieces = Sequence[tuple[int, int]]

# errors of the disk, after which the sound is not left out: the same command may succeed later
_OF_THE_DISK = {
    errno.ENOSPC,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.ENODEV,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}

_log = logging.getLogger(__name__)


def join(
    path: Path,
    source: Source,
    parts: Sequence[Part],
    pieces: Pieces = (),
    guard: Guard = unguarded,
    is_over: IsOver = never,
) -> None:
    """Write the MP4 `path` with the packets of all parts and the sound of the source.

    The file plays in browsers, starts with its index, and has the source's tags. `pieces` are those of the picture's
    clock. `guard` wraps the reader of the sound. Sound that cannot be read or written is left out. Raises OSError when
    a part cannot be read or the file cannot be written, and Interrupted once `is_over()` returns true.
    """
    for may_copy in (True, False):
        reader = SoundReader(source.path, pieces, may_copy)
        try:
            sound_for = partial(_track, source, reader, guard, is_over)
            return _write(path, source, parts, sound_for, is_over)
        except Interrupted:
            raise
        except Exception as error:  # an error that the sound did not cause happens again without it
            if getattr(error, "errno", None) in _OF_THE_DISK:
                raise OSError(f"cannot write {path}: {error}") from error
            _log.info("%s: the audio cannot be written like this: %s", source.path, error)
    try:
        _write(path, source, parts, lambda output: nullcontext(), is_over)
        _log.warning("%s: the audio is left out: it cannot be written", source.path)
    except av.error.FFmpegError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _track(source: Source, reader: SoundReader, guard: Guard, is_over: IsOver, output: OutputContainer) -> AudioTrack:
    return AudioTrack(source.path, output, reader, guard, is_over)


def _write(
    path: Path,
    source: Source,
    parts: Sequence[Part],
    sound_for: Callable[[OutputContainer], AbstractContextManager[AudioTrack | None]],
    is_over: IsOver,
) -> None:
    with ExitStack() as stack:
        partial = stack.enter_context(partial_file(path))
        # without the flag, an MP4 keeps only the tags of music
        options = {"movflags": "+faststart+use_metadata_tags" if source.recorded else "+faststart"}
        output = stack.enter_context(av.open(for_ffmpeg(partial), "w", format="mp4", options=options))
        output.metadata.update(source.recorded)
        with av.open(for_ffmpeg(parts[0][0])) as first:
            stream = output.add_stream_from_template(first.streams.video[0])
        stream.time_base = time_base(source)
        sound = stack.enter_context(sound_for(output))
        for packet in _packets(parts, time_base(source)):
            packet.stream = stream
            time_s = packet.pts * packet.time_base
            output.mux_one(packet)
            if sound is not None:
                sound.write_until(time_s)
            if is_over():
                raise Interrupted("stopped")
        if sound is not None:
            sound.write_until(None)
        output.close()  # writes the index; the second call by the stack does nothing


def _packets(parts: Sequence[Part], tick_s: Fraction) -> Iterator[av.Packet]:
    """Yield the packets of all parts, at their times in the whole video, in ticks of `tick_s`."""
    waiting: av.Packet | None = None
    for path, first_pts in parts:
        with av.open(for_ffmpeg(path)) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if not packet.size:  # the empty packet at the end
                    continue
                pts, duration = (round(ticks * packet.time_base / tick_s) for ticks in (packet.pts, packet.duration))
                packet.time_base = tick_s
                packet.pts = packet.dts = first_pts + pts
                packet.duration = duration
                if waiting is not None:
                    # the last frame of a part lasts until the first frame of the next part
                    waiting.duration = packet.pts - waiting.pts
                    yield waiting
                waiting = packet
    if waiting is not None:
        yield waiting
