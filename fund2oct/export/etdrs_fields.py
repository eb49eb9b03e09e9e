"""The retina's thickness in the nine ETDRS fields, as a table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import LinearNDInterpolator

from fund2oct.export.meshes import ascan_places_mm, found_thickness_um, triangulate, with_surfaces
from fund2oct.eye import Array, Eye
from fund2oct.geometry.etdrs import FIELDS, RINGS_MM, anatomical_name, etdrs_masks, field_means_um

if TYPE_CHECKING:
    # Lightning takes seconds to import.
    from fund2oct.models.thickness import ThicknessMap

_PITCH_MM = 0.05
COLUMNS = ("field", "name", "n_ascans", "n_known", "thickness_um", "low_um", "high_um", "known_from")
"""What the first row of a table says."""


def save_fields(eye: Eye, path: Path) -> None:
    """Write the thickness as found in the volume, a row for each of the nine ETDRS fields.

    From inner limiting membrane to pigment epithelium, interpolated between the A-scans: a plain mean over
    the A-scans of a star would count its centre most. A field is NaN where no more than half of it is known,
    or it holds no A-scan whose thickness is.

    Args:
        eye: an eye with a volume.
        path: the file to write.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_fields(eye, Path("fields.csv"))
        >>> table = list(csv.DictReader(open("fields.csv")))
        >>> len(table), table[0]["field"], table[0]["known_from"]
        (9, 'centre', 'volume')
    """
    triangulation, scanned = triangulate(eye)
    eye = with_surfaces(eye)
    thickness_um = found_thickness_um(eye)
    known = np.isfinite(thickness_um)
    line = np.arange(-RINGS_MM[-1], RINGS_MM[-1], _PITCH_MM) + _PITCH_MM / 2
    points = np.stack(np.meshgrid(line, line), -1)
    found = LinearNDInterpolator(triangulation, thickness_um.ravel())(points)
    # Outside of all triangles it is NaN already.
    found[~scanned[triangulation.find_simplex(points)]] = np.nan
    unknown = dict.fromkeys(FIELDS, float("nan"))
    # A field that holds no A-scan would be interpolation alone.
    masks = etdrs_masks(ascan_places_mm(eye))
    reached = {field for field, mask in masks.items() if (mask & known).any()}
    means = field_means_um(found, points, _PITCH_MM)
    means = unknown | {field: mean for field, mean in means.items() if field in reached}
    _write_fields(eye, path, known, (means, unknown, unknown), "volume")


def save_predicted_fields(eye: Eye, found: ThicknessMap, path: Path) -> None:
    """Write the thickness as predicted from the photo, with the means of its interval's two ends.

    Args:
        eye: an eye with a volume.
        found: map of the thickness that a model predicted.
        path: the file to write.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> from fund2oct.models.thickness import ThicknessMap
        >>> thick_um = np.full((60, 60), 280.0)
        >>> found = ThicknessMap(thick_um, thick_um - 20, thick_um + 20, np.zeros((60, 60, 2)), 0.1)
        >>> save_predicted_fields(eye, found, Path("fields.csv"))
        >>> next(csv.DictReader(open("fields.csv")))["thickness_um"]
        '280.0'
    """
    ends = (found.median_um, found.low_um, found.high_um)
    means = tuple(field_means_um(values, found.displayed_mm, found.pitch_mm) for values in ends)
    assert eye.volume is not None
    _write_fields(eye, path, np.ones_like(eye.volume[:, 0], bool), means, "photo")


def _write_fields(
    eye: Eye, path: Path, known: Array, means: tuple[dict[str, float], ...], known_from: str
) -> None:
    masks = etdrs_masks(ascan_places_mm(eye))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for field, mask in masks.items():
            counts = (int(mask.sum()), int((mask & known).sum()))
            numbers = [f"{each[field]:.1f}" for each in means]
            rows.writerow([field, anatomical_name(field, eye.laterality), *counts, *numbers, known_from])
