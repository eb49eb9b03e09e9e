"""Agreement of the anatomy: thickness maps, the shadows of vessels, and whether the layers are plausible.

All of it rests on the surfaces that :func:`fund2oct.metrics.eyes.layers.find_surfaces` found, and is NaN in
an eye where fewer than a quarter of the A-scans can be compared.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.metrics.eyes.layers import Surfaces, check_maps, check_surfaces, enough, per_eye
from fund2oct.precision import full_precision
from fund2oct.retina.pose import pose_surface_um
from fund2oct.retina.pose_fit import fit_pose

SHADOW_SLAB_UM = 150.0
"""Depth of the slab, from the pigment epithelium's inner surface, in which shadows are sought."""
SHADOW_WINDOW_MM = 0.55
"""Length along a B-scan of the local mean with which a shadow is compared."""

PLAUSIBLE_THICKNESS_UM = (80.0, 1000.0)
PLAUSIBLE_SLOPE = 1.0
SUNK_UM = 60.0


@full_precision
def map_correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Pearson correlation of two maps over the A-scans, one value an eye.

    .. math:: \frac{\sum_i (a_i - \bar a)(b_i - \bar b)}
        {\sqrt{\sum_i (a_i - \bar a)^2 \sum_i (b_i - \bar b)^2}}

    over the A-scans known in both, all with the same weight. In a radial scan the A-scans are densest at the
    fovea, so the centre has more influence than its area would give it.

    Args:
        a: a map of any quantity, such as thickness, NaN where unknown, shape ``(B, S, X)``.
        b: another map of the same shape.

    Returns:
        Correlation in [-1, 1], shape ``(B,)``; NaN where fewer than a quarter of the A-scans are known
        in both, or where a map is constant.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> thickness_um = torch.tensor([[[230.0, 250.0, 310.0, 330.0]]])
        >>> map_correlation(thickness_um, 2 * thickness_um), map_correlation(thickness_um, -thickness_um)
        (tensor([1.]), tensor([-1.]))
    """
    check_maps(a, b)
    known = a.isfinite() & b.isfinite()
    centred = []
    for values in (a, b):
        values = torch.where(known, values, math.nan).double().flatten(1)
        centred.append((values - values.nanmean(1, keepdim=True)).nan_to_num(0.0))
    x, y = centred
    correlation = (x * y).sum(1) / (x.square().sum(1) * y.square().sum(1)).sqrt()
    measured = enough(torch.where(known, a, math.nan)) & correlation.isfinite()
    return correlation.clamp(-1, 1).masked_fill(~measured, math.nan).float()


@full_precision
def vessel_shadows(
    volume: Tensor, surfaces: Surfaces, spacing_z_mm: Tensor | float, spacing_x_mm: Tensor | float
) -> Tensor:
    r"""Contrast of the shadows that vessels cast below the retina, at each A-scan.

    .. math:: C(s, x) = \frac{E(s, x)}{\bar E(s, x)} - 1

    with the mean intensity :math:`E` of the A-scan from the pigment epithelium's inner surface to 150
    micrometres below it, and the mean :math:`\bar E` of that over 0.55 mm of the B-scan around it, in the
    nearest odd number of A-scans, at least 3. A shadow is negative. What is wider than that, such as
    illumination or atrophy, hardly counts. Choroidal vessels and uneven pigment give contrast too, so this
    is not a segmentation of vessels.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        surfaces: the surfaces of this volume, see :func:`fund2oct.metrics.find_surfaces`.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans in millimetres, likewise.

    Returns:
        Contrast, at least -1, NaN where the surfaces were not found or the slab is dark or outside the frame,
        shape ``(B, S, X)``.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> volume = torch.full((1, 1, 1, 40, 30), 0.5)
        >>> volume[..., 15] = 0.25  # the shadow of a vessel
        >>> depth_um = torch.full((1, 1, 30), 600.0)
        >>> contrast = vessel_shadows(volume, Surfaces(depth_um - 280, depth_um, depth_um), 0.024, 0.08)
        >>> contrast[0, 0, 14:17].round(decimals=2)
        tensor([ 0.0800, -0.4600,  0.0800])
    """
    check_surfaces(surfaces, volume)
    shadows = []
    spacings = zip(per_eye(spacing_z_mm, len(volume)), per_eye(spacing_x_mm, len(volume)), strict=True)
    for eye, rpe_um, (z_mm, x_mm) in zip(volume[:, 0].float(), surfaces.rpe_um, spacings, strict=True):
        en_face = slab_mean(eye, rpe_um / (1000 * z_mm), SHADOW_SLAB_UM / (1000 * z_mm))
        local = _local_mean(en_face, max(1, round((SHADOW_WINDOW_MM / x_mm - 1) / 2)))
        shadows.append(torch.where(local > 0, en_face / local - 1, math.nan))
    return torch.stack(shadows)


def layer_violations(surfaces: Surfaces, spacing_x_mm: Tensor | float) -> Tensor:
    """Share of A-scans whose surfaces are implausible in any eye.

    An A-scan is implausible if at least one of these holds:

    * The retina is thinner than 80 micrometres or thicker than 1000. In healthy eyes the centre of the fovea
      is 227 +- 23 micrometres thick, and the thickest subfield 340 +- 17 [1]. The limits lie far outside, to
      leave room for atrophy and oedema. A macular hole is beyond them.
    * The epithelium lies more than 60 micrometres below the smooth surface fitted to it
      (:func:`fund2oct.retina.fit_pose`). Disease lifts it, and atrophy lowers it by some 30 micrometres.
    * The inner surface or the epithelium has a slope of more than 45 degrees to the next A-scan. The foveal
      pit is far from that; the rims of holes and of tall detachments come near it.

    A high share tells that something is wrong. A low one does not tell that a volume is good: a blurred mean
    eye has 0. The share in real volumes is above 0 too, so compare with it.

    Args:
        surfaces: as :func:`fund2oct.metrics.find_surfaces` returns them.
        spacing_x_mm: distance of two A-scans in millimetres, one number or one for each eye, shape ``(B,)``.

    Returns:
        Share of the A-scans at which the search succeeded, in [0, 1], shape ``(B,)``; NaN where the search
        succeeded at fewer than a quarter of all A-scans.

    References:
        [1] Grover et al., Normative data for macular thickness, Am J Ophthalmol 2009.

    Example:
        >>> rpe_um = torch.full((1, 1, 40), 600.0)
        >>> ilm_um = rpe_um - 280
        >>> ilm_um[..., 20:25] = 550.0  # five A-scans are 50 micrometres thin, and one more has a steep side
        >>> layer_violations(Surfaces(ilm_um, rpe_um, rpe_um), 0.08)
        tensor([0.1500])
    """
    thickness = surfaces.thickness_um
    thin, thick = PLAUSIBLE_THICKNESS_UM
    wrong = (thickness < thin) | (thickness > thick)
    rpe_um = surfaces.rpe_um
    n_ascans, spacings_mm = rpe_um.shape[-1], per_eye(spacing_x_mm, len(rpe_um))
    poses = [fit_pose(eye, length_mm=n_ascans * x) for eye, x in zip(rpe_um.cpu(), spacings_mm, strict=True)]
    wrong |= rpe_um - pose_surface_um(torch.stack(poses), n_ascans).to(rpe_um) > SUNK_UM
    step_um = PLAUSIBLE_SLOPE * 1000 * torch.tensor(spacings_mm).view(-1, 1, 1)
    for depth_um in (surfaces.ilm_um, rpe_um):
        wrong[..., 1:] |= depth_um.diff(dim=-1).abs() > step_um.to(depth_um)
    share = wrong.flatten(1).sum(1) / surfaces.ok.flatten(1).sum(1)
    return share.masked_fill(~enough(rpe_um), math.nan)


def slab_mean(bscans: Tensor, top_row: Tensor, n_rows: float) -> Tensor:
    """Mean of each A-scan of ``(S, Z, X)`` over rows that need not be whole, ``(S, X)``."""
    edge = torch.arange(bscans.shape[1], device=bscans.device).view(1, -1, 1)
    top = top_row[:, None]
    inside = (torch.minimum(edge + 1, top + n_rows) - torch.maximum(edge, top)).clamp(0, 1)
    return (bscans * inside).sum(1) / inside.sum(1)


def _local_mean(values: Tensor, reach: int) -> Tensor:
    """Mean over the known of the ``2 reach + 1`` neighbours along X, ``(S, X)``."""
    known = values.isfinite()
    sums = torch.stack([values.nan_to_num(0.0, 0.0, 0.0), known.to(values)])
    total, count = F.avg_pool1d(sums, 2 * reach + 1, stride=1, padding=reach)
    return total / count
