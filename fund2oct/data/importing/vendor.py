"""``fund2oct import vendor``: files as the scanners export them.

Each format is read by a module of its own into an :class:`~fund2oct.data.formats.exam.Exam`. Of what a
file says of its patient nothing is kept but what the schema has a place for: no name, no number, no
date, and no name of a file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fund2oct.data.formats.exam import Exam
from fund2oct.data.formats.naming import natural_order
from fund2oct.data.formats.scanners import dicom, e2e, heyex, topcon, zeiss
from fund2oct.data.importing.assemble import ImportOptions, make_eye
from fund2oct.data.importing.engine import Candidate, fingerprint_of, import_eyes
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.preparing.circle import NotAFundusError
from fund2oct.data.store.layout import Compression
from fund2oct.data.store.patients import hashed_patient
from fund2oct.eye import DataError, Eye, some_of


@dataclass(frozen=True)
class ScannerFormat:
    """How a format is read: how many scans a file holds, one of them, and which other files it needs."""

    count: Callable[[Path], int]
    read: Callable[[Path, int], Exam]
    beside: Callable[[Path], list[Path]] = lambda path: []


def _one(path: Path) -> int:
    return 1


def _single(read: Callable[[Path], Exam], path: Path, number: int) -> Exam:
    return read(path)


SCANNER_FORMATS = {
    ".vol": ScannerFormat(_one, partial(_single, heyex.read_vol)),
    ".e2e": ScannerFormat(e2e.count_scans, e2e.read_scan),
    ".fda": ScannerFormat(_one, partial(_single, topcon.read_fda)),
    ".img": ScannerFormat(_one, partial(_single, zeiss.read_img)),
    ".dcm": ScannerFormat(dicom.count_scans, partial(_single, dicom.read_opt), dicom.photographs_of),
}
"""By the ending of the file; DICOM is also known by what it begins with."""


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
        source: a file, or a folder that is searched with all below it. What is hidden is passed over.
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
    options = options or ImportOptions()
    # These files mark what is empty themselves.
    options = replace(options, scan=replace(options.scan, mask_borders=False))
    source, out = Path(source), Path(out)
    candidates = []
    passed_over = []
    photographs: list[Path] = []
    referred_to: set[Path] = set()
    for path in _find_files(source, out):
        if source.is_dir() and not _is_known(path):
            passed_over.append(str(path.relative_to(source)))
            continue
        count, beside = _count(path), _beside(path)
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
        others = f"; passed over {some_of(passed_over)}" if passed_over else ""
        raise DataError(
            f"{source}: expected files with B-scans ({', '.join(SCANNER_FORMATS)}), found none{others}"
        )
    report = import_eyes(candidates, out, overwrite, workers=workers, compression=compression)
    report.passed_over = passed_over
    return report


def _find_files(source: Path, out: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    own = {out.absolute(), out.with_suffix(".import.csv").absolute()}
    found = [
        path
        for path in source.rglob("*")
        if path.is_file()
        and path.absolute() not in own
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
        and path.name.upper() not in ("DICOMDIR", "THUMBS.DB")
    ]
    return sorted(found, key=lambda path: (natural_order(path), str(path)))


def _is_known(path: Path) -> bool:
    try:
        return path.suffix.lower() in SCANNER_FORMATS or dicom.is_dicom(path)
    except OSError:
        return True  # what is wrong is said when it is read


def _format_of(path: Path) -> ScannerFormat:
    if not _is_known(path):
        raise DataError(f"{path}: expected {', '.join(SCANNER_FORMATS)} or DICOM, found another kind of file")
    return SCANNER_FORMATS.get(path.suffix.lower(), SCANNER_FORMATS[".dcm"])


def _count(path: Path) -> int:
    try:
        return _format_of(path).count(path)
    except (DataError, OSError):
        return 1  # what is wrong is said when it is read


def _beside(path: Path) -> list[Path]:
    try:
        return _format_of(path).beside(path)
    except (DataError, OSError):
        return []  # what is wrong is said when it is read


def _read(path: Path, number: int, options: ImportOptions) -> tuple[Eye, list[str]]:
    exam = _format_of(path).read(path, number)
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    made_of = f"{options.salt}:{content}:{number}".encode(errors="surrogateescape")
    key = hashlib.sha256(made_of).hexdigest()[:16]
    more = []
    if exam.lines is None and not options.scan.radial and exam.volume is not None and len(exam.volume) > 1:
        more.append("does not tell where its slices lie; taken for a raster from above to below")
    if not exam.patient:
        more.append("names no patient; it counts as a patient of its own")
    exam = replace(exam, sha256=exam.sha256 or content, volume_file=str(path))
    # A name is never stored, with a salt or without.
    patient = hashed_patient(exam.patient, options.salt) if exam.patient else key
    make = partial(make_eye, options=replace(options, salt=""), key=key, patient=patient)
    try:
        # The photo that the lines lie on is no localizer beside itself.
        eye, notes = make(exam if exam.photo_centre_px is None else replace(exam, localizer=None))
    except NotAFundusError as error:
        eye, notes = make(replace(exam, photo=None))
        # Notes are stored, names of files are not.
        more.append(f"its photo was left out: {str(error).removeprefix(f'{exam.photo_file}: ')}")
    else:
        if exam.photo is not None and exam.photo_centre_px is None:
            more.append(
                "where the scan lies on its photo is not read from the file; it is laid around the photo's "
                "centre, or as --placement says"
            )
    return eye, [*notes, *more]
