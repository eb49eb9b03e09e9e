"""Heidelberg's ``.e2e``, which holds all scans of a visit, through eyepy (MedVisBonn).

Positions are degrees around the centre of the localizer. The file does not tell their length in
millimetres, nor the localizer's field: they are taken for those of an eye of medium length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fund2oct.data.formats.by_library import by_library
from fund2oct.data.formats.exam import Exam, between_slices_mm, centred_scan, square_localizer
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.formats.scanners.curved import heidelberg_circles
from fund2oct.data.formats.scanners.heyex import boundaries_of, displayed, dropped_note
from fund2oct.eye import Array, DataError
from fund2oct.geometry import Point, ScanPattern

MM_A_DEGREE = 0.2896
LOCALIZER_DEG = 30.0

_WHAT = "a Heidelberg .e2e"
_CIRCLE = 2
_EMPTY = 1.99


class _Bscan(NamedTuple):
    """What the file says of a B-scan: its kind, its line's ends and centre in degrees, a row's height."""

    pattern: int
    ends: tuple[Point, Point]
    centre: Point
    z_mm: float


def list_scans(path: Path) -> list[str]:
    """Side and size of each scan with B-scans in a file; at least one line, so that an empty file is named.

    Raises:
        ImportError: if eyepy is not installed.
        DataError: if the file cannot be read.
    """
    with _open(path) as reader:
        return [_line_on(path, series) for series in _scans(path, reader)] or ["no B-scans"]


def read_scan(path: Path, number: int) -> Exam:
    """Read one of the scans of a file.

    Raises:
        ImportError: if eyepy is not installed.
        DataError: if the file cannot be read, or has no B-scans.
    """
    with _open(path) as reader:
        scans = _scans(path, reader)
        if not scans:
            raise DataError(f"{path}: expected B-scans, found none")
        return _exam(path, scans[number])


def _open(path: Path) -> Any:
    try:
        from eyepy.io.he.e2e_reader import HeE2eReader
    except ImportError:
        raise ImportError('.e2e files need eyepy: pip install "fund2oct[vendor]"') from None
    with by_library(path, _WHAT):
        return HeE2eReader(path)


def _scans(path: Path, reader: Any) -> list[Any]:
    with by_library(path, _WHAT):
        return [series for series in reader.series if series.n_bscans]


def _line_on(path: Path, series: Any) -> str:
    stated = ""
    with suppress(DataError), by_library(path, _WHAT):  # not every scan tells its side
        stated = str(series.laterality())
    side = laterality_of(stated.rpartition(".")[2])
    return f"{side or 'side not told'}, {series.n_bscans} B-scans"


def _exam(path: Path, series: Any) -> Exam:
    with by_library(path, _WHAT):
        bscans = [_meta(meta) for meta in series.get_bscan_meta()]
        reflectance = np.asarray(series.get_bscans())
        side = str(series.laterality())
        layers = _layers(series)
        told = series.get_heyex_metadata()
        patient, device = dict(told["Patient"]), told.get("Device", {}).get("Camera Model")
    if not bscans:
        raise DataError(f"{path}: expected a position for each B-scan, found none")
    if reflectance.ndim != 3:
        raise DataError(f"{path}: expected B-scans of one size, found an array of {reflectance.shape}")
    volume = displayed(np.where(reflectance < _EMPTY, reflectance, 0))
    n_slices, _, n_ascans = volume.shape
    degrees = np.array([meta.ends for meta in bscans], np.float64)
    if len(degrees) != n_slices:
        raise DataError(f"{path}: expected a position for each of {n_slices} B-scans, found {len(degrees)}")
    laterality = laterality_of(side.rpartition(".")[2])
    try:
        scan, centre, notes = _scan(bscans, degrees * MM_A_DEGREE, laterality)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    z_mm, x_mm = bscans[0].z_mm, float(np.mean(scan.length_mm)) / n_ascans
    fields: dict[str, Any] = {}
    try:
        with by_library(path, _WHAT):
            picture = np.asarray(series.get_localizer().data, np.uint8)
    except DataError:  # not every scan has one
        notes += ("its localizer could not be read",)
    else:
        size_mm = LOCALIZER_DEG * MM_A_DEGREE
        pixel_mm = (size_mm / picture.shape[1], size_mm / picture.shape[0])
        from_corner = (centre[0] + size_mm / 2, centre[1] + size_mm / 2)
        square, placement = square_localizer(picture, pixel_mm, from_corner)
        fields = {"localizer": square, "localizer_placement": placement}
    if wrong := [number for number, rows in layers.items() if len(rows) != n_slices]:
        raise DataError(f"{path}: expected boundaries of {n_slices} B-scans, found others of {wrong}")
    of_bscan = [{number: rows[place] for number, rows in layers.items()} for place in range(n_slices)]
    boundaries, dropped = boundaries_of(of_bscan, z_mm, n_ascans)
    names = [patient.get(name) for name in ("Patient ID", "Surname", "First Name")]
    return Exam(
        volume=volume,
        spacing_mm=(between_slices_mm(scan), z_mm, x_mm),
        laterality=laterality,
        patient=str(names[0] or " ".join(str(name) for name in names[1:] if name)).strip(),
        source="Heidelberg .e2e",
        lines=scan,
        boundaries_um=boundaries,
        metadata={"device": str(device)} if device else {},
        history={"levels_from": "reflectance ** 0.25", "mm_a_degree": MM_A_DEGREE},
        notes=notes + dropped_note(dropped),
        **fields,
    )


def _meta(meta: Any) -> _Bscan:
    """What eyepy says of a B-scan, which it parses as it is asked."""
    (x0, y0), (x1, y1) = meta["start_pos"], meta["end_pos"]
    ends = (float(x0), float(y0)), (float(x1), float(y1))
    pattern = int(meta["scan_pattern"])
    circle = pattern == _CIRCLE
    centre = (float(meta["center_x"]), float(meta["center_y"])) if circle else (math.nan, math.nan)
    return _Bscan(pattern, ends, centre, float(meta["scale_y"]))


def _scan(
    bscans: Sequence[_Bscan], ends_mm: Array, laterality: str
) -> tuple[ScanPattern, tuple[float, float], tuple[str, ...]]:
    """Where the B-scans lie, around their centre, the centre, and notes."""
    circles = [meta.pattern == _CIRCLE for meta in bscans]
    if all(circles):
        centres = np.array([meta.centre for meta in bscans], np.float64) * MM_A_DEGREE
        return heidelberg_circles(ends_mm[:, 0], centres, laterality)
    if any(circles):
        raise DataError(
            f"expected B-scans of one kind, found {sum(circles)} circles among {len(bscans)} B-scans; export "
            "them one by one"
        )
    return *centred_scan(ends_mm), ()


def _layers(series: Any) -> dict[int, Array]:
    """The rows of each boundary by eyepy's number, ``(S, X)``; NaN where they are not known."""
    try:
        found = dict(series.get_layers())
    except KeyError:  # a scan without boundaries
        return {}
    return {int(number): np.where(np.asarray(rows) > 0, rows, np.nan) for number, rows in found.items()}
