"""What lifts the pigment epithelium, estimated without annotations; true heights and volumes of lesions.

There is no segmenter of lesions that works on generated volumes as it does on real ones. What can be
had without one are quantities that follow from the retina's surfaces and from brightness, the same for
real and for generated volumes: the *elevation*, the room between a lifted epithelium and Bruch's
membrane, and the *fluid* of :mod:`fund2oct.metrics.eyes.fluid`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache

import numpy as np
import torch
from scipy.spatial import Delaunay, QhullError, cKDTree
from torch import Tensor

from fund2oct.geometry import LineScan, ScanPattern
from fund2oct.metrics.eyes.layers import Surfaces, enough, per_eye
from fund2oct.phantom.lesions import LESIONS

FLUID = ("IRF", "SRF")
"""Lesions of the truth that :func:`fund2oct.metrics.fluid_um` estimates."""
ELEVATION = ("PED", "drusen")
"""Lesions of the truth that :func:`elevation_um` estimates."""

_EPITHELIUM_UM = 26.0
_AREA_STEP_MM = 0.02


def elevation_um(surfaces: Surfaces) -> Tensor:
    """Height of what lies between Bruch's membrane and a lifted pigment epithelium, at each A-scan.

    Detachments and drusen; the membrane is where the smooth pose of the scan lies deeper than the
    epithelium by more than the thickness of that, 26 micrometres, so low drusen count as none: of the
    volume of drusen it finds about half, of detachments nine tenths. Where atrophy, or a detachment cut
    off by the B-scan's end, makes the pose uncertain, so is the elevation.

    Returns:
        Micrometres, at least 0, NaN where the surfaces were not found, shape ``(B, S, X)``.
    """
    return (surfaces.bm_um - surfaces.rpe_um - _EPITHELIUM_UM).clamp(min=0)


def label_um(labels: Tensor, names: Collection[str], spacing_z_mm: Tensor | float) -> Tensor:
    """Height of labelled lesions at each A-scan: the truth of an estimate.

    Args:
        labels: label maps of volumes, numbered as :data:`fund2oct.phantom.LESIONS` counting from 1,
            shape ``(B, S, Z, X)``.
        names: lesions to count.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        Micrometres, shape ``(B, S, X)``.

    Raises:
        ValueError: if the shape is another or a name is unknown.
    """
    if labels.ndim != 4:
        raise ValueError(f"labels: expected (B, S, Z, X), found shape {tuple(labels.shape)}")
    if unknown := set(names) - set(LESIONS):
        raise ValueError(f"labels: expected names of {LESIONS}, found {sorted(unknown)}")
    wanted = torch.tensor([LESIONS.index(name) + 1 for name in names], device=labels.device)
    row_um = 1000 * torch.tensor(per_eye(spacing_z_mm, len(labels)), device=labels.device)
    return torch.isin(labels.long(), wanted).sum(2) * row_um.float().view(-1, 1, 1)


def lesion_volume_mm3(height_um: Tensor, area_mm2: Tensor) -> Tensor:
    r"""Volume of a lesion from its height at the A-scans.

    .. math:: \sum_i h_i a_i

    An A-scan without a known height counts as one without the lesion. Six lines see little of a
    retina: this is the volume that they suggest, not that of the eye.

    Args:
        height_um: micrometres, NaN where unknown, shape ``(B, S, X)``.
        area_mm2: of each A-scan, see :func:`ascan_area_mm2`, shape ``(S, X)``.

    Returns:
        Cubic millimetres, shape ``(B,)``; NaN where fewer than a quarter of the heights are known.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if height_um.ndim != 3 or height_um.shape[1:] != area_mm2.shape:
        raise ValueError(
            f"height and area: expected (B, S, X) and (S, X), found {tuple(height_um.shape)} "
            f"and {tuple(area_mm2.shape)}"
        )
    volume = (height_um.nan_to_num(0.0) * area_mm2.to(height_um)).flatten(1).sum(1) / 1000
    return volume.masked_fill(~enough(height_um), math.nan)


@lru_cache(maxsize=8)
def ascan_area_mm2(scan: ScanPattern, n_ascans: int) -> Tensor:
    r"""Area of retina that is nearer to an A-scan than to any other, within the scan's convex hull.

    Counted on a grid of 0.02 mm. For a star it is close to the sector :math:`|r| \pi \, dr / n`.

    Args:
        scan: where the lines lie.
        n_ascans: A-scans of each line.

    Returns:
        Square millimetres, shape ``(S, X)``; NaN for a scan that encloses no area, as a single line, and
        for a single circle, which says nothing of what it encloses.
    """
    points = scan.coordinates(n_ascans, dtype=torch.float64).numpy()
    flat = points.reshape(-1, 2)
    if scan.n_slices < 2:
        return torch.full(points.shape[:2], math.nan)
    outline = torch.linspace(0, 1, 2 if isinstance(scan, LineScan) else 65, dtype=torch.float64)
    try:
        hull = Delaunay(scan.points(outline).reshape(-1, 2).numpy())
    except QhullError:
        return torch.full(points.shape[:2], math.nan)
    low, high = hull.points.min(0), hull.points.max(0)
    axes = [np.arange(a + _AREA_STEP_MM / 2, b, _AREA_STEP_MM) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    inside = grid[hull.find_simplex(grid) >= 0]
    counts = np.bincount(cKDTree(flat).query(inside)[1], minlength=len(flat))
    return torch.from_numpy(counts.reshape(points.shape[:2]) * _AREA_STEP_MM**2).float()
