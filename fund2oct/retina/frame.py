r"""The aligned frame, in which volumes of different pose can be compared voxel by voxel.

In the aligned frame each A-scan is shifted along Z so that the pose's surface lies at
:data:`ALIGNED_DEPTH` of the frame's height; size and spacing stay. Row ``r`` of a frame covers the
depths from ``r`` to ``r + 1`` times the spacing, so a voxel's centre is at ``(r + 0.5) * spacing``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fund2oct.retina.pose import check_pose, pose_surface_um

ALIGNED_DEPTH = 0.6
"""Share of the frame's height above the outer retina in the aligned frame."""

_LOBES = 8
_EDGE = 0.1


def align(volume: Tensor, pose_um: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Shift each A-scan so that the pose's surface is flat, at :data:`ALIGNED_DEPTH`.

    Resampled by a Lanczos kernel of eight lobes. With three lobes the fine half of the speckle would lose a
    seventh of its energy, and more with linear interpolation. Beyond the frame's edges its outermost tenth is
    repeated to and fro (see :func:`aligned_mask`).
    Differentiable, except where the kernel's overshoot is clamped to [0, 1].

    Args:
        volume: intensities in [0, 1], shape ``(B, C, S, Z, X)``.
        pose_um: pose of each slice, shape ``(B, S, K)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        Aligned volume in [0, 1], of the shape and type of ``volume``.

    Raises:
        ValueError: if the shapes do not fit each other, or a spacing that is given as a number is not
            positive. Into a tensor nobody looks.

    Example:
        >>> volume = torch.zeros(1, 1, 1, 20, 3)
        >>> volume[..., 5, :] = 1  # a bright row from 50 to 60 um, rows of 10 um
        >>> aligned = align(volume, torch.tensor([[[50.0, 0.0, 0.0]]]), spacing_z_mm=0.01)
        >>> aligned[0, 0, 0, :, 0].argmax()  # 0.6 of 20 rows from the top
        tensor(12)
    """
    _check(volume, pose_um)
    return _shift(volume, _offset_px(pose_um, spacing_z_mm, volume))


def unalign(aligned: Tensor, pose_um: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Shift each A-scan of an aligned volume so that the retina lies as the pose says.

    The inverse of :func:`align` up to resampling and to what leaves the frame.

    Args:
        aligned: intensities in [0, 1], shape ``(B, C, S, Z, X)``.
        pose_um: pose of each slice, shape ``(B, S, K)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        Volume in [0, 1], of the shape and type of ``aligned``.

    Raises:
        ValueError: if the shapes do not fit each other, or a spacing that is given as a number is not
            positive. Into a tensor nobody looks.

    Example:
        >>> aligned = torch.zeros(1, 1, 1, 20, 3)
        >>> aligned[..., 12, :] = 1
        >>> tilted = torch.tensor([[[100.0, 30.0, 0.0]]])  # 20 um up on the left, 20 um down on the right
        >>> unalign(aligned, tilted, spacing_z_mm=0.01)[0, 0, 0].argmax(0)  # rows of 10 um
        tensor([ 8, 10, 12])
    """
    _check(aligned, pose_um)
    return _shift(aligned, -_offset_px(pose_um, spacing_z_mm, aligned))


def aligned_mask(volume: Tensor, pose_um: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    """Mark the voxels of the aligned frame that were scanned: whose centre was inside the scanned frame.

    Args:
        volume: any volume of the right shape, ``(B, C, S, Z, X)``; its values are not read.
        pose_um: pose of each slice, shape ``(B, S, K)``.
        spacing_z_mm: distance of two rows, one number or one an eye, shape ``(B,)``.

    Returns:
        Boolean mask, true where a voxel was scanned, shape ``(B, 1, S, Z, X)``.

    Raises:
        ValueError: if the shapes do not fit each other, or a spacing that is given as a number is not
            positive. Into a tensor nobody looks.

    Example:
        >>> volume = torch.rand(1, 1, 1, 20, 3)
        >>> pose_um = torch.tensor([[[60.0, 0.0, 0.0]]])  # six rows of 10 um, and 12 in the aligned frame
        >>> aligned_mask(volume, pose_um, spacing_z_mm=0.01)[0, 0, 0, :, 0].sum()  # six rows were not scanned
        tensor(14)
    """
    _check(volume, pose_um)
    offset = _offset_px(pose_um, spacing_z_mm, volume)
    n_rows = volume.shape[3]
    row = torch.arange(n_rows, device=volume.device).view(1, 1, 1, -1, 1) + offset[:, None, :, None]
    return (row > -0.5) & (row < n_rows - 0.5)


def _check(volume: Tensor, pose_um: Tensor) -> None:
    if volume.ndim != 5:
        raise ValueError(f"volume: expected (B, C, S, Z, X), found shape {tuple(volume.shape)}")
    check_pose(pose_um)
    expected = (volume.shape[0], volume.shape[2])
    if tuple(pose_um.shape[:-1]) != expected:
        raise ValueError(
            f"pose: expected (B, S, K) with (B, S) = {expected}, found shape {tuple(pose_um.shape)}"
        )


def _offset_px(pose_um: Tensor, spacing_z_mm: Tensor | float, volume: Tensor) -> Tensor:
    """Rows by which the pose's surface lies below its place in the aligned frame, ``(B, S, X)``."""
    # Half precision cannot hold a row index: 1/8 row at 400 rows is 12 bits.
    precision = torch.float64 if volume.dtype == torch.float64 else torch.float32
    spacing = torch.as_tensor(spacing_z_mm, dtype=precision, device=volume.device)
    if spacing.ndim > 1 or (spacing.ndim == 1 and spacing.shape[0] != volume.shape[0]):
        raise ValueError(
            f"spacing: expected one number or one for each of {volume.shape[0]} eyes, "
            f"found shape {tuple(spacing.shape)}"
        )
    # Nobody looks into a tensor: a step would wait for the GPU.
    if not isinstance(spacing_z_mm, Tensor) and not bool((spacing > 0).all()):
        raise ValueError(f"spacing: expected a positive length in millimetres, found {spacing_z_mm}")
    surface_um = pose_surface_um(pose_um.to(volume.device, precision), volume.shape[-1])
    return surface_um / (1000 * spacing).view(-1, 1, 1) - ALIGNED_DEPTH * volume.shape[3]


def _shift(volume: Tensor, offset_px: Tensor) -> Tensor:
    """Sample each A-scan at ``row + offset``, reflected at the frame's edges."""
    n_rows = volume.shape[3]
    whole = offset_px.floor()
    # One gather of all rows that the kernel touches; its taps are then views of the result.
    reach = torch.arange(1 - _LOBES, n_rows + _LOBES, device=volume.device).view(1, 1, -1, 1)
    index = _folded(whole.long()[:, :, None] + reach, n_rows)[:, None]
    rows = volume.gather(3, index.expand(-1, volume.shape[1], -1, -1, -1))
    taps = _lanczos(offset_px - whole)
    shifted = sum(taps[k][:, None, :, None] * rows[:, :, :, k : k + n_rows] for k in range(2 * _LOBES))
    assert isinstance(shifted, Tensor)
    return shifted.clamp(0, 1).to(volume.dtype)


def _folded(row: Tensor, n_rows: int) -> Tensor:
    """Rows beyond the frame, folded to and fro within the tenth of it that is next to the edge.

    That tenth is vitreous or deep choroid; a plain reflection would bring back the bright layers.
    """
    band = max(1, round(n_rows * _EDGE))

    def to_and_fro(beyond: Tensor) -> Tensor:
        place = beyond % (2 * band)
        return torch.minimum(place, 2 * band - 1 - place)

    deep = n_rows - 1 - to_and_fro(row - n_rows)
    shallow = to_and_fro(-1 - row)
    return torch.where(row >= n_rows, deep, torch.where(row < 0, shallow, row))


def _lanczos(fraction: Tensor) -> Tensor:
    """Weights of the rows around a position, of which each side has ``_LOBES``; they sum to 1.

    The shape is ``(2 * _LOBES, *fraction.shape)``.
    """
    tap = torch.arange(1 - _LOBES, _LOBES + 1, device=fraction.device, dtype=fraction.dtype)
    distance = fraction - tap.view(-1, *[1] * fraction.ndim)
    weight = torch.sinc(distance) * torch.sinc(distance / _LOBES)
    return weight / weight.sum(0)
