"""``fund2oct import aptos``: the folder of the APTOS-2024 challenge.

A CSV names the photo in ``CF`` and the folder of B-scans in ``OCT`` of each eye. Most B-scans are a
vendor's exports, whose left part is an infrared localizer and whose right part is the B-scan; the
others are bare.
"""

from __future__ import annotations

import csv
import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fund2oct.data.formats.exam import Exam, jpeg_history
from fund2oct.data.formats.images import read_grey, resize
from fund2oct.data.importing.assemble import ImportOptions, make_eye, read_files
from fund2oct.data.importing.engine import Candidate, fingerprint_of, import_eyes
from fund2oct.data.importing.report import ImportReport
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.data.store.layout import Compression
from fund2oct.eye import Array, DataError, Eye
from fund2oct.geometry import RadialScan, ScanPattern

BSCAN_ROWS, BSCAN_COLUMNS = 496, 768
SCAN = RadialScan()
"""The lines of the challenge's scans, in the order of their files."""
DEPTH_MM = 1.92
"""Height of a B-scan as exported."""
SHAPE = (320, 448)
"""Rows and columns of a slice in a submission."""
_COLUMNS = ("PID", "CF_path", "OCT_path")
"""Columns of the challenge's tables; that of val may lack the last."""
_OURS = {name.casefold(): name for name in _COLUMNS}
_SIDES = {"L": "OS", "R": "OD"}


