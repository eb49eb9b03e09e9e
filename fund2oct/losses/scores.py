"""Proper scores of a predicted distribution: their expected value is least for the true distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fund2oct.precision import full_precision

_EPS = 1e-3
"""Added to a squared length, whose root has no derivative at 0."""


@full_precision
def energy_score(draws: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    r"""Score a distribution of vectors, known by a few draws from it, against the true vector.

    .. math:: \frac{1}{M} \sum_i \|x_i - y\|
        - \frac{1}{2 M (M - 1)} \sum_{i \ne j} \|x_i - x_j\|

    for M draws :math:`x_i` and the truth :math:`y`. The first part is the error of the draws; the second
    rewards draws that differ from each other as much as the truth may. A vector is all that belongs to one
    eye, for example the heights of all its surfaces. Each length is divided by the root of the number of
    known elements: it is then the root mean square over the elements, and does not grow with their number.
    The expected score does not depend on the number of draws.

    Args:
        draws: draws from the distribution, shape ``(M, B, ...)``, M at least 2.
        truth: true vectors, shape ``(B, ...)``; ``(B,)`` is one number an eye.
        known: which elements count, bool ``(B, ...)``; None counts all.

    Returns:
        Score of each eye, in the unit of the elements, shape ``(B,)``. Less is better; a single score can
        be below 0.

    Raises:
        ValueError: if the shapes do not fit, or there are fewer than two draws.

    References:
        Gneiting and Raftery, Strictly proper scoring rules, JASA 2007, equation 21.

    Example:
        >>> draws = torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]])
        >>> energy_score(draws, torch.tensor([[1.0, 0.0]])).round(decimals=2)
        tensor([0.])
    """
    if draws.ndim < 2 or draws.shape[1:] != truth.shape or len(draws) < 2:
        raise ValueError(
            f"energy score: expected at least two draws of {tuple(truth.shape)}, found {tuple(draws.shape)}"
        )
    counted = torch.ones_like(truth, dtype=torch.bool) if known is None else known
    if truth.ndim == 1:
        # A number is a vector of one element.
        draws, truth, counted = draws[..., None], truth[..., None], counted[..., None]
    n_known = counted.flatten(1).sum(1).clamp(min=1)

    def length(difference: Tensor) -> Tensor:
        kept = torch.where(counted, difference, 0).flatten(difference.ndim - truth.ndim + 1)
        return ((kept.square().sum(-1) + _EPS) / n_known).sqrt()

    m = len(draws)
    first, second = torch.triu_indices(m, m, 1, device=draws.device)
    spread = length(draws[first] - draws[second]).sum(0) / (m * (m - 1))
    return length(draws - torch.where(counted, truth, 0)).mean(0) - spread


@full_precision
def normal_crps(mean: Tensor, deviation: Tensor, truth: Tensor) -> Tensor:
    r"""Score a normal distribution of each element against its true value (CRPS).

    .. math:: \sigma \left( u \, (2 \Phi(u) - 1) + 2 \varphi(u) - \pi^{-1/2} \right),
        \qquad u = (y - \mu) / \sigma

    for the mean :math:`\mu`, the standard deviation :math:`\sigma`, the truth :math:`y`, and the density
    :math:`\varphi` and distribution function :math:`\Phi` of the standard normal distribution. It is the
    continuous ranked probability score. For a deviation near 0 it is the absolute error.

    Args:
        mean: predicted means, any shape.
        deviation: predicted standard deviations, above 0, of the same shape.
        truth: true values, of the same shape.

    Returns:
        Scores, at least 0, in the unit of the elements and of the same shape. Less is better.

    References:
        Gneiting et al., Monthly Weather Review 2005, equation 5.

    Example:
        >>> zero, one = torch.zeros(1), torch.ones(1)
        >>> normal_crps(zero, one, zero).round(decimals=4)
        tensor([0.2337])
    """
    u = (truth - mean) / deviation
    density = torch.exp(-0.5 * u.square()) / math.sqrt(2 * math.pi)
    return deviation * (u * torch.erf(u / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
