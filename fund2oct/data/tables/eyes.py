"""The rows of a table as eyes: a row each, or a row for each of their B-scans."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Literal

from fund2oct.data.formats.stacks import volume_name
from fund2oct.data.tables.masks import MASK_COLUMN, is_mask_column, mask_columns
from fund2oct.data.tables.spreadsheet import (
    Table,
    as_number,
    plain_values,
    some,
    unclear_comma,
    unclear_point,
)
from fund2oct.eye import DataError, Plain
from fund2oct.geometry import Line

Unit = Literal["px", "mm"]
ENDS = ("x0", "y0", "x1", "y1")
COLUMNS = (
    *("photo", "volume", "scan_number", "key", "patient", "laterality", "diagnosis", "bscan", "slice"),
    *("lines_px", "lines_mm"),
    *(f"{end}_{unit}" for unit in ("px", "mm") for end in ENDS),
)
"""What a column may be, beside ``mask_NAME``; any other is kept as metadata."""

OF_LINES = COLUMNS[11:]
"""Where the line of a B-scan begins and ends."""

_OF_BSCANS = ("bscan", "slice", *OF_LINES)
_FROM_A_STAR_ON = re.compile(r"[ ._-]*[*?].*")


@dataclass(frozen=True)
class GivenLines:
    """Where B-scans lie, as a table says.

    Args:
        ends: first and last point of each, x to the right and y down.
        unit: ``"px"``: pixels of the photo as it is displayed, where (0, 0) is the centre of the first one;
            ``"mm"``: millimetres around the fovea.

    Example:
        >>> cross = GivenLines((((400, 400), (400, 200)), ((300, 300), (500, 300))), unit="px")
        >>> len(cross.ends), cross.ends[0]  # the first line runs upwards through (400, 300)
        (2, ((400, 400), (400, 200)))
    """

    ends: tuple[Line, ...]
    unit: Unit


@dataclass(frozen=True)
class EyeRow:
    """What a table says of an eye.

    Args:
        where: its row or rows.
        photo: name of the file, empty where there is none.
        volume: name of the file, the folder or the pattern, or the pictures with bars between them.
        scan_number: which of several scans in a scanner's file, counted from 1, empty for the only one.
        key: empty where the table names none.
        patient: name of the patient, empty where the table names none.
        laterality: side of the eye as the table spells it, such as ``R``; empty where it names none.
        diagnosis: free text, empty where the table names none.
        metadata: all other columns.
        lines: where the slices lie; None where the table does not tell it.
        masks: names of the files of the photo's masks, by the names of the masks.
    """

    where: str
    photo: str
    volume: str = ""
    scan_number: str = ""
    key: str = ""
    patient: str = ""
    laterality: str = ""
    diagnosis: str = ""
    metadata: dict[str, Plain] = field(default_factory=dict)
    lines: GivenLines | None = None
    masks: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Key, or what the files are called without folder and ending."""
        return self.key or self.file_name

    @property
    def file_name(self) -> str:
        """What the files are called without folder and ending.

        A pattern is called what it has before its star, or else by its folder.
        """
        if self.photo:
            return PureWindowsPath(self.photo).stem
        return next(iter(self.volume_names), volume_name(self.volume))

    @property
    def volume_names(self) -> list[str]:
        """What the volume, or the first of its B-scans, is called, and then each folder that it lies in."""
        parts = PureWindowsPath(self.volume.split("|")[0].strip()).parts
        named = [_FROM_A_STAR_ON.sub("", part) for part in reversed(parts)]
        return [volume_name(name) for name in named if name]

    @property
    def label(self) -> str:
        """Row and file, as the report calls it."""
        return f"{self.where}: {self.photo or self.volume or 'no file'}"


def our_columns(tables: Sequence[Table], columns: Mapping[str, str]) -> tuple[str, ...]:
    """:data:`COLUMNS`, and the columns of masks that tables have, or that a user names."""
    return COLUMNS + mask_columns([*columns, *(name for table in tables for name in table.columns)])


