"""Agreement of the anatomy: thickness maps, the shadows of vessels, and whether the layers are plausible.

All of it rests on the surfaces that :func:`fund2oct.metrics.eyes.layers.find_surfaces` found, and is NaN in
an eye where fewer than a quarter of the A-scans can be compared.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.losses.masking import check_pair
from fund2oct.metrics.eyes.layers import Surfaces, check_maps, check_surfaces, enough, per_eye
from fund2oct.precision import full_precision
from fund2oct.retina.pose import pose_surface_um
from fund2oct.retina.pose_fit import fit_pose

SHADOW_SLAB_UM = 150.0
"""Depth of the slab, from the pigment epithelium's inner surface, in which shadows are sought."""
SHADOW_WINDOW_MM = 0.4
"""Length along a B-scan of the local mean that a shadow is darker than."""

PLAUSIBLE_THICKNESS_UM = (80.0, 1000.0)
PLAUSIBLE_SLOPE = 1.0
SUNK_UM = 60.0


@full_precision
def map_correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Pearson correlation of two maps over the A-scans, of each eye.

    .. math:: \frac{\sum_i (a_i - \bar a)(b_i - \bar b)}
        {\sqrt{\sum_i (a_i - \bar a)^2 \sum_i (b_i - \bar b)^2}}

    over the A-scans known in both. Every A-scan weighs the same; in a radial scan those near the
    fovea lie closer together and so weigh more for their area.

    Args:
        a: any quantity, NaN where unknown, shape ``(B, S, X)``.
        b: likewise.

    Returns:
        Correlation in [-1, 1], shape ``(B,)``; NaN where fewer than a quarter of the A-scans are known
        in both, or where a map is constant.

    Raises:
        ValueError: if the shapes differ.
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
    r"""En face contrast below the retina, where the retinal vessels throw their shadows.

    .. math:: C(s, x) = \frac{E(s, x)}{\bar E(s, x)} - 1

    with the mean :math:`E` of the A-scan from the pigment epithelium's inner surface to 150
    micrometres below it, and its mean :math:`\bar E` over 0.4 mm of the B-scan around it. A shadow is
    negative; what is wider than the window, such as the pose, illumination or atrophy, hardly counts.
    Choroidal vessels and the pigment's unevenness show as well as shadows do: this is no segmentation
    of vessels.

    Args:
        volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
        surfaces: those of the volume.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.

    Returns:
        Contrast, NaN where the surfaces were not found or the slab is dark or outside the frame,
        shape ``(B, S, X)``.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_surfaces(surfaces, volume)
    shadows = []
    spacings = zip(per_eye(spacing_z_mm, len(volume)), per_eye(spacing_x_mm, len(volume)), strict=True)
    for eye, rpe_um, (z_mm, x_mm) in zip(volume[:, 0].float(), surfaces.rpe_um, spacings, strict=True):
        en_face = slab_mean(eye, rpe_um / (1000 * z_mm), SHADOW_SLAB_UM / (1000 * z_mm))
        local = _local_mean(en_face, max(1, round(SHADOW_WINDOW_MM / x_mm / 2)))
        shadows.append(torch.where(local > 0, en_face / local - 1, math.nan))
    return torch.stack(shadows)


@full_precision
def shadow_agreement(
    fake: Tensor,
    real: Tensor,
    fake_surfaces: Surfaces,
    real_surfaces: Surfaces,
    spacing_z_mm: Tensor | float,
    spacing_x_mm: Tensor | float,
) -> Tensor:
    """Correlation of the :func:`vessel_shadows` of generated and real volumes, each below its own retina.

    Args:
        fake: generated volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
        real: real volumes of the same shape.
        fake_surfaces: those of ``fake``.
        real_surfaces: those of ``real``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.
        spacing_x_mm: distance of two A-scans, likewise.

    Returns:
        Correlation in [-1, 1], shape ``(B,)``; NaN as :func:`map_correlation` says. Speckle keeps it
        below 1 even between two scans of one eye.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_pair(fake, real)
    return map_correlation(
        vessel_shadows(fake, fake_surfaces, spacing_z_mm, spacing_x_mm),
        vessel_shadows(real, real_surfaces, spacing_z_mm, spacing_x_mm),
    )


def layer_violations(surfaces: Surfaces, spacing_x_mm: Tensor | float) -> Tensor:
    """Share of A-scans whose surfaces no eye, or hardly any, could have.

    An A-scan counts, once, if

    * the retina is thinner than 80 micrometres or thicker than 1000. The centre of healthy foveas is
      227 +- 23 micrometres thick and the thickest healthy subfield 340 +- 17 (Grover et al., Am J
      Ophthalmol 2009): the limits are more than six deviations below the one, and thrice the other, to
      leave room for atrophy and oedema. The search never puts the inner surface below the epithelium,
      so that order broken shows as a thickness near 0. A macular hole is a violation too;
    * the epithelium lies more than 60 micrometres below the smooth surface fitted to it, see
      :func:`fund2oct.retina.fit_pose`: disease lifts it, and atrophy lets it sink by some 30;
    * the inner surface or the epithelium rises or falls by more than 45 degrees towards the next
      A-scan. The foveal pit is far from that; rims of holes and of tall detachments can come near.

    It is an alarm, not a quality: a blurred mean eye violates nothing. Compare it with the share in
    real volumes, which is not 0 either.

    Args:
        surfaces: as found.
        spacing_x_mm: distance of two A-scans, one number or one an eye, shape ``(B,)``.

    Returns:
        Share of the A-scans at which the search succeeded, in [0, 1], shape ``(B,)``; NaN where that
        is fewer than a quarter of all.
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