def import_aptos(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImportOptions | None = None,
    overwrite: bool = False,
    *,
    scan: ScanPattern = SCAN,
    depth_mm: float = DEPTH_MM,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    r"""Import the challenge's eyes.

    An eye whose files are missing or damaged is left out and named in the report. Rows that name no
    B-scans, as those of the validation set, give a photo without a volume.

    Args:
        folder: the challenge's folder, whose ``train`` and ``val`` are imported, as far as they are
            there, or one of these two.
        out: the file to make.
        options: what to do with photos and volumes; None brings B-scans to the submission's size. Where
            ``options.scan.shape`` is None, the slices of an eye keep the size of its first one.
        overwrite: whether ``out`` may be replaced.
        scan: the lines of the scan, in the order of the files.
        depth_mm: height of a B-scan as exported.
        workers: processes to read eyes in.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.

    Returns:
        What became of each eye.

    Raises:
        DataError: if there is no such folder, its CSV cannot be read, or no eye could be imported.
        ValueError: if ``depth_mm`` is not positive, or the options say what ``scan`` and ``depth_mm`` say.

    Example:
        >>> Path("aptos/val/CF").mkdir(parents=True)
        >>> _ = Path("photo.png").rename("aptos/val/CF/011574-64L.png")
        >>> _ = Path("aptos/val/val.csv").write_text("PID,CF_path\n64,011574-64L.png\n")
        >>> import_aptos("aptos", "aptos.h5").imported
        ['011574-64L']
    """
    if not depth_mm > 0:
        raise ValueError(f"depth_mm: expected a positive height, found {depth_mm}")
    options = options or ImportOptions(ScanOptions(shape=SHAPE))
    _check_options(options.scan)
    options = replace(options, scan=replace(options.scan, pattern=scan))
    candidates = [
        Candidate(
            row["CF_path"] or f"row {number} of {table.name}",
            partial(_read_eye, table.parent, row, options, depth_mm),
            fingerprint_of(_files(table.parent, row), row, options, depth_mm),
        )
        for table in _find_tables(Path(folder))
        for number, row in enumerate(_read_table(table), 1)
    ]
    return import_eyes(candidates, out, overwrite, workers=workers, compression=compression)


def bscan_of(export: Array) -> Array:
    """The B-scan in an exported picture: its right part, or all of a picture that is too small for two.

    Args:
        export: grey, shape ``(rows, columns)``.

    Returns:
        The B-scan, 496 x 768 where the export was wider than that.

    Example:
        >>> bscan_of(np.zeros((596, 1264), np.uint8)).shape, bscan_of(np.zeros((320, 448), np.uint8)).shape
        ((496, 768), (320, 448))
    """
    rows, columns = export.shape
    if rows >= BSCAN_ROWS and columns > BSCAN_COLUMNS:
        return export[:BSCAN_ROWS, -BSCAN_COLUMNS:]
    return export


def _check_options(options: ScanOptions) -> None:
    """Refuse what is said by ``scan`` and ``depth_mm``, or already known of the challenge's B-scans."""
    if options.spacing_mm is not None:
        raise ValueError(
            f"spacing_mm: expected none for the challenge's B-scans, found {options.spacing_mm}; depth_mm "
            "says their height, and the lines of scan their width"
        )
    if options.pattern is not None:
        raise ValueError("pattern: expected none for the challenge's B-scans; scan says where they lie")
    if options.axes is not None or options.flip:
        raise ValueError("axes, flip: expected none for the challenge's B-scans, which are upright pictures")


def _find_tables(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected the challenge's, which holds train/train.csv")
    for names in (("train/train.csv", "val/val.csv"), ("train.csv", "val.csv")):
        if tables := [folder / name for name in names if (folder / name).is_file()]:
            return tables
    raise DataError(f"{folder}: expected train/train.csv, train.csv or val.csv in it, found none of them")


def _files(root: Path, row: dict[str, str]) -> list[Path]:
    files = [root / "CF" / row["CF_path"]] if row["CF_path"] else []
    return files + ([root / "OCT" / row["OCT_path"]] if row["OCT_path"] else [])


def _read_table(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or ()]
            names = [_OURS.get(name.casefold(), name) for name in header]
            reader.fieldnames = names
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as CSV ({error})") from error
    if not rows:
        raise DataError(f"{table}: expected a row for each eye, found none")
    needed = _COLUMNS if table.name == "train.csv" else _COLUMNS[:2]
    if missing := [name for name in needed if name not in names]:
        raise DataError(
            f"{table}: expected the columns PID, CF_path and OCT_path, found no {' and no '.join(missing)} "
            f"among {', '.join(header)}"
        )
    return [{name: (row.get(name) or "").strip() for name in _COLUMNS} for row in rows]


def _read_eye(
    root: Path, row: dict[str, str], options: ImportOptions, depth_mm: float
) -> tuple[Eye, list[str]]:
    if not row["PID"] or not row["CF_path"]:
        raise DataError(f"expected a PID and a CF_path, found {row['PID']!r} and {row['CF_path']!r}")
    path = root / "CF" / row["CF_path"]
    side = path.stem[-1:].upper()
    if side not in _SIDES:
        raise DataError(f"{path}: laterality: expected a name that ends in L or R, found {path.stem!r}")
    exam = read_files(path, None, options, laterality=_SIDES[side], source="APTOS-2024")
    if row["OCT_path"]:
        exam = _with_volume(exam, root / "OCT" / row["OCT_path"], options, depth_mm)
    return make_eye(exam, options, path.stem, row["PID"])


def _with_volume(exam: Exam, folder: Path, options: ImportOptions, depth_mm: float) -> Exam:
    """The exam with the B-scans of a folder, of which some may be exports and others bare."""
    scan = options.scan.pattern
    assert scan is not None
    files = _slices(folder, scan.n_slices)
    pictures = [read_grey(path) for path in files]
    bscans = [bscan_of(picture) for picture in pictures]
    rows, columns = options.scan.shape or bscans[0].shape
    volume = np.stack([resize(bscan, rows, columns) for bscan in bscans])
    spacing_mm = (math.nan, depth_mm / rows, max(scan.length_mm) / columns)
    history = exam.history | jpeg_history("volume", files, sum(picture.size for picture in pictures))
    return replace(exam, volume=volume, spacing_mm=spacing_mm, volume_file=str(folder), history=history)


def _slices(folder: Path, n_slices: int) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of B-scans")
    names = [f"{folder.name}_{number}.jpg" for number in range(n_slices)]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(f"{folder}: expected {n_slices} slices, missing {', '.join(missing)}")
    if (folder / (extra := f"{folder.name}_{n_slices}.jpg")).is_file():
        raise DataError(
            f"{folder}: expected {n_slices} slices, a line of the scan each, found {extra} as well"
        )
    return [folder / name for name in names]
