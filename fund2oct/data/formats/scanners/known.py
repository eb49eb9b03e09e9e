"""The formats of scanners' files: which reader a file needs, and what lies beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fund2oct.data.formats.exam import Exam
from fund2oct.data.formats.scanners import dicom, e2e, heyex, topcon, zeiss
from fund2oct.data.formats.scanners.dicom_file import is_dicom
from fund2oct.data.formats.stacks import Spacing
from fund2oct.eye import DataError


@dataclass(frozen=True)
class ScannerFormat:
    """How a format is read: the names of the scans in a file, one of them, and which other files it needs.

    A scan is read by the file, its number, and the spacing that the user says, or None.
    """

    scans: Callable[[Path], list[str]]
    read: Callable[[Path, int, Spacing | None], Exam]
    beside: Callable[[Path], list[Path]] = lambda path: []


def _one(path: Path) -> list[str]:
    return [path.name]


def _single(read: Callable[[Path], Exam], path: Path, number: int, given: Spacing | None) -> Exam:
    return read(path)


SCANNER_FORMATS = {
    ".vol": ScannerFormat(_one, partial(_single, heyex.read_vol)),
    ".e2e": ScannerFormat(e2e.list_scans, lambda path, number, given: e2e.read_scan(path, number)),
    ".fda": ScannerFormat(_one, partial(_single, topcon.read_fda)),
    ".img": ScannerFormat(_one, partial(_single, zeiss.read_img)),
    ".dcm": ScannerFormat(
        dicom.list_scans, lambda path, number, given: dicom.read_opt(path, given), dicom.photographs_of
    ),
}
"""By the ending of the file; DICOM is also known by what it begins with."""


def is_scanners_file(path: Path) -> bool:
    """Whether a file is of one of the formats, by its ending or its beginning."""
    try:
        return path.suffix.lower() in SCANNER_FORMATS or is_dicom(path)
    except OSError:
        return True  # what is wrong is said when it is read


def format_of(path: Path) -> ScannerFormat:
    """The format of a file.

    Raises:
        DataError: if it is of none.
    """
    if not is_scanners_file(path):
        raise DataError(f"{path}: expected {', '.join(SCANNER_FORMATS)} or DICOM, found another kind of file")
    return SCANNER_FORMATS.get(path.suffix.lower(), SCANNER_FORMATS[".dcm"])


def files_beside(path: Path) -> list[Path]:
    """The other files that are read with a file.

    Raises:
        ImportError: if its format needs a package that is not installed.
    """
    try:
        return format_of(path).beside(path)
    except (DataError, OSError):
        return []  # what is wrong is said when it is read
