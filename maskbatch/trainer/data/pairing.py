"""Find the picture of an annotation by the name in the annotation, by the file's name, and by its folder."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from maskbatch.errors import DatasetError
from maskbatch.trainer.data.annotations import Annotation

_log = logging.getLogger(__name__)

# folders that separate pictures from annotations; they do not help to pair them
_DIVIDERS = ("images", "jpegimages", "annotations")


def pair(annotations: Iterable[Annotation], pictures: Sequence[Path], top: Path) -> dict[Path, Annotation]:
    """Return the annotation of each picture that has one; both lie below `top`.

    Raises DatasetError with the names of files when an annotation matches no picture or several, or a picture has
    several annotations.
    """
    index, paired, elsewhere = _Index(pictures, top), {}, []
    for annotation in annotations:
        path = index.find(annotation)
        if path in paired:
            other = paired[path].file
            both = (
                f"{other} and {annotation.file} both annotate" if other != annotation.file else f"{other} lists twice"
            )
            raise DatasetError(f"{both} the picture {path}: each picture may have one annotation")
        paired[path] = annotation
        if index.lies_elsewhere(annotation, path):
            elsewhere.append((annotation, path))
    if elsewhere:
        annotation, path = elsewhere[0]
        stated = f" ({annotation.picture})" if annotation.picture else ""
        _log.warning(
            "%d annotations lie in, or name, another folder than the only picture of that name, such as %s%s and %s",
            len(elsewhere), annotation.file, stated, path,
        )  # fmt: skip
    if len(paired) < len(pictures):
        left_out = next(path for path in pictures if path not in paired)
        number = len(pictures) - len(paired)
        _log.warning("%d pictures below %s have no annotation and are left out, such as %s", number, top, left_out)
    return paired


class _Index:
    """The pictures of a dataset by name and by name without extension."""

    def __init__(self, pictures: Sequence[Path], top: Path) -> None:
        self._top = top
        self._by_name, self._by_stem = defaultdict(list), defaultdict(list)
        for path in pictures:
            self._by_name[_key(path.name)].append(path)
            self._by_stem[_key(path.stem)].append(path)

    def find(self, annotation: Annotation) -> Path:
        """Return the matching picture. Raises DatasetError unless there is exactly one."""
        named = self._by_name.get(_key(_parts(annotation)[-1]), [])
        own = self._by_stem.get(_key(annotation.file.stem), []) if annotation.file.suffix == ".xml" else []
        fitting = [path for path in named if path in own] or named or own
        if not fitting:
            stated = f"names {annotation.picture!r}, which" if annotation.picture else "belongs to a picture that"
            raise DatasetError(f"{annotation.file} {stated} is not in {self._top}: there is no picture of that name")
        # the name in the annotation may be out of date, or the annotation may be misnamed
        contradicts = bool(named and own) and fitting == named and named[0] not in own
        narrowed = [named[0], own[0]] if contradicts else self._narrowed(annotation, fitting)
        if len(narrowed) > 1:
            raise DatasetError(
                f"{annotation.file} could belong to {narrowed[0]} or to {narrowed[1]}: put the picture's name, with its "
                "folder where two pictures have one name, into <filename> or file_name, or rename the pictures"
            )
        return narrowed[0]

    def _narrowed(self, annotation: Annotation, fitting: list[Path]) -> list[Path]:
        """Return the pictures in the folder that the annotation names or lies in; all pictures if there are none."""
        stated = _parts(annotation)
        if len(stated) > 1:
            shared = [_num_shared(stated, path.relative_to(self._top).parts) for path in fitting]
            fitting = [path for path, count in zip(fitting, shared, strict=True) if count == max(shared)]
        home = self._home(annotation)
        return [path for path in fitting if _place(path.relative_to(self._top).parts) == home] or fitting

    def lies_elsewhere(self, annotation: Annotation, path: Path) -> bool:
        """Return True when the picture's folder has another name than the folder of the annotation."""
        home, place = self._home(annotation), _place(path.relative_to(self._top).parts)
        return bool(home and place) and home[-1] != place[-1]

    def _home(self, annotation: Annotation) -> tuple[str, ...]:
        """Return the folders that the annotation names for its picture, else the folders of the annotation."""
        return _place(_parts(annotation)) or _place(annotation.file.relative_to(self._top).parts)


def _parts(annotation: Annotation) -> list[str]:
    return annotation.picture.replace("\\", "/").split("/")


def _key(name: str) -> str:
    """Return the name in composed form, because macOS writes decomposed names."""
    return unicodedata.normalize("NFC", name)


def _place(parts: Sequence[str]) -> tuple[str, ...]:
    """Return the folders of a relative path, without folders that separate pictures from annotations."""
    return tuple(part for part in parts[:-1] if part.lower() not in _DIVIDERS)


def _num_shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the number of parts that two paths share, counted from their ends."""
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if _key(first) != _key(second):
            break
        count += 1
    return count
