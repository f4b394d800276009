"""Crops: a picture of every face."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from maskbatch.media.names import crop_name, inside
from maskbatch.media.write import Unnamed, encode_image
from maskbatch.settings import ScanSettings
from maskbatch.sinks.annotated import by_frame
from maskbatch.sinks.trouble import warn_or_raise
from maskbatch.states import labels_of
from maskbatch.types import Batch, Source

_MARGIN = 0.25


class CropSink:
    """Write every face as a JPEG, `crops/<label>/<source>_f<frame>_<face>.jpg`.

    A crop is the box, enlarged by a quarter on each side and clipped to the image.
    """

    def __init__(self, sources: Sequence[Source], settings: ScanSettings) -> None:
        self._sources = {source.id: source for source in sources}
        self._folder, self._thresholds = settings.output.folder / "crops", settings.classifier.thresholds

    def write(self, batch: Batch, files: Unnamed) -> None:
        """Write the faces of a batch into `files`. Raises OSError when the disk fails."""
        frames = batch.frames
        for row, faces in by_frame(frames, batch.faces):
            source, frame = self._sources[int(frames.source_id[row])], int(frames.index[row])
            labels = labels_of(faces.p_mask, faces.p_incorrect, self._thresholds)
            failed = partial(warn_or_raise, source, "a face without its crop")
            for face, (xyxy, label) in enumerate(zip(faces.xyxy, labels.tolist(), strict=True)):
                crop = cut(frames.images[row], xyxy, _MARGIN)
                try:
                    if crop.size:
                        path = inside(self._folder / label, crop_name(source, frame, face))
                        files.write(path, encode_image(path, crop), failed)
                except OSError as error:
                    failed(error)


def cut(image: np.ndarray, xyxy: np.ndarray, margin: float) -> np.ndarray:
    """Cut the box (4,) with a margin of `margin` times its sides out of `image` (H, W, 3); empty for a box outside."""
    margin = margin * np.tile(xyxy[2:] - xyxy[:2], 2) * (-1, -1, 1, 1)
    left, top, right, bottom = np.clip(xyxy + margin, 0, np.tile(image.shape[1::-1], 2))
    return image[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
