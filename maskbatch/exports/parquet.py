"""Parquet: the tables with fixed types, for DuckDB, Spark and pandas."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from maskbatch.errors import MaskbatchError
from maskbatch.exports.tables import Exported

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = "1"


def as_parquet(results: Exported) -> dict[str, bytes]:
    """Return the tables files, faces, people and episodes as Parquet files by name.

    Types do not depend on the results: texts, 64-bit integers, doubles; unknown numbers are null. The metadata of each
    file contains the versions of the schema and of maskbatch. Raises MaskbatchError when pyarrow is missing.
    """
    tables = {"files": results.files, "faces": results.faces, "people": results.people, "episodes": results.episodes}
    return {f"{name}.parquet": _written(rows, str(results.facts.get("maskbatch"))) for name, rows in tables.items()}


def _written(rows: pd.DataFrame, version: str) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MaskbatchError("Parquet needs pyarrow: pip install 'maskbatch[parquet]'") from None
    columns = {name: _column(pa, rows[name]) for name in rows.columns}
    table = pa.table(columns).replace_schema_metadata({"maskbatch": version, "schema_version": SCHEMA_VERSION})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _column(pa: object, values: pd.Series) -> object:
    kind = values.dtype.kind if hasattr(values.dtype, "kind") else "O"
    if kind in "iu":
        return pa.array([None if value is None or value != value else int(value) for value in values.astype(object).where(
            values.notna(), None)], pa.int64())  # fmt: skip
    if kind == "f":
        return pa.array(values.astype(object).where(values.notna(), None).tolist(), pa.float64())
    return pa.array([str(value).encode("utf-8", "backslashreplace").decode() for value in values], pa.string())
