"""Check the results of a scan against their manifest."""

from pathlib import Path

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.reports.manifest import MANIFEST, Changes, differences, read_manifest, sha256_of
from maskbatch.store.database import STORE, open_store
from maskbatch.store.read import last_session


def verify(folder: Path, expected: str | None = None) -> Changes:
    """Return the differences of a folder from its manifest.

    Args:
        folder: an output folder, or an unpacked zip of `pack`.
        expected: the SHA-256 of the manifest itself, as the scan printed it.

    Raises:
        UsageError: there is no manifest, because the scan has not finished or the folder holds no scan.
        MaskbatchError: the manifest is damaged, or does not have the expected SHA-256.

    Example:
        >>> bool(verify(Path("audit")))
        False
    """
    manifest = checked_manifest(folder)
    if expected is not None and sha256_of(folder / MANIFEST) != expected.lower():
        raise MaskbatchError(f"{folder / MANIFEST} does not have the SHA-256 {expected}: it was rewritten since")
    if manifest["rows"] and (folder / STORE).is_file():
        with open_store(folder, reader=True) as store, store.transaction() as connection:
            return differences(folder, manifest, connection)
    found = differences(folder, manifest, None)
    return found._replace(missing=(*found.missing, STORE)) if manifest["rows"] else found


def checked_manifest(folder: Path) -> dict:
    """Return the manifest of a folder.

    Raises UsageError when there is none, or only that of an earlier session, and
    MaskbatchError when it is damaged.
    """
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        raise MaskbatchError(f"{folder / MANIFEST} is damaged: {error}") from error
    if manifest is None:
        raise UsageError(f"{folder} has no {MANIFEST}: it is written when a scan finishes, and by maskbatch report")
    if (folder / STORE).is_file() and not _is_finished(folder):
        raise UsageError(f"the scan in {folder} has not finished since its {MANIFEST} was written: continue it first")
    return dict(manifest)


def _is_finished(folder: Path) -> bool:
    with open_store(folder, reader=True) as store, store.transaction() as connection:
        return last_session(connection).how == "finished"
