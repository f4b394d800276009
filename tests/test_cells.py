"""Cells that are made from whole arrays are those that Python and its csv module write, cell by cell."""

import csv
import io

import numpy as np
import pytest

from maskbatch.reports.cells import csv_lines, number_cells, quoted, text_cells


def lines(*columns):
    return csv_lines(columns).decode().split("\n")


@pytest.mark.parametrize("decimals", [0, 1, 4])
@pytest.mark.parametrize("most", [1, 9, 10, 12_345, 99_999_999, 2**40])
def test_numbers_have_all_their_digits_and_decimals(most, decimals):
    """Around each power of ten, negative numbers and zero included."""
    values = sorted({sign * abs(10**power + more) for power in range(14) for more in (-1, 0, 1) for sign in (-1, 1)})
    values = [value for value in values if abs(value) <= most] + [0, most, -most]
    expected = [f"{value / 10**decimals:.{decimals}f}" for value in values]
    assert lines(number_cells(np.array(values), decimals)) == [*expected, ""]


def test_no_rows_are_no_lines():
    """Columns without cells, of numbers and of texts."""
    nothing = np.array([], np.int64)
    assert csv_lines([number_cells(nothing), number_cells(nothing, 4), text_cells(np.array([], "S"))]) == b""


def test_one_row_is_one_line():
    """Cells of one row stand in the order of the columns; an empty text is an empty cell."""
    texts = [text_cells(np.array([text.encode()])) for text in ("a", "", "ü")]
    assert csv_lines([texts[0], number_cells(np.array([7])), *texts[1:]]) == "a,7,,ü\n".encode()


def test_an_empty_cell_of_a_number():
    """A cell times False is empty, whatever its number is."""
    assert lines(number_cells(np.array([5, -1, 12]), 1) * np.array([True, False, True])) == ["0.5", "", "1.2", ""]


def test_texts_are_read_as_they_were():
    """With commas, quotes and other scripts; what spreadsheets take for a formula has an apostrophe."""
    texts = ["a,b", 'say "x"', "日本", "", " spaced ", "=1+1", "-a"]
    encoded = np.array([quoted(text).encode() for text in texts], "S")
    found = csv_lines([text_cells(encoded), number_cells(np.arange(len(texts)))]).decode()
    rows = [[f"'{text}" if text[:1] in ("=", "-") else text, str(number)] for number, text in enumerate(texts)]
    assert list(csv.reader(io.StringIO(found, newline=""))) == rows
