"""``fund2oct import table``: a CSV or TSV that names the photo and the volume of each eye."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.formats.stacks import stack_files
from fund2oct.data.importing.assemble import ImportOptions, assemble_eye, plain_value
from fund2oct.data.importing.engine import Candidate, ImportReport, fingerprint_of, import_eyes
from fund2oct.data.store.layout import Compression
from fund2oct.eye import DataError, Eye

COLUMNS = ("photo", "volume", "key", "patient", "laterality", "diagnosis")
"""What a column may be; any other is kept as metadata."""


def import_table(
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImportOptions | None = None,
    overwrite: bool = False,
    *,
    columns: Mapping[str, str] | None = None,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    """Import the eyes of a table, a row each: a photo, a volume, or both.

    Paths are relative to the table. A volume is a file, a folder of pictures or a pattern as in
    ``eye7/*.png``. Without a key, the photo's or the volume's name is the key; without a patient, the
    key is one; without a laterality, the name may tell it. Further columns become metadata.

    Args:
        table: CSV with commas or semicolons, or TSV, in UTF-8.
        out: the file to make.
        options: slices, spacing, sizes.
        overwrite: whether ``out`` may be replaced.
        columns: the table's own name of each of :data:`COLUMNS`, where it is another.
        workers: processes to read in.
        compression: as :class:`~fund2oct.data.EyeWriter`.

    Raises:
        DataError: if the table cannot be read, lacks a column, or no eye could be imported.
    """
    table, options = Path(table), options or ImportOptions()
    rows = _read_rows(table, columns or {})
    candidates = [
        Candidate(
            f"row {number}: {row['photo'] or row['volume'] or 'no file'}",
            partial(_read, table.parent, row, options),
            fingerprint_of(_files(table.parent, row), row, options),
        )
        for number, row in enumerate(rows, 1)
    ]
    return import_eyes(candidates, out, overwrite, workers=workers, compression=compression)


def _read_rows(table: Path, columns: Mapping[str, str]) -> list[dict[str, str]]:
    if not table.is_file():
        raise DataError(f"{table}: no such file")
    if unknown := set(columns) - set(COLUMNS):
        raise DataError(f"column: expected {', '.join(COLUMNS)}, found {', '.join(sorted(unknown))}")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max("\t;,", key=head.count), strict=True)
            rows = [{str(name): value or "" for name, value in row.items() if name} for row in reader]
            found = [name for name in reader.fieldnames or [] if name]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as CSV in UTF-8 ({error})") from error
    if missing := [name for name in columns.values() if name not in found]:
        raise DataError(f"{table}: expected the columns {', '.join(missing)}, found {', '.join(found)}")
    theirs = {name: columns.get(name, name) for name in COLUMNS}
    if theirs["photo"] not in found and theirs["volume"] not in found:
        raise DataError(
            f"{table}: expected a column photo or volume, found {', '.join(found) or 'none'}; "
            "name it, as in --column photo=CF_path"
        )
    if not rows:
        raise DataError(f"{table}: expected a row for each eye, found none")
    ours = {their: our for our, their in theirs.items()}
    blank = dict.fromkeys(COLUMNS, "")
    return [blank | {ours.get(name, name): value.strip() for name, value in row.items()} for row in rows]


def _files(folder: Path, row: Mapping[str, str]) -> list[Path]:
    files = [folder / row["photo"]] if row["photo"] else []
    if row["volume"]:
        try:
            files += stack_files(folder / row["volume"])
        except DataError:  # said when the eye is read
            files.append(folder / row["volume"])
    return files


def _read(folder: Path, row: Mapping[str, str], options: ImportOptions) -> tuple[Eye, list[str]]:
    if not row["photo"] and not row["volume"]:
        raise DataError("expected a photo, a volume or both, found neither")
    name = Path(row["photo"] or row["volume"].rstrip("/*")).stem
    key = row["key"] or name
    laterality = laterality_of(row["laterality"]) if row["laterality"] else laterality_of(name)
    if row["laterality"] and not laterality:
        raise DataError(f"laterality: expected OD, OS, R, L, right or left, found {row['laterality']!r}")
    metadata = {name: plain_value(value) for name, value in row.items() if name not in COLUMNS}
    return assemble_eye(
        key,
        row["patient"] or key,
        laterality,
        options,
        photo=folder / row["photo"] if row["photo"] else None,
        volume=folder / row["volume"] if row["volume"] else None,
        diagnosis=row["diagnosis"],
        source="table",
        metadata={name: value for name, value in metadata.items() if value is not None},
    )
