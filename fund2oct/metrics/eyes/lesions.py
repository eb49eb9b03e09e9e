"""Elevation of the pigment epithelium, estimated without annotations; true heights and volumes of lesions.

No segmenter of lesions works as well on generated volumes as on real ones. So the lesions are estimated
from quantities that are measured alike in both. The *elevation*, the space between a lifted epithelium and
Bruch's membrane, follows from the retina's surfaces; the *fluid* of :mod:`fund2oct.metrics.eyes.fluid` from
brightness.
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
from fund2oct.retina.layers import EPITHELIUM_UM

FLUID = ("IRF", "SRF")
"""Lesions of the truth that :func:`fund2oct.metrics.find_fluid` estimates."""
ELEVATION = ("PED", "drusen")
"""Lesions of the truth that :func:`elevation_um` estimates."""

_AREA_STEP_MM = 0.02


def elevation_um(surfaces: Surfaces) -> Tensor:
    """Height by which drusen and detachments lift the pigment epithelium, at each A-scan.

    It is the distance of Bruch's membrane below the epithelium's inner surface, less the epithelium's own
    thickness of 26 micrometres. The membrane itself cannot be found; the smooth surface of the scan's pose
    stands for it. In 24 simulated eyes each, four fifths of the drusen's volume and all of the detachments'
    is found: low drusen are lost. The value is uncertain where the pose is, near atrophy and where a
    detachment reaches the end of the B-scan.

    Args:
        surfaces: as :func:`fund2oct.metrics.find_surfaces` returns them.

    Returns:
        Micrometres, NaN where the surfaces were not found, shape ``(B, S, X)``. Of the surfaces that the
        search finds it is 0 or more than 26.

    Example:
        >>> rpe_um = torch.tensor([[[600.0, 480.0, 600.0]]])  # a detachment lifts the second A-scan
        >>> surfaces = Surfaces(rpe_um - 280, rpe_um, bm_um=torch.full((1, 1, 3), 626.0))
        >>> elevation_um(surfaces)
        tensor([[[  0., 120.,   0.]]])
    """
    return (surfaces.bm_um - surfaces.rpe_um - EPITHELIUM_UM).clamp(min=0)


def label_um(labels: Tensor, names: Collection[str], spacing_z_mm: Tensor | float) -> Tensor:
    """True height of lesions at each A-scan, counted in a label map.

    Args:
        labels: label maps of volumes, numbered as :data:`fund2oct.phantom.LESIONS` counting from 1,
            shape ``(B, S, Z, X)``.
        names: which lesions to count, of :data:`fund2oct.phantom.LESIONS`.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.

    Returns:
        Micrometres, shape ``(B, S, X)``.

    Raises:
        ValueError: if the shape is another or a name is unknown.

    Example:
        >>> labels = torch.zeros(1, 1, 40, 3, dtype=torch.uint8)
        >>> labels[:, :, 20:25, 1] = LESIONS.index("SRF") + 1  # five rows of fluid in the second A-scan
        >>> label_um(labels, ["SRF"], 0.024)
        tensor([[[  0., 120.,   0.]]])
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

    for the height :math:`h_i` at the A-scan :math:`i` and the area :math:`a_i` of retina that it stands
    for. Where the height is unknown, it counts as 0. Few lines see little of a retina: six of them give a
    rough estimate of the lesion's volume.

    Args:
        height_um: micrometres, NaN where unknown, shape ``(B, S, X)``.
        area_mm2: area of each A-scan in square millimetres, see :func:`ascan_area_mm2`, shape ``(S, X)``.

    Returns:
        Cubic millimetres, shape ``(B,)``; NaN where fewer than a quarter of the heights are known.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> from fund2oct.geometry import RadialScan
        >>> area_mm2 = ascan_area_mm2(RadialScan(), n_ascans=112)
        >>> height_um = torch.full((1, 6, 112), 50.0)  # 50 micrometres under the whole star
        >>> lesion_volume_mm3(height_um, area_mm2).round(decimals=1)
        tensor([2.9000])
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
    r"""Area of retina that each A-scan stands for: what is nearer to it than to any other.

    Only points within the scan's convex hull count, on a grid of 0.02 mm. In a star of :math:`n` lines, an
    A-scan at the distance :math:`r` from the centre has an area of about :math:`|r| \pi \, dr / n`, with the
    distance :math:`dr` between A-scans.

    Args:
        scan: where the lines lie.
        n_ascans: number of A-scans of each line.

    Returns:
        Square millimetres, shape ``(S, X)``; NaN throughout for a single line, which has no area, and for a
        single circle, whose A-scans see nothing of what it encloses.

    Example:
        >>> from fund2oct.geometry import RadialScan
        >>> area = ascan_area_mm2(RadialScan(length_mm=6.0), n_ascans=64)
        >>> area.shape, round(area.sum().item(), 1)  # the hull of six lines, nearly a disc of 28.3 mm2
        (torch.Size([6, 64]), 27.0)
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
