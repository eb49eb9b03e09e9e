"""Whether a generator draws one and the same pattern in every eye."""

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

    at the rows whose centre lies from 30 to 150 micrometres below the pose's surface. The mean profile
    of the choroid, which all eyes share, is taken out.

    Args:
        aligned: volumes in the aligned frame, in [0, 1], shape ``(B, 1, S, Z, X)``.
        spacing_z_mm: distance of two rows, the same of all eyes, a number or ``(B,)``.

    Returns:
        Contrast, shape ``(B, S, rows, X)``.

    Raises:
        ValueError: if the shape is another, the eyes are of different spacing, or no row lies there.
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
    r"""Mean Pearson correlation of the same slice of different eyes.

    .. math:: \frac{1}{S N (N - 1)} \sum_s \sum_{i \ne j} \operatorname{corr}(C_{is}, C_{js})

    Real eyes have about 0. A generator that draws one memorised pattern under every retina, whatever
    the photo, comes near 1. Measure it with the generator's noise off: noise hides the pattern.

    Args:
        contrast: of all eyes, see :func:`deep_contrast`, shape ``(N, S, rows, X)``.

    Returns:
        A scalar in [-1 / (N - 1), 1]; NaN for fewer than two eyes. A slice without contrast counts
        as 0.

    Example:
        >>> correlation_between_eyes(torch.ones(5, 6, 3, 1) * torch.randn(1, 6, 3, 112))
        tensor(1.0000)
    """
    eyes = EyesInCommon()
    eyes.add(contrast)
    return eyes.compute()


class EyesInCommon:
    """:func:`correlation_between_eyes` of eyes that come batch by batch; keeps the memory of one eye."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None
        self._n_eyes = 0

    def add(self, contrast: Tensor) -> None:
        """Add eyes, ``(B, S, rows, X)``."""
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
