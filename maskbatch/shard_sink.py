"""All sinks of a shard as one: of photos, or of a video."""

from collections.abc import Callable
from pathlib import Path

from maskbatch.config import ScanSettings
from maskbatch.data import Batch, Faces, Frames, Shard
from maskbatch.media.audio import Guard, unguarded
from maskbatch.media.segments import Segments
from maskbatch.sinks import Sink, open_sinks
from maskbatch.tracker import Tracker
from maskbatch.video_sink import VideoSink


class PhotoSink(Sink):
    """The sinks of a shard of photos. There is nothing to go on with inside a photo: `segments` are never cut."""

    def __init__(self, shard: Shard, out: Path, settings: ScanSettings) -> None:
        super().__init__()
        self.segments = Segments()
        self._sinks = open_sinks(shard, out, settings)

    def __enter__(self) -> "PhotoSink":
        for sink in self._sinks:
            self._stack.enter_context(sink)
        return self

    def tracking(self, tracker: Tracker) -> Callable[[Frames, Faces], Faces]:
        """The tracker as a stage."""
        return tracker

    def write(self, batch: Batch) -> None:
        for sink in self._sinks:
            sink.write(batch)

    def stop(self) -> None:
        """The run stops here, in the middle of the shard: what has ended is kept on closing."""
        self._sinks[0].stop()


def open_shard(shard: Shard, out: Path, settings: ScanSettings, guard: Guard = unguarded) -> PhotoSink | VideoSink:
    """What takes the batches of a shard, to be used in a `with` block. `guard` wraps what reads the sound of a video."""
    is_video = shard.sources[0].kind == "video"
    return VideoSink(shard, out, settings, guard) if is_video else PhotoSink(shard, out, settings)
