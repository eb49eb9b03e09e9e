"""How much the light varies at random: a loss for what is drawn and not predicted."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fund2oct.losses.masking import check_pair

_BANDS = 20
_BROAD = (12, 4, 1)
_LEAST = 1e-5


def spread_loss(fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Compare how strongly two sets of residuals vary, at each depth and at four widths.

    A residual is what remains of a volume when the part that the photo tells is subtracted. It is averaged
    over boxes: a twentieth of the frame deep, and one A-scan, 1/12, 1/4 or the whole of a B-scan wide. The
    mean square :math:`m_{dw}` of the boxes of depth :math:`d` and width :math:`w` says how much of the light
    varies there at random. The loss is the mean over depths and widths of

    .. math:: \left( \log m_{dw}^{fake} - \log m_{dw}^{real} \right)^2

    Which box is bright does not count. Discriminators need this help: each sees small parts of few eyes, and
    hardly notices when the light of all eyes varies too much. Such eyes seem to have atrophy.

    Args:
        fake: residuals of the generated volumes, shape ``(B, C, S, Z, X)``.
        real: residuals of the real volumes, same shape.
        mask: which voxels count, shape ``(B, 1, S, Z, X)``; None counts all.

    Returns:
        A scalar, at least 0; 1 where the standard deviations differ by a factor of 1.65.

    Raises:
        ValueError: if the shapes differ.

    References:
        Li et al., Generative moment matching networks, ICML 2015, arXiv:1502.02761, who match the moments of
        the generated set to those of the real one; here the moments are second ones of means over boxes.

    Example:
        >>> import torch
        >>> real = torch.randn(2, 1, 3, 40, 24)
        >>> spread_loss(real.flip(4), real).round(decimals=4)  # the same light elsewhere
        tensor(0.)
        >>> spread_loss(2 * real, real).round(decimals=1)  # the logarithm of 4, squared
        tensor(1.9000)
    """
    check_pair(fake, real, mask)
    if mask is not None:
        fake, real = fake * mask, real * mask
    n_depth, n_ascans = fake.shape[3:]
    terms = []
    for n_boxes in (n_ascans, *_BROAD):
        size = min(_BANDS, n_depth), min(n_boxes, n_ascans)
        ratio = _mean_squares(fake, size).log() - _mean_squares(real, size).log()
        terms.append(ratio.square().mean())
    return sum(terms[1:], terms[0]) / len(terms)


def _mean_squares(residual: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean square, at each depth, of a residual averaged over so many boxes ``(depth, width)``."""
    boxes = F.adaptive_avg_pool2d(residual.float().flatten(0, 2).unsqueeze(1), size)
    return boxes.square().mean((0, 1, 3)) + _LEAST
