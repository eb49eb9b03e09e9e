"""The nine fields of the ETDRS grid, in which clinics state the thickness of the retina."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RINGS_MM = (0.5, 1.5, 3.0)
"""Radii of the three circles."""
_DIRECTIONS = ("up", "right", "down", "left")
_NAMES = {
    "OD": {"up": "superior", "right": "nasal", "down": "inferior", "left": "temporal"},
    "OS": {"up": "superior", "right": "temporal", "down": "inferior", "left": "nasal"},
}
FIELDS = ("centre", *(f"{ring} {side}" for ring, side in product(("inner", "outer"), _DIRECTIONS)))
"""The fields by their place on the photo as displayed."""


def etdrs_masks(points_mm: Array) -> dict[str, Array]:
    """Tell which points lie in which field of the grid.

    The grid has a centre of 1 mm and two rings around it, up to 3 and 6 mm across. Diagonals part each ring
    into four fields.

    Args:
        points_mm: places ``(x, y)`` around the fovea as displayed, y down, shape ``(..., 2)``.

    Returns:
        For each of :data:`FIELDS` a mask of shape ``(...)``; no point is in two of them.

    References:
        Early Treatment Diabetic Retinopathy Study, report 10, Ophthalmology 1991.

    Example:
        >>> masks = etdrs_masks(np.array([[0.1, 0.2], [0.0, -1.0], [2.0, 0.5]]))
        >>> [name for name, mask in masks.items() if mask.any()]
        ['centre', 'inner up', 'outer right']
    """
    x, y = points_mm[..., 0], points_mm[..., 1]
    radius, quarter = np.hypot(x, y), (np.degrees(np.arctan2(x, -y)) + 45) % 360 // 90
    masks = {"centre": radius < RINGS_MM[0]}
    rings = {"inner": RINGS_MM[:2], "outer": RINGS_MM[1:]}
    for (ring, (near, far)), (number, side) in product(rings.items(), enumerate(_DIRECTIONS)):
        masks[f"{ring} {side}"] = (radius >= near) & (radius < far) & (quarter == number)
    return masks


def anatomical_name(field: str, laterality: str) -> str:
    """Name a field of the grid as clinics do, with nasal and temporal in place of right and left.

    Args:
        field: one of :data:`FIELDS`.
        laterality: ``"OD"``, ``"OS"`` or empty.

    Returns:
        The name, such as ``"inner nasal"``; empty where it depends on the side and that is not known.

    Example:
        >>> anatomical_name("inner right", "OD"), anatomical_name("inner right", "OS")
        ('inner nasal', 'inner temporal')
        >>> anatomical_name("outer up", ""), anatomical_name("outer left", "")
        ('outer superior', '')
    """
    ring, _, side = field.partition(" ")
    if not side:
        return "central"
    if laterality not in _NAMES and side in ("left", "right"):
        return ""
    return f"{ring} {_NAMES.get(laterality, _NAMES['OD'])[side]}"


def field_means_um(thickness_um: Array, points_mm: Array, pitch_mm: float) -> dict[str, float]:
    """Average a thickness map over each field of the grid.

    Args:
        thickness_um: micrometres at evenly spaced points, NaN where unknown, any shape ``(...)``.
        points_mm: where these points lie, as for :func:`etdrs_masks`, shape ``(..., 2)``.
        pitch_mm: distance of neighbouring points. They need not cover the whole grid.

    Returns:
        For each of :data:`FIELDS` the mean in micrometres; NaN where no more than half of the field's area is
        known.

    Example:
        >>> line = np.linspace(-3, 3, 61)
        >>> points_mm = np.stack(np.meshgrid(line, line), -1)
        >>> thickness_um = 300 - 50 * np.exp(-np.hypot(*np.moveaxis(points_mm, -1, 0)))  # a foveal pit
        >>> means = field_means_um(thickness_um, points_mm, pitch_mm=0.1)
        >>> round(means["centre"]), round(means["inner up"]), round(means["outer up"])
        (263, 282, 295)
    """
    found = {}
    for name, mask in etdrs_masks(points_mm).items():
        values = thickness_um[mask]
        known = values[np.isfinite(values)]
        enough = known.size * pitch_mm**2 > _area_mm2(name) / 2
        found[name] = float(known.mean()) if enough else float("nan")
    return found


def _area_mm2(field: str) -> float:
    if field == "centre":
        return math.pi * RINGS_MM[0] ** 2
    near, far = RINGS_MM[:2] if field.startswith("inner") else RINGS_MM[1:]
    return math.pi * (far**2 - near**2) / len(_DIRECTIONS)
