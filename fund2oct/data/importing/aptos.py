"""``fund2oct import aptos``: the folder of the APTOS-2024 challenge.

A CSV names the photo in ``CF`` and the folder of B-scans in ``OCT`` of each eye. Most B-scans are a
vendor's exports, whose left part is an infrared localizer and whose right part is the B-scan; the
others are bare.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from fund2oct.data.formats.images import read_grey, read_rgb, resize
from fund2oct.data.importing.engine import Candidate, ImportReport, fingerprint_of, import_eyes
from fund2oct.data.preparing.circle import NotAFundusError, crop_retina, find_retina
from fund2oct.data.preparing.landmarks import PhotoPlacement, place_on
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.data.store.layout import Compression
from fund2oct.eye import Array, DataError, Eye, Plain
from fund2oct.geometry import Placement, RadialScan, ScanPattern

BSCAN_ROWS, BSCAN_COLUMNS = 496, 768
_SIDES = {"L": "OS", "R": "OD"}


@dataclass(frozen=True)
class AptosConfig:
    """How the challenge's files are read.

    Args:
        n_depth: rows to resize B-scans to; the default is the submission's.
        n_ascans: columns to resize B-scans to.
        fundus_px: width to resize photos to.
        depth_mm: height of a B-scan as exported.
        scan: the lines of the scan, in the order of the files.
        placement: where the scan lies on the photo, once that is cropped to the circle of retina, or that
            it is to be estimated from each photo.
    """

    n_depth: int = 320
    n_ascans: int = 448
    fundus_px: int = 448
    depth_mm: float = 1.92
    scan: ScanPattern = field(default_factory=RadialScan)
    placement: Placement | PhotoPlacement = field(default_factory=Placement)

    def __post_init__(self) -> None:
        for name in ("n_depth", "n_ascans", "fundus_px", "depth_mm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive size, found {getattr(self, name)}")


def import_aptos(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: AptosConfig | None = None,
    overwrite: bool = False,
    *,
    workers: int = 1,
    compression: Compression = "none",
) -> ImportReport:
    """Import the challenge's eyes.

    An eye whose files are missing or damaged is left out and named in the report. Rows that name no
    B-scans, as those of the validation set, give a photo without a volume.

    Args:
        folder: the challenge's folder, whose ``train`` and ``val`` are imported, as far as they are
            there, or one of these two.
        out: the file to make.
        config: sizes and scan.
        overwrite: whether ``out`` may be replaced.
        workers: processes to read eyes in.
        compression: as :class:`~fund2oct.data.EyeWriter`.

    Raises:
        DataError: if there is no such folder, its CSV cannot be read, or no eye could be imported.
    """
    config = config or AptosConfig()
    candidates = [
        Candidate(
            row["CF_path"] or f"row {number} of {table.name}",
            partial(_read_eye, table.parent, row, config),
            fingerprint_of(_files(table.parent, row), row, config),
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
    """
    rows, columns = export.shape
    if rows >= BSCAN_ROWS and columns > BSCAN_COLUMNS:
        return export[:BSCAN_ROWS, -BSCAN_COLUMNS:]
    return export


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
            rows = list(csv.DictReader(file))
            columns = set(rows[0]) if rows else set()
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as CSV ({error})") from error
    if not rows:
        raise DataError(f"{table}: expected a row for each eye, found none")
    if missing := {"PID", "CF_path"} - columns:
        raise DataError(
            f"{table}: expected the columns PID, CF_path and OCT_path, found no {sorted(missing)}"
        )
    return [{name: (row.get(name) or "").strip() for name in ("PID", "CF_path", "OCT_path")} for row in rows]


def _read_eye(root: Path, row: dict[str, str], config: AptosConfig) -> tuple[Eye, list[str]]:
    if not row["PID"] or not row["CF_path"]:
        raise DataError(f"expected a PID and a CF_path, found {row['PID']!r} and {row['CF_path']!r}")
    path = root / "CF" / row["CF_path"]
    side = path.stem[-1:].upper()
    if side not in _SIDES:
        raise DataError(f"{path}: laterality: expected a name that ends in L or R, found {path.stem!r}")
    photo = read_rgb(path)
    try:
        circle = find_retina(photo)
    except NotAFundusError as error:
        raise DataError(f"{path}: {error}") from error
    notes = [] if circle.found else ["no circle of retina in the photo; took its central square"]
    fundus = crop_retina(photo, circle, config.fundus_px)
    history: dict[str, Plain] = {}
    placement = place_on(fundus, _SIDES[side], config.placement, history, notes)
    eye = Eye(
        key=path.stem,
        patient=row["PID"],
        laterality=_SIDES[side],
        fundus=fundus,
        scan=config.scan,
        placement=placement,
        history=history,
        source="APTOS-2024",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    if not row["OCT_path"]:
        return eye, notes
    volume = _read_volume(root / "OCT" / row["OCT_path"], config)
    spacing_mm = (math.nan, config.depth_mm / config.n_depth, max(config.scan.length_mm) / config.n_ascans)
    searched = searched_fields(volume, spacing_mm, notes)
    return replace(eye, volume=volume, spacing_mm=spacing_mm, **searched), notes


def _read_volume(folder: Path, config: AptosConfig) -> Array:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of B-scans")
    n_slices = config.scan.n_slices
    names = [f"{folder.name}_{number}.jpg" for number in range(n_slices)]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(f"{folder}: expected {n_slices} slices, missing {', '.join(missing)}")
    if (folder / (extra := f"{folder.name}_{n_slices}.jpg")).is_file():
        raise DataError(
            f"{folder}: expected {n_slices} slices, a line of the scan each, found {extra} as well"
        )
    bscans = [bscan_of(read_grey(folder / name)) for name in names]
    return np.stack([resize(bscan, config.n_depth, config.n_ascans) for bscan in bscans])
