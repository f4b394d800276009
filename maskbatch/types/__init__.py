"""Data types of a scan. They depend on numpy only, check their fields when an object is made, and can be pickled."""

from maskbatch.types.batch import Batch
from maskbatch.types.checkpoint import Checkpoint, CopyState, ReaderState, Recorded, WriterState
from maskbatch.types.faces import APPEARANCE_SIZE, Faces
from maskbatch.types.frames import Decoded, Frames, Stored, size_of
from maskbatch.types.results import FaceRow, SegmentResult
from maskbatch.types.source import BT709, Ended, Shard, Source, YuvColours

__all__ = [
    "APPEARANCE_SIZE",
    "BT709",
    "Batch",
    "Checkpoint",
    "CopyState",
    "Decoded",
    "Ended",
    "FaceRow",
    "Faces",
    "Frames",
    "ReaderState",
    "Recorded",
    "SegmentResult",
    "Shard",
    "Source",
    "Stored",
    "WriterState",
    "YuvColours",
    "size_of",
]
