"""``fund2oct import table``: a CSV or TSV that names the photo and the volume of each eye."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from fund2oct.data.formats.naming import laterality_of, side_of
from fund2oct.data.formats.stacks import PICTURES
from fund2oct.data.importing.assemble import ImportOptions, make_eye, read_files
from fund2oct.data.importing.engine import Candidate, fingerprint_of, import_eyes
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.store.layout import Compression
from fund2oct.data.tables.eyes import COLUMNS, EyeRow, read_eyes
from fund2oct.data.tables.files import files_of, find_file, find_volume
from fund2oct.data.tables.lines import with_lines, with_own_lines
from fund2oct.data.tables.patients import repeated_keys, with_patients
from fund2oct.data.tables.spreadsheet import read_table, renamed_tables, some
from fund2oct.eye import DataError, Eye


def import_table(
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImportOptions | None = None,
    overwrite: bool = False,
    *,
    columns: Mapping[str, str] | None = None,
    lines: str | os.PathLike[str] | None = None,
    no_patients: bool = False,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    r"""Import the eyes that a table lists, each row with a photo, a volume, or both.

    Paths are relative to the table. A volume is a file, a folder of pictures, a pattern as in
    ``eye7/*.png``, or pictures with bars between them. A table may also have a row for each B-scan, with its
    picture as ``bscan`` and the ends of its line. Without a key, the photo's or the volume's name is the
    key; without a laterality, the key or the name of photo or volume may tell it. Further columns become
    metadata.

    Args:
        table: a text file with a header: CSV with commas or semicolons, or TSV.
        out: the file to make.
        options: what to do with photos and volumes.
        overwrite: whether ``out`` may be replaced.
        columns: the table's own name of each of :data:`~fund2oct.data.tables.eyes.COLUMNS`, where it is
            another, in this table or in ``lines``.
        lines: a second table with a row for each B-scan, which tells where they lie.
        no_patients: whether each eye is a patient of its own where the table has no column ``patient``. If
            not, names of right and left eyes have to tell it.
        workers: processes to read in.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.

    Returns:
        What became of each eye.

    Raises:
        DataError: if the table cannot be read, lacks a column, or no eye could be imported.

    Example:
        >>> _ = Path("eyes.csv").write_text("photo,patient,laterality,age\nphoto.png,7,OD,61\n")
        >>> report = import_table("eyes.csv", "mine.h5")
        >>> report.imported, report.remarks
        (['photo'], ['eyes.csv: kept as metadata, as they are: age'])
    """
    path, options = Path(table), options or ImportOptions()
    paths = [path] if lines is None else [path, Path(lines)]
    read, *more_tables = renamed_tables([*map(read_table, paths)], columns or {}, COLUMNS)
    eyes, refused, notes = read_eyes(read)
    for lines_table in more_tables:
        eyes, without, more = with_lines(eyes, lines_table)
        refused, notes = refused + without, notes + more
    if not more_tables:
        eyes, without = with_own_lines(eyes, read)
        refused += without
    eyes, more = with_patients(eyes, read, no_patients)
    candidates = [_left_out(name, reason) for name, reason in refused]
    repeated = dict(repeated_keys(eyes))
    missing = []
    for eye in eyes:
        try:
            if eye.label in repeated:
                raise DataError(repeated[eye.label])
            candidates.append(_candidate(path.parent, eye, options))
        except DataError as error:
            missing.append(f"{eye.label}: {error}")
            candidates.append(_left_out(eye.label, str(error)))
    _check_most(path, missing, len(eyes))
    report = import_eyes(candidates, out, overwrite, workers=workers, compression=compression)
    report.remarks += notes + more
    return report


def _check_most(path: Path, wrong: Sequence[str], n_eyes: int) -> None:
    """Refuse a table of which most cannot be used, before hours are spent on the rest."""
    if len(wrong) > n_eyes / 2:
        raise DataError(
            f"{path}: {len(wrong)} of {n_eyes} eyes cannot be imported: {some(wrong)}; paths are relative to "
            f"the table's folder, {path.parent.absolute()}"
        )


def _candidate(folder: Path, eye: EyeRow, options: ImportOptions) -> Candidate:
    if not eye.photo and not eye.volume:
        raise DataError("expected a photo, a volume or both, found neither")
    notes: list[str] = []
    photo, volume = None, None
    if eye.photo:
        photo, note = find_file(folder, eye.photo)
        notes += [note] if note else []
    if eye.volume:
        volume, more = find_volume(folder, eye.volume)
        notes += more
    files = ([photo] if photo else []) + (files_of(volume) if volume else [])
    read = partial(_read, eye, options, photo, volume, tuple(notes))
    return Candidate(eye.label, read, fingerprint_of(files, eye, options))


def _left_out(name: str, reason: str) -> Candidate:
    return Candidate(name, partial(_refuse, reason), fingerprint_of([], reason))


def _refuse(reason: str) -> NoReturn:
    raise DataError(reason)


def _read(
    eye: EyeRow,
    options: ImportOptions,
    photo: Path | None,
    volume: Path | tuple[Path, ...] | None,
    notes: tuple[str, ...],
) -> tuple[Eye, list[str]]:
    key, file = laterality_of(eye.name), laterality_of(eye.file_name)
    sides = (("its name", key), ("its name", file), ("the name of its volume", _side_of_volume(eye)))
    try:
        told = side_of(eye.laterality)
    except ValueError as error:
        raise DataError(str(error)) from None
    laterality = told or next((side for _, side in sides if side), "")
    if others := [(what, side) for what, side in sides if side not in ("", laterality)]:
        what, other = others[0]
        how = "as was told" if told else "as its key says" if key else "as the name of its photo says"
        notes += (f"{what} says {other}, and it is taken for {laterality} {how}",)
    exam = read_files(
        photo, volume, options, laterality=laterality, source="table", metadata=eye.metadata, notes=notes
    )
    return make_eye(exam, options, eye.name, eye.patient, eye.lines, diagnosis=eye.diagnosis)


def _side_of_volume(eye: EyeRow) -> str:
    """The side that the name of a volume tells, or of its first B-scan, or else of the folder of that."""
    pictures = "|" in eye.volume or eye.volume.lower().endswith(PICTURES)
    return next(filter(None, map(laterality_of, eye.volume_names[: 1 + pictures])), "")
