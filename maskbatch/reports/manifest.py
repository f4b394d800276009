"""`manifest.json`: checksums of everything that a scan read and wrote, which reveal a single changed byte.

The manifest proves that files have not changed since it was made. Anybody who can change the files can also make a new
manifest. Its own checksum, which a scan prints, should therefore be kept elsewhere, such as in a signed log.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.media.fingerprint import fingerprints
from maskbatch.media.names import from_name_text
from maskbatch.media.storage import Remote, located
from maskbatch.media.write import is_partial, partial_file
from maskbatch.store.database import Store
from maskbatch.store.read import last_session
from maskbatch.types import FaceRow

MANIFEST = "manifest.json"
FOLDERS = ("annotated", "crops", "evidence")
_TABLES = {
    "source": "name, position, kind, state, size, mtime_ns, quick_hash, error, notes, decoded, analysed",
    "face": "*", "track": "*", "evidence": "*", "review": "*", "sample": "*", "sample_item": "*",
}  # fmt: skip
# SQLite makes the texts that `repr` gives for rows of whole numbers in two thirds of the time. Texts and blobs compare as
# greater than any number, and make a row empty, so that none of them passes for a number
_FACES = f"""
    SELECT CASE typeof(max({", ".join(f"coalesce({name}, 0)" for name in FaceRow._fields)})) WHEN 'integer'
           THEN printf('({", ".join(["%s"] * len(FaceRow._fields))})',
                       {", ".join(f"coalesce({name}, 'None')" for name in FaceRow._fields)}) ELSE '' END
    FROM face ORDER BY source_id, frame, face
"""
_INPUTS = "SELECT name, path, size, mtime_ns, quick_hash FROM source WHERE position IS NOT NULL ORDER BY position"
# an input for which these values are the same is not read again
_SAME = ("name", "size", "mtime_ns", "quick_hash")
_CHUNK, _NUM_THREADS = 1 << 20, 4


class Changes(NamedTuple):
    """Names of files that differ from a manifest; `missing_inputs` are inputs that are no longer in their place."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    missing_inputs: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.extra)


def write_manifest(
    store: Store, names: Iterable[str], is_over: Callable[[], bool] = lambda: False, keep_media: bool = False,
    others: Iterable[Path] = (),
) -> str:  # fmt: skip
    """Write the manifest of a scan, and return its own SHA-256.

    Files with the same size and time as in an earlier manifest keep their checksums, so that another report does not
    read a night of video again. `verify` always reads all files.

    Args:
        store: the store of the scan.
        names: tables and page beside the store.
        is_over: once it returns true, the remaining inputs get no checksum.
        keep_media: keep the checksums of media in the present manifest unchecked, because a report writes no media.
        others: folders that inputs and media come from; files in their manifests are not read again.

    Raises:
        OSError: a file of the output folder cannot be read or written.
    """
    out, before = store.folder, known_checksums([*others, store.folder])
    with store.transaction() as connection:
        facts = last_session(connection).facts
        values = {
            "maskbatch": facts.get("maskbatch"),
            "settings": _digest([json.dumps(facts.get("settings"), sort_keys=True)]),
            "models": facts.get("weights"),
            "rows": rows_digests(connection),
            "inputs": _inputs(connection, before, is_over),
        }
    files = [out / name for name in names if (out / name).is_file()] + list(_media(out))
    values["files"] = _files(out, files, before.get("files", {}), keep_media)
    text = manifest_text(values)
    with partial_file(out / MANIFEST) as partial:
        partial.write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_text(values: Mapping[str, object]) -> str:
    """Return the text of a manifest."""
    return json.dumps(values, indent=1, ensure_ascii=True) + "\n"


def differences(folder: Path, manifest: Mapping[str, object], connection: Connection | None) -> Changes:
    """Return the differences from a manifest after reading every file. Rows are checked only with a `connection`."""
    changed, missing, missing_inputs = [], [], []
    files: Mapping[str, Mapping] = manifest["files"]
    for name, found in zip(files, _sha256s([folder / name for name in files]), strict=True):
        if found is None:
            missing.append(name)
        elif found != files[name]["sha256"]:
            changed.append(name)
    if connection is not None:
        now = rows_digests(connection)
        changed += [
            f"scan.db: rows of {table}" for table, digest in manifest["rows"].items() if now.get(table) != digest
        ]
    inputs = [one for one in manifest["inputs"] if one["sha256"]]
    for one, found in zip(inputs, _sha256s([_path(one["path"]) for one in inputs]), strict=True):
        if found is None:
            missing_inputs.append(one["name"])
        elif found != one["sha256"]:
            changed.append(f"input {one['name']}")
    known = set(files)
    extra = [name for path in _media(folder) if (name := path.relative_to(folder).as_posix()) not in known]
    return Changes(tuple(changed), tuple(missing), tuple(extra), tuple(missing_inputs))


