"""``fund2oct import table``: a CSV or TSV that names the photo and the volume of each eye."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from fund2oct.data.formats.naming import laterality_of, plain_name, side_of
from fund2oct.data.formats.scanners.known import files_beside, format_of, is_scanners_file
from fund2oct.data.formats.stacks import PICTURES, STACKS
from fund2oct.data.importing.assemble import ImportOptions, make_eye, read_files
from fund2oct.data.importing.engine import Candidate, fingerprint_of, import_eyes
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.importing.vendor import for_scanners, make_scanned_eye, read_exam
from fund2oct.data.masks.given import read_masks
from fund2oct.data.store.layout import Compression
from fund2oct.data.tables.eyes import EyeRow, our_columns, read_eyes
from fund2oct.data.tables.files import files_of, find_file, find_volume
from fund2oct.data.tables.lines import columns_of_lines, with_lines
from fund2oct.data.tables.patients import repeated_keys, with_patients
from fund2oct.data.tables.spreadsheet import Table, read_table, renamed_tables, some
from fund2oct.eye import DataError, Eye
from fund2oct.geometry import Placement
from fund2oct.outputs import check_inputs


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
    ``eye7/*.png``, or pictures with bars between them; or a scanner's file, whose lines, side and metadata
    come along where the table does not tell them, and of whose scans ``scan_number`` names one. A table may
    also have a row for each B-scan, with its picture as ``bscan`` and the ends of its line. Without a key,
    the photo's or the volume's name is the key; without a laterality, the key or the name of photo or volume
    may tell it. A column ``mask_NAME`` names the files of a mask of the photos, see
    :func:`fund2oct.data.masks.given.read_masks`. Further columns become metadata.

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
    check_inputs([Path(out).with_suffix(".import.csv")], paths)  # the report may list the photos
    tables = [*map(read_table, paths)]
    read, *more_tables = renamed_tables(tables, columns or {}, our_columns(tables, columns or {}))
    eyes, refused, notes = read_eyes(read)
    for lines_table in more_tables:
        eyes, without, more = with_lines(eyes, lines_table)
        refused, notes = refused + without, notes + more
    eyes, more = with_patients(eyes, read, no_patients)
    candidates = [_left_out(name, reason) for name, reason in refused]
    repeated = dict(repeated_keys(eyes))
    no_lines = _without_lines(read, paths[1:])
    missing = []
    for eye in eyes:
        try:
            if eye.label in repeated:
                raise DataError(repeated[eye.label])
            candidates.append(_candidate(path.parent, eye, options, no_lines))
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


def _without_lines(table: Table, of_lines: Sequence[Path]) -> str:
    """Why an eye without lines cannot be used, unless its volume tells them; empty if no table does."""
    if of_lines:
        return f"expected its lines in {of_lines[0]}, found none for this eye"
    columns = columns_of_lines(table)
    if not columns:
        return ""
    return (
        f"expected its lines, found empty cells in {', '.join(columns)}; fill them, or import eyes without "
        "lines from a table without these columns"
    )


def _candidate(folder: Path, eye: EyeRow, options: ImportOptions, no_lines: str) -> Candidate:
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
    masks = {}
    for name, file in eye.masks.items():
        masks[name], note = find_file(folder, file)
        notes += [note] if note else []
    of_volume = files_of(volume) if volume else []
    if photo:
        _check_no_photo(photo, of_volume)
    files = [*([photo] if photo else []), *masks.values(), *of_volume]
    scanned = _scanners_file(volume)
    if masks and photo is None and scanned is None:
        raise _no_photo(masks)
    if scanned is None:
        told = options.scan.pattern is not None or options.scan.radial
        if volume and no_lines and eye.lines is None and not told:  # any place would be made up
            return _left_out(eye.label, no_lines)
        if eye.scan_number:
            found = eye.volume or "none"
            raise DataError(f"scan_number: expected a scanner's file as the volume, found {found}")
        read = partial(_read, eye, options, photo, volume, masks, tuple(notes))
    else:
        files += files_beside(scanned)
        read = partial(_read_scanned, eye, for_scanners(options), photo, scanned, masks, tuple(notes))
    # Which row it stands in decides nothing.
    return Candidate(eye.label, read, fingerprint_of(files, replace(eye, where=""), options), eye.name)


def _check_no_photo(photo: Path, of_volume: Sequence[Path]) -> None:
    """Refuse a volume that holds the row's own photo, as a folder does that is named one level too high."""
    alike = [file for file in of_volume if plain_name(file.name) == plain_name(photo.name)]
    found = False
    with suppress(OSError):  # a link that leads nowhere: it is said when the eye is read
        found = any(file.samefile(photo) for file in alike)
    if found:
        raise DataError(
            f"volume: expected B-scans, found the photo of this row among them, {photo.name}; name the "
            "B-scans alone: their folder, or a pattern, as in eye7/oct_*.png"
        )


def _no_photo(masks: Mapping[str, Path]) -> DataError:
    return DataError(f"expected a photo, on which its masks lie ({', '.join(masks)}), found none")


