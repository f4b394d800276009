"""A cache of cut faces between runs, with a key of everything that affects their pixels."""

import hashlib
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from maskbatch import __version__
from maskbatch.media.write.files import partial_file
from maskbatch.trainer.data.cut import CutFaces
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.reading import content_fingerprint

log = logging.getLogger(__name__)

# increase the version when faces are cut or kept in another way
_VERSION = 4
_ARRAYS = tuple(field.name for field in fields(CutFaces) if field.name != "region")


@dataclass(frozen=True, slots=True)
class CutCache:
    """A folder of cut faces; `detector` is a text that identifies the detector.

    Sources, groups and splits are not kept, because they may change while the faces stay the same.
    """

    folder: Path
    detector: str

    def identity(self, pictures: Sequence[Picture]) -> str:
        """Return a SHA-256 over everything that affects the cut faces of the pictures."""
        parts = (_VERSION, __version__, cv2.__version__, self.detector, content_fingerprint(pictures))
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()

    def load(self, identity: str) -> CutFaces | None:
        """Return the faces kept under an identity, None without a readable file."""
        path = self._path(identity)
        try:
            with np.load(path, allow_pickle=False) as kept:
                if str(kept["identity"]) != identity:
                    raise ValueError("it was made from other pictures")
                joined, ends = kept["joined"].tobytes(), np.cumsum(kept["lengths"])
                starts = ends - kept["lengths"]
                regions = tuple(joined[start:end] for start, end in zip(starts, ends, strict=True))
                return CutFaces(regions, *(kept[name] for name in _ARRAYS))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is not used, and is written again: %s", path, error)
            return None

    def save(self, faces: CutFaces, identity: str) -> None:
        """Keep the faces under an identity. A failure is only a warning, because the faces are already in memory."""
        lengths = np.array([len(region) for region in faces.region])
        joined = np.frombuffer(b"".join(faces.region), np.uint8)
        arrays = {name: getattr(faces, name) for name in _ARRAYS}
        try:
            with partial_file(self._path(identity)) as partial, open(partial, "wb") as file:
                np.savez(file, identity=np.array(identity), joined=joined, lengths=lengths, **arrays)
        except OSError as error:
            log.warning("the faces are not kept for the next run: %s", error)

    def _path(self, identity: str) -> Path:
        return self.folder / f"faces-{identity[:16]}.npz"
