"""Frechet distance of two sets of features, on whichever of its two sides is the smaller."""

from __future__ import annotations

import torch
from torch import Tensor

from fund2oct.metrics.sets.features import check_features


def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    r"""Frechet distance of the Gaussians fitted to two sets of features.

    .. math:: \|\mu_r - \mu_f\|^2 + \operatorname{tr} C_r + \operatorname{tr} C_f
        - 2 \operatorname{tr} \sqrt{C_r C_f}

    with the means :math:`\mu` and the unbiased covariances :math:`C` of the two sets. As usual, the *squared*
    2-Wasserstein distance of the Gaussians is called their Frechet distance.

    The distance is too large for few samples; see :class:`fund2oct.metrics.DistanceResult`.

    **How it is computed.** The covariances are never formed. With the centred features :math:`X` (N x d) and
    :math:`Y` (M x d), :math:`C_r C_f = X^T X Y^T Y / (N - 1)(M - 1)` has the same non-zero eigenvalues as
    :math:`A A^T / (N - 1)(M - 1)` with :math:`A = X Y^T`. So the last trace is a sum of singular values:

    .. math:: \operatorname{tr} \sqrt{C_r C_f} = \frac{\|X Y^T\|_*}{\sqrt{(N - 1)(M - 1)}}

    A set of more than d samples is first replaced by the d x d factor :math:`R` of its decomposition
    :math:`X = Q R`, which has the same singular values. The cost thus depends on the smaller of N and d, and
    singular covariances need no special care.

    Args:
        real: features of real samples, one sample a row, shape ``(N, d)``.
        fake: features of generated samples, shape ``(M, d)``.

    Returns:
        A float64 scalar, at least 0.

    Raises:
        ValueError: if a set has fewer than two samples, is not finite, or has another width.

    References:
        Dowson and Landau, Journal of Multivariate Analysis 12, 1982 (closed form for Gaussians);
        Heusel et al., NeurIPS 2017, arXiv:1706.08500, equation 6.

    Example:
        >>> real = torch.randn(100, 8)
        >>> round(frechet_distance(real, real + 2).item(), 3)  # means 2 apart in each of 8 dimensions
        32.0
    """
    check_features(real, fake)
    real, fake = real.double(), fake.double()
    means = (real.mean(0) - fake.mean(0)).square().sum()
    real, fake = _scaled_root(real), _scaled_root(fake)
    traces = real.square().sum() + fake.square().sum()
    return (means + traces - 2 * torch.linalg.svdvals(real @ fake.T).sum()).clamp(min=0)


def _scaled_root(features: Tensor) -> Tensor:
    """Smallest ``R`` such that ``R.T @ R`` is the covariance, shape ``(min(N, d), d)``."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred
