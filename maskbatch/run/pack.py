"""Pack the results of a scan into a zip, or into a folder without faces, to pass on."""

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import cv2
import numpy as np

from maskbatch.drawing.anonymize import hide
from maskbatch.errors import UsageError
from maskbatch.media.names import inside
from maskbatch.media.write import is_partial, partial_file
from maskbatch.reports.manifest import MANIFEST, manifest_text
from maskbatch.reports.page import PAGE
from maskbatch.reports.tables import WRITTEN
from maskbatch.run.verify import checked_manifest

# an evidence picture that `report --inline` embeds in the page; texts of the page have no plain quotation marks
_EMBEDDED = re.compile(rb'(src="data:image/jpeg;base64,)([^"]*)')
_ADDRESS = re.compile(rb'((?:href|src)=")((?:evidence|annotated)/[^"#]+)')
_LINK_TO_COPY = re.compile(rb' href="annotated/[^"]*"')
_TIME = (1980, 1, 1, 0, 0, 0)  # constant, so that the zip always has the same bytes


def pack(folder: Path, out: Path, with_annotated: bool = False, is_hidden: bool = False) -> int:
    """Write a zip with page, tables, evidence, model cards and its own manifest; return the number of files.

    The same results give the same bytes. The zip contains no store, and annotated copies only on request.

    Args:
        folder: the output folder of a scan.
        out: the zip; it must not exist.
        with_annotated: include the annotated copies.
        is_hidden: hide the faces in evidence, also where the page embeds it; excludes annotated copies.

    Raises:
        UsageError: the zip exists, or the folder has no manifest.
        MaskbatchError: the manifest is damaged.
        OSError: a file cannot be read or written.

    Example:
        >>> pack(Path("audit"), Path("audit.zip")) > 10
        True
    """
    if with_annotated and is_hidden:
        raise UsageError("annotated copies show faces: --annotated and --anonymize exclude each other")
    if out.exists():
        raise UsageError(f"{out} exists: give another name with --out")
    number = 0
    with partial_file(out) as partial, zipfile.ZipFile(partial, "w") as packed:
        contents = ((_fit(name), _with_fit_addresses(name, content))
                    for name, content in _contents(folder, with_annotated, is_hidden))  # fmt: skip
        for name, content in _with_manifest(folder, contents):
            _add(packed, name, content)
            number += 1
    return number


def copy_hidden(folder: Path, out: Path) -> int:
    """Write a folder like the zip of `pack`, without faces and annotated copies; return the number of files.

    Args:
        folder: the output folder of a scan.
        out: the new folder; it must not exist.

    Raises:
        UsageError: the folder exists, or the scan has no manifest.
        MaskbatchError: the manifest is damaged.
        OSError: a file cannot be read or written.

    Example:
        >>> copy_hidden(Path("audit"), Path("audit_to_pass_on")) > 10
        True
    """
    if out.exists():
        raise UsageError(f"{out} exists: give another folder")
    checked_manifest(folder)
    number = 0
    for name, content in _with_manifest(folder, _contents(folder, False, True)):
        path = inside(out, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        number += 1
    return number


def _with_manifest(folder: Path, contents: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file, then those of a manifest of these files."""
    manifest, files = checked_manifest(folder), {}
    for name, content in contents:
        files[name] = {"size": len(content), "mtime_ns": 0, "sha256": hashlib.sha256(content).hexdigest()}
        yield name, content
    # inputs and store are left out; the manifest still records their checksums
    before = {"rows": manifest["rows"], "inputs": manifest["inputs"]}
    yield MANIFEST, manifest_text({**manifest, "rows": {}, "inputs": [], "files": files, "scan": before}).encode()


def _contents(folder: Path, with_annotated: bool, is_hidden: bool) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files to pack, in order; with `is_hidden`, pictures show no face."""
    paths = [folder / name for name in WRITTEN if (folder / name).is_file()]
    for kind in ("evidence", *(("annotated",) if with_annotated else ())):
        paths += sorted(path for path in (folder / kind).rglob("*") if path.is_file() and not is_partial(path.name))
    for path in paths:
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        if name == PAGE and not with_annotated:
            content = _LINK_TO_COPY.sub(b"", content)
        yield name, _hidden(name, content) if is_hidden else content
    models = resources.files("maskbatch.models")
    for card in sorted(one.name for one in models.iterdir() if one.name.endswith(".md")):
        yield f"method/{card}", models.joinpath(card).read_bytes()


def _hidden(name: str, content: bytes) -> bytes:
    """Return the content of a file with hidden faces in its evidence pictures."""
    if name == PAGE:
        return _EMBEDDED.sub(
            lambda found: found[1] + base64.b64encode(_without_face(base64.b64decode(found[2]))), content
        )
    return _without_face(content) if name.startswith("evidence/") else content


def _without_face(content: bytes) -> bytes:
    """Return a grey JPEG of the same size: a face at the edge of a photo is not in the middle of its picture."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", hide(image, np.array([[0, 0, *image.shape[1::-1]]])))[1].tobytes()


def _fit(name: str) -> str:
    """Return the name of a file in a zip, which has no names that are not UTF-8: such bytes become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _with_fit_addresses(name: str, content: bytes) -> bytes:
    """Return the content of a file, with the names of the zip in the addresses of the page."""

    def fit_address(found: re.Match) -> bytes:
        target = unquote_to_bytes(found[2]).decode("utf-8", "surrogateescape")
        return found[1] + (found[2] if _fit(target) == target else quote(_fit(target)).encode())

    return _ADDRESS.sub(fit_address, content) if name == PAGE else content


def _add(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    packed.writestr(entry, content)
