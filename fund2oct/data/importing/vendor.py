"""``fund2oct import vendor``: files as the scanners export them.

Each format is read by a module of its own into an :class:`~fund2oct.data.formats.exam.Exam`. Of what a
file says of its patient nothing is kept but what the schema has a place for: no name, no number, no
date, and no name of a file.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fund2oct.data.formats.exam import Exam
from fund2oct.data.formats.folders import files_below
from fund2oct.data.formats.naming import natural_order
from fund2oct.data.formats.scanners.known import (
    SCANNER_FORMATS,
    files_beside,
    format_of,
    is_scanners_file,
)
from fund2oct.data.importing.assemble import ImportOptions, make_eye
from fund2oct.data.importing.engine import Candidate, fingerprint_of, import_eyes
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.preparing.circle import NotAFundusError
from fund2oct.data.store.layout import Compression
from fund2oct.data.store.patients import hashed_patient
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import DataError, Eye, some_of
from fund2oct.file_kinds import file_sha256

_NO_PATIENT = "names no patient; it counts as a patient of its own"


def import_vendor(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImportOptions | None = None,
    overwrite: bool = False,
    *,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    """Import the files that scanners write; each scan becomes an eye.

    An eye's key is made from the file's content, and its patient is a hash; both depend on the salt. The
    report and the table beside the file name the source of each key.

    Args:
        source: a file, or a folder that is searched with all below it, also behind links. What is hidden is
            passed over.
        out: the file to make.
        options: slices, sizes, salt. ``spacing_mm``, ``radial`` and ``pattern`` go before what the files
            say; the first leaves their stars and circles where they are.
        overwrite: whether ``out`` may be replaced.
        workers: processes to read in.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.

    Returns:
        What became of each scan.

    Raises:
        DataError: if there is no file, or no scan could be imported.
        ImportError: if a format needs a package that is not installed.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.export import export_eye
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> _ = export_eye(eye, ".", "scan", "dicom")  # scan.dcm, as a scanner writes it
        >>> print(import_vendor("scan.dcm", "mine.h5").lines()[-1])
        mine.h5: 1 eyes imported, 0 left out
    """
    options = for_scanners(options or ImportOptions())
    source, out = Path(source), Path(out)
    candidates = []
    photographs: list[Path] = []
    referred_to: set[Path] = set()
    passed_over: list[str] = []
    files, closed = _find_files(source, out)
    for path in files:
        if source.is_dir() and not is_scanners_file(path):
            passed_over.append(str(path.relative_to(source)))
            continue
        count, beside = _count(path), files_beside(path)
        referred_to.update(beside)
        if count == 0:
            photographs.append(path)
        for number in range(count):
            name = str(path) if count == 1 else f"{path} (scan {number + 1} of {count})"
            read = partial(_read, path, number, options)
            candidates.append(Candidate(name, read, fingerprint_of([path, *beside], number, options)))
    for path in photographs:
        if path not in referred_to:
            name = str(path.relative_to(source)) if source.is_dir() else path.name
            passed_over.append(f"{name} (holds no B-scan, and no scan beside it refers to it)")
    if not candidates:
        there = [*passed_over, *(f"{name} ({why})" for name, why in closed)]
        others = f"; passed over {some_of(there)}" if there else ""
        raise DataError(
            f"{source}: expected files with B-scans ({', '.join(SCANNER_FORMATS)}), found none{others}"
        )
    report = import_eyes(
        candidates, out, overwrite, workers=workers, compression=compression, left_out=closed
    )
    report.passed_over = passed_over
    if (n_alone := sum(note == _NO_PATIENT for _, note in report.notes)) > 1:
        report.remarks.append(
            f"{n_alone} eyes name no patient, and each counts as one of its own: both eyes of one person "
            "may be both trained and tested on. Import them by a table with a column patient "
            "(fund2oct import table)"
        )
    return report


def _find_files(source: Path, out: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """The files to look at, and the names of folders that cannot be read, with the reasons."""
    if source.is_file():
        return [source], []
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    own = {out.absolute(), out.with_suffix(".import.csv").absolute()}
    files, closed = files_below(source)
    found = [
        path
        for path in files
        if path.absolute() not in own
        and not _is_hidden(path, source)
        and path.name.upper() not in ("DICOMDIR", "THUMBS.DB")
    ]
    named = [
        (str(folder.relative_to(source)), reason)
        for folder, reason in closed
        if not _is_hidden(folder, source)
    ]
    return sorted(found, key=natural_order), sorted(named)


def _is_hidden(path: Path, source: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(source).parts)


def for_scanners(options: ImportOptions) -> ImportOptions:
    """The options for scanners' files, which mark what is empty themselves."""
    return replace(options, scan=replace(options.scan, mask_borders=False))


