"""Find faces in photos and videos in memory, without an output folder or tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np

from maskbatch.analyse.pipeline import Stages, analyse
from maskbatch.analyse.tracker import Tracker
from maskbatch.drawing.annotate import annotate
from maskbatch.errors import DecodeError, UsageError
from maskbatch.media.decode import open_source
from maskbatch.media.kinds import kind_by_content, kind_by_name
from maskbatch.media.loader import load
from maskbatch.overlap import never
from maskbatch.run.options import check_incorrect_threshold, checked, checked_device
from maskbatch.run.stages import classified_score, open_networks, settings_for
from maskbatch.settings import (
    CPU_BATCH,
    INCORRECT_THRESHOLD,
    ClassifierSettings,
    DetectorSettings,
    LoaderSettings,
    RuntimeSettings,
    SamplingSettings,
    ScanSettings,
    Thresholds,
    third_state_or_default,
)
from maskbatch.types import Faces, Source

Image = np.ndarray | str | PathLike
THRESHOLD, MIN_FACE = ClassifierSettings().threshold, DetectorSettings().min_face_px


@dataclass(frozen=True, slots=True)
class Frame:
    """One analysed frame of a photo or video.

    Attributes:
        index: number of the frame in its file, from 0.
        timestamp_s: seconds from the start of the file.
        image: (H, W, 3) uint8 RGB, as a person sees it: upright, square pixels.
        faces: the faces of this frame; `track_id` is the person within the file.
    """

    index: int
    timestamp_s: float
    image: np.ndarray
    faces: Faces


class Model:
    """Face detector and mask classifier, opened on a device and kept open.

    Args:
        device: auto, cpu, gpu or gpu:N.
        model: name of a shipped classifier, or the path of a `.keras` file that `maskbatch train` made.
        precision: auto, fp32, fp16, bf16 or int8.
        min_face: smallest face to find, in pixels of the picture; smaller values take longer.

    Raises:
        DeviceError: the device is not usable here.
        UsageError: the device, the model or the precision does not exist, or `min_face` is out of its range.
        WeightsError: a weight file is missing or damaged.

    Example:
        >>> model = Model(device="cpu")
        >>> [len(faces) for faces in model.find(["sample_media/groups/meeting.jpg"])]
        [6]
    """

    def __init__(
        self, device: str = "auto", model: str = "mask", precision: str = "auto", min_face: int = MIN_FACE
    ) -> None:
        settings = ScanSettings(
            runtime=RuntimeSettings(device=checked_device(device), precision=checked("precision", precision)),
            detector=DetectorSettings(min_face_px=checked("min_face", min_face)),
            classifier=ClassifierSettings(model=model),
        )
        by_kind = {kind: settings_for(kind, settings) for kind in ("image", "video")}
        networks = {kind: open_networks(own) for kind, own in by_kind.items()}
        self._detect = {kind: opened.detector(never) for kind, opened in networks.items()}
        self._classify = {kind: opened.classifier(never) for kind, opened in networks.items()}
        self._classified_score = {kind: classified_score(own) for kind, own in by_kind.items()}

    def find(self, images: Sequence[Image]) -> list[Faces]:
        """Find the faces in images, and the probability of a mask on each.

        Args:
            images: paths of photos, or arrays (H, W, 3) uint8 RGB, of any sizes.

        Returns:
            One `Faces` per image, in order: boxes in pixels, scores, landmarks, `p_mask`, and `p_incorrect`, which is
            NaN if the model does not recognise masks that are worn incorrectly.

        Raises:
            DecodeError: a photo cannot be read.
            ValueError: an array is not (H, W, 3) uint8 or has no pixel.
            TypeError: `images` is one path: give a list.

        Example:
            >>> [faces] = Model().find([np.zeros((480, 640, 3), np.uint8)])
            >>> len(faces)
            0
        """
        if isinstance(images, (str, PathLike)):
            raise TypeError(f"images is a list of paths or arrays, not one path: give [{str(images)!r}]")
        found = []
        for start in range(0, len(images), CPU_BATCH):
            arrays = [_read(image) for image in images[start : start + CPU_BATCH]]
            faces = self._classify["image"](arrays, self._detect["image"](arrays))
            faces = faces.take(faces.score >= DetectorSettings().threshold)
            found += [_of_row(faces, row) for row in range(len(arrays))]
        return found

    def frames(self, path: str | PathLike, sample_fps: float | None = None, every: int = 1) -> Iterator[Frame]:
        """Analyse a photo or video frame by frame, and follow the people in it.

        Args:
            path: the file.
            sample_fps: analyse about this many frames per second of a video.
            every: analyse every n-th frame.

        Yields:
            The analysed frames in order.

        Raises:
            UsageError: `sample_fps` or `every` is out of its range; raised by the call itself, before the first frame.
            DecodeError: the file cannot be read. A file that is damaged or ends early raises it after the last frame.

        Example:
            >>> frames = Model().frames("sample_media/video/visitors.mp4", sample_fps=2)
            >>> max(len(frame.faces) for frame in frames)
            3
        """
        if isinstance(sample_fps, str):
            raise UsageError(f"sample_fps takes a number of frames per second here, not {sample_fps!r}")
        checked_fps = None if sample_fps is None else checked("sample_fps", sample_fps)
        return self._frames(Path(path), SamplingSettings(checked("every", every) or 1, checked_fps))

    def _frames(self, path: Path, sampling: SamplingSettings) -> Iterator[Frame]:
        source = Source(0, path, path.name, kind_by_name(path) or kind_by_content(path))
        tracker = Tracker(ScanSettings().tracker)
        stages = Stages(self._detect[source.kind], self._classify[source.kind], tracker, tracker.state, tracker.persons,
                        classified_score=self._classified_score[source.kind])  # fmt: skip
        for batch in analyse(load([source], sampling, LoaderSettings(), open_source), stages):
            frames = batch.frames
            for row in range(len(frames)):
                yield Frame(int(frames.index[row]), float(frames.timestamp_s[row]), frames.images[row],
                            _of_row(batch.faces, row))  # fmt: skip
            for ended in frames.ended:
                if ended.error is not None:
                    raise DecodeError(f"{path}: {ended.error}")


def find(image: Image) -> Faces:
    """Find the faces in one image, and the probability of a mask on each.

    The first call opens the networks, and later calls reuse them. Use `Model` to choose the device.

    Args:
        image: the path of a photo, or an array (H, W, 3) uint8 RGB.

    Returns:
        Boxes `xyxy` in pixels, `score`, `landmarks`, `p_mask` and `p_incorrect`, one row per face.

    Raises:
        DecodeError: the photo cannot be read.
        ValueError: the array is not (H, W, 3) uint8 or has no pixel.

    Example:
        >>> find("sample_media/portrait_bare.jpg").p_mask.round(1).tolist()
        [0.0]
    """
    [faces] = _model().find([image])
    return faces


def draw(
    image: Image, faces: Faces, threshold: float = THRESHOLD, third_state: bool | None = None,
    incorrect_threshold: float = INCORRECT_THRESHOLD,
) -> np.ndarray:  # fmt: skip
    """Draw boxes, labels and probabilities of faces onto a copy of an image.

    Args:
        image: the path of a photo, or an array (H, W, 3) uint8 RGB.
        faces: the faces that `find` returned for this image.
        threshold: minimum `p_mask` for a face to count as masked.
        third_state: give masks that are worn incorrectly their own colour and label; None: the default.
        incorrect_threshold: minimum `p_incorrect` for a mask to count as worn incorrectly; needs the third state.

    Returns:
        A new array (H, W, 3) uint8 RGB.

    Raises:
        DecodeError: the photo cannot be read.
        UsageError: a threshold is not from 0 to 1, or the third state is requested, but the faces have no `p_incorrect`.

    Example:
        >>> picture = "sample_media/portrait_bare.jpg"
        >>> draw(picture, find(picture)).shape
        (600, 560, 3)
    """
    checked("threshold", threshold)
    checked("incorrect_threshold", incorrect_threshold)
    is_on = third_state_or_default(third_state)
    check_incorrect_threshold(is_on, incorrect_threshold != INCORRECT_THRESHOLD)
    if third_state and len(faces) and np.isnan(faces.p_incorrect).all():
        raise UsageError("these faces have no p_incorrect: their model does not recognise masks worn incorrectly")
    return annotate(_read(image), faces, Thresholds(threshold, incorrect_threshold if is_on else None))


@lru_cache(maxsize=1)
def _model() -> Model:
    return Model()


def _read(image: Image) -> np.ndarray:
    """Return an image as an array; read a path in the same way as a scan. Raises DecodeError and ValueError."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"an image is (H, W, 3) uint8 with at least one pixel, not {image.shape} {image.dtype}")
        return image
    try:
        with open_source(Source(0, Path(image), Path(image).name, "image"), SamplingSettings()) as reader:
            return next(iter(reader)).image
    except DecodeError as error:  # the row of a scan has the name, a message has none
        raise type(error)(f"{image}: {error}") from error


def _of_row(faces: Faces, row: int) -> Faces:
    """Return the faces of one image of a batch, with `row` set to 0."""
    chosen = faces.take(faces.row == row)
    return replace(chosen, row=np.zeros_like(chosen.row))
