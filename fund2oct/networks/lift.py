r"""Lifts: from 2D features of the photo to features of the volume.

Every lift makes features of a volume, ``(B * S, C, Z, X)`` with the slices folded into the batch, from maps
of the photo, ``(B, C, H, W)``, and the positions of the A-scans, ``(B, S, X, 2)``. They differ in the
features that an A-scan gets:

* :class:`GeometryLift`: those of the place of the retina under it.
* :class:`RepeatLift`: the photo's rows and columns become rows and A-scans of the slice, the same in every
  slice, as in connection B of X2CT-GAN.
* :class:`ChannelLift`: the same, but each slice has channels of its own.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.precision import full_precision


@full_precision
def sample_lines(features: Tensor, grid: Tensor) -> Tensor:
    """Read maps or photos at the positions of the A-scans.

    The values are interpolated linearly, in float32. Outside the photo the nearest pixel is taken.

    Args:
        features: maps or photos, shape ``(B, C, H, W)``.
        grid: positions of the A-scans, -1 to 1 from one edge of the photo to the other, as (x, y), shape
            ``(B, S, X, 2)``.

    Returns:
        Values under each A-scan, shape ``(B, C, S, X)``.

    Example:
        >>> photo = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])  # dark left, bright right
        >>> grid = torch.tensor([[[[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]]])  # three A-scans from left to right
        >>> sample_lines(photo, grid)
        tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """
    return F.grid_sample(
        features, grid.to(features.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )


@full_precision
def coarsen(grid: Tensor, n_ascans: int) -> Tensor:
    """Positions of fewer and wider A-scans, each the mean of those that it covers.

    Args:
        grid: positions of the A-scans, shape ``(B, S, X, 2)``.
        n_ascans: number of A-scans of the result, at most X.

    Returns:
        Positions, shape ``(B, S, n_ascans, 2)``.
    """
    if grid.shape[2] == n_ascans:
        return grid
    return F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), (grid.shape[1], n_ascans)).permute(0, 2, 3, 1)


class AxialProfile(nn.Module):
    r"""Give the features of A-scans a depth, as mixtures of learned axial profiles.

    .. math:: v(c, s, z, x) = q(c, z) + \sum_k f(k, s, x) \, p(k, c, z)

    for the features :math:`f` of the A-scans and the learned profiles :math:`p` and :math:`q`.

    Args:
        channels: number of channels of the features and of the result.
        n_depth: number of rows at which the profiles are learned. For other depths they are interpolated.

    Example:
        >>> profile = AxialProfile(channels=16, n_depth=32)
        >>> profile(torch.rand(2, 16, 6, 48), n_depth=32).shape  # two eyes of six slices, folded
        torch.Size([12, 16, 32, 48])
    """

    depth_axes: ClassVar[dict[str, int]] = {"weight": 2, "bias": 2}

    def __init__(self, channels: int, n_depth: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, n_depth) / channels**0.5)
        self.bias = nn.Parameter(torch.zeros(1, channels, n_depth))

    def forward(self, lines: Tensor, n_depth: int) -> Tensor:
        """Spread features along the axis.

        Args:
            lines: features of the A-scans, shape ``(B, C, S, X)``.
            n_depth: number of rows Z of the result.

        Returns:
            Features with the slices folded into the batch, shape ``(B * S, C, Z, X)``.
        """
        weight, bias = _resized(self.weight, n_depth), _resized(self.bias, n_depth)
        spread = torch.einsum("bksx,kcz->bsczx", lines, weight) + bias[..., None]
        return spread.flatten(0, 1)


class GeometryLift(nn.Module):
    """Give each A-scan the features of the retina under it, with a depth by :class:`AxialProfile`.

    Args:
        channels: number of channels of the photo's maps and of the result.
        n_slices: not used; this lift takes any number of slices.
        n_depth: number of rows Z at which the axial profiles are learned; for other depths they are
            interpolated.

    Example:
        >>> lift = GeometryLift(channels=16, n_slices=6, n_depth=32)
        >>> lift(torch.rand(2, 16, 64, 64), torch.zeros(2, 6, 48, 2), n_depth=32).shape
        torch.Size([12, 16, 32, 48])
    """

    def __init__(self, channels: int, n_slices: int, n_depth: int) -> None:
        super().__init__()
        self.profile = AxialProfile(channels, n_depth)

    def forward(self, features: Tensor, grid: Tensor, n_depth: int) -> Tensor:
        """Lift maps of the photo to the volume.

        Args:
            features: maps of the photo, shape ``(B, C, H, W)``.
            grid: positions of the A-scans, shape ``(B, S, X, 2)``, -1 to 1 across the photo.
            n_depth: number of rows Z of the result.

        Returns:
            Features with the slices folded into the batch, shape ``(B * S, C, Z, X)``.
        """
        return self.profile(sample_lines(features, grid), n_depth)


class RepeatLift(nn.Module):
    """Give every slice the same map of the photo, resized to Z and X, plus a learned offset of the slice.

    It ignores where the slices lie, and is here for comparison.

    Args:
        channels: number of channels of the photo's maps and of the result.
        n_slices: number of slices S.
        n_depth: number of rows Z at which the offsets are learned; for other depths they are interpolated.

    References:
        Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902, connection B in section 3.

    Example:
        >>> lift = RepeatLift(channels=16, n_slices=6, n_depth=32)
        >>> lift(torch.rand(2, 16, 64, 64), torch.zeros(2, 6, 48, 2), n_depth=32).shape
        torch.Size([12, 16, 32, 48])
    """

    depth_axes: ClassVar[dict[str, int]] = {"offset": 2}

    def __init__(self, channels: int, n_slices: int, n_depth: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.randn(n_slices, channels, n_depth, 1) * 0.1)

    def forward(self, features: Tensor, grid: Tensor, n_depth: int) -> Tensor:
        """Lift maps of the photo to the volume.

        Args:
            features: maps of the photo, shape ``(B, C, H, W)``.
            grid: positions of the A-scans, shape ``(B, S, X, 2)``; only the shape is used.
            n_depth: number of rows Z of the result.

        Returns:
            Features with the slices folded into the batch, shape ``(B * S, C, Z, X)``.

        Raises:
            ValueError: if the number of slices is another than the lift was built for.
        """
        n_slices, n_ascans = grid.shape[1:3]
        _check_slices(n_slices, len(self.offset))
        plane = F.interpolate(features, (n_depth, n_ascans), mode="bilinear", align_corners=False)
        offset = F.interpolate(self.offset, (n_depth, 1), mode="bilinear", align_corners=False)
        return (plane[:, None] + offset).flatten(0, 1)


class ChannelLift(nn.Module):
    """Give every slice channels of its own, computed from the same map of the photo.

    The map is resized to Z and X. It ignores where the slices lie, and is here for comparison.

    Args:
        channels: number of channels of the photo's maps and of the result.
        n_slices: number of slices S.
        n_depth: not used; this lift takes any number of rows.

    Example:
        >>> lift = ChannelLift(channels=16, n_slices=6, n_depth=32)
        >>> lift(torch.rand(2, 16, 64, 64), torch.zeros(2, 6, 48, 2), n_depth=32).shape
        torch.Size([12, 16, 32, 48])
    """

    def __init__(self, channels: int, n_slices: int, n_depth: int) -> None:
        super().__init__()
        self.n_slices = n_slices
        self.to_slices = nn.Conv2d(channels, channels * n_slices, 1)

    def forward(self, features: Tensor, grid: Tensor, n_depth: int) -> Tensor:
        """Lift maps of the photo to the volume.

        Args:
            features: maps of the photo, shape ``(B, C, H, W)``.
            grid: positions of the A-scans, shape ``(B, S, X, 2)``; only the shape is used.
            n_depth: number of rows Z of the result.

        Returns:
            Features with the slices folded into the batch, shape ``(B * S, C, Z, X)``.

        Raises:
            ValueError: if the number of slices is another than the lift was built for.
        """
        n_slices, n_ascans = grid.shape[1:3]
        _check_slices(n_slices, self.n_slices)
        plane = F.interpolate(features, (n_depth, n_ascans), mode="bilinear", align_corners=False)
        return self.to_slices(plane).unflatten(1, (n_slices, -1)).flatten(0, 1)


LIFTS: dict[str, type[nn.Module]] = {
    "geometry": GeometryLift,
    "repeat": RepeatLift,
    "channels": ChannelLift,
}
"""The lifts by the names that an experiment gives them."""


def _resized(profile: Tensor, n_depth: int) -> Tensor:
    if profile.shape[-1] == n_depth:
        return profile
    return F.interpolate(profile, n_depth, mode="linear", align_corners=False)


def _check_slices(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(
            f"lift: built for {expected} slices, found {found}; only the geometry lift takes any scan"
        )
