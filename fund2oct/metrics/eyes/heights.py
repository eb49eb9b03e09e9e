"""How high the epithelium lies, and how far the thickness may be from what is said of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fund2oct.metrics.eyes.layers import check_maps
from fund2oct.retina import pose_surface_um


def epithelium_height_um(rpe_um: Tensor, pose_um: Tensor) -> Tensor:
    """Height of the pigment epithelium above the smooth surface of the scan's pose.

    Args:
        rpe_um: depth of the epithelium, NaN where unknown, shape ``(B, S, X)``.
        pose_um: pose of each slice, shape ``(B, S, 3)``.

    Returns:
        Micrometres, above the surface positive, shape ``(B, S, X)``.
    """
    return pose_surface_um(pose_um.to(rpe_um), rpe_um.shape[-1]) - rpe_um


def pooled_correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Pearson correlation of two maps over the A-scans of all eyes together.

    Unlike the mean of each eye's own correlation it asks as well whether the eyes are told apart: an
    answer that draws every detachment equally high has less than one that draws each as high as it is.

    Args:
        a: any quantity, NaN where unknown, shape ``(N, S, X)``.
        b: likewise.

    Returns:
        A scalar in [-1, 1] over the A-scans known in both; NaN where a map is constant or fewer than
        two are known.

    Raises:
        ValueError: if the shapes differ.
    """
    check_maps(a, b)
    known = a.isfinite() & b.isfinite()
    if known.sum() < 2:
        return torch.tensor(math.nan)
    x, y = (values[known].double() for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt()).clamp(-1, 1).float()


def interval_coverage(interval_um: Tensor, real_um: Tensor) -> Tensor:
    """Share of the A-scans at which the real value lies within the interval, its ends included.

    Args:
        interval_um: lower and upper end, shape ``(B, 2, S, X)``.
        real_um: the real value, NaN where unknown, shape ``(B, S, X)``.

    Returns:
        Share of the known A-scans in [0, 1], shape ``(B,)``; NaN where none is known. An interval that
        is NaN covers nothing.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if interval_um.ndim != 4 or interval_um.shape[1] != 2:
        raise ValueError(f"interval: expected (B, 2, S, X), found shape {tuple(interval_um.shape)}")
    low, high = interval_um.unbind(1)
    check_maps(low, real_um)
    covered = (low <= real_um) & (real_um <= high)
    return covered.flatten(1).sum(1) / real_um.isfinite().flatten(1).sum(1)
