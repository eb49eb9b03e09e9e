"""From lifted features to a volume, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.blocks import Noise, Recomputing, ResidualBlock, SliceMixer, norm
from fund2oct.networks.noise import NoiseSource
from fund2oct.precision import no_autocast


class DecoderLevel(nn.Module):
    """Join the lifted features of one level with the result of the coarser levels."""

    def __init__(self, lifted: int, coarser: int, channels: int, mix_slices: bool) -> None:
        super().__init__()
        self.join = nn.Conv2d(lifted + coarser, channels, 1)
        self.block = ResidualBlock(channels, channels)
        self.mixer = SliceMixer(channels) if mix_slices else None

    def forward(self, lifted: Tensor, coarser: Tensor | None, n_slices: int) -> Tensor:
        """Draw one level, shape ``(B * S, channels, Z, X)``."""
        if coarser is not None:
            coarser = F.interpolate(coarser, lifted.shape[-2:], mode="nearest")
            lifted = torch.cat([lifted, coarser], 1)
        x = self.block(self.join(lifted))
        return x if self.mixer is None else self.mixer(x, n_slices)


class SpeckleHead(nn.Module):
    """Intensities from features: the anatomy, and speckle on it.

    The anatomy is a function of the photo alone. Speckle is drawn from noise and from the features of the
    tissue around it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.normed = nn.Sequential(norm(channels), nn.SiLU())
        self.anatomy = nn.Conv2d(channels, 1, 3, padding=1)
        self.noise = Noise(channels)
        self.speckle = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, 1, 3, padding=1)
        )

    def forward(self, x: Tensor, rng: NoiseSource | None = None) -> Tensor:
        """Draw ``(N, 1, Z, X)`` in [0, 1] from ``(N, channels, Z, X)``."""
        x = self.normed(x)
        speckle = self.speckle[:-1](self.noise(x, rng))
        # Of bfloat16's 16257 numbers in [0, 1] only 129 lie from 0.5 on: a discriminator sees the steps.
        with no_autocast(x.device):
            return torch.sigmoid(self.anatomy(x.float()) + self.speckle[-1](speckle.float()))


class VolumeDecoder(Recomputing):
    """Draw a volume from lifted features, from coarse to fine.

    Z and X double from level to level; the number of slices does not change.

    Args:
        lifted_channels: numbers of channels of the lifted features of each level, finest first.
        channels: numbers of channels of the decoder's levels, finest first.
        mixed_levels: number of levels, counted from the coarsest, that exchange features between the slices.

    Example:
        >>> decoder = VolumeDecoder(lifted_channels=(8, 16), channels=(8, 16))
        >>> lifted = [torch.rand(6, 8, 32, 48), torch.rand(6, 16, 16, 24)]  # one eye of six slices
        >>> decoder(lifted, n_slices=6).shape
        torch.Size([6, 1, 32, 48])
    """

    def __init__(
        self, lifted_channels: Sequence[int], channels: Sequence[int], mixed_levels: int = 2
    ) -> None:
        super().__init__()
        n_levels = len(channels)
        coarser = [*channels[1:], 0]
        self.levels = nn.ModuleList(
            DecoderLevel(lifted_channels[n], coarser[n], channels[n], n >= n_levels - mixed_levels)
            for n in range(n_levels)
        )
        self.head = SpeckleHead(channels[0])

    def forward(self, lifted: Sequence[Tensor], n_slices: int, rng: NoiseSource | None = None) -> Tensor:
        """Draw volumes.

        Args:
            lifted: features of each level with the slices folded into the batch, finest first, each of shape
                ``(B * S, C_l, Z_l, X_l)``.
            n_slices: number of slices S.
            rng: source of the noise; None takes torch's global generator.

        Returns:
            Intensities in [0, 1], shape ``(B * S, 1, Z, X)``.
        """
        x: Tensor | None = None
        for level, features in zip(reversed(self.levels), reversed(lifted), strict=True):
            x = self.part(level, features, x, n_slices)
        return self.head(x, rng)
