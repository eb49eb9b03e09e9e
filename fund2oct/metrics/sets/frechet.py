"""Frechet distance of two sets of features, on whichever of its two sides is the smaller."""

from __future__ import annotations

import torch
from torch import Tensor

from fund2oct.metrics.sets.features import check_features


def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    r"""Frechet distance of the Gaussians fitted to two sets of features.

    .. math:: \|\mu_r - \mu_f\|^2 + \operatorname{tr} C_r + \operatorname{tr} C_f
        - 2 \operatorname{tr} \sqrt{C_r C_f}

    with the unbiased covariances. It is the *squared* 2-Wasserstein distance of the two Gaussians,
    as everywhere where it is called Frechet distance.

    No covariance is formed. With the centred features :math:`X` (N x d) and :math:`Y` (M x d) the
    non-zero eigenvalues of :math:`C_r C_f = X^T X Y^T Y / (N - 1)(M - 1)` are those of
    :math:`A A^T / (N - 1)(M - 1)` with :math:`A = X Y^T`, because a cyclic product keeps them.
    So the last trace is the sum of the singular values of an N x M matrix:

    .. math:: \operatorname{tr} \sqrt{C_r C_f} = \frac{\|X Y^T\|_*}{\sqrt{(N - 1)(M - 1)}}

    A set of more than d samples is first replaced by the d x d factor :math:`R` of its
    decomposition :math:`X = Q R`, which leaves the singular values as they are. The cost is that of
    the smaller of N and d, and singular covariances need no special care.

    The distance is biased upwards, the more the fewer the samples; see
    :class:`fund2oct.metrics.DistanceResult`.

    Args:
        real: features, one sample a row, shape ``(N, d)``.
        fake: features of the other set, shape ``(M, d)``.

    Returns:
        A float64 scalar, at least 0.

    Raises:
        ValueError: if a set has fewer than two samples, is not finite, or has another width.

    References:
        Dowson and Landau, Journal of Multivariate Analysis 12, 1982 (closed form for Gaussians);
        Heusel et al., NeurIPS 2017, arXiv:1706.08500, equation 6.
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
