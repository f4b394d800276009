"""What is written: photos, videos with their sound."""

from maskbatch.media.write.files import partial_file, write_image
from maskbatch.media.write.join import join
from maskbatch.media.write.video import VideoWriter, made_with

__all__ = ["VideoWriter", "join", "made_with", "partial_file", "write_image"]
