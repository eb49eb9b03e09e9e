"""Lines that a user gives for the B-scans, as a scan pattern and its place on the cropped photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fund2oct.data.formats.exam import between_slices_mm, centred_scan, regular_scan
from fund2oct.data.formats.stacks import Spacing
from fund2oct.data.preparing.circle import RetinaCircle
from fund2oct.data.tables.eyes import GivenLines
from fund2oct.eye import Array, DataError
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.plausible import HALF_WIDTH_MM

_ROUNDED_PX = 0.75
"""How far whole pixels are from where a line lies, a bit more than half of one's diagonal."""

_ROUNDED_MM = 0.005
_UNEVEN = 0.1


@dataclass(frozen=True)
class LocatedScan:
    """A scan whose lines a user gave, and where it lies on the cropped photo.

    Args:
        scan: its lines, around their own centre where they were given in pixels.
        spacing_mm: distance of slices, rows and A-scans ``(s, z, x)`` that fits the lines.
        placement: where they lie on the cropped photo; None for lines in millimetres, which do not tell it.
        notes: what is worth knowing.

    Example:
        >>> from fund2oct import RadialScan
        >>> located = LocatedScan(RadialScan(6), (math.nan, 0.004, 0.0115), Placement((0.02, 0.0)), ())
        >>> located.scan.n_slices, located.placement.shift
        (6, (0.02, 0.0))
    """

    scan: ScanPattern
    spacing_mm: Spacing
    placement: Placement | None
    notes: tuple[str, ...]


def locate_lines(
    given: GivenLines,
    spacing_mm: Spacing | None,
    n_ascans: int,
    circle: RetinaCircle | None,
    photo_size: tuple[int, int],
    half_width_mm: float | None,
) -> LocatedScan:
    """Turn the lines that a user gave into a scan pattern and its place on the cropped photo.

    Pixels need a scale. Where the distance of A-scans is known, a line's length in pixels and in
    millimetres gives it; where it is not, ``half_width_mm`` does.

    Args:
        given: the lines.
        spacing_mm: ``(s, z, x)`` of the volume as far as it is known, NaN for what is not.
        n_ascans: number of A-scans of a line.
        circle: the retina's circle in the photo, to which it is cropped; None without a photo.
        photo_size: rows and columns of the photo.
        half_width_mm: retina from the circle's centre to its edge; None where it is not told.

    Returns:
        The lines as a scan, with the placement and the spacing that follow from them.

    Raises:
        DataError: if the lines cannot be used; the message says why.

    Example:
        >>> circle = RetinaCircle(x=400.0, y=300.0, radius=250.0, confidence=1.0)
        >>> cross = GivenLines((((400, 400), (400, 200)), ((300, 300), (500, 300))), unit="px")
        >>> located = locate_lines(cross, (math.nan, 0.004, 0.05), 100, circle, (600, 800), None)
        >>> located.scan.length_mm, located.placement.half_width_mm  # 100 A-scans of 0.05 mm over 200 pixels
        ((5.0, 5.0), 6.25)
    """
    _, z_mm, x_mm = spacing_mm or (math.nan,) * 3
    if not z_mm > 0:
        raise DataError(
            "expected the distance of rows, but the volume's file does not tell it; give --spacing-mm S Z X, "
            "where S and X may be nan, for the lines tell them"
        )
    ends = np.array(given.ends)
    lengths = np.hypot(*(ends[:, 1] - ends[:, 0]).T)
    if not np.isfinite(ends).all() or not (lengths > 0).all():
        number = int(np.argmin(np.nan_to_num(lengths)))
        raise DataError(
            f"lines: expected two finite ends apart, found {_line(ends[number])} for slice {number}"
        )
    notes = []
    uneven = np.abs(lengths / np.median(lengths) - 1) > _UNEVEN
    for number in np.flatnonzero(uneven)[:1]:
        notes.append(
            f"the line of slice {number} is {lengths[number]:.4g} {given.unit} long, their median is "
            f"{np.median(lengths):.4g}; check {_line(ends[number])}"
        )
    if given.unit == "mm":
        scan = regular_scan(ends, _ROUNDED_MM)
        return LocatedScan(scan, _spacing(scan, z_mm, x_mm, n_ascans), None, tuple(notes))
    if circle is None:
        raise DataError(
            "lines in pixels of the photo: expected a photo, found none; give them in millimetres"
        )
    notes += _outside(ends, photo_size)
    grid = (ends + 0.5 - (circle.x, circle.y)) / circle.radius
    along = grid[:, :1] + (np.arange(n_ascans)[:, None] + 0.5) / n_ascans * (grid[:, 1:] - grid[:, :1])
    beyond = float((np.hypot(*np.moveaxis(along, -1, 0)) > 1).mean())
    if beyond >= 0.01:
        notes.append(f"{beyond:.0%} of the A-scans lie outside the circle of retina")
    if x_mm > 0:
        half = x_mm * n_ascans / float(lengths.mean()) * circle.radius
        least, most = HALF_WIDTH_MM
        if not least <= half <= most:
            raise DataError(
                f"lines: {n_ascans} A-scans {x_mm:.4g} mm apart over {lengths.mean():.4g} pixels make the "
                f"circle of retina {2 * half:.3g} mm wide, expected {2 * least:g} to "
                f"{2 * most:g}; check --spacing-mm, and that the pixels are those of this photo"
            )
    else:
        half = half_width_mm or Placement().half_width_mm
        told = "is, as told," if half_width_mm else "is taken for"
        notes.append(
            f"the distance of A-scans is not known; the circle of retina {told} {2 * half:g} mm wide, "
            f"so that the lines are {float(lengths.mean()) / circle.radius * half:.3g} mm long"
        )
    scan, centre = centred_scan(grid * half, _ROUNDED_PX * half / circle.radius)
    placement = Placement((centre[0] / half, centre[1] / half), 0.0, half)
    return LocatedScan(scan, _spacing(scan, z_mm, x_mm, n_ascans), placement, tuple(notes))


def _spacing(scan: ScanPattern, z_mm: float, x_mm: float, n_ascans: int) -> Spacing:
    x_mm = x_mm if x_mm > 0 else float(np.mean(scan.length_mm)) / n_ascans
    return between_slices_mm(scan), z_mm, x_mm


def _outside(ends: Array, size: tuple[int, int]) -> list[str]:
    rows, columns = size
    inside = ((ends > -1) & (ends < (columns, rows))).all(-1)
    if inside.all():
        return []
    if not inside.any():
        raise DataError(
            f"lines: expected them on the photo of {columns} x {rows} pixels (width x height), found "
            f"{_line(ends[0])} for slice 0, and no end of any other on it; are they of another photo, or in "
            "another order than x0, y0, x1, y1?"
        )
    numbers = np.flatnonzero(~np.all(inside, axis=1)).tolist()
    return [
        f"the lines of slices {', '.join(map(str, numbers))} leave the photo of {columns} x {rows} pixels, "
        f"as {_line(ends[numbers[0]])}; what lies outside is black"
    ]


def _line(ends: Array) -> str:
    (x0, y0), (x1, y1) = ends.tolist()
    return f"({x0:g}, {y0:g}) to ({x1:g}, {y1:g})"
