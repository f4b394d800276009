"""Read the pictures of a dataset as pixels, and identify a dataset by its fingerprint."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from maskbatch.errors import DecodeError
from maskbatch.media.decode import open_source
from maskbatch.settings import SamplingSettings
from maskbatch.trainer.data.dataset import Picture
from maskbatch.types import Source

log = logging.getLogger(__name__)

_BATCH = 16
_UNREADABLE = "unreadable"


def fingerprint(pictures: Sequence[Picture]) -> str:
    """Return a SHA-256 over the names, contents, boxes, labels, sources, groups and splits of the pictures, in order."""
    names = {group: number for number, group in enumerate(dict.fromkeys(picture.group for picture in pictures))}
    # a group's name holds a path, so only its number counts
    belongs = [f"{picture.source}|{names[picture.group]}|{picture.split}" for picture in pictures]
    return hashlib.sha256("\n".join([content_fingerprint(pictures), *belongs]).encode()).hexdigest()


def content_fingerprint(pictures: Sequence[Picture]) -> str:
    """Return a SHA-256 over the names, contents, boxes and labels of the pictures, in order.

    These determine the cut faces.
    """
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for picture, content in zip(pictures, pool.map(_content_sha256, (p.path for p in pictures)), strict=True):
            boxes = "" if picture.xyxy is None else picture.xyxy.tobytes().hex()
            digest.update(f"{picture.path.name!a}|{content}|{boxes}|{picture.label.tolist()}\n".encode())
    return digest.hexdigest()


def _content_sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # the picture will be left out, with a warning
        return _UNREADABLE


def read_batches(pictures: Sequence[Picture]) -> Iterable[list[tuple[Picture, np.ndarray]]]:
    """Yield batches of the readable pictures with their pixels (H, W, 3) uint8 RGB."""
    for start in range(0, len(pictures), _BATCH):
        yield [(picture, image) for picture in pictures[start : start + _BATCH] for image in _read(picture)]


def _read(picture: Picture) -> Iterable[np.ndarray]:
    """Yield the picture as RGB uint8; log a warning and yield nothing if it cannot be read."""
    try:
        with open_source(Source(0, picture.path, picture.path.name, "image"), SamplingSettings()) as frames:
            for decoded in frames:
                yield decoded.image
    except DecodeError as error:
        log.warning("%s is left out or read in part: %s", picture.path, error)
