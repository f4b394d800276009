"""Joins the parts of an annotated video, and the source's audio, to one MP4; nothing is encoded again."""

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from maskbatch.data import Source
from maskbatch.media.audio import AudioTrack, Guard, unguarded
from maskbatch.media.containers import for_ffmpeg
from maskbatch.media.sound import SoundReader
from maskbatch.media.video_writer import time_base
from maskbatch.media.writers import partial_file

# (file, time of its first frame in ticks of the video's time base)
Part = tuple[Path, int]
Pieces = Sequence[tuple[int, int]]

# sound is not left out for them: there is room, or the drive is back, when the same command goes on
_OF_THE_DISK = {
    errno.ENOSPC,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.ENODEV,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}

_log = logging.getLogger(__name__)


def join(path: Path, source: Source, parts: Sequence[Part], pieces: Pieces = (), guard: Guard = unguarded) -> None:
    """Writes the MP4 `path`: the packets of all parts at their times, and the audio of the source. It plays in browsers,
    its index stands in front, and it has the source's tags.

    `pieces` are those of the picture's clock; `guard` wraps what reads the sound. Sound that cannot be read, or written, is
    left out. Raises OSError when a part cannot be read or the file not be written.
    """
    for may_copy in (True, False):
        reader = SoundReader(source.path, pieces, may_copy)
        try:
            return _write(path, source, parts, lambda output, it=reader: AudioTrack(source.path, output, it, guard))
        except Exception as error:  # whatever it is: if the sound is not to blame, it comes up again without it
            if getattr(error, "errno", None) in _OF_THE_DISK:
                raise OSError(f"cannot write {path}: {error}") from error
            _log.info("%s: the audio cannot be written like this: %s", source.path, error)
    try:
        _write(path, source, parts, lambda output: nullcontext())
        _log.warning("%s: the audio is left out: it cannot be written", source.path)
    except av.error.FFmpegError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _write(
    path: Path,
    source: Source,
    parts: Sequence[Part],
    sound_for: Callable[[OutputContainer], AbstractContextManager[AudioTrack | None]],
) -> None:
    with ExitStack() as stack:
        partial = stack.enter_context(partial_file(path))
        # without the flag, an MP4 keeps no tags but those of music
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
        if sound is not None:
            sound.write_until(None)
        output.close()  # writes the index; once more in the stack, where it does nothing


def _packets(parts: Sequence[Part], tick_s: Fraction) -> Iterator[av.Packet]:
    """The packets of all parts, at the times they have in the whole video, in ticks of `tick_s`."""
    waiting: av.Packet | None = None
    for path, first_pts in parts:
        with av.open(for_ffmpeg(path)) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if not packet.size:  # the empty one at the end
                    continue
                pts, duration = (round(ticks * packet.time_base / tick_s) for ticks in (packet.pts, packet.duration))
                packet.time_base = tick_s
                packet.pts = packet.dts = first_pts + pts
                packet.duration = duration
                if waiting is not None:
                    # the last frame of a part lasts until the first one of the next
                    waiting.duration = packet.pts - waiting.pts
                    yield waiting
                waiting = packet
    if waiting is not None:
        yield waiting
