"""Penalties on the discriminator's gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def r1_penalty(logits: Sequence[Tensor], inputs: Tensor | Sequence[Tensor], gamma: float = 10.0) -> Tensor:
    r"""Penalise the slope of the discriminator at the real data.

    .. math:: \frac{\gamma}{2} E_x \|\nabla_x D(x)\|^2, \qquad
        D(x) = \frac{1}{\sqrt K} \sum_{k=1}^K \frac{1}{\sqrt{N_k}} \sum_{p=1}^{N_k} D_{kp}(x)

    for :math:`K` scales of :math:`N_k` patches. For one logit this is the paper's penalty. For many
    patches whose gradients are uncorrelated it is the mean of their penalties, so that the same ``gamma``
    suits volumes of all sizes. The gradient of the mean logit would shrink with the number of patches, and
    that of the sum would grow.

    Args:
        logits: the discriminator's raw logits for real data, a list with one tensor ``(B, ...)`` for each
            scale.
        inputs: what the discriminator was given, one or several tensors of shape ``(B, ...)``, which require
            a gradient. The squared slopes of several are added.
        gamma: weight of the penalty, at least 0.

    Returns:
        A scalar that can be differentiated again.

    Raises:
        ValueError: if an input does not require a gradient, or there is no logit.

    References:
        Mescheder et al., Which training methods for GANs do actually converge?, ICML 2018,
        arXiv:1801.04406, equation 9.

    Example:
        >>> real = torch.full((2, 3), 0.5, requires_grad=True)
        >>> r1_penalty([2 * real.sum(1, keepdim=True)], real, gamma=1.0).item()  # (2^2 + 2^2 + 2^2) / 2
        6.0
    """
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if isinstance(logits, Tensor) or not logits:
        raise ValueError("logits: expected a list of one or more tensors, one a scale")
    if not tensors or not all(tensor.requires_grad for tensor in tensors):
        raise ValueError(
            "inputs: expected tensors that require a gradient; call requires_grad_() on the real "
            "volume before the discriminator sees it"
        )
    batch = len(tensors[0])
    scores = [scale.sum() / (scale.numel() / batch * len(logits)) ** 0.5 for scale in logits]
    slopes = torch.autograd.grad(torch.stack(scores).sum(), tensors, create_graph=True)
    squares = torch.stack([slope.square().sum() for slope in slopes])
    return gamma / 2 * squares.sum() / batch
