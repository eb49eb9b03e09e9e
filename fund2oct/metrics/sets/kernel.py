"""Kernel distance of two sets of features, in blocks of bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from fund2oct.metrics.sets.features import check_features


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    degree: int = 3,
    gamma: float | None = None,
    coefficient: float = 1.0,
    block: int = 1024,
) -> Tensor:
    r"""Unbiased squared maximum mean discrepancy under a polynomial kernel.

    .. math:: \frac{\sum_{i \ne j} k(x_i, x_j)}{N (N - 1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{M (M - 1)}
        - \frac{2}{N M} \sum_{i, j} k(x_i, y_j), \qquad k(x, y) = (\gamma \, x^T y + c)^p

    Its expectation is 0 for independent samples of one distribution, whatever their number; a
    single value may be negative. All samples are used at once, unlike the mean over random subsets
    that some libraries report: the expectation is the same, the scatter smaller.

    Args:
        real: features, one sample a row, shape ``(N, d)``.
        fake: features of the other set, shape ``(M, d)``.
        degree: :math:`p`.
        gamma: :math:`\gamma`; None takes :math:`1 / d`.
        coefficient: :math:`c`.
        block: rows of the kernel matrix held at a time; memory is bounded by ``block`` x ``block``
            float64 numbers besides the features.

    Returns:
        A float64 scalar.

    Raises:
        ValueError: if a set has fewer than two samples, is not finite, or has another width, or if
            ``degree`` or ``block`` is not positive.

    References:
        Gretton et al., JMLR 13, 2012, equation 3; Binkowski et al., ICLR 2018, arXiv:1801.01401
        (the cubic kernel with these defaults).
    """
    check_features(real, fake)
    if degree < 1 or block < 1:
        raise ValueError(f"degree and block: expected positive numbers, found {degree} and {block}")
    real, fake = real.double(), fake.double()
    gamma = 1 / real.shape[1] if gamma is None else gamma

    def kernel_sum(a: Tensor, b: Tensor) -> Tensor:
        blocks = [
            (gamma * (rows @ columns.T) + coefficient).pow(degree).sum()
            for rows in a.split(block)
            for columns in b.split(block)
        ]
        return torch.stack(blocks).sum()

    def mean_of_others(a: Tensor) -> Tensor:
        themselves = (gamma * a.square().sum(1) + coefficient).pow(degree).sum()
        return (kernel_sum(a, a) - themselves) / (len(a) * (len(a) - 1))

    between = kernel_sum(real, fake) / (len(real) * len(fake))
    return mean_of_others(real) + mean_of_others(fake) - 2 * between
