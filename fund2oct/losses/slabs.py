"""Losses on the light from below the pigment epithelium, one number for each A-scan."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.losses.masking import check_pair
from fund2oct.networks.layered.pockets import odd_size
from fund2oct.retina.frame import ALIGNED_DEPTH

SLAB_UM = (0.0, 150.0)
"""First and last depth of the slab, in micrometres below the pose's surface."""
SHADOW_WINDOW_MM = 0.55
"""A shadow is compared with the mean over this length: wider than a vessel, narrower than a lesion."""


def below_epithelium(aligned: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Mean intensity of each A-scan from the pose's surface to 150 micrometres below it.

    The pose's surface is a smooth surface near the pigment epithelium. What lies below it is mostly choroid:
    dark under a vessel, bright under atrophy.

    Args:
        aligned: volume in the aligned frame, intensities in [0, 1], shape ``(B, C, S, Z, X)``.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.

    Returns:
        Intensities in [0, 1], shape ``(B, C, S, X)``.

    Example:
        >>> aligned = torch.zeros(1, 1, 2, 20, 3)
        >>> aligned[..., 14, 1] = 1  # one of the three rows of 50 micrometres below the pose's surface
        >>> below_epithelium(aligned, 0.05)[0, 0, 0]
        tensor([0.0000, 0.3333, 0.0000])
    """
    n_depth = aligned.shape[3]
    row_um = 1000 * torch.as_tensor(spacing_z_mm, dtype=aligned.dtype, device=aligned.device)
    rows = torch.arange(n_depth, dtype=aligned.dtype, device=aligned.device).view(1, 1, 1, -1, 1) + 0.5
    below_um = (rows - ALIGNED_DEPTH * n_depth) * row_um.view(-1, 1, 1, 1, 1)
    inside = ((below_um > SLAB_UM[0]) & (below_um < SLAB_UM[1])).to(aligned)
    return (aligned * inside).sum(3) / inside.sum(3).clamp(min=1)


def slab_loss(fake: Tensor, real: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Mean squared difference of what :func:`below_epithelium` finds in two volumes.

    Args:
        fake: generated volume in the aligned frame, in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> dark, bright = torch.zeros(1, 1, 2, 20, 3), torch.ones(1, 1, 2, 20, 3)
        >>> slab_loss(dark, bright, 0.05)
        tensor(1.)
    """
    check_pair(fake, real)
    difference = below_epithelium(fake, spacing_z_mm) - below_epithelium(real, spacing_z_mm)
    return difference.square().mean()


def shadow_loss(fake: Tensor, real: Tensor, spacing_z_mm: Tensor | float, spacing_x_mm: float) -> Tensor:
    """Mean squared difference of the shadows that vessels cast below the epithelium.

    A vessel is far narrower than half a millimetre, and its shadow a narrow dark stripe. The intensity that
    :func:`below_epithelium` finds is therefore taken relative to its mean over neighbouring A-scans: the odd
    number of them that is nearest to 0.55 mm, at least 3. This removes broad differences, which are far
    larger than those of the shadows.

    Args:
        fake: generated volume in the aligned frame, in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        spacing_z_mm: distance of two rows in millimetres, one number or one for each eye, shape ``(B,)``.
        spacing_x_mm: usual distance of two A-scans in millimetres; one number for all eyes, which a GPU need
            not be asked for.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> dark, bright = torch.zeros(1, 1, 2, 20, 9), torch.ones(1, 1, 2, 20, 9)
        >>> shadow_loss(dark, bright, 0.05, 0.08)  # one is brighter throughout: no shadow differs
        tensor(0.)
    """
    check_pair(fake, real)
    difference = below_epithelium(fake, spacing_z_mm) - below_epithelium(real, spacing_z_mm)
    window = min(odd_size(SHADOW_WINDOW_MM / spacing_x_mm), difference.shape[-1])
    broad = F.avg_pool2d(difference, (1, window), 1, (0, window // 2), count_include_pad=False)
    return (difference - broad[..., : difference.shape[-1]]).square().mean()
