"""Regression of the surfaces' heights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

KNEE_UM = 100.0
"""Below it the loss asks for the mean, so that a rare lesion is not rounded down to none."""


def surface_distances(heights_um: Tensor) -> Tensor:
    """All distances between two surfaces, the pose's surface at height 0 among them.

    Args:
        heights_um: above the pose's surface, vitreous to choroid, shape ``(B, n, S, X)``.

    Returns:
        Shape ``(B, n (n + 1) / 2, S, X)``; NaN where one of the two is.

    Example:
        >>> heights = torch.tensor([300.0, 20.0]).view(1, 2, 1, 1)
        >>> surface_distances(heights).flatten()
        tensor([280., 300.,  20.])
    """
    levels = F.pad(heights_um, (0, 0, 0, 0, 0, 1))
    first, second = torch.triu_indices(levels.shape[1], levels.shape[1], 1, device=levels.device)
    return levels[:, first] - levels[:, second]


def height_loss(predicted_um: Tensor, real_um: Tensor, knee_um: float = KNEE_UM) -> Tensor:
    r"""Huber loss of all distances between two surfaces, in units of the knee.

    Quadratic below the knee: there it asks for the conditional mean, where an absolute error would ask
    for the median, which of a rare lesion is no lesion. Linear above, so that a surface that the search
    lost in a real volume does not decide a step.

    Args:
        predicted_um: heights above the pose's surface, vitreous to choroid, shape ``(B, n, S, X)``.
        real_um: likewise, NaN where unknown.
        knee_um: where it becomes linear.

    Returns:
        A scalar; 0 where nothing is known.

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
