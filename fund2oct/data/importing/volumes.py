"""``fund2oct import volumes``: volumes without photos, from TIFF, NIfTI, NumPy or folders of pictures."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from fund2oct.data.formats.naming import laterality_of, natural_order
from fund2oct.data.formats.stacks import PICTURES, STACKS, TIFF, stack_files, volume_name
from fund2oct.data.formats.tiff import n_pages
from fund2oct.data.importing.assemble import ImportOptions, make_eye, read_files
from fund2oct.data.importing.engine import Candidate, fingerprint_of, import_eyes
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.store.layout import Compression
from fund2oct.data.tables.patients import patients_of_names, without_side
from fund2oct.data.tables.spreadsheet import some
from fund2oct.eye import DataError, Eye


def import_volumes(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImportOptions | None = None,
    overwrite: bool = False,
    *,
    no_patients: bool = False,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    """Import volumes without photos; each file, and each folder of pictures, becomes an eye.

    The eye's key is the name of the file or folder. The name may tell its side, and names of right and left
    eyes tell the patients: ``p12`` of ``p12_OD.tif`` and ``p12_OS.tif``.

    Args:
        source: a file, a folder of pictures (one volume), or a folder of files and such folders.
        out: the file to make.
        options: slices, spacing and sizes.
        overwrite: whether ``out`` may be replaced.
        no_patients: whether each eye is a patient of its own. If not, the names have to tell the patients of
            two eyes or more.
        workers: processes to read in.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.

    Returns:
        What became of each volume.

    Raises:
        DataError: if there is no volume, the names do not tell the patients, or none could be imported.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.data.preparing.scans import ScanOptions
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> np.save("eye7_OD.npy", eye.volume)  # six radial slices
        >>> options = ImportOptions(ScanOptions(spacing_mm=eye.spacing_mm, radial=True))
        >>> import_volumes("eye7_OD.npy", "mine.h5", options).imported
        ['eye7_OD']
    """
    options = options or ImportOptions()
    found, passed_over, closed = _find_volumes(Path(source), Path(out))
    patients, notes = _patients(Path(source), [_name(path) for path in found], no_patients)
    candidates = [
        Candidate(
            str(path),
            partial(_read, path, patient, options),
            fingerprint_of([path], str(path), patient, options),
        )
        for path, patient in zip(found, patients, strict=True)
    ]
    report = import_eyes(
        candidates, out, overwrite, workers=workers, compression=compression, left_out=closed
    )
    report.passed_over = passed_over
    report.remarks += notes
    return report


def _find_volumes(source: Path, out: Path) -> tuple[list[Path], list[str], list[tuple[str, str]]]:
    """Files and folders that are a volume each, names of what lies beside them, and what cannot be read."""
    if source.is_file():
        return [source], [], []
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    own = {out.absolute(), out.with_suffix(".import.csv").absolute()}
    if _is_volume(source):
        slices = stack_files(source)
        return [source], sorted(path.name for path in _there(source, own) - set(slices)), []
    found: list[Path] = []
    passed_over: list[str] = []
    closed: list[tuple[str, str]] = []
    for path in sorted(_there(source, own), key=natural_order):
        try:
            is_volume = _is_volume(path) if path.is_dir() else path.name.lower().endswith(STACKS)
        except OSError as error:
            closed.append((path.name, f"cannot be read: {error.strerror}"))
            continue
        if not is_volume:
            passed_over.append(path.name)
            continue
        found.append(path)
        if path.is_dir():
            with suppress(DataError):  # said when the volume is read
                beside = _there(path, own) - set(stack_files(path))
                passed_over += [f"{path.name}/{other.name}" for other in beside]
    if not found:
        there = sorted([*passed_over, *(f"{name} ({why})" for name, why in closed)])
        others = f"; passed over {some(there)}" if there else ""
        raise DataError(
            f"{source}: expected volumes ({', '.join(STACKS)}) or folders of pictures in it, found none"
            f"{others}"
        )
    return found, sorted(passed_over), closed


def _there(folder: Path, own: set[Path]) -> set[Path]:
    """What lies in a folder, without what is hidden and what this very import makes."""
    return {path for path in folder.iterdir() if not path.name.startswith(".") and path.absolute() not in own}


def _is_volume(folder: Path) -> bool:
    """Whether the pictures of a folder are slices: there are some, and no file is a volume by itself."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    pages = [path for path in files if path.suffix.lower() in TIFF]
    whole = [path for path in files if path.name.lower().endswith(STACKS) and path not in pages]
    # One page a file is a slice, several are a volume.
    if whole or any(n_pages(path) > 1 for path in pages):
        return False
    return bool(pages) or any(path.suffix.lower() in PICTURES for path in files)


def _patients(source: Path, names: list[str], no_patients: bool) -> tuple[list[str], list[str]]:
    """The patient of each eye, for a split must never part two eyes of one, and notes."""
    if no_patients:
        return names, []
    if len(names) < 2:
        return [without_side(name) or name for name in names], []
    patients, note = patients_of_names(names)
    if not patients:
        raise DataError(
            f"{source}: expected names that tell the patients, such as p12_OD and p12_OS, found "
            f"{some(names)}: {note}; name the patients in a table, as fund2oct import table reads it, or say "
            "--no-patients where each eye is of another patient"
        )
    return patients, [f"{source}: {note}"]


def _name(path: Path) -> str:
    """What a file is called without its ending, or a folder."""
    return volume_name(path.name) if path.is_file() else path.name


def _read(path: Path, patient: str, options: ImportOptions) -> tuple[Eye, list[str]]:
    name = _name(path)
    exam = read_files(None, path, options, laterality=laterality_of(name), source=f"volume {path.name}")
    return make_eye(exam, options, name, patient)
