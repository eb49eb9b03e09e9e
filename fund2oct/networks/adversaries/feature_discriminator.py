"""A discriminator on the features of a frozen network, which already knows what pictures look like."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fund2oct.networks.adversaries.discriminators import DiscriminatorOutput
from fund2oct.networks.blocks import fold, unfold
from fund2oct.networks.features.efficientnet import EfficientNetLite1

_SLOPE = 0.2
_LEVELS = (1, 2, 3)
"""Maps at 1/4 to 1/16 of the B-scan's size: grain, layers and lesions."""
_SCALE = 0.5
"""Brings the maps to the size that the heads' initialisation expects."""


class FeatureDiscriminator(nn.Module):
    r"""Judges each B-scan by the maps of EfficientNet-Lite1, a small head on each of three scales.

    A discriminator that starts from nothing spends most of a short training on learning to see. On
    frozen features only the heads learn, and the generator is told from the first step on what differs
    in kind and not in single voxels. The network must be another one than that which judges the
    result, or the distance would measure how well the judge was studied.

    Args:
        width: channels of a head.

    Raises:
        ModuleNotFoundError: if the weights are not at hand; the message says how to get them.

    References:
        Sauer et al., Projected GANs converge faster, NeurIPS 2021, arXiv:2111.01007.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.network = EfficientNetLite1()
        self.heads = nn.ModuleList(_head(self.network.channels[level], width) for level in _LEVELS)

    def forward(self, volume: Tensor, condition: Tensor | None = None) -> list[DiscriminatorOutput]:
        """Score each B-scan.

        Args:
            volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
            condition: not looked at; there because other discriminators are given one.

        Returns:
            One output a scale, finest first.

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
