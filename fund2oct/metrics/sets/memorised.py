"""A measure of whether a generator draws the same memorised pattern in every eye."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.metrics.eyes.layers import check_volume, per_eye
from fund2oct.retina import ALIGNED_DEPTH

DEEP_UM = (30.0, 150.0)
"""Depths below the pose's surface between which :func:`deep_contrast` is taken."""


def deep_contrast(aligned: Tensor, spacing_z_mm: Tensor | float) -> Tensor:
    r"""Contrast along the B-scans below the epithelium, in the aligned frame.

    .. math:: C(s, z, x) = V(s, z, x) - \frac{1}{X} \sum_{x'} V(s, z, x')

    at the rows whose centre lies from 30 to 150 micrometres below the pose's surface. The mean of each row is
    subtracted, because the mean profile of the choroid is similar in all eyes.

    Args:
        aligned: volumes in the aligned frame, in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows in millimetres, one number or shape ``(B,)``, the same for all.

    Returns:
        Contrast in [-1, 1], shape ``(B, S, rows, X)``.

    Raises:
        ValueError: if the shape is another, the eyes are of different spacing, or no row lies there.

    Example:
        >>> aligned = torch.rand(2, 1, 6, 80, 112)
        >>> deep_contrast(aligned, spacing_z_mm=0.024).shape  # five rows of 24 micrometres
        torch.Size([2, 6, 5, 112])
    """
    check_volume(aligned)
    spacings = {round(z_mm, 6) for z_mm in per_eye(spacing_z_mm, len(aligned))}
    if len(spacings) != 1:
        raise ValueError(f"spacing: expected one for all eyes, found {sorted(spacings)}")
    n_rows = aligned.shape[3]
    depth_um = ((torch.arange(n_rows) + 0.5) - ALIGNED_DEPTH * n_rows) * 1000 * spacings.pop()
    rows = (depth_um > DEEP_UM[0]) & (depth_um < DEEP_UM[1])
    if not rows.any():
        raise ValueError(f"spacing: no row lies {DEEP_UM[0]:g} to {DEEP_UM[1]:g} um below the epithelium")
    slab = aligned[:, 0, :, rows.to(aligned.device)].float()
    return slab - slab.mean(-1, keepdim=True)


def correlation_between_eyes(contrast: Tensor) -> Tensor:
    r"""Mean Pearson correlation of a slice of one eye with the same slice of another eye.

    .. math:: \frac{1}{S N (N - 1)} \sum_s \sum_{i \ne j} \operatorname{corr}(C_{is}, C_{js})

    over all pairs of N eyes and all S slices. Real eyes have about 0. A generator that draws the same
    memorised pattern under every retina, whatever the photo, comes near 1. Switch the generator's noise off
    to measure it, because noise hides the pattern.

    Args:
        contrast: contrast of all eyes, see :func:`deep_contrast`, shape ``(N, S, rows, X)``.

    Returns:
        A scalar in [-1 / (N - 1), 1]; NaN for fewer than two eyes. The correlation with a slice without
        contrast is 0.

    Example:
        >>> memorised = torch.randn(1, 6, 3, 112).expand(5, -1, -1, -1)  # one pattern in five eyes
        >>> round(correlation_between_eyes(memorised).item(), 3)
        1.0
        >>> own = torch.randn(5, 6, 3, 112)
        >>> abs(correlation_between_eyes(own).item()) < 0.1
        True
    """
    eyes = EyesInCommon()
    eyes.add(contrast)
    return eyes.compute()


class EyesInCommon:
    """Compute :func:`correlation_between_eyes` batch by batch, in the memory of one eye.

    Example:
        >>> memorised = torch.randn(1, 6, 3, 112)  # one pattern in all eyes
        >>> eyes = EyesInCommon()
        >>> for _ in range(3):
        ...     eyes.add(memorised)
        >>> round(eyes.compute().item(), 3)
        1.0
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None
        self._n_eyes = 0

    def add(self, contrast: Tensor) -> None:
        """Add a batch.

        Args:
            contrast: contrast of some eyes, see :func:`deep_contrast`, shape ``(B, S, rows, X)``; the rows
                have one distance in all batches.
        """
        vectors = contrast.double().flatten(2)
        vectors = vectors - vectors.mean(-1, keepdim=True)
        vectors = F.normalize(vectors, dim=-1)
        total, squares = vectors.sum(0), vectors.square().sum((0, 2))
        self._sum = total if self._sum is None else self._sum + total
        self._squares = squares if self._squares is None else self._squares + squares
        self._n_eyes += len(contrast)

    def compute(self) -> Tensor:
        """The mean correlation, a scalar; NaN for fewer than two eyes."""
        if self._sum is None or self._squares is None or self._n_eyes < 2:
            return torch.tensor(math.nan)
        # The sum over all pairs is the square of the sum; that of an eye with itself is taken off.
        pairs = self._sum.square().sum(-1) - self._squares
        return (pairs / (self._n_eyes * (self._n_eyes - 1))).mean().float()