def read_eyes(table: Table) -> tuple[list[EyeRow], list[tuple[str, str]], list[str]]:
    """Sort the rows of a table by eye.

    Args:
        table: under our names.

    Returns:
        The eyes; the name of each that cannot be used, with the reason; and notes.

    Raises:
        DataError: if the table has no column that names files, or no row.
    """
    if not {"photo", "volume", "bscan"} & set(table.columns):
        raise DataError(
            f"{table.path}: expected a column photo, volume or bscan, found {', '.join(table.columns)}; name "
            "it, as in --column photo=CF_path"
        )
    if {"bscan", "volume"} <= set(table.columns):
        raise DataError(
            f"{table.path}: expected a column volume (a row for each eye) or bscan (a row for each B-scan), "
            "found both"
        )
    if not table.rows:
        raise DataError(f"{table.path}: expected a row for each eye, found none")
    notes = [f"{table.path}: {note}" for note in table.notes]
    metadata = _metadata(table, notes)
    groups = groups_of_rows(table)
    eyes, refused, uneven = [], [], set()
    for numbers in groups:
        rows = [table.rows[place] for place in numbers]
        try:
            eye, differing = eye_of_rows(rows, [metadata[place] for place in numbers], table.columns)
        except DataError as error:
            refused.append((where_of([number for number, _ in rows]), str(error)))
            continue
        eyes.append(eye)
        uneven |= differing
    if uneven:
        notes.append(
            f"{table.path}: {', '.join(sorted(uneven))} differ between the B-scans of an eye, where it is "
            "left out"
        )
    return eyes, refused, notes


def _metadata(table: Table, notes: list[str]) -> list[dict[str, Plain]]:
    found: list[dict[str, Plain]] = [{} for _ in table.rows]
    names = [name for name in table.columns if name and name not in COLUMNS and not is_mask_column(name)]
    for name in names:
        values, note = plain_values(table, name)
        if note:
            notes.append(f"{table.path}: {note}")
        for row, value in zip(found, values, strict=True):
            if value is not None:
                row[name] = value
    if names:
        notes.append(f"{table.path}: kept as metadata, as they are: {', '.join(names)}")
    return found


def groups_of_rows(table: Table) -> list[list[int]]:
    """The places of the rows of each eye.

    Rows of B-scans belong together by their key. A row without one has that of its photo's other rows, as
    where a spreadsheet's cells are merged; where none of them has a key, they belong together by their photo.

    Raises:
        DataError: if a row has neither key nor photo, or its photo has rows of several keys.
    """
    if not set(_OF_BSCANS) & set(table.columns):
        return [[place] for place in range(len(table.rows))]
    named = [(number, cells.get("key", ""), cells.get("photo", "")) for number, cells in table.rows]
    keys: dict[str, set[str]] = {}
    for number, key, photo in named:
        if not key and not photo:
            raise DataError(
                f"{table.path}: row {number}: expected key or photo, which tell the eye that a B-scan is of, "
                "found neither"
            )
        keys.setdefault(photo, set()).update([key] if key and photo else [])
    if unclear := [number for number, key, photo in named if not key and len(keys[photo]) > 1]:
        raise DataError(
            f"{table.path}: row {some(unclear)}: key: expected one, for other rows of the same photo have "
            "several keys, found none"
        )
    groups: dict[tuple[str, str], list[int]] = {}
    for place, (_, key, photo) in enumerate(named):
        key = key or next(iter(keys[photo]), "")
        groups.setdefault(("key", key) if key else ("photo", photo), []).append(place)
    return list(groups.values())


def eye_of_rows(
    rows: list[tuple[int, dict[str, str]]], metadata: list[dict[str, Plain]], columns: tuple[str, ...]
) -> tuple[EyeRow, set[str]]:
    """The eye of some rows, and the names of metadata in which they differ."""
    if "slice" in columns:
        order = sorted(range(len(rows)), key=_in_order(rows))
        rows, metadata = [rows[place] for place in order], [metadata[place] for place in order]
    numbers = [number for number, _ in rows]
    texts = {
        name: _one(name, rows)
        for name in ("photo", "volume", "scan_number", "key", "patient", "laterality", "diagnosis")
        if name in columns
    }
    if "bscan" in columns:
        if empty := [number for number, cells in rows if not cells["bscan"]]:
            raise DataError(f"row {some(empty)}: bscan: expected the name of a picture, found none")
        texts["volume"] = " | ".join(cells["bscan"] for _, cells in rows)
    same = {
        name: value
        for name, value in metadata[0].items()
        if all(row.get(name) == value for row in metadata[1:])
    }
    differing = {name for row in metadata for name in row} - set(same)
    drawn = {name.removeprefix(MASK_COLUMN): _one(name, rows) for name in columns if is_mask_column(name)}
    masks = {name: file for name, file in drawn.items() if file}
    photo, lines = texts.pop("photo", ""), _lines(rows, columns)
    return EyeRow(where_of(numbers), photo, **texts, metadata=same, lines=lines, masks=masks), differing


