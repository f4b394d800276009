"""Join the parts of an annotated video and the source's sound to one MP4, without encoding pictures again.

Parts are encoded pictures and stretches of the source. The file lists the parameter sets of both in its one avcC record;
their ids differ.
"""

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
from maskbatch.media.video.parameter_sets import joined_sets, read_sets
from maskbatch.media.write.files import partial_file
from maskbatch.media.write.recording import Recording, delay_of, with_decoding_times
from maskbatch.media.write.sound import AudioTrack, Guard, unguarded
from maskbatch.media.write.video import time_base
from maskbatch.overlap import IsOver, never
from maskbatch.types import Recorded, Source

# (file, time of its first frame in ticks of the video's time base), or a stretch of the source
Part = tuple[Path, int] | Recorded
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
        recording = stack.enter_context(Recording(source))
        stream = _add_stream(output, parts, recording)
        stream.time_base = time_base(source)
        sound = stack.enter_context(sound_for(output))
        for packet in with_decoding_times(_packets(parts, source, recording), delay_of(parts)):
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


def _add_stream(output: OutputContainer, parts: Sequence[Part], recording: Recording) -> av.VideoStream:
    """Return a new stream for the pictures of all parts."""
    file = next((part[0] for part in parts if not isinstance(part, Recorded)), None)
    if file is None:
        return output.add_stream_from_template(recording.stream)
    with av.open(for_ffmpeg(file)) as encoded:
        template = encoded.streams.video[0]
        stream = output.add_stream_from_template(template)
        if any(isinstance(part, Recorded) for part in parts):
            sets = (read_sets(one.codec_context.extradata) for one in (recording.stream, template))
            stream.codec_context.extradata = joined_sets(*sets)
    return stream


def _packets(parts: Sequence[Part], source: Source, recording: Recording) -> Iterator[av.Packet]:
    """Yield the packets of all parts, at their times in the whole video, in ticks of its time base."""
    for part in parts:
        yield from recording.packets(part) if isinstance(part, Recorded) else _encoded(*part, time_base(source))


def _encoded(path: Path, first_pts: int, tick_s: Fraction) -> Iterator[av.Packet]:
    """Yield the packets of a part, which are in order of time."""
    with av.open(for_ffmpeg(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size:  # the packet at the end is empty
                pts, duration = (round(ticks * packet.time_base / tick_s) for ticks in (packet.pts, packet.duration))
                packet.time_base, packet.pts, packet.duration = tick_s, first_pts + pts, duration
                yield packet
