"""Cells that tell where B-scans lie: points and commas may be decimal, or part thousands, or numbers."""

import re

import pytest

from fund2oct.data.tables.eyes import COLUMNS, read_eyes
from fund2oct.data.tables.spreadsheet import read_table, renamed


def read(folder, header, cells):
    """The lines of a table of one eye, and why it is refused."""
    (folder / "t.csv").write_text(f"photo\t{header}\na.png\t{cells}\n")
    eyes, refused, _ = read_eyes(renamed(read_table(folder / "t.csv"), {}, COLUMNS))
    return [eye.lines.ends for eye in eyes], [reason for _, reason in refused]


PIXELS, MILLIMETRES = (
    "\t".join(f"{end}_{unit}" for end in ("x0", "y0", "x1", "y1")) for unit in ("px", "mm")
)


@pytest.mark.parametrize("cells", ["812 1.034 2.210 1.020", "2.210 1.034 -20 1.020", "812,5 1.034 3 7"])
def test_points_that_may_stand_between_thousands_of_pixels_are_refused(cells, tmp_path):
    found, [reason] = read(tmp_path, PIXELS, cells.replace(" ", "\t"))
    message = r"row 2: [xy][01]_px: '\d\.\d{3}': decimal or thousands point\? write \d{4}, or \d\.\d{3}0 if"
    assert not found and re.match(message, reason)


def test_points_between_thousands_are_refused_in_a_cell_of_lines_too(tmp_path):
    found, [reason] = read(tmp_path, "lines_px", "812 1.034 2.210 1.020")
    assert not found
    message = "decimal or thousands point? write 1034, or 1.0340 if it is decimal"
    assert reason == f"row 2: lines_px: '1.034': {message}"


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        (PIXELS, "812.500 103.250 221.000 102.000"),
        (PIXELS, "1.034 5.500 390.250 5.500"),
        (PIXELS, "0 12.345 768 12.345"),
        (PIXELS, "1812 1.034 2210 1.020"),
        (PIXELS, "812 1034 2210 1.020"),
        (PIXELS, "812 1.0340 3.210 7"),
        (PIXELS, "812 0.500 3.21 7"),
        (MILLIMETRES, "1.034 -2.210 3 1.020"),
    ],
)
def test_ordinary_decimals_are_decimals(header, cells, tmp_path):
    [[line]], refused = read(tmp_path, header, cells.replace(" ", "\t"))
    assert [*line[0], *line[1]] == [float(cell) for cell in cells.split()] and not refused


@pytest.mark.parametrize("header", ["lines_px", "lines_mm"])
@pytest.mark.parametrize(
    "cell",
    [
        "812,5 1034,25 2210,0 1020,5",
        "812,5 1034,5 2210 1020; 1515,5 330,5 1508 1731",
        "812,5; 1034,25; 2210,0; 1020,5",
        "812,5, 1034,25, 2210,0, 1020,5",
    ],
)
def test_decimal_commas_in_a_cell_of_lines_are_refused(header, cell, tmp_path):
    found, [reason] = read(tmp_path, header, cell)
    assert not found and f"row 2: {header}: expected x0 y0 x1 y1 of each line" in reason
    assert f"decimals behind points in this cell, found {cell!r}" in reason


@pytest.mark.parametrize(
    "cell",
    [
        "812 1034 2210 1020; 1515 330 1508 1731",
        "812,1034,2210,1020; 1515,330,1508,1731",
        "812,1034 2210,1020; 1515,330 1508,1731",
        "812, 1034, 2210, 1020 | 1515, 330, 1508, 1731",
        "812,1034,2210,1020,1515,330,1508,1731",
    ],
)
def test_commas_between_the_numbers_of_a_cell_of_lines_are_understood(cell, tmp_path):
    found, refused = read(tmp_path, "lines_px", cell)
    assert found == [(((812, 1034), (2210, 1020)), ((1515, 330), (1508, 1731)))] and not refused
