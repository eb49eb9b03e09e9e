"""Pairs of adversarial losses, each as its paper writes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


class AdversarialLoss(ABC):
    r"""The losses that the generator and the discriminator minimise, from raw logits.

    A subclass says what one logit costs, in three methods. The methods here take the logits of one or
    several scales, a list of tensors of any shape, as the discriminator's last convolution gives them,
    without an activation. They average over the patches of each scale, then over the scales, so that
    all scales have the same weight.

    Raises:
        ValueError: if the logits are no list of tensors, or the two sides have different numbers of scales.

    Example:
        A pair of one's own, the losses of a Wasserstein GAN:

        >>> class Wasserstein(AdversarialLoss):
        ...     def generator_term(self, fake):
        ...         return -fake
        ...
        ...     def real_term(self, real):
        ...         return -real
        ...
        ...     def fake_term(self, fake):
        ...         return fake
        >>> Wasserstein().discriminator([torch.tensor([2.0])], [torch.tensor([-1.0])])
        tensor(-3.)
    """

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Loss of the generator.

        Args:
            fake_logits: raw logits of generated volumes, a list with one tensor of any shape for each scale.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits are no list of tensors.
        """
        return _mean([self.generator_term(fake).mean() for fake in _widened(fake_logits)])

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Loss of the discriminator.

        Args:
            real_logits: raw logits of real volumes, a list with one tensor of any shape for each scale.
            fake_logits: the same for generated volumes.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits are no lists of tensors, or the two differ in the number of scales.
        """
        if len(real_logits) != len(fake_logits):
            raise ValueError(
                f"logits: expected as many real as fake scales, found {len(real_logits)} "
                f"real and {len(fake_logits)} fake"
            )
        real_terms = [self.real_term(real).mean() for real in _widened(real_logits)]
        fake_terms = [self.fake_term(fake).mean() for fake in _widened(fake_logits)]
        return _mean(real_terms) + _mean(fake_terms)

    @abstractmethod
    def generator_term(self, fake: Tensor) -> Tensor:
        """What each fake logit costs the generator."""

    @abstractmethod
    def real_term(self, real: Tensor) -> Tensor:
        """What each real logit costs the discriminator."""

    @abstractmethod
    def fake_term(self, fake: Tensor) -> Tensor:
        """What each fake logit costs the discriminator."""


class HingeLoss(AdversarialLoss):
    r"""Hinge loss.

    .. math::
        L_D = E[\max(0, 1 - D(x))] + E[\max(0, 1 + D(G(z)))], \qquad L_G = -E[D(G(z))]

    References:
        Lim and Ye, Geometric GAN, arXiv:1705.02894; Miyato et al., Spectral Normalization for
        GANs, ICLR 2018, arXiv:1802.05957, equations 16 and 17.

    Example:
        >>> real, fake = [torch.tensor([2.0, 0.5])], [torch.tensor([-2.0, 0.0])]
        >>> HingeLoss().discriminator(real, fake), HingeLoss().generator(fake)
        (tensor(0.7500), tensor(1.))
    """

    def generator_term(self, fake: Tensor) -> Tensor:
        """``-fake``."""
        return -fake

    def real_term(self, real: Tensor) -> Tensor:
        """``max(0, 1 - real)``."""
        return F.relu(1 - real)

    def fake_term(self, fake: Tensor) -> Tensor:
        """``max(0, 1 + fake)``."""
        return F.relu(1 + fake)


class LeastSquaresLoss(AdversarialLoss):
    r"""Least squares loss with targets 1 for real and 0 for fake.

    .. math::
        L_D = \tfrac12 E[(D(x) - 1)^2] + \tfrac12 E[D(G(z))^2], \qquad
        L_G = \tfrac12 E[(D(G(z)) - 1)^2]

    References:
        Mao et al., Least Squares GAN, ICCV 2017, arXiv:1611.04076, equation 9.

    Example:
        >>> real, fake = [torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 1.0])]
        >>> LeastSquaresLoss().discriminator(real, fake), LeastSquaresLoss().generator(fake)
        (tensor(0.5000), tensor(0.2500))
    """

    def generator_term(self, fake: Tensor) -> Tensor:
        """``(fake - 1)^2 / 2``."""
        return (fake - 1).square() / 2

    def real_term(self, real: Tensor) -> Tensor:
        """``(real - 1)^2 / 2``."""
        return (real - 1).square() / 2

    def fake_term(self, fake: Tensor) -> Tensor:
        """``fake^2 / 2``."""
        return fake.square() / 2


class NonSaturatingLoss(AdversarialLoss):
    r"""The original discriminator with the generator's non-saturating loss.

    .. math::
        L_D = -E[\log\sigma(D(x))] - E[\log(1 - \sigma(D(G(z))))], \qquad
        L_G = -E[\log\sigma(D(G(z)))]

    References:
        Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014, arXiv:1406.2661, section 3.

    Example:
        >>> undecided = [torch.zeros(3)]
        >>> NonSaturatingLoss().generator(undecided)
        tensor(0.6931)
    """

    def generator_term(self, fake: Tensor) -> Tensor:
        """``softplus(-fake)``."""
        return F.softplus(-fake)

    def real_term(self, real: Tensor) -> Tensor:
        """``softplus(-real)``."""
        return F.softplus(-real)

    def fake_term(self, fake: Tensor) -> Tensor:
        """``softplus(fake)``."""
        return F.softplus(fake)


ADVERSARIAL: dict[str, type[AdversarialLoss]] = {
    "hinge": HingeLoss,
    "least_squares": LeastSquaresLoss,
    "non_saturating": NonSaturatingLoss,
}
"""The adversarial losses by the name that an experiment gives them."""


def adversarial_loss(name: str) -> AdversarialLoss:
    """The pair of losses of that name.

    Args:
        name: a key of ``ADVERSARIAL``.

    Returns:
        Its two losses.

    Raises:
        ValueError: if there is no such pair.

    Example:
        >>> adversarial_loss("hinge").generator([torch.tensor([0.5])])
        tensor(-0.5000)
    """
    if name not in ADVERSARIAL:
        raise ValueError(f"adversarial loss: expected one of {sorted(ADVERSARIAL)}, found {name!r}")
    return ADVERSARIAL[name]()


def _widened(logits: Sequence[Tensor]) -> list[Tensor]:
    if isinstance(logits, Tensor) or not logits:
        raise ValueError(
            "logits: expected a list of one or more tensors, one a scale, "
            f"found {'a bare tensor' if isinstance(logits, Tensor) else 'an empty list'}"
        )
    # A mean of bfloat16 logits is rounded to three digits.
    return [scale.to(torch.promote_types(scale.dtype, torch.float32)) for scale in logits]


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
