"""Write photos, and videos with their sound."""

from maskbatch.media.write.files import is_partial, partial_file, partial_files, write_image, write_images
from maskbatch.media.write.join import Pieces, join
from maskbatch.media.write.recording import MOST_REORDERED
from maskbatch.media.write.sound import Guard
from maskbatch.media.write.video import VideoWriter, following, made_with

__all__ = ["MOST_REORDERED", "Guard", "Pieces", "VideoWriter", "following", "is_partial", "join", "made_with",
           "partial_file", "partial_files", "write_image", "write_images"]  # fmt: skip
