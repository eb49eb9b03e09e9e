"""Circular and other curved scans, as scanners' files describe them."""

from __future__ import annotations

import math

import numpy as np

from fund2oct.eye import Array, DataError
from fund2oct.geometry import CircularScan, CurveScan, ScanPattern

_CONCENTRIC_MM = 0.02
_ROUND = 0.02
_TEMPORAL_DEG = {"OD": -90.0, "OS": 90.0}
_NEAR_DEG = 45.0


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
