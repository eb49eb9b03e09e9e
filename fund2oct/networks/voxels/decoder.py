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
    """Join the lifted features of one level to what the coarser levels drew."""

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
    """Intensities from features: what the photo decides, and the speckle that nothing decides.

    The photo decides the anatomy, so everything before this is deterministic and the reconstruction
    losses see no noise in it. Speckle is drawn here, from noise and from the tissue that it lies in.
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
        # In bfloat16 an image has 186 grey levels, which a discriminator sees.
        with no_autocast(x.device):
            return torch.sigmoid(self.anatomy(x.float()) + self.speckle[-1](speckle.float()))


class VolumeDecoder(Recomputing):
    """Anisotropic decoder: Z and X double from level to level, the slices stay.

    Args:
        lifted_channels: widths of the lifted features, finest first.
        channels: widths of the decoder's levels, finest first.
        mixed_levels: how many of the coarsest levels look across slices.
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
        """Draw ``(B * S, 1, Z, X)`` in [0, 1] from folded features, finest level first."""
        x: Tensor | None = None
        for level, features in zip(reversed(self.levels), reversed(lifted), strict=True):
            x = self.part(level, features, x, n_slices)
        return self.head(x, rng)
