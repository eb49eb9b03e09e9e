"""Heidelberg's ``.e2e``, which holds all scans of a visit, through eyepy (MedVisBonn).

Positions are degrees around the centre of the localizer. The file does not tell their length in
millimetres, nor the localizer's field: they are taken for those of an eye of medium length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fund2oct.data.formats.exam import Exam, between_slices_mm, centred_scan, square_localizer
from fund2oct.data.formats.heyex import boundaries_of, displayed, dropped_note
from fund2oct.data.formats.naming import laterality_of
from fund2oct.eye import DataError

MM_A_DEGREE = 0.2896
LOCALIZER_DEG = 30.0

_CIRCLE = 2
_EMPTY = 1.99


def count_scans(path: Path) -> int:
    """How many scans with B-scans a file holds; at least 1, so that an empty one is named.

    Raises:
        ImportError: if eyepy is not installed.
        DataError: if the file cannot be read.
    """
    with _open(path) as reader:
        return max(1, len(_scans(path, reader)))


def read_scan(path: Path, number: int) -> Exam:
    """Read one of the scans of a file.

    Raises:
        ImportError: if eyepy is not installed.
        DataError: if the file cannot be read, has no B-scans, or the scan is a circular one.
    """
    with _open(path) as reader:
        scans = _scans(path, reader)
        if not scans:
            raise DataError(f"{path}: expected B-scans, found none")
        try:
            return _exam(path, scans[number])
        except DataError:
            raise
        # A damaged file makes its library raise whatever it stumbles over.
        except Exception as error:
            raise _damaged(path, error) from error


def _open(path: Path) -> Any:
    try:
        from eyepy.io.he.e2e_reader import HeE2eReader
    except ImportError:
        raise ImportError('.e2e files need eyepy: pip install "fund2oct[vendor]"') from None
    try:
        return HeE2eReader(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    found = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return DataError(f"{path}: cannot be read as a Heidelberg .e2e, it is damaged or none ({found})")


def _scans(path: Path, reader: Any) -> list[Any]:
    try:
        return [series for series in reader.series if series.n_bscans]
    except Exception as error:
        raise _damaged(path, error) from error


def _exam(path: Path, series: Any) -> Exam:
    bscans = series.get_bscan_meta()
    if bscans[0]["scan_pattern"] == _CIRCLE:
        raise DataError(f"{path}: a circular scan, whose A-scans do not lie on a straight line")
    reflectance = np.asarray(series.get_bscans())
    volume = displayed(np.where(reflectance < _EMPTY, reflectance, 0))
    n_slices, _, n_ascans = volume.shape
    degrees = np.array([(meta["start_pos"], meta["end_pos"]) for meta in bscans], np.float64)
    if len(degrees) != n_slices:
        raise DataError(f"{path}: expected a position for each of {n_slices} B-scans, found {len(degrees)}")
    scan, centre = centred_scan(degrees * MM_A_DEGREE)
    z_mm, x_mm = float(bscans[0]["scale_y"]), float(np.mean(scan.length_mm)) / n_ascans
    fields: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    try:
        picture = np.asarray(series.get_localizer().data, np.uint8)
    except Exception:  # not every scan has one
        notes += ("its localizer could not be read",)
    else:
        size_mm = LOCALIZER_DEG * MM_A_DEGREE
        pixel_mm = (size_mm / picture.shape[1], size_mm / picture.shape[0])
        from_corner = (centre[0] + size_mm / 2, centre[1] + size_mm / 2)
        square, placement = square_localizer(picture, pixel_mm, from_corner)
        fields = {"localizer": square, "localizer_placement": placement}
    layers = _layers(series, n_slices)
    boundaries, dropped = boundaries_of(layers, z_mm, n_ascans)
    patient = series.get_heyex_metadata()["Patient"]
    names = [patient.get(name) for name in ("Patient ID", "Surname", "First Name")]
    return Exam(
        volume=volume,
        spacing_mm=(between_slices_mm(scan), z_mm, x_mm),
        laterality=laterality_of(str(series.laterality()).rpartition(".")[2]),
        patient=str(names[0] or " ".join(str(name) for name in names[1:] if name)).strip(),
        source="Heidelberg .e2e",
        lines=scan,
        boundaries_um=boundaries,
        history={"levels_from": "reflectance ** 0.25", "mm_a_degree": MM_A_DEGREE},
        notes=notes + dropped_note(dropped),
        **fields,
    )


def _layers(series: Any, n_slices: int) -> list[dict[int, Any]]:
    try:
        found = series.get_layers()
    except KeyError:  # a scan without boundaries
        found = {}
    rows = {number: np.where(np.asarray(row) > 0, row, np.nan) for number, row in found.items()}
    return [{int(number): row[place] for number, row in rows.items()} for place in range(n_slices)]
