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
    r"""Kernel distance of two sets of features: their squared maximum mean discrepancy, unbiased.

    .. math:: \frac{\sum_{i \ne j} k(x_i, x_j)}{N (N - 1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{M (M - 1)}
        - \frac{2}{N M} \sum_{i, j} k(x_i, y_j), \qquad k(x, y) = (\gamma \, x^T y + c)^p

    with a polynomial kernel :math:`k`. For independent samples of one distribution its expectation is 0,
    whatever their number; a single value can be negative. All samples are used at once. Some libraries
    report a mean over random subsets instead: it has the same expectation, but scatters more.

    Args:
        real: features of real samples, one sample a row, shape ``(N, d)``.
        fake: features of generated samples, shape ``(M, d)``.
        degree: degree :math:`p` of the kernel, at least 1.
        gamma: factor :math:`\gamma` of the kernel; None takes :math:`1 / d`.
        coefficient: constant :math:`c` of the kernel.
        block: number of rows, and of columns, of the kernel matrix that are in memory at a time, at least 1.
            It changes the memory, not the result.

    Returns:
        A float64 scalar.

    Raises:
        ValueError: if a set has fewer than two samples, is not finite, or has another width, or if
            ``degree`` or ``block`` is not positive.

    References:
        Gretton et al., JMLR 13, 2012, equation 3; Binkowski et al., ICLR 2018, arXiv:1801.01401
        (the cubic kernel with these defaults).

    Example:
        >>> real, alike = torch.randn(2, 200, 8)  # two sets of one distribution
        >>> abs(kernel_distance(real, alike).item()) < 0.2, kernel_distance(real, alike + 1).item() > 2
        (True, True)
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
