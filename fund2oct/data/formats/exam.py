"""What a scanner's file holds of one eye, whatever its format, and where its lines lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from fund2oct.data.formats.images import resize
from fund2oct.data.formats.stacks import Spacing
from fund2oct.eye import Array, DataError, Plain
from fund2oct.geometry import (
    CircularScan,
    CurveScan,
    LineScan,
    Placement,
    RadialScan,
    RasterScan,
    ScanPattern,
)
from fund2oct.levels import Levels
from fund2oct.retina.layers import BOUNDARIES, boundary_index

_REGULAR_MM = 0.02
_CONCENTRIC_MM = 0.02
_ROUND = 0.02
_TEMPORAL_DEG = {"OD": -90.0, "OS": 90.0}
_NEAR_DEG = 45.0
_OLDEST = 90


@dataclass(frozen=True, kw_only=True)
class Exam:
    """One eye as its files hold it, before slices are chosen and pictures resized.

    Args:
        volume: B-scans, numbers of any type, shape ``(S, Z, X)``; None where there is a photo alone.
        spacing_mm: ``(s, z, x)``; None where the file does not tell it.
        laterality: ``"OD"``, ``"OS"`` or empty.
        patient: what tells patients apart in the files, empty where there is nothing. It is hashed and
            never stored.
        source: the format.
        levels: the numbers that are black and white; None where the file does not tell it.
        lines: where the slices lie; None where the file does not tell it.
        localizer: grey, uint8, shape ``(L, L)``.
        localizer_placement: where the lines lie on it.
        photo: RGB, uint8, shape ``(rows, columns, 3)``.
        sha256: of the file that holds the photo.
        photo_file: name of that file, for messages alone.
        volume_file: name of the file that holds the volume, likewise.
        boundaries_um: as in :class:`~fund2oct.data.Eye`.
        metadata: what else is kept of the visit.
        history: how the values were converted.
        notes: what is worth knowing of the file.
    """

    volume: Array | None = None
    spacing_mm: Spacing | None = None
    laterality: str = ""
    patient: str = ""
    source: str = ""
    levels: Levels | None = None
    lines: ScanPattern | None = None
    localizer: Array | None = None
    localizer_placement: Placement = field(default_factory=Placement)
    photo: Array | None = None
    sha256: str = ""
    photo_file: str = ""
    volume_file: str = ""
    boundaries_um: Array | None = None
    metadata: dict[str, Plain] = field(default_factory=dict)
    history: dict[str, Plain] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def centred_scan(
    ends_mm: Array, tolerance_mm: float = _REGULAR_MM
) -> tuple[ScanPattern, tuple[float, float]]:
    """Lines around their own centre: a raster or a star where they are one.

    Args:
        ends_mm: first and last point of each line, x to the right and y down, shape ``(S, 2, 2)``.
        tolerance_mm: how far the end of a line may lie from that of a raster or a star.

    Returns:
        The scan, and its centre in the coordinates of ``ends_mm``.

    Raises:
        DataError: if a line has no length, or is not finite.
    """
    ends = np.asarray(ends_mm, np.float64)
    if not np.isfinite(ends).all():
        raise DataError("expected finite positions of the slices, found NaN or infinity")
    centre = ends.mean((0, 1))
    return regular_scan(ends - centre, tolerance_mm), (float(centre[0]), float(centre[1]))


def regular_scan(ends_mm: Array, tolerance_mm: float) -> ScanPattern:
    """Lines as a raster or a star around the origin where they are one, else as they are.

    Args:
        ends_mm: as :func:`centred_scan`.
        tolerance_mm: likewise.

    Raises:
        DataError: if a line has no length, or is not finite.
    """
    try:
        lines = LineScan(tuple(((a, b), (c, d)) for (a, b), (c, d) in ends_mm.tolist()))
    except ValueError as error:
        raise DataError(str(error)) from error
    length = float(np.mean(lines.length_mm))
    for regular in (_raster(ends_mm, length), _star(ends_mm, length)):
        if regular is not None and np.abs(np.array(regular.lines) - ends_mm).max() < tolerance_mm:
            return regular
    return lines


def _raster(ends: Array, length: float) -> LineScan | None:
    first, last = ends[0, :, 1].mean(), ends[-1, :, 1].mean()
    if len(ends) < 2 or first == last:
        return None
    return RasterScan(len(ends), length, abs(last - first), upwards=bool(first > last))


def _star(ends: Array, length: float) -> LineScan | None:
    x, y = (ends[:, 1] - ends[:, 0]).T
    degrees = np.degrees(np.arctan2(x, -y))  # clockwise from straight up
    if len(ends) < 2:
        return None
    clockwise = math.sin(math.radians(degrees[1] - degrees[0])) > 0
    return RadialScan(len(ends), length, round(float(degrees[0]), 6), bool(clockwise))


def heidelberg_circles(
    starts_mm: Array, centres_mm: Array, laterality: str
) -> tuple[CircularScan, tuple[float, float], tuple[str, ...]]:
    """Circles of a start and a centre, which run from temporal over superior to nasal and inferior.

    The files tell the radius and the centre. That the A-scans begin temporally and go on upwards, clockwise
    in a right eye and the other way in a left one, is how OCTSEG (Mayer, Erlangen) and heyexr (Bhardwaj)
    read them. A start within 45 degrees of temporal is taken as stated, for the scanner may turn the circle.

    Args:
        starts_mm: a point of each circle, x to the right and y down, shape ``(S, 2)``.
        centres_mm: their centres, shape ``(S, 2)``.
        laterality: ``"OD"`` or ``"OS"``.

    Returns:
        The scan, its centre, and notes.

    Raises:
        DataError: if the side is not known, or the circles have no common centre or no radius.
    """
    if laterality not in _TEMPORAL_DEG:
        raise DataError(
            "a circular scan of an eye whose side the file does not tell, on which the direction of its "
            "A-scans depends"
        )
    x, y = (np.asarray(starts_mm, float) - centres_mm).T
    radii = np.hypot(x, y)
    if not (np.isfinite(radii).all() and (radii > 0).all()):
        raise DataError(f"a circular scan: expected positive radii, found {radii.tolist()} mm")
    if np.ptp(centres_mm, axis=0).max() > _CONCENTRIC_MM:
        raise DataError("a circular scan: expected circles around one centre, found several")
    temporal, stated = _TEMPORAL_DEG[laterality], math.degrees(math.atan2(x[0], -y[0]))
    turned = (stated - temporal + 180) % 360 - 180
    notes: tuple[str, ...] = ()
    if abs(turned) > _NEAR_DEG:
        notes = (f"its circle is said to begin {turned:.0f} degrees off temporal; taken to begin there",)
        turned = 0.0
    scan = CircularScan(tuple(radii.tolist()), round(temporal + turned, 6), laterality == "OD")
    centre = np.mean(centres_mm, axis=0)
    return scan, (float(centre[0]), float(centre[1])), notes


def scan_of_curves(points_mm: Array) -> tuple[ScanPattern, tuple[float, float]]:
    """Curves around their own centre: circles where they are closed and round, to 2% of their radius.

    Args:
        points_mm: places along each slice, x to the right and y down, between which it is straight, shape
            ``(S, P, 2)``.

    Returns:
        The scan, and its centre in the coordinates of ``points_mm``.

    Raises:
        DataError: if a place is not finite, or a slice has no length.
    """
    points = np.asarray(points_mm, float)
    steps = np.hypot(*np.moveaxis(np.diff(points, axis=1), -1, 0))
    if not np.isfinite(points).all() or not (steps.sum(1) > 0).all():
        raise DataError("expected finite places along each slice, some of them apart, found others")
    if circles := _circles(points, steps):
        return circles
    centre = points.mean((0, 1))
    # A-scans are as far apart on a short piece of a slice as on a long one.
    shares = np.linspace(0, 1, points.shape[1])
    even = []
    for curve, step in zip(points - centre, steps, strict=True):
        along = np.concatenate([[0], np.cumsum(step)]) / step.sum()
        even.append(np.stack([np.interp(shares, along, values) for values in curve.T], -1).round(6))
    curves = tuple(tuple((float(x), float(y)) for x, y in curve) for curve in even)
    return CurveScan(curves), (float(centre[0]), float(centre[1]))


def _circles(points: Array, steps: Array) -> tuple[CircularScan, tuple[float, float]] | None:
    if points.shape[1] < 8 or (np.hypot(*(points[:, -1] - points[:, 0]).T) > 1.5 * steps.max(1)).any():
        return None
    # A file may close its polygon with the first point, or leave that to the reader.
    doubled = np.hypot(*(points[:, -1] - points[:, 0]).T) < 0.5 * steps.mean(1)
    ring = points[:, :-1] if doubled.all() else points
    centres = (ring.max(1) + ring.min(1)) / 2
    centre = centres.mean(0)
    around = ring - centre
    distance = np.hypot(*np.moveaxis(around, -1, 0))
    radii = distance.mean(1)
    if (np.abs(distance / radii[:, None] - 1) > _ROUND).any() or np.ptp(centres, axis=0).max() > (
        _ROUND * radii.min()
    ):
        return None
    (x0, y0), (x1, y1) = around[0, 0], around[0, 1]
    start = round(math.degrees(math.atan2(x0, -y0)), 6)
    clockwise = bool(x0 * y1 - y0 * x1 > 0)
    return CircularScan(tuple(radii.tolist()), start, clockwise), (float(centre[0]), float(centre[1]))


def between_slices_mm(scan: ScanPattern, stated_mm: float = math.nan) -> float:
    """Distance of two slices of a raster; of other scans what the file states, NaN for a star and circles."""
    if isinstance(scan, RasterScan):
        return abs(scan.lines[-1][0][1] - scan.lines[0][0][1]) / (scan.n_slices - 1)
    if isinstance(scan, RadialScan | CircularScan) or scan.n_slices < 2 or not stated_mm > 0:
        return math.nan
    return stated_mm


def square_localizer(
    picture: Array, pixel_mm: tuple[float, float], centre_mm: tuple[float, float]
) -> tuple[Array, Placement]:
    """A localizer as a square of square pixels, with black where it was no square.

    Args:
        picture: grey, uint8, shape ``(rows, columns)``.
        pixel_mm: width and height of a pixel.
        centre_mm: where the scan's centre lies, from the top left corner.

    Returns:
        The picture, shape ``(L, L)``, and where the scan lies on it.
    """
    across, down = pixel_mm
    rows, columns = picture.shape
    height_mm, width_mm = rows * down, columns * across
    picture = resize(picture, max(1, round(height_mm / across)), columns)
    size = max(picture.shape)
    top, left = (size - picture.shape[0]) // 2, (size - columns) // 2
    square = np.zeros((size, size), np.uint8)
    square[top : top + picture.shape[0], left : left + columns] = picture
    half = size * across / 2
    shift = ((centre_mm[0] - width_mm / 2) / half, (centre_mm[1] - height_mm / 2) / half)
    return square, Placement(shift, 0.0, half)


def named_boundaries(rows: Mapping[str, Array], z_mm: float, shape: tuple[int, int]) -> Array | None:
    """Boundaries in the order of the schema, from rows of pixels; None where there is none.

    Args:
        rows: by the schema's name, the row at each A-scan, 0 at the centre of the first row, NaN where
            absent, shape ``(S, X)``.
        z_mm: height of a row.
        shape: ``(S, X)``.
    """
    found = np.full((len(BOUNDARIES), *shape), np.nan, np.float32)
    for name, values in rows.items():
        found[boundary_index(name)] = (np.asarray(values) + 0.5) * z_mm * 1000
    return found if np.isfinite(found).any() else None


def age_years(born: date | None, seen: date | None) -> dict[str, Plain]:
    """The age as metadata, 90 for all who are older; nothing where a date is absent or makes no sense."""
    if born is None or seen is None:
        return {}
    years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return {"age_years": min(years, _OLDEST)} if 0 <= years < 130 else {}
