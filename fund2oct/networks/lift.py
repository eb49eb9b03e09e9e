r"""Lifts: from 2D features of the photo to features of the volume.

Every lift maps ``(B, C, H, W)`` and the A-scans' positions ``(B, S, X, 2)`` to a folded volume
``(B * S, C, Z, X)``. They differ in one thing, which photo pixel an A-scan sees:

* :class:`GeometryLift`: the one that it lies over.
* :class:`RepeatLift`: the photo laid over each slice, the same for all of them, as X2CT-GAN's
  connection B does for an X-ray.
* :class:`ChannelLift`: the photo laid over each slice, with channels of its own for each.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.precision import full_precision


@full_precision
def sample_lines(features: Tensor, grid: Tensor) -> Tensor:
    """Read maps at the A-scan positions, in float32; outside the photo the nearest pixel counts.

    Args:
        features: maps or photos, shape ``(B, C, H, W)``.
        grid: positions in grid units, shape ``(B, S, X, 2)``.

    Returns:
        Values under each A-scan, shape ``(B, C, S, X)``.
    """
    return F.grid_sample(
        features, grid.to(features.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )


@full_precision
def coarsen(grid: Tensor, n_ascans: int) -> Tensor:
    """Positions ``(B, S, X, 2)`` of fewer, wider A-scans: the means of those that each covers."""
    if grid.shape[2] == n_ascans:
        return grid
    return F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), (grid.shape[1], n_ascans)).permute(0, 2, 3, 1)


class AxialProfile(nn.Module):
    r"""Spread features of A-scans along the axis, as mixtures of learned profiles.

    .. math:: v(c, s, z, x) = q(c, z) + \sum_k f(k, s, x) \, p(k, c, z)

    The profiles ``p`` and ``q`` are learned at ``n_depth`` samples and interpolated to other depths.
    """

    depth_axes: ClassVar[dict[str, int]] = {"weight": 2, "bias": 2}

    def __init__(self, channels: int, n_depth: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, n_depth) / channels**0.5)
        self.bias = nn.Parameter(torch.zeros(1, channels, n_depth))

    def forward(self, lines: Tensor, n_depth: int) -> Tensor:
        """Spread ``(B, C, S, X)`` to the folded ``(B * S, C, Z, X)``."""
        weight, bias = _resized(self.weight, n_depth), _resized(self.bias, n_depth)
        spread = torch.einsum("bksx,kcz->bsczx", lines, weight) + bias[..., None]
        return spread.flatten(0, 1)


class GeometryLift(nn.Module):
    """Each A-scan sees the retina that it lies over, spread along the axis by learned profiles."""

    def __init__(self, channels: int, n_slices: int, n_depth: int) -> None:
        super().__init__()
        self.profile = AxialProfile(channels, n_depth)

    def forward(self, features: Tensor, grid: Tensor, n_depth: int) -> Tensor:
        """Lift ``(B, C, H, W)`` to ``(B * S, C, Z, X)``."""
        return self.profile(sample_lines(features, grid), n_depth)


class RepeatLift(nn.Module):
    """Repeat the feature map under every slice (X2CT-GAN, arXiv:1905.06902, connection B).

    The slices would be identical without a learned offset of each.
    """

    depth_axes: ClassVar[dict[str, int]] = {"offset": 2}

    def __init__(self, channels: int, n_slices: int, n_depth: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.randn(n_slices, channels, n_depth, 1) * 0.1)

    def forward(self, features: Tensor, grid: Tensor, n_depth: int) -> Tensor:
        """Lift ``(B, C, H, W)`` to ``(B * S, C, Z, X)``; of ``grid`` only the shape is used."""
        n_slices, n_ascans = grid.shape[1:3]
        _check_slices(n_slices, len(self.offset))
        plane = F.interpolate(features, (n_depth, n_ascans), mode="bilinear", align_corners=False)
        offset = F.interpolate(self.offset, (n_depth, 1), mode="bilinear", align_corners=False)
        return (plane[:, None] + offset).flatten(0, 1)


class ChannelLift(nn.Module):
    """Give every slice channels of its own, computed from the same feature map."""

    def __init__(self, channels: int, n_slices: int, n_depth: int) -> None:
        super().__init__()
        self.n_slices = n_slices
        self.to_slices = nn.Conv2d(channels, channels * n_slices, 1)

    def forward(self, features: Tensor, grid: Tensor, n_depth: int) -> Tensor:
        """Lift ``(B, C, H, W)`` to ``(B * S, C, Z, X)``; of ``grid`` only the shape is used."""
        n_slices, n_ascans = grid.shape[1:3]
        _check_slices(n_slices, self.n_slices)
        plane = F.interpolate(features, (n_depth, n_ascans), mode="bilinear", align_corners=False)
        return self.to_slices(plane).unflatten(1, (n_slices, -1)).flatten(0, 1)


LIFTS: dict[str, type[nn.Module]] = {
    "geometry": GeometryLift,
    "repeat": RepeatLift,
    "channels": ChannelLift,
}


def _resized(profile: Tensor, n_depth: int) -> Tensor:
    if profile.shape[-1] == n_depth:
        return profile
    return F.interpolate(profile, n_depth, mode="linear", align_corners=False)


def _check_slices(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(
            f"lift: built for {expected} slices, found {found}; only the geometry lift takes any scan"
        )
