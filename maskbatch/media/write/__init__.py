"""Write photos, and videos with their sound."""

from maskbatch.media.write.files import (
    Unnamed,
    encode_image,
    is_partial,
    partial_file,
    partial_files,
    write_image,
)
from maskbatch.media.write.join import Pieces, join
from maskbatch.media.write.recording import MOST_REORDERED
from maskbatch.media.write.sound import Guard
from maskbatch.media.write.video import VideoWriter, following, made_with

__all__ = ["MOST_REORDERED", "Guard", "Pieces", "Unnamed", "VideoWriter", "encode_image", "following", "is_partial",
           "join", "made_with", "partial_file", "partial_files", "write_image"]  # fmt: skip
