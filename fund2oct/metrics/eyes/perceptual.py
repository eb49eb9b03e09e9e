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
    r"""Distance of each volume's B-scans between the unit-length features of a network.

    .. math:: \frac{1}{L} \sum_{l=1}^L E_{s,p} \left\|
        \frac{\phi_l(\hat V)_{sp}}{\|\phi_l(\hat V)_{sp}\|} - \frac{\phi_l(V)_{sp}}{\|\phi_l(V)_{sp}\|}
        \right\|^2

    That of :class:`fund2oct.losses.PerceptualLoss`, one value a volume, over all its B-scans at the
    size that they have. It is *not* the calibrated LPIPS: that weighs the channels by how well they
    predict what people see, sums over the levels, and has another network; its numbers compare with
    none of these. Nor do those of another network, or of B-scans of another size.

    Args:
        fake: generated volumes in [0, 1], shape ``(B, 1, S, Z, X)``.
        real: real volumes of the same shape.
        network: maps images ``(N, 1, H, W)`` in [0, 1] to a list of feature maps, for example
            :class:`fund2oct.networks.features.EfficientNetLite0`.
        mask: which voxels count, bool ``(B, 1, S, Z, X)``; the others are black in both, and so count
            as equal.

    Returns:
        Distances in [0, 4], shape ``(B,)``; NaN where nothing counts.

    Raises:
        ValueError: if the shapes differ or there are several channels.

    References:
        Zhang et al., LPIPS, CVPR 2018, arXiv:1801.03924, equation 1 without its weights.
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