def read_exam(path: Path, number: int, options: ImportOptions, lines: GivenLines | None = None) -> Exam:
    """Read a scan of a scanner's file; notes say what nobody tells, and which options are not for it.

    Args:
        path: the file.
        number: which of its scans, from 0.
        options: may say where the slices lie.
        lines: where a table says that they lie.

    Returns:
        What the file holds.

    Raises:
        DataError: if the file cannot be read.
        ImportError: if its format needs a package that is not installed.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.export import export_eye
        >>> _ = export_eye(EyeReader("eyes.h5").read("sim3-0000000-OD"), ".", "scan", "dicom")
        >>> exam = read_exam(Path("scan.dcm"), 0, ImportOptions())
        >>> len(exam.volume), exam.laterality
        (6, 'OD')
    """
    exam = format_of(path).read(path, number, options.scan.spacing_mm)
    notes = exam.notes
    told = (exam.lines, lines, options.scan.pattern, options.scan.radial or None)
    if exam.volume is not None and len(exam.volume) > 1 and all(place is None for place in told):
        notes += ("does not tell where its slices lie; taken for a raster from above to below",)
    if options.scan.axes is not None or options.scan.flip:
        notes += ("a scanner's file tells its axes; --axes and --flip were not applied to it",)
    digest = exam.sha256 or ("" if exam.photo is None else file_sha256(path))
    return replace(exam, volume_file=str(path), sha256=digest, notes=notes)


def make_scanned_eye(
    exam: Exam,
    options: ImportOptions,
    key: str,
    patient: str,
    lines: GivenLines | None = None,
    **known: Any,
) -> tuple[Eye, list[str]]:
    """Make an eye of a scanner's file and the photo in it, which is left out if it shows no retina.

    Args:
        exam: what :func:`read_exam` read.
        options: what to do with photo and volume.
        key: name of the eye.
        patient: name of the patient, which is hashed if the options have a salt.
        lines: where a table says that the slices lie.
        known: further fields of the :class:`~fund2oct.data.Eye`.

    Returns:
        The eye, and notes on it.

    Raises:
        DataError: if its volume cannot be used.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.export import export_eye
        >>> _ = export_eye(EyeReader("eyes.h5").read("sim3-0000000-OD"), ".", "scan", "dicom")
        >>> options = for_scanners(ImportOptions(fundus_px=48))
        >>> exam = read_exam(Path("scan.dcm"), 0, options)
        >>> make_scanned_eye(exam, options, key="7-OD", patient="7")[0].key
        '7-OD'
    """

    def make(part: Exam) -> tuple[Eye, list[str]]:
        return make_eye(part, options, key, patient, lines, **known)

    try:
        # The photo that the lines lie on is no localizer beside itself.
        eye, notes = make(exam if exam.photo_centre_px is None else replace(exam, localizer=None))
    except NotAFundusError as error:
        eye, notes = make(replace(exam, photo=None))
        # Notes are stored, names of files are not.
        notes.append(f"its photo was left out: {str(error).removeprefix(f'{exam.photo_file}: ')}")
        return eye, notes
    on_photo = exam.photo_centre_px is not None or (lines is not None and lines.unit == "px")
    if exam.photo is not None and not on_photo:
        notes.append(
            "where the scan lies on its photo is not read from the file; it is laid around the photo's "
            "centre, or as --placement says"
        )
    return eye, notes


def _count(path: Path) -> int:
    try:
        return len(format_of(path).scans(path))
    except (DataError, OSError):
        return 1  # what is wrong is said when it is read


def _read(path: Path, number: int, options: ImportOptions) -> tuple[Eye, list[str]]:
    exam = read_exam(path, number, options)
    made_of = f"{options.salt}:{file_sha256(path)}:{number}".encode(errors="surrogateescape")
    key = hashlib.sha256(made_of).hexdigest()[:16]
    # A name is never stored, with a salt or without.
    patient = hashed_patient(exam.patient, options.salt) if exam.patient else key
    eye, notes = make_scanned_eye(exam, replace(options, salt=""), key, patient)
    if not exam.patient:
        notes.append(_NO_PATIENT)
    return eye, notes
