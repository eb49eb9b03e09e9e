"""Distances between projections of volumes along the axes that have a meaning in every scan."""

from __future__ import annotations

from torch import Tensor

from fund2oct.losses.masking import check_pair, masked_mean


def en_face_projection(volume: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Average an OCT volume along its A-scans.

    .. math:: E(s, x) = \frac{1}{Z} \sum_z V(s, z, x)

    Args:
        volume: intensities in [0, 1], shape ``(B, C, S, Z, X)``.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        Projection in [0, 1], shape ``(B, C, S, X)``; 0 for an A-scan without a voxel that counts.

    Raises:
        ValueError: if ``volume`` is not five-dimensional or the mask does not fit.

    References:
        Projection loss of Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902.

    Example:
        >>> import torch
        >>> volume = torch.zeros(1, 1, 2, 4, 3)
        >>> volume[0, 0, 1, :, 2] = 1  # one bright A-scan
        >>> en_face_projection(volume)[0, 0]
        tensor([[0., 0., 0.],
                [0., 0., 1.]])
    """
    return _project(volume, mask, dim=-2)


def axial_profile(volume: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Average each B-scan along its width.

    .. math:: A(s, z) = \frac{1}{X} \sum_x V(s, z, x)

    Args:
        volume: intensities in [0, 1], shape ``(B, C, S, Z, X)``.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        Profiles in [0, 1], shape ``(B, C, S, Z)``; 0 for a row without a voxel that counts.

    Raises:
        ValueError: if ``volume`` is not five-dimensional or the mask does not fit.

    Example:
        >>> import torch
        >>> volume = torch.zeros(1, 1, 1, 4, 3)
        >>> volume[0, 0, 0, 1] = 1  # one bright row
        >>> axial_profile(volume)[0, 0, 0]
        tensor([0., 1., 0., 0.])
    """
    return _project(volume, mask, dim=-1)


def projection_loss(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""L1 between the projections of two volumes, along Z and along X.

    .. math:: \tfrac12 \left( E_{s,x} |\hat E - E| + E_{s,z} |\hat A - A| \right)

    X2CT-GAN projects along all three axes. The slow axis is left out: a mean over the slices of a
    radial scan averages points of the retina that have nothing in common.

    Args:
        fake: generated volume in [0, 1], shape ``(B, C, S, Z, X)``.
        real: real volume of the same shape.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all. Every A-scan, and every row
            of a B-scan, with at least one voxel that counts has the same weight in the mean.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if the shapes differ.

    References:
        Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902, equation 5.

    Example:
        >>> import torch
        >>> dark, bright = torch.zeros(1, 1, 2, 4, 3), torch.ones(1, 1, 2, 4, 3)
        >>> projection_loss(dark, bright)
        tensor(1.)
    """
    check_pair(fake, real, mask)
    parts = []
    for dim in (-2, -1):
        difference = _project(fake, mask, dim) - _project(real, mask, dim)
        parts.append(masked_mean(difference.abs(), None if mask is None else (mask > 0).any(dim)))
    return (parts[0] + parts[1]) / 2


def _project(volume: Tensor, mask: Tensor | None, dim: int) -> Tensor:
    check_pair(volume, volume, mask)
    if mask is None:
        return volume.mean(dim)
    counts = mask > 0
    return (volume * counts).sum(dim) / counts.sum(dim).clamp(min=1)
