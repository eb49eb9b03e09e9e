"""Regression of the surfaces' heights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

KNEE_UM = 100.0
"""Error in micrometres at which :func:`height_loss` turns from quadratic to linear."""


def surface_distances(heights_um: Tensor) -> Tensor:
    """Distance between any two of the surfaces, and between each of them and the pose's surface.

    Args:
        heights_um: heights of n surfaces above the pose's surface in micrometres, in the order from vitreous
            to choroid, shape ``(B, n, S, X)``; NaN where unknown.

    Returns:
        Distances in micrometres, shape ``(B, n (n + 1) / 2, S, X)``: from the first surface to the second,
        the third, and so on to the pose's, then those from the second surface. NaN where one of the two is
        unknown.

    Example:
        >>> heights = torch.tensor([300.0, 20.0]).view(1, 2, 1, 1)
        >>> surface_distances(heights).flatten()
        tensor([280., 300.,  20.])
    """
    levels = F.pad(heights_um, (0, 0, 0, 0, 0, 1))
    first, second = torch.triu_indices(levels.shape[1], levels.shape[1], 1, device=levels.device)
    return levels[:, first] - levels[:, second]


def height_loss(predicted_um: Tensor, real_um: Tensor, knee_um: float = KNEE_UM) -> Tensor:
    r"""Huber loss of the distances between surfaces.

    .. math:: E\, h(e / k), \qquad h(u) = u^2 / 2 \text{ for } |u| \le 1, \quad |u| - 1/2 \text{ beyond}

    for the errors :math:`e` of the distances of :func:`surface_distances` and the knee :math:`k`. Where the
    loss is quadratic, its best answer is the mean of what is possible. That of an absolute error is the
    median: for a lesion that few eyes have, no lesion at all. Where the loss is linear, a surface that was
    found at a wrong place in a real volume has little influence.

    Args:
        predicted_um: heights above the pose's surface in micrometres, in the order from vitreous to choroid,
            shape ``(B, n, S, X)``.
        real_um: real heights of the same shape; NaN where unknown.
        knee_um: error in micrometres, above 0, at which the loss turns from quadratic to linear.

    Returns:
        A scalar, at least 0, without a unit; 0 where nothing is known.

    Raises:
        ValueError: if the shapes differ.

    References:
        Huber, Annals of Mathematical Statistics 1964.

    Example:
        >>> real = torch.tensor([300.0, 20.0]).view(1, 2, 1, 1)
        >>> height_loss(real, real)
        tensor(0.)
        >>> height_loss(real + 50, real)  # both surfaces 50 micrometres too high above the pose's
        tensor(0.0833)
    """
    if predicted_um.ndim != 4 or predicted_um.shape != real_um.shape:
        raise ValueError(
            f"heights: expected two of one shape (B, n, S, X), found {tuple(predicted_um.shape)} "
            f"and {tuple(real_um.shape)}"
        )
    predicted, real = surface_distances(predicted_um), surface_distances(real_um)
    known = real.isfinite()
    difference = torch.where(known, predicted - real.nan_to_num(0.0), 0) / knee_um
    total = F.huber_loss(difference, torch.zeros_like(difference), reduction="sum")
    return total / known.sum().clamp(min=1)
