"""A table as spreadsheets and scripts write it: text of any usual encoding, cells by the name of a column."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fund2oct.data.formats.naming import is_missing, known_text
from fund2oct.eye import DataError, Plain, some_of

_DELIMITERS = "\t;,|"
_NAMED = 10
_FEW = 0.25
"""Share of a column's cells below which those that are no numbers are remarked."""
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,14})(\.\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,14})(,\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_UP_TO_9999 = re.compile(r"-?\d{1,3}(,\d+)?|[1-9]\.\d{3}")
"""A place in pixels where thousands have a point: up to three digits, or one, a point and three more."""
_INFINITE = {"inf", "-inf"}
_UNMARKED_UTF_16: dict[tuple[bool, ...], str] = {(False, True): "utf-16-le", (True, False): "utf-16-be"}
"""By which of a table's first two bytes is zero, as of a letter in UTF-16 without a byte order mark."""


@dataclass(frozen=True)
class Table:
    """The cells of a table as text, and what was remarkable about them.

    Args:
        path: the file that was read.
        columns: their names, without the spaces around them.
        rows: the number of each row as a spreadsheet counts, where the header is row 1, and its cells by
            column. Empty rows are left out.
        notes: what is worth knowing.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        return [cells[name] for _, cells in self.rows]


def read_table(path: Path) -> Table:
    """Read a table: commas, semicolons, tabs or bars between the cells.

    Understood are the encodings UTF-8 and UTF-16, with or without a byte order mark, and Windows-1252, the
    line ``sep=;`` that Excel writes, quoted cells with line breaks, empty rows and empty last columns.

    Raises:
        DataError: if it is no such table; the message names the file, the rows and the columns.
    """
    text, notes = _text(path)
    first, _, rest = text.partition("\n")
    stated = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
    if stated:
        text = rest
    delimiter = stated[1] if stated else _delimiter(text)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); is a quote left open?") from error
    # Excel counts the rows as they are here, the empty ones among them.
    filled = [(number, row) for number, row in enumerate(records, 1) if any(map(str.strip, row))]
    if not filled:
        raise DataError(f"{path}: expected a header that names the columns, found an empty file")
    (_, header), *body = filled
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    _check_names(path, names)
    _check_lengths(path, names, body, delimiter, notes)
    rows = tuple(
        (number, {name: row[place].strip() if place < len(row) else "" for place, name in enumerate(names)})
        for number, row in body
    )
    return Table(path, tuple(names), rows, tuple(notes))


def plain_values(table: Table, name: str) -> tuple[list[Plain | None], str]:
    """The cells of a column as numbers where all of them are, else as text; None where there is none.

    Text stays as it is where one cell is no plain number: ``007`` and ``12E4`` are names. A comma is a
    decimal one where it cannot be one between thousands. Words for a missing value are none, see
    :func:`~fund2oct.data.formats.naming.is_missing`.

    Returns:
        The values, and what is worth knowing of them, or nothing.
    """
    cells = table.column(name)
    known = [cell for cell in cells if not _is_no_number(cell)]
    if known and all(map(_NUMBER.fullmatch, known)):
        return [None if _is_no_number(cell) else as_number(cell) for cell in cells], ""
    if known and all(map(_COMMA_NUMBER.fullmatch, known)):
        if found := unclear_comma(known):
            return _texts(cells), (
                f"column {name!r}: {found!r} may have a decimal comma or one between thousands; kept as text"
            )
        return [None if _is_no_number(cell) else as_number(cell) for cell in cells], ""
    wrong = [cell for cell in known if not (_NUMBER.fullmatch(cell) or _COMMA_NUMBER.fullmatch(cell))]
    if known and not wrong:
        return _texts(cells), f"column {name!r}: has decimals behind points and behind commas; kept as text"
    if len(wrong) < _FEW * len(known):
        rows = some([number for number, cells in table.rows if cells[name] == wrong[0]])
        return _texts(cells), (
            f"column {name!r}: kept as text, for {wrong[0]!r} in row {rows} is no number, though most cells "
            "are; empty such cells where they should be numbers"
        )
    return _texts(cells), ""


def unclear_comma(cells: Sequence[str]) -> str:
    """The first cell with a comma where each of them may be decimal, or one between thousands; else empty.

    Example:
        >>> unclear_comma(["812", "1,034"]), unclear_comma(["812,5", "1,034"])
        ('1,034', '')
    """
    commas = [cell for cell in cells if "," in cell]
    return commas[0] if commas and all(map(_THOUSANDS.fullmatch, commas)) else ""


def unclear_point(cells: Sequence[str]) -> str:
    """The first cell with a point where pixels may have it between thousands, as in 1.034; else empty.

    Unclear is a point with one digit before it and three behind, where all points are such and no other cell
    has more than three digits. As decimals these are within ten pixels of the photo's edge. A program that
    always writes three decimals has others, such as 812.500, beside them.

    Args:
        cells: columns and rows of a photo, in pixels.

    Example:
        >>> unclear_point(["812", "1.034"]), unclear_point(["812.500", "1.034"]), unclear_point(["12.345"])
        ('1.034', '', '')
    """
    points = [cell for cell in cells if "." in cell]
    return points[0] if points and all(map(_UP_TO_9999.fullmatch, cells)) else ""


def as_number(cell: str) -> int | float:
    """The number of a cell, its decimals behind a point or a comma.

    Raises:
        ValueError: if it is none.
    """
    text = cell.strip().replace(",", ".")
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def some(rows: Sequence[object]) -> str:
    """The first of many rows, and how many more there are."""
    return some_of(rows, _NAMED)


def renamed(table: Table, columns: Mapping[str, str], ours: Sequence[str]) -> Table:
    """The same table under our names.

    A column counts as one of ours where it is named so, in small or capital letters, or where ``columns``
    says so; any other keeps its name. A cell of ours that holds a word for a missing value, such as ``NA``,
    is empty then.

    Args:
        table: the table under its own names.
        columns: the table's own name of ours.
        ours: the names that mean something.

    Raises:
        DataError: if a column is not there, or two would have one name.
    """
    if unknown := set(columns) - set(ours):
        raise DataError(f"column: expected one of {', '.join(ours)}, found {', '.join(sorted(unknown))}")
    if twice := [name for name, count in Counter(columns.values()).items() if count > 1]:
        pairs = ", ".join(f"{our}={their}" for our, their in columns.items() if their in twice)
        raise DataError(f"column: expected each column of the table once, found {pairs}")
    if missing := [name for name in columns.values() if name not in table.columns]:
        raise DataError(
            f"{table.path}: expected the columns {', '.join(missing)}, found {', '.join(table.columns)}"
        )
    given = {their: our for our, their in columns.items()}
    plain = {name.casefold(): name for name in ours}
    names = {name: given.get(name) or plain.get(name.casefold(), name) for name in table.columns}
    for name, count in Counter(names.values()).items():
        if count > 1:
            both = ", ".join(repr(their) for their, our in names.items() if our == name)
            raise DataError(
                f"{table.path}: expected one column for {name}, found {both}; rename one of them in the "
                f"table, or say which it is, as in --column {name}={next(iter(names))}"
            )
    rows = tuple(
        (number, {names[n]: _known(names[n], cell, ours) for n, cell in cells.items()})
        for number, cells in table.rows
    )
    return Table(table.path, tuple(names.values()), rows, table.notes)


def renamed_tables(tables: Sequence[Table], columns: Mapping[str, str], ours: Sequence[str]) -> list[Table]:
    """Tables that belong together under our names, see :func:`renamed`; one of them has each named column.

    Raises:
        DataError: if none has a column, or as :func:`renamed`.
    """
    there = {name for table in tables for name in table.columns}
    return [
        renamed(
            table,
            {our: their for our, their in columns.items() if their in table.columns or their not in there},
            ours,
        )
        for table in tables
    ]


def _known(name: str, cell: str, ours: Sequence[str]) -> str:
    """A cell, empty where it is one of ours and missing."""
    if name == "diagnosis":
        return known_text(cell)
    return "" if name in ours and is_missing(cell) else cell


def _text(path: Path) -> tuple[str, list[str]]:
    if path.is_dir():
        raise DataError(f"{path}: expected a table, found a folder")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    data = path.read_bytes()
    if data.startswith(b"PK\3\4") or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{path}: expected CSV, found a workbook; save it as 'CSV UTF-8' in your spreadsheet")
    zeros = tuple(byte == 0 for byte in data[:2])
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = [_UNMARKED_UTF_16[zeros]] if zeros in _UNMARKED_UTF_16 else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        note = "is not in UTF-8; read as Windows-1252, check letters such as ä and é"
        return text, [note] if encoding == "cp1252" else []
    raise DataError(f"{path}: cannot be read as CSV in UTF-8, UTF-16 or Windows-1252; save it as UTF-8")


def _delimiter(text: str) -> str:
    """The one that parts the header into most cells."""

    def n_cells(delimiter: str) -> int:
        try:
            return len(next(_filled(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)), []))
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=n_cells) if any(d in text for d in _DELIMITERS) else ","


def _filled(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if any(map(str.strip, row)))


def _check_names(path: Path, names: list[str]) -> None:
    if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        places = [str(place) for place, name in enumerate(names, 1) if name == twice[0]]
        raise DataError(
            f"{path}: expected each column once, found {twice[0]!r} as columns {' and '.join(places)}; "
            "rename or delete one of them"
        )


def _check_lengths(
    path: Path, names: list[str], body: list[tuple[int, list[str]]], delimiter: str, notes: list[str]
) -> None:
    """Refuse cells that belong to no column, for then others may lie in the wrong one."""
    unnamed = {place for place, name in enumerate(names) if not name}
    long = []
    for number, row in body:
        beyond = [cell for place, cell in enumerate(row) if place >= len(names) or place in unnamed]
        if any(map(str.strip, beyond)):
            long.append((number, next(cell.strip() for cell in beyond if cell.strip())))
    if long:
        rows = some([number for number, _ in long])
        raise DataError(
            f"{path}: expected {len(names) - len(unnamed)} cells in a row, as the header names, found more "
            f"in row {rows}: {long[0][1]!r} has no column; put a cell that holds {delimiter!r} into quotes, "
            "or name the column"
        )
    if short := [number for number, row in body if len(row) < len(names)]:
        notes.append(
            f"row {some(short)}: has fewer cells than the header; the last ones were taken for empty"
        )


def _texts(cells: list[str]) -> list[Plain | None]:
    return [known_text(cell) or None for cell in cells]


def _is_no_number(cell: str) -> bool:
    return is_missing(cell) or cell.lower() in _INFINITE
