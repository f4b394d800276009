"""Format cells of CSV files: single texts, and whole arrays where an object for each cell would take too long.

The cells of an array are an array (width, N) uint8: column n holds the characters of cell n in UTF-8. A cell that is
shorter than the longest cell has zeros in place of the other characters; `csv_lines` drops them.
"""

import csv
import io
from collections.abc import Sequence

import numpy as np

Cells = np.ndarray
# spreadsheets in East Asia treat the wide forms like the plain ones
_FORMULA_STARTS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")


def escape(text: str) -> str:
    """Return `text` as a cell that no spreadsheet takes for a formula.

    A leading = + - @ (also in wide form), tab, line break or apostrophe gets an apostrophe in front. To restore the
    text, remove one leading apostrophe.
    """
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def quoted(text: str) -> str:
    """Escape a text, and quote it if CSV requires that."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([escape(text)])
    return line.getvalue()


def number_cells(values: np.ndarray, decimals: int = 0) -> Cells:
    """Return cells of whole numbers (N,) that are divided by 10 ** `decimals`.

    Example:
        >>> csv_lines([number_cells(np.array([5, -1230]), 2)])
        b'0.05\\n-12.30\\n'
    """
    size = np.abs(values).astype(np.uint64)
    width = max(len(str(size.max(initial=0))), decimals + 1)
    digits, rest = np.empty((width, len(size)), np.uint8), size
    for at in reversed(range(width)):
        tens = rest // np.uint64(10)
        digits[at], rest = rest - tens * np.uint64(10), tens
    digits += ord("0")
    whole, fraction = np.split(digits, [width - decimals])
    for at in range(len(whole) - 1):  # no zeros in front
        whole[at, size < 10 ** (width - 1 - at)] = 0
    sign = np.where(values < 0, ord("-"), 0).astype(np.uint8)[None]
    return np.concatenate([sign, whole, *([_all(".", len(size)), fraction] if decimals else [])])


def text_cells(texts: np.ndarray) -> Cells:
    """Return cells of texts (N,) in UTF-8, dtype S. They must be `quoted`, and without the character 0."""
    return np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), texts.itemsize).T


def csv_lines(columns: Sequence[Cells]) -> bytes:
    """Return the lines of a CSV file from its columns, each (width, N)."""
    num_rows = columns[0].shape[1]
    comma, end = _all(",", num_rows), _all("\n", num_rows)
    parts = [part for cells in columns for part in (cells, comma)]
    return np.concatenate([*parts[:-1], end]).T.tobytes().translate(None, b"\0")


def _all(character: str, num_rows: int) -> Cells:
    return np.full((1, num_rows), ord(character), np.uint8)
