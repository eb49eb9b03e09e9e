"""Volumes of fluid and of what lifts the pigment epithelium, estimated without annotations.

There is no segmenter of lesions that works on generated volumes as it does on real ones. What can be
had without one are two quantities that follow from the retina's surfaces and from brightness: the
*fluid*, dark pockets within the retina, and the *elevation*, the room between a lifted epithelium and
Bruch's membrane. Both are the same for real and for generated volumes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError, cKDTree
from torch import Tensor

from fund2oct.geometry import ScanPattern
from fund2oct.metrics.layers import Surfaces, check_surfaces, enough, per_eye
from fund2oct.phantom.lesions import LESIONS
from fund2oct.precision import full_precision
from fund2oct.retina.working import resample

Floats = NDArray[np.float32]

FLUID = ("IRF", "SRF")
"""Lesions of the truth that :func:`fluid_um` estimates."""
ELEVATION = ("PED", "drusen")
"""Lesions of the truth that :func:`elevation_um` estimates."""

_DARK = 0.4
_ROW_UM, _ASCAN_UM = 24.0, 80.0
_LEAST_ROWS, _LEAST_ASCANS = 3, 3
_BELOW_ILM_UM = 48.0
_VITREOUS_UM = (50.0, 400.0)
_WHITE = 0.96
_EPITHELIUM_UM = 26.0
_AREA_STEP_MM = 0.02


@full_precision
def fluid_um(
    volume: Tensor, surfaces: Surfaces, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float
) -> Tensor:
    r"""Height of the fluid in and under the retina at each A-scan, estimated from its darkness.

    A voxel is fluid if, after a median over its 3 x 3 neighbours, it lies below

    .. math:: v + 0.4 \, (t - v)

    with the median brightness :math:`v` of its B-scan's vitreous (from 50 to 400 micrometres above the
    retina, without the white that some devices fill with) and :math:`t` of its retina, and from 48
    micrometres below the inner surface to the epithelium.
    Volumes of finer resolution are averaged to rows of about 24 and A-scans of about 80 micrometres
    first, so that the amount of speckle in the median hardly depends on it.

    Pockets into which 3 x 3 such voxels do not fit are left out.

    An estimate with limits. In simulated eyes it finds seven tenths of the fluid, for edges are lost to
    the median, and follows the true volume closely. In real B-scans large pockets are found, small ones
    are not, and where there is little contrast part of a dark outer nuclear layer passes for fluid, as a
    shadow may; turbid fluid and blood do not. So compare volumes of one scanner alone, and trust
    differences between eyes more than an eye's value. Fluid under the epithelium belongs to
    :func:`elevation_um`.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        surfaces: those of the volume.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.

    Returns:
        Micrometres of fluid, at least 0, shape ``(B, S, X)``; NaN where the surfaces were not found and
        throughout a B-scan in whose frame there is no vitreous.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_surfaces(surfaces, volume)
    heights = []
    spacings = zip(per_eye(spacing_z_mm, len(volume)), per_eye(spacing_x_mm, len(volume)), strict=True)
    depths = torch.stack([surfaces.ilm_um, surfaces.rpe_um], 1).detach().cpu()
    for eye, (ilm_um, rpe_um), (z_mm, x_mm) in zip(
        volume.detach().float().cpu()[:, 0].numpy(), depths.numpy(), spacings, strict=True
    ):
        heights.append(torch.from_numpy(_fluid_um(eye, ilm_um, rpe_um, 1000 * z_mm, 1000 * x_mm)))
    return torch.stack(heights).to(volume.device)


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
        Square millimetres, shape ``(S, X)``; NaN for a scan that encloses no area, as a single line.
    """
    points = scan.coordinates(n_ascans, dtype=torch.float64).numpy()
    flat = points.reshape(-1, 2)
    try:
        hull = Delaunay(np.array(scan.lines).reshape(-1, 2))
    except QhullError:
        return torch.full(points.shape[:2], math.nan)
    low, high = hull.points.min(0), hull.points.max(0)
    axes = [np.arange(a + _AREA_STEP_MM / 2, b, _AREA_STEP_MM) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    inside = grid[hull.find_simplex(grid) >= 0]
    counts = np.bincount(cKDTree(flat).query(inside)[1], minlength=len(flat))
    return torch.from_numpy(counts.reshape(points.shape[:2]) * _AREA_STEP_MM**2).float()


def _fluid_um(volume: Floats, ilm_um: Floats, rpe_um: Floats, row_um: float, ascan_um: float) -> Floats:
    """Height of fluid in one eye ``(S, Z, X)``, NaN where a surface is, ``(S, X)``."""
    n_rows = max(1, min(volume.shape[1], round(volume.shape[1] * row_um / _ROW_UM)))
    n_columns = max(1, min(volume.shape[2], round(volume.shape[2] * ascan_um / _ASCAN_UM)))
    known = resample(np.isfinite(ilm_um).astype(np.float32), n_columns, 1)[:, None] > 0.99
    inner, outer = (resample(np.nan_to_num(depth), n_columns, 1)[:, None] for depth in (ilm_um, rpe_um))
    working = resample(resample(volume, n_rows, 1), n_columns, 2)
    row_um = row_um * volume.shape[1] / n_rows
    depth_um = ((np.arange(n_rows) + 0.5) * row_um)[:, None]
    above, under = inner - depth_um, depth_um - inner
    vitreous = known & (above > _VITREOUS_UM[0]) & (above < _VITREOUS_UM[1]) & (working < _WHITE)
    retina = known & (under > 0) & (depth_um < outer)
    smooth = ndimage.median_filter(working, (1, 3, 3))
    height = np.full((len(volume), n_columns), np.nan, np.float32)
    for bscan in range(len(volume)):
        if vitreous[bscan].any() and retina[bscan].any():
            dark = np.median(working[bscan][vitreous[bscan]])
            tissue = np.median(working[bscan][retina[bscan]])
            fluid = retina[bscan] & (under[bscan] > _BELOW_ILM_UM)
            fluid &= smooth[bscan] < dark + _DARK * (tissue - dark)
            fluid = ndimage.binary_opening(fluid, np.ones((_LEAST_ROWS, _LEAST_ASCANS)))
            height[bscan] = fluid.sum(0) * row_um
    spread = resample(height, volume.shape[2], 1)
    return np.where(np.isfinite(ilm_um), spread, np.nan).astype(np.float32)
