"""All sinks of a shard as one."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

from maskbatch.drawing.anonymize import hide
from maskbatch.media.write import Guard, Pieces, Unnamed
from maskbatch.overlap import IsOver, never
from maskbatch.settings import ScanSettings
from maskbatch.sinks.annotated import AnnotatedSink, Copy
from maskbatch.sinks.crops import CropSink
from maskbatch.sinks.evidence import EvidenceSink
from maskbatch.types import Batch, Checkpoint, CopyState, Source


class Sinks:
    """Write the media that the settings ask for, with faces hidden by `mode`.

    The end of the `with` block drops open files, and files that are not settled; settled files are on the disk.
    """

    def __init__(
        self, annotated: AnnotatedSink | None, crops: CropSink | None, evidence: EvidenceSink | None, mode: str
    ) -> None:
        self._mode = mode
        self._annotated, self._crops, self._evidence = annotated, crops, evidence
        self._unsettled: list[Unnamed] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Sinks":
        if self._annotated is not None:
            self._stack.enter_context(self._annotated)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for files in self._unsettled:
            files.drop()
        self._stack.__exit__(kind, error, trace)

    def write(self, batch: Batch, ended: Sequence[Source]) -> Unnamed:
        """Write the frames of a batch, and the evidence of sources that end with it.

        Returns the files that are complete: call `settle` of them before the results of the batch are stored. Raises
        OSError when the disk fails.
        """
        batch, files = self._shown(batch), self._new()
        for sink in (self._annotated, self._crops):
            if sink is not None:
                sink.write(batch, files)
        if self._evidence is not None:
            self._evidence.write(batch)
            for source in ended:
                self._evidence.end(source, files)
        return files

    def _new(self) -> Unnamed:
        files = Unnamed()
        self._unsettled = [each for each in self._unsettled if each] + [files]
        return files

    def _shown(self, batch: Batch) -> Batch:
        """Return the batch with those faces hidden that no medium may show."""
        if batch.hidden is None or (self._annotated, self._crops, self._evidence) == (None, None, None):
            return batch
        images = tuple(
            hide(image, xyxy, self._mode) for image, xyxy in zip(batch.frames.images, batch.hidden, strict=True)
        )
        return replace(batch, frames=replace(batch.frames, images=images))

    def cut(self, source: Source, is_clean: bool = True) -> CopyState:
        """End the segment of a video, and return the state of its annotated copy. Raises OSError.

        With `is_clean`, no frame so far needs a later packet of the recording.
        """
        return CopyState() if self._annotated is None else self._annotated.cut(source, is_clean)

    def end_segment(self, source: Source) -> Unnamed:
        """Write the evidence of a segment of a video; return its files, as `write` does. Raises OSError."""
        files = self._new()
        if self._evidence is not None:
            self._evidence.end(source, files)
        return files

    def evidence(self, source: Source) -> tuple[tuple[int, int, int], ...]:
        """Return (source id, frame, face) of each picture of evidence that was settled since the last call."""
        return () if self._evidence is None else self._evidence.take(source)

    def end(self, source: Source) -> Copy:
        """Close a source that needs no joining, and return the state of its annotated copy."""
        return Copy(source.id, False, "") if self._annotated is None else self._annotated.end(source)

    def is_to_join(self, source: Source) -> bool:
        """Return whether the annotated copy of a source has parts to join."""
        return self._annotated is not None and self._annotated.is_to_join(source)

    def join(self, source: Source, pieces: Pieces, guard: Guard, is_over: IsOver = never) -> Copy:
        """Join the annotated copy of a video with its sound, and return the state of the copy.

        `pieces` are those of the video's clock; `guard` wraps the reader of the sound. Raises OSError when the disk
        fails, and Interrupted once `is_over()` returns true.
        """
        if self._annotated is None:
            return Copy(source.id, False, "")
        return self._annotated.join(source, pieces, guard, is_over)


def open_sinks(sources: Sequence[Source], at: Checkpoint, settings: ScanSettings) -> Sinks:
    """Open the sinks of a shard, which continue from the checkpoint `at`; use them in a `with` block."""
    save = settings.output.save
    return Sinks(
        AnnotatedSink(sources, at, settings) if "annotated" in save else None,
        CropSink(sources, settings) if "crops" in save else None,
        EvidenceSink(sources, settings) if "evidence" in save else None,
        settings.output.anonymize,
    )
