"""What a table says of photos, by their files' names: where their B-scans lie, and what is known."""

from __future__ import annotations

from fund2oct.data.tables.eyes import GivenLines, eye_of_rows, groups_of_rows, plain_name, read_eyes
from fund2oct.data.tables.spreadsheet import Table
from fund2oct.eye import DataError, Plain


def lines_of_photos(table: Table) -> dict[str, GivenLines]:
    """The lines of a table's photos by the photo's file name in small letters.

    Args:
        table: under our names, a row for each B-scan, with a column ``photo``.

    Raises:
        DataError: if it is no such table.
    """
    if "photo" not in table.columns:
        raise DataError(f"{table.path}: expected a column photo, found {', '.join(table.columns)}")
    found = {}
    for places in groups_of_rows(table):
        eye, _ = eye_of_rows([table.rows[place] for place in places], [{}] * len(places), table.columns)
        if eye.lines is None:
            raise DataError(
                f"{table.path}: {eye.where}: expected x0_px, y0_px, x1_px and y1_px, or the same in mm, "
                "found none"
            )
        found[plain_name(eye.photo).rpartition("/")[2]] = eye.lines
    return found


def known_of_photos(table: Table) -> dict[str, dict[str, Plain]]:
    """What a table says of the eyes of its photos, by the photo's file name in small letters.

    Args:
        table: under our names, a row for each eye or each of its B-scans, with a column ``photo``.

    Returns:
        For each photo metadata, laterality and diagnosis by name; what a row leaves empty is not there.

    Raises:
        DataError: if it is no such table, a row cannot be used, or two rows have a photo of one name.
    """
    if "photo" not in table.columns:
        raise DataError(f"{table.path}: expected a column photo, found {', '.join(table.columns)}")
    eyes, refused, _ = read_eyes(table)
    for where, reason in refused:
        raise DataError(f"{table.path}: {where}: {reason}")
    found: dict[str, dict[str, Plain]] = {}
    for eye in eyes:
        name = plain_name(eye.photo).rpartition("/")[2]
        if name in found:
            raise DataError(f"{table.path}: {eye.where}: expected each photo once, found {name} again")
        texts: dict[str, Plain] = {"laterality": eye.laterality, "diagnosis": eye.diagnosis}
        found[name] = eye.metadata | {which: text for which, text in texts.items() if text}
    return found
