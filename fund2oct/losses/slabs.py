"""Losses on what is one number an A-scan: the light that comes back from below the epithelium."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.losses.masking import check_pair
from fund2oct.retina.frame import ALIGNED_DEPTH

SLAB_UM = (0.0, 150.0)
"""Depths below the pose's surface between which the light is averaged."""
SHADOW_WINDOW = 7
"""A-scans on which a shadow is darker than the mean: wider than a vessel, narrower than a lesion."""


def below_epithelium(aligned: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Mean intensity of each A-scan from the pose's surface to 150 micrometres below it.

    Args:
        aligned: volume in the aligned frame, shape ``(B, C, S, Z, X)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        Shape ``(B, C, S, X)``.

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
    """Mean squared difference of the light from :func:`below_epithelium`.

    Args:
        fake: generated volume in the aligned frame, shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        A scalar.

    Example:
        >>> dark, bright = torch.zeros(1, 1, 2, 20, 3), torch.ones(1, 1, 2, 20, 3)
        >>> slab_loss(dark, bright, 0.05)
        tensor(1.)
    """
    check_pair(fake, real)
    difference = below_epithelium(fake, spacing_z_mm) - below_epithelium(real, spacing_z_mm)
    return difference.square().mean()


def shadow_loss(fake: Tensor, real: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Mean squared difference of the narrow dark stripes in the light from :func:`below_epithelium`.

    The light is compared with its mean over the neighbouring A-scans, so that broad differences, which
    are the larger by far, do not drown the shadows of vessels.

    Args:
        fake: generated volume in the aligned frame, shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        A scalar.

    Example:
        >>> dark, bright = torch.zeros(1, 1, 2, 20, 9), torch.ones(1, 1, 2, 20, 9)
        >>> shadow_loss(dark, bright, 0.05)  # one is brighter throughout: no shadow differs
        tensor(0.)
    """
    check_pair(fake, real)
    difference = below_epithelium(fake, spacing_z_mm) - below_epithelium(real, spacing_z_mm)
    window = min(SHADOW_WINDOW, difference.shape[-1])
    broad = F.avg_pool2d(difference, (1, window), 1, (0, window // 2), count_include_pad=False)
    return (difference - broad[..., : difference.shape[-1]]).square().mean()
