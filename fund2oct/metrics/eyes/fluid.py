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
from fund2oct.retina.working import resample

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DARK = 0.4
_ROW_UM, _ASCAN_UM = 24.0, 80.0
_LEAST_ROWS, _LEAST_ASCANS = 3, 3
_BELOW_ILM_UM = 48.0
_ON_EPITHELIUM_UM = 48.0
_VITREOUS_UM = (50.0, 400.0)
_WHITE = 0.96
_WITHIN_SLICE = np.stack([np.zeros((3, 3), int), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3), int)])


class Fluid(NamedTuple):
    """Height of the fluid at each A-scan in micrometres, by where it lies, each ``(B, S, X)``.

    NaN where the retina's surfaces were not found and throughout a B-scan in whose frame there is no
    vitreous.

    Args:
        subretinal_um: of pockets that lie on the pigment epithelium (SRF).
        intraretinal_um: of all others: cysts (IRF).
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
    r"""Height of the fluid in and under the retina at each A-scan, estimated from its darkness.

    A voxel is fluid if, after a median over its 3 x 3 neighbours, it lies below

    .. math:: v + 0.4 \, (t - v)

    with the median brightness :math:`v` of its B-scan's vitreous (from 50 to 400 micrometres above the
    retina, without the white that some devices fill with) and :math:`t` of its retina, and from 48
    micrometres below the inner surface to the epithelium.
    Volumes of finer resolution are averaged to rows of about 24 and A-scans of about 80 micrometres
    first, so that the amount of speckle in the median hardly depends on it.

    Pockets into which 3 x 3 such voxels do not fit are left out. A pocket is subretinal if, over more
    than half of its A-scans, its lowest voxel lies within 48 micrometres of the epithelium: cysts have
    the photoreceptors below them.

    An estimate with limits. In simulated eyes it finds seven tenths of the fluid, for edges are lost to
    the median, and follows the true volume closely. In real B-scans large pockets are found, small ones
    are not, and where there is little contrast part of a dark outer nuclear layer passes for fluid, as a
    shadow may; turbid fluid and blood do not. So compare volumes of one scanner alone, and trust
    differences between eyes more than an eye's value. Fluid under the epithelium belongs to
    :func:`fund2oct.metrics.elevation_um`.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        surfaces: those of the volume.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.

    Returns:
        Heights of at least 0 by place.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> surfaces = find_surfaces(volume, 0.024, 0.0786)  # doctest: +SKIP
        >>> find_fluid(volume, surfaces, 0.024, 0.0786).subretinal_um.nanmean()  # doctest: +SKIP
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


def fluid_um(
    volume: Tensor, surfaces: Surfaces, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float
) -> Tensor:
    """Height of all fluid in and under the retina, wherever it lies; see :func:`find_fluid`.

    Returns:
        Micrometres, at least 0, NaN where unknown, shape ``(B, S, X)``.
    """
    return find_fluid(volume, surfaces, spacing_z_mm, spacing_x_mm).total_um


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
    vitreous = known & (above > _VITREOUS_UM[0]) & (above < _VITREOUS_UM[1]) & (working < _WHITE)
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
