"""Match what the discriminator sees in real and generated volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def feature_matching_loss(
    fake_features: Sequence[Sequence[Tensor]], real_features: Sequence[Sequence[Tensor]]
) -> Tensor:
    r"""L1 between a discriminator's hidden features of generated and real volumes.

    .. math:: \frac{1}{\sum_k T_k} \sum_k \sum_{t=1}^{T_k} E |D_k^{(t)}(\hat V) - D_k^{(t)}(V)|

    over the :math:`T_k` layers of each scale :math:`k` of the discriminator :math:`D`. No gradient flows
    into the features of the real volume.

    Args:
        fake_features: what the discriminator saw in the generated volume: a list for each scale, with a
            tensor of any shape for each layer.
        real_features: the same for the real volume, in equal shapes.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: if the two sides differ in scales, layers or shapes.

    References:
        Wang et al., pix2pixHD, CVPR 2018, arXiv:1711.11585, equation 4.

    Example:
        >>> real = [[torch.zeros(1, 4, 3, 3), torch.ones(1, 8, 2, 2)]]  # one scale of two layers
        >>> fake = [[torch.ones(1, 4, 3, 3), torch.ones(1, 8, 2, 2)]]
        >>> feature_matching_loss(fake, real)
        tensor(0.5000)
    """
    fakes = [feature for scale in fake_features for feature in scale]
    reals = [feature for scale in real_features for feature in scale]
    shapes = [[tuple(feature.shape) for feature in side] for side in (fakes, reals)]
    if not fakes or shapes[0] != shapes[1]:
        raise ValueError(f"features: expected equal shapes, found {shapes[0]} and {shapes[1]}")
    distances = [F.l1_loss(fake, real.detach()) for fake, real in zip(fakes, reals, strict=True)]
    return torch.stack(distances).mean()
