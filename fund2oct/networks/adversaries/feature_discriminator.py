"""A discriminator on the features of a frozen network that was trained on ImageNet."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fund2oct.networks.adversaries.discriminators import DiscriminatorOutput
from fund2oct.networks.blocks import fold, unfold
from fund2oct.networks.features.efficientnet import EfficientNetLite1

_SLOPE = 0.2
_LEVELS = (1, 2, 3)
"""Numbers of the network's maps that are used, at 1/4 to 1/16 of the B-scan's size."""
_SCALE = 0.5
"""Factor that brings the maps to the scale that the heads' initialisation expects."""


class FeatureDiscriminator(nn.Module):
    r"""Judges each B-scan by feature maps of EfficientNet-Lite1, with a small trained head on each of three.

    A discriminator with random weights spends most of a short training on learning useful features. Here the
    features are there from the first step on, and only the heads are trained.

    Do not evaluate with distances on the features of the same network: the generator is trained to match
    them, and would be judged too well. This is why it is Lite1 here and Lite0 in
    :class:`fund2oct.metrics.ImageDistance`.

    Args:
        width: number of channels of a head.

    Raises:
        ModuleNotFoundError: if the weights are missing; the message says how to get them.

    References:
        Sauer et al., Projected GANs converge faster, NeurIPS 2021, arXiv:2111.01007, section 3.

    Example:
        >>> import torch
        >>> discriminator = FeatureDiscriminator(width=8)
        >>> [scale.logits.shape[2:] for scale in discriminator(torch.rand(1, 1, 2, 32, 48))]
        [torch.Size([2, 8, 12]), torch.Size([2, 4, 6]), torch.Size([2, 2, 3])]
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.network = EfficientNetLite1()
        self.heads = nn.ModuleList(_head(self.network.channels[level], width) for level in _LEVELS)

    def forward(self, volume: Tensor, condition: Tensor | None = None) -> list[DiscriminatorOutput]:
        """Score each B-scan.

        Args:
            volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
            condition: not used. Other discriminators are given one.

        Returns:
            One output for each scale, finest first, without features.

        Raises:
            ValueError: if the shape is another.
        """
        if volume.ndim != 5 or volume.shape[1] != 1:
            raise ValueError(f"volume: expected (B, 1, S, Z, X), found {tuple(volume.shape)}")
        maps = self.network.maps(fold(volume), last=max(_LEVELS))
        outputs = []
        for level, head in zip(_LEVELS, self.heads, strict=True):
            logits = head(_SCALE * maps[level])
            outputs.append(DiscriminatorOutput(unfold(logits, volume.shape[2]), []))
        return outputs


def _head(channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, width, 3, padding=1)),
        nn.LeakyReLU(_SLOPE),
        spectral_norm(nn.Conv2d(width, width, 1)),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(width, 1, 1),
    )