def rows_digests(connection: Connection) -> dict[str, str]:
    """Return the SHA-256 of all rows of each table, in the order of keys. SQLite's file may differ for the same rows."""
    return {table: _digest(_row_texts(connection, table)) for table in _TABLES}


def read_manifest(folder: Path) -> Mapping[str, object] | None:
    """Return the manifest of a folder, None when there is none. Raises ValueError when it is damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not {"files", "rows", "inputs"} <= values.keys():
        raise ValueError("not a manifest of maskbatch")
    return values


def sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a file, None when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def known_checksums(folders: Iterable[Path]) -> Mapping[str, object]:
    """Return the checksums of inputs and files in the manifests of folders; later folders take precedence."""
    inputs, files = [], {}
    for values in map(_read, folders):
        inputs += [one for one in values.get("inputs", ()) if one["sha256"] is not None]
        files |= values.get("files", {})
    return {"inputs": inputs, "files": files}


def _read(folder: Path) -> Mapping[str, object]:
    """Return the present manifest, or an empty one if it cannot be read: everything is then computed again."""
    try:
        return read_manifest(folder) or {}
    except ValueError:
        return {}


def _path(text: str) -> Path:
    """Return the path of an input from its text in the store."""
    return located(from_name_text(text))


def _row_texts(connection: Connection, table: str) -> Iterator[str]:
    """Yield the text of each row of a table, as `repr` gives it."""
    if table == "face":
        return (text for (text,) in connection.execute(_FACES))
    return map(repr, connection.execute(f"SELECT {_TABLES[table]} FROM {table} ORDER BY {_order(table)}"))


def _order(table: str) -> str:
    return {"source": "name", "review": "id", "sample": "id", "sample_item": "sample_id, number",
            "track": "source_id, track_id"}.get(table, "source_id, frame, face")  # fmt: skip


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _media(out: Path) -> Iterator[Path]:
    """Yield the media of a scan, in order."""
    for folder in FOLDERS:
        yield from sorted(path for path in (out / folder).rglob("*") if path.is_file() and not is_partial(path.name))


def _files(
    out: Path, paths: list[Path], before: Mapping[str, Mapping], keep_media: bool
) -> dict[str, dict[str, object]]:  # fmt: skip
    """Return size, time and SHA-256 of files by name; `before` has those of the present manifest."""
    found, todo = {}, []
    if keep_media:
        found = {name: entry for name, entry in before.items() if name.startswith(tuple(f"{one}/" for one in FOLDERS))}
        paths = [path for path in paths if path.relative_to(out).as_posix() not in found]
    for path in paths:
        name, stat = path.relative_to(out).as_posix(), path.stat()
        known = before.get(name, {})
        is_same = (known.get("size"), known.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns)
        found[name] = {
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": known["sha256"] if is_same else None,
        }
        todo += [] if is_same else [name]
    for name, digest in zip(todo, _sha256s([out / name for name in todo]), strict=True):
        found[name]["sha256"] = digest
    return found


def _inputs(
    connection: Connection, before: Mapping[str, object], is_over: Callable[[], bool]
) -> list[dict[str, object]]:
    """Return name, size, time, path and SHA-256 of each input; the SHA-256 is None if the file is gone or has changed."""
    rows = connection.execute(_INPUTS).fetchall()
    known = {tuple(map(one.get, _SAME)): one["sha256"] for one in before.get("inputs", ())}
    found = [dict(zip(_SAME, (name, *print_), strict=True)) | {"path": path} for name, path, *print_ in rows]
    for one in found:
        one["sha256"] = known.get(tuple(map(one.get, _SAME)))
    todo = [
        (one, row)
        for one, row in zip(found, rows, strict=True)
        if one["sha256"] is None
        and one["size"] is not None
        and not isinstance(_path(row[1]), Remote)  # the file would be fetched again
    ]
    now = fingerprints(_path(row[1]) for _, row in todo)
    todo = [one for (one, row), print_ in zip(todo, now, strict=True)
            if print_ is not None and (print_.size, print_.mtime_ns, print_.quick_hash) == row[2:]]  # fmt: skip
    for one, digest in zip(todo, _sha256s([_path(one["path"]) for one in todo], is_over), strict=True):
        one["sha256"] = digest
    return found


def _sha256s(paths: list[Path], is_over: Callable[[], bool] = lambda: False) -> list[str | None]:
    """Return the SHA-256 of files in order; None for files that cannot be read, or once `is_over` returns true."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(lambda path: None if is_over() else sha256_of(path), paths))
