"""Distance of generated and real B-scans as a network trained on photographs sees them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fund2oct.losses.masking import check_pair
from fund2oct.losses.perceptual import PerceptualLoss
from fund2oct.precision import full_precision


@full_precision
def unweighted_perceptual_distance(
    fake: Tensor, real: Tensor, network: nn.Module, mask: Tensor | None = None
) -> Tensor:
    r"""Distance between generated and real B-scans in the feature maps of a network, one value a volume.

    .. math:: \frac{1}{L} \sum_{l=1}^L E_{s,p} \left\|
        \frac{\phi_l(\hat V)_{sp}}{\|\phi_l(\hat V)_{sp}\|} - \frac{\phi_l(V)_{sp}}{\|\phi_l(V)_{sp}\|}
        \right\|^2

    for the levels :math:`l` of the network :math:`\phi`, the B-scans :math:`s` and the positions :math:`p`.
    It is the distance of :class:`fund2oct.losses.PerceptualLoss` over all B-scans of a volume, without
    resizing them. Compare only values of the same network and of B-scans of the same size. They cannot be
    compared with LPIPS either, which has learned weights of the channels and another network.

    Args:
        fake: generated volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
        real: real volumes of the same shape.
        network: maps images ``(N, 1, H, W)`` in [0, 1] to features, as
            :class:`fund2oct.losses.PerceptualLoss` takes them, for example
            :class:`fund2oct.networks.features.EfficientNetLite0`.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; None counts all. The others are made black in
            both, and so are equal.

    Returns:
        Distances in [0, 4], shape ``(B,)``; NaN where nothing counts.

    Raises:
        ValueError: if the shapes differ, there are several channels, or the network is none of images.

    References:
        Zhang et al., LPIPS, CVPR 2018, arXiv:1801.03924, equation 1 without its weights.

    Example:
        >>> class Edges(nn.Module):  # one level: the differences along Z and along X
        ...     def forward(self, images):
        ...         return [torch.cat(torch.gradient(images, dim=(2, 3)), dim=1)]
        >>> volume = torch.rand(2, 1, 3, 8, 10)  # two eyes
        >>> unweighted_perceptual_distance(1 - volume, volume, Edges()).round(decimals=3)
        tensor([4., 4.])
    """
    check_pair(fake, real, mask)
    distance = PerceptualLoss(network).eval()
    values = []
    with torch.no_grad():
        for eye in range(len(fake)):
            one = slice(eye, eye + 1)
            counted = None if mask is None else mask[one]
            value = distance(fake[one].float(), real[one].float(), counted)
            values.append(value if counted is None or counted.any() else torch.full_like(value, math.nan))
    return torch.stack(values)