def _scanners_file(volume: Path | tuple[Path, ...] | None) -> Path | None:
    """The volume, if it is one file as a scanner writes it."""
    if not isinstance(volume, Path) or volume.name.lower().endswith((*STACKS, *PICTURES)):
        return None
    return volume if volume.is_file() and is_scanners_file(volume) else None


def _left_out(name: str, reason: str) -> Candidate:
    return Candidate(name, partial(_refuse, reason), fingerprint_of([], reason))


def _refuse(reason: str) -> NoReturn:
    raise DataError(reason)


def _read(
    eye: EyeRow,
    options: ImportOptions,
    photo: Path | None,
    volume: Path | tuple[Path, ...] | None,
    masks: Mapping[str, Path],
    notes: tuple[str, ...],
) -> tuple[Eye, list[str]]:
    laterality, contradictions = _side(eye)
    exam = read_files(
        photo,
        volume,
        options,
        masks,
        laterality=laterality,
        source="table",
        metadata=eye.metadata,
        notes=(*notes, *contradictions),
    )
    return make_eye(exam, options, eye.name, eye.patient, eye.lines, diagnosis=eye.diagnosis)


def _read_scanned(
    eye: EyeRow,
    options: ImportOptions,
    photo: Path | None,
    file: Path,
    masks: Mapping[str, Path],
    notes: tuple[str, ...],
) -> tuple[Eye, list[str]]:
    """Read an eye whose volume is a scanner's file. What the table says goes before what the file tells."""
    exam = read_exam(file, _number_of_scan(file, eye.scan_number), options, eye.lines)
    laterality, contradictions = _side(eye, exam.laterality)
    more = [*notes, *contradictions, *exam.notes]
    if eye.lines is not None and exam.localizer is not None:
        exam = replace(exam, localizer=None, localizer_placement=Placement())
        more.append("its localizer was left out: where the table's lines lie on it is not known")
    exam = replace(exam, laterality=laterality, metadata=exam.metadata | eye.metadata)
    if photo is not None:
        if exam.photo is not None:
            more.append("the photo in its scanner's file was left out, for the table names another")
        taken = read_files(photo, None, options, masks)
        more += taken.notes
        exam = replace(
            exam,
            photo=taken.photo,
            masks=taken.masks,
            photo_file=taken.photo_file,
            sha256=taken.sha256,
            photo_centre_px=None,
            photo_pixel_mm=math.nan,
            history=exam.history | taken.history,
        )
    elif masks:
        if exam.photo is None:
            raise _no_photo(masks)
        drawn, of_masks = read_masks(masks, exam.photo)
        exam, more = replace(exam, masks=drawn), [*more, *of_masks]
    make = make_scanned_eye if photo is None else make_eye
    exam = replace(exam, notes=tuple(more))
    return make(exam, options, eye.name, eye.patient, eye.lines, diagnosis=eye.diagnosis)


def _number_of_scan(file: Path, said: str) -> int:
    """Which scan of a scanner's file a row means, counted from 0."""
    scans = format_of(file).scans(file)
    if not said and len(scans) < 2:
        return 0
    said = said.removesuffix(".0")  # as spreadsheets write numbers of a column with empty cells
    if said in (numbers := [str(number) for number in range(1, len(scans) + 1)]):
        return int(said) - 1
    listed = "; ".join(f"{number}. {scan}" for number, scan in zip(numbers, scans, strict=True))
    raise DataError(
        f"{file}: scan_number: expected which of {len(scans)} scans belongs to this row ({listed}), found "
        f"{said or 'none'}; fund2oct import vendor makes an eye of each, without the photo"
    )


def _side(eye: EyeRow, scanned: str = "") -> tuple[str, list[str]]:
    """The side of an eye by the first that tells it, and notes on what contradicts it.

    Args:
        eye: what the table says.
        scanned: the side that a scanner's file tells, empty where it tells none.
    """
    try:
        told = side_of(eye.laterality)
    except ValueError as error:
        raise DataError(str(error)) from None
    of_photo = laterality_of(eye.file_name) if eye.photo else ""
    of_volume = "the name of its volume" if eye.photo else "its name"
    says = (
        (told, "the table", "was told"),
        (laterality_of(eye.key), "its name", "its key says"),
        (scanned, "its scanner's file", "its scanner's file says"),
        (of_photo, "its name", "the name of its photo says"),
        (_side_of_volume(eye), of_volume, f"{of_volume} says"),
    )
    side, _, how = next((each for each in says if each[0]), ("", "", ""))
    # A key and a name may contradict it in the same words.
    notes = {
        f"{what} says {other}, and it is taken for {side} as {how}": None
        for other, what, _ in says
        if other and other != side
    }
    return side, list(notes)


def _side_of_volume(eye: EyeRow) -> str:
    """The side that the name of a volume tells, or of its first B-scan, or else of the folder of that."""
    pictures = "|" in eye.volume or eye.volume.lower().endswith(PICTURES)
    return next(filter(None, map(laterality_of, eye.volume_names[: 1 + pictures])), "")
