"""Fluid in and under the retina: dark pockets, found alike in real and in generated volumes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fund2oct.metrics.eyes.layers import Surfaces, check_surfaces, per_eye
from fund2oct.precision import full_precision
from fund2oct.retina.fluid import VITREOUS_UM
from fund2oct.retina.working import WHITE, resample

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DARK = 0.4
_ROW_UM, _ASCAN_UM = 24.0, 80.0
_LEAST_ROWS, _LEAST_ASCANS = 3, 3
_BELOW_ILM_UM = 48.0
_ON_EPITHELIUM_UM = 48.0
_WITHIN_SLICE = np.stack([np.zeros((3, 3), int), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3), int)])


class Fluid(NamedTuple):
    """Height of the fluid at each A-scan in micrometres, under the retina and within it.

    NaN where the retina's surfaces were not found, and throughout a B-scan that shows no vitreous.

    Args:
        subretinal_um: height of fluid that lies on the pigment epithelium (SRF), shape ``(B, S, X)``.
        intraretinal_um: height of all other fluid, that of cysts (IRF), same shape.

    Example:
        >>> fluid = Fluid(torch.tensor([[[0.0, 96.0]]]), torch.tensor([[[48.0, 24.0]]]))
        >>> fluid.total_um
        tensor([[[ 48., 120.]]])
    """

    subretinal_um: Tensor
    intraretinal_um: Tensor

    @property
    def total_um(self) -> Tensor:
        """Height of all fluid, wherever it lies, ``(B, S, X)``."""
        return self.subretinal_um + self.intraretinal_um


@full_precision
def find_fluid(
    volume: Tensor, surfaces: Surfaces, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float
) -> Fluid:
    r"""Find the dark pockets of fluid in and under the retina, and their height at each A-scan.

    A voxel is taken as fluid if it lies between the epithelium and 48 micrometres below the inner surface,
    and is darker than

    .. math:: v + 0.4 \, (t - v)

    with the median brightness :math:`v` of the B-scan's vitreous (from 50 to 400 micrometres above the
    retina) and :math:`t` of its retina. Volumes of finer resolution are first averaged to rows of about 24
    and A-scans of about 80 micrometres, and each voxel is replaced by the median of its 3 x 3 neighbours.

    A pocket needs at least 3 x 3 such voxels. It is subretinal if its lowest voxel lies within 48
    micrometres of the epithelium in more than half of its A-scans. Any other is a cyst, which has
    photoreceptors below it.

    **Limits.** In simulated eyes seven tenths of the fluid is found; the rest is lost at the edges of the
    pockets. In real B-scans large pockets are found and small ones are not. Turbid fluid and blood are not
    found. Where the contrast is low, part of the dark outer nuclear layer or a shadow is taken for fluid.
    So compare volumes of one scanner only, and trust differences between eyes more than the value of one.
    Fluid under the epithelium is not counted here, but in :func:`fund2oct.metrics.elevation_um`.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        surfaces: the surfaces of this volume, see :func:`fund2oct.metrics.find_surfaces`.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans in millimetres, likewise.

    Returns:
        Heights in micrometres, at least 0, on the volume's device.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> volume = torch.full((1, 1, 1, 40, 30), 0.05)
        >>> volume[..., 14:28, :] = 0.5  # the retina,
        >>> volume[..., 23:28, 10:20] = 0.05  # and five rows of fluid on the pigment epithelium
        >>> ilm_um, rpe_um = torch.full((1, 1, 30), 336.0), torch.full((1, 1, 30), 672.0)
        >>> fluid = find_fluid(volume, Surfaces(ilm_um, rpe_um, rpe_um), 0.024, 0.08)
        >>> fluid.subretinal_um[0, 0, 15], fluid.intraretinal_um.sum()
        (tensor(120.), tensor(0.))
    """
    check_surfaces(surfaces, volume)
    heights = []
    spacings = zip(per_eye(spacing_z_mm, len(volume)), per_eye(spacing_x_mm, len(volume)), strict=True)
    depths = torch.stack([surfaces.ilm_um, surfaces.rpe_um], 1).detach().cpu()
    for eye, (ilm_um, rpe_um), (z_mm, x_mm) in zip(
        volume.detach().float().cpu()[:, 0].numpy(), depths.numpy(), spacings, strict=True
    ):
        heights.append(torch.from_numpy(_heights_um(eye, ilm_um, rpe_um, 1000 * z_mm, 1000 * x_mm)))
    return Fluid(*torch.stack(heights, 1).to(volume.device))


def _heights_um(volume: Floats, ilm_um: Floats, rpe_um: Floats, row_um: float, ascan_um: float) -> Floats:
    """Heights of fluid by place in one eye ``(S, Z, X)``, NaN where a surface is, ``(2, S, X)``."""
    n_rows = max(1, min(volume.shape[1], round(volume.shape[1] * row_um / _ROW_UM)))
    n_columns = max(1, min(volume.shape[2], round(volume.shape[2] * ascan_um / _ASCAN_UM)))
    known = resample(np.isfinite(ilm_um).astype(np.float32), n_columns, 1)[:, None] > 0.99
    inner, outer = (resample(np.nan_to_num(depth), n_columns, 1)[:, None] for depth in (ilm_um, rpe_um))
    working = resample(resample(volume, n_rows, 1), n_columns, 2)
    row_um = row_um * volume.shape[1] / n_rows
    depth_um = ((np.arange(n_rows) + 0.5) * row_um)[:, None]
    above, under = inner - depth_um, depth_um - inner
    vitreous = known & (above > VITREOUS_UM[0]) & (above < VITREOUS_UM[1]) & (working < WHITE)
    retina = known & (under > 0) & (depth_um < outer)
    smooth = ndimage.median_filter(working, (1, 3, 3))
    fluid = np.zeros(working.shape, bool)
    measured = vitreous.any((1, 2)) & retina.any((1, 2))
    for bscan in np.flatnonzero(measured):
        dark = np.median(working[bscan][vitreous[bscan]])
        tissue = np.median(working[bscan][retina[bscan]])
        pockets = retina[bscan] & (under[bscan] > _BELOW_ILM_UM)
        pockets &= smooth[bscan] < dark + _DARK * (tissue - dark)
        fluid[bscan] = ndimage.binary_opening(pockets, np.ones((_LEAST_ROWS, _LEAST_ASCANS)))
    subretinal = _on_epithelium(fluid, (outer - depth_um).astype(np.float32))
    heights = np.stack([subretinal.sum(1), (fluid & ~subretinal).sum(1)]) * np.float32(row_um)
    heights[:, ~measured] = np.nan
    spread = resample(heights, volume.shape[2], 2)
    return np.where(np.isfinite(ilm_um), spread, np.nan).astype(np.float32)


def _on_epithelium(fluid: Mask, height_um: Floats) -> Mask:
    """The pockets of ``(S, rows, columns)`` that rest on the epithelium, ``height_um`` below each voxel."""
    pockets, n_pockets = ndimage.label(fluid, _WITHIN_SLICE)
    resting = np.zeros(n_pockets + 1, bool)
    for number, where in enumerate(ndimage.find_objects(pockets), 1):
        own = pockets[where] == number
        lowest_um = np.where(own, height_um[where], np.inf).min(1)[own.any(1)]
        resting[number] = (lowest_um < _ON_EPITHELIUM_UM).mean() > 0.5
    return resting[pockets]
