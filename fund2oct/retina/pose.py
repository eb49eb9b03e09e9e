r"""The pose of a scan: how high the outer retina lies in each slice, how tilted, how curved.

The pose comes from the operator and from the eye's shape and alignment, not from the retina's anatomy.
It is :data:`N_POSE` coefficients a slice, those of the Legendre polynomials along the slice:

.. math:: d(s, u) = \sum_k c_{s,k} P_k(u)

with ``d`` in micrometres below the frame's top edge and ``u`` from -1 to 1 over the slice, at the
centre of A-scan ``i`` of ``X`` :math:`u_i = (2 i + 1) / X - 1`. The first three are height, tilt and
curvature; the others are 0 but for an eye that no parabola fits, as a long one with a staphyloma.

Functions here take any number of coefficients from three on: what is left out is 0.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from fund2oct.geometry import Symmetry
from fund2oct.precision import full_precision

N_POSE = 7
"""Coefficients of a slice's pose: Legendre polynomials of degree 0 to 6."""
N_PARABOLA = 3
"""The coefficients that each slice has: height, tilt and curvature."""


@full_precision  # in bfloat16 a depth of 1200 um has steps of 8 um
def pose_surface_um(pose_um: Tensor, n_ascans: int) -> Tensor:
    """Depth of the pose's surface below the frame's top edge, at each A-scan; in float32 inside autocast.

    Args:
        pose_um: coefficients in micrometres, shape ``(..., S, K)``, K at least 3.
        n_ascans: number of A-scans in a slice.

    Returns:
        Depth in micrometres, shape ``(..., S, X)``.

    Raises:
        ValueError: if the last dimension of ``pose_um`` is less than 3.

    Example:
        >>> pose_surface_um(torch.tensor([[1000.0, 20.0, 0.0]]), 4)
        tensor([[ 985.,  995., 1005., 1015.]])
    """
    check_pose(pose_um)
    # A blocking copy would wait until a GPU has done all that it was told.
    return pose_um @ legendre_basis(n_ascans, pose_um.shape[-1]).to(pose_um, non_blocking=True).T


def heights_of(surfaces_um: Tensor, pose_um: Tensor) -> Tensor:
    """Heights above the pose's surface from depths below the top of the frame.

    Args:
        surfaces_um: depths in micrometres, NaN where unknown, shape ``(B, n, S, X)``.
        pose_um: pose of each slice, its coefficients in micrometres, shape ``(B, S, K)``, K at least 3.

    Returns:
        Heights in micrometres, positive above the surface, shape ``(B, n, S, X)``.

    Example:
        >>> flat = torch.tensor([[[600.0, 0.0, 0.0]]])
        >>> heights_of(torch.tensor([[[[600.0, 480.0, 600.0]]]]), flat)
        tensor([[[[  0., 120.,   0.]]]])
    """
    return pose_surface_um(pose_um, surfaces_um.shape[-1])[:, None] - surfaces_um


def apply_symmetry_to_pose(pose_um: Tensor, symmetry: Symmetry) -> Tensor:
    """Move a pose with its volume, as :meth:`fund2oct.geometry.Symmetry.apply_to_scan` moves that.

    The slices are permuted; where one is read backwards, its coefficients of odd degree, such as the
    tilt, change sign.

    Args:
        pose_um: coefficients, shape ``(..., S, K)``, K at least 3.
        symmetry: a symmetry of the scan, of as many slices.

    Returns:
        Coefficients, same shape.

    Raises:
        ValueError: if the shape does not fit the symmetry.

    Example:
        >>> from fund2oct import RadialScan
        >>> half_turn = next(one for one in RadialScan(2).symmetries() if one.matrix == ((-1, 0), (0, -1)))
        >>> pose_um = torch.tensor([[900.0, 20.0, 5.0], [950.0, -10.0, 5.0]])
        >>> apply_symmetry_to_pose(pose_um, half_turn)  # both slices are read backwards
        tensor([[900., -20.,   5.],
                [950.,  10.,   5.]])
    """
    check_pose(pose_um)
    if pose_um.ndim < 2 or pose_um.shape[-2] != len(symmetry.slices):
        raise ValueError(
            f"pose: expected (..., {len(symmetry.slices)}, K) for this symmetry, found {tuple(pose_um.shape)}"
        )
    moved = pose_um[..., list(symmetry.slices), :]
    sign = torch.ones(moved.shape[-2:]).to(pose_um)
    sign[list(symmetry.mirrored), 1::2] = -1
    return moved * sign


def check_pose(pose_um: Tensor) -> None:
    """Refuse what is no pose.

    Raises:
        ValueError: if the shape is not ``(..., S, K)`` with K of at least 3.
    """
    if pose_um.ndim < 1 or pose_um.shape[-1] < N_PARABOLA:
        raise ValueError(
            f"pose: expected (..., S, K) coefficients, K at least {N_PARABOLA}, "
            f"found shape {tuple(pose_um.shape)}"
        )


@lru_cache(maxsize=64)
def legendre_basis(n_ascans: int, n_coefficients: int) -> Tensor:
    """Legendre polynomials at the centres of the A-scans, float64, shape ``(X, K)``."""
    u = (2 * np.arange(n_ascans) + 1) / n_ascans - 1
    return torch.from_numpy(legendre.legvander(u, n_coefficients - 1))