def _in_order(rows: list[tuple[int, dict[str, str]]]) -> Callable[[int], float]:
    places: dict[float, int] = {}
    for number, cells in rows:
        value = _number(number, "slice", cells)
        if value in places:
            raise DataError(
                f"row {number}: slice: expected another number than in row {places[value]}, found {value:g}"
            )
        places[value] = number
    return lambda place: _number(rows[place][0], "slice", rows[place][1])


def _one(name: str, rows: list[tuple[int, dict[str, str]]]) -> str:
    """What all rows of an eye say, or those that say something."""
    said = {cells[name]: number for number, cells in reversed(rows) if cells[name]}
    if len(said) > 1:
        (one, first), (other, second) = sorted(said.items(), key=lambda item: item[1])[:2]
        raise DataError(
            f"rows {first} and {second}: {name}: expected the same in all rows of an eye, found {one!r} and "
            f"{other!r}"
        )
    return next(iter(said), "")


def _lines(rows: list[tuple[int, dict[str, str]]], columns: tuple[str, ...]) -> GivenLines | None:
    units: list[Unit] = ["px", "mm"]
    stated = [unit for unit in units if {f"lines_{unit}", *(f"{end}_{unit}" for end in ENDS)} & set(columns)]
    if not stated:
        return None
    if len(stated) > 1:
        raise DataError("lines: expected the columns of pixels or those of millimetres, found both")
    unit = stated[0]
    if f"lines_{unit}" in columns:
        number, cells = next((row for row in rows if row[1][f"lines_{unit}"]), rows[0])
        listed = _listed(number, f"lines_{unit}", cells[f"lines_{unit}"])
        return GivenLines(listed, unit) if listed else None
    names = [f"{end}_{unit}" for end in ENDS]
    if missing := [name for name in names if name not in columns]:
        raise DataError(f"lines: expected the columns {', '.join(names)}, {', '.join(missing)} is missing")
    if not any(cells[name] for _, cells in rows for name in names):
        return None
    if unit == "px":
        places = {cells[name]: f"row {number}: {name}" for number, cells in reversed(rows) for name in names}
        _check_thousands(places)
    ends = []
    for number, cells in rows:
        x0, y0, x1, y1 = (_number(number, name, cells) for name in names)
        ends.append(((x0, y0), (x1, y1)))
    return GivenLines(tuple(ends), unit)


def _check_thousands(places: Mapping[str, str]) -> None:
    """Refuse pixels of which 1,034 or 1.034 may be one or a thousand; ``places`` tells where each cell is."""
    if found := unclear_comma(list(places)):
        raise DataError(
            f"{places[found]}: {found!r}: decimal or thousands comma? write decimals behind a point, and "
            "nothing between thousands"
        )
    if found := unclear_point(list(places)):
        raise DataError(
            f"{places[found]}: {found!r}: decimal or thousands point? write {found.replace('.', '')}, or "
            f"{found}0 if it is decimal"
        )


def _listed(number: int, name: str, cell: str) -> tuple[Line, ...]:
    """Four numbers a line, with anything but digits between them."""
    words = cell.replace(";", " ").replace("|", " ").replace(",", " ").split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) % 4 or len(values) != len(words) or _has_decimal_commas(cell):
        raise DataError(
            f"row {number}: {name}: expected x0 y0 x1 y1 of each line, lines parted by semicolons and "
            f"decimals behind points in this cell, found {cell!r}"
        )
    if name == "lines_px":
        _check_thousands({word: f"row {number}: {name}" for word in words})
    return tuple(
        ((values[n], values[n + 1]), (values[n + 2], values[n + 3])) for n in range(0, len(values), 4)
    )


def _has_decimal_commas(cell: str) -> bool:
    """Whether commas in a cell of lines may be decimal ones, where it is not ``x0,y0 x1,y1`` of each line."""
    lines = [[word.strip(",") for word in line.split()] for line in re.split(r"[;|]", cell)]
    words = [word for line in lines for word in line if word]
    pairs = all(len(line) in (0, 2) for line in lines)
    return max((word.count(",") for word in words), default=0) == 1 and len(words) % 4 == 0 and not pairs


def _number(number: int, name: str, cells: Mapping[str, str]) -> float:
    try:
        return float(as_number(cells[name]))
    except ValueError:
        raise DataError(f"row {number}: {name}: expected a number, found {cells[name]!r}") from None


def where_of(numbers: list[int]) -> str:
    """The rows of an eye in words."""
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    first, last = min(numbers), max(numbers)
    whole = sorted(numbers) == list(range(first, last + 1))
    return f"rows {first} to {last}" if whole else f"rows {some(sorted(numbers))}"
