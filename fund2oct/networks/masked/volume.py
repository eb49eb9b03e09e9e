"""Filling in the hidden parts of volumes, to train the tissue's decoder and a discriminator's layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.blocks import norm
from fund2oct.networks.layered.tissue import N_LAYERS, Tissue, TissueDecoder
from fund2oct.networks.lines import along_slices, slice_layers


class VolumeCode(nn.Module):
    """Features of each A-scan from the hidden layers of a B-scan discriminator.

    Each layer's channels and rows at an A-scan are projected to the same width, and the layers are added.

    Args:
        n_depth: number of rows Z of the volume.
        channels: number of channels of each hidden layer, each half as fine as the one before.
        width: number of channels of the result.

    Example:
        >>> code = VolumeCode(n_depth=32, channels=(8, 16), width=24)
        >>> code([torch.rand(1, 8, 6, 16, 20), torch.rand(1, 16, 6, 8, 10)], n_ascans=40).shape
        torch.Size([1, 24, 6, 40])
    """

    def __init__(self, n_depth: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.reads = nn.ModuleList(
            nn.Conv2d(each * (n_depth // 2**level), width, 1) for level, each in enumerate(channels, 1)
        )

    def forward(self, hidden_layers: Sequence[Tensor], n_ascans: int) -> Tensor:
        """Read layers ``(B, C_l, S, Z_l, X_l)``; the features have shape ``(B, width, S, n_ascans)``."""
        found = []
        for read, layer in zip(self.reads, hidden_layers, strict=True):
            code = read(layer.transpose(2, 3).flatten(1, 2))
            found.append(F.interpolate(code, (code.shape[2], n_ascans), mode="bilinear", align_corners=False))
        return torch.stack(found).sum(0)


class SliceFeatures(nn.Module):
    """The part of a :class:`~fund2oct.networks.lines.LineEncoder` behind what it reads from the photo.

    Its weights have the same names, so that a training of photos can begin with them.

    Args:
        width: number of channels.
        n_layers: number of convolutions along the slice.

    Example:
        >>> features = SliceFeatures(width=16)
        >>> features(torch.rand(1, 16, 6, 40), beside=torch.zeros(1, 16, 6, 40)).shape
        torch.Size([1, 16, 6, 40])
    """

    def __init__(self, width: int, n_layers: int = N_LAYERS) -> None:
        super().__init__()
        self.norm = norm(width)
        self.layers = slice_layers(width, n_layers)

    def forward(self, code: Tensor, beside: Tensor) -> Tensor:
        """Features from a code and what is added to it, all ``(B, width, S, X)``."""
        return along_slices(self.layers, self.norm(code) + beside)


class VolumeAutoencoder(nn.Module):
    """Draws tissue from the hidden layers of a B-scan discriminator.

    The discriminator is the encoder, and stays outside, since a training of a GAN holds it apart from the
    generator too. The decoder is that of :class:`~fund2oct.networks.layered.tissue.TissueNetwork`.

    Args:
        n_depth: number of rows Z of the volumes.
        bands: rows of the bands of the layer frame, see
            :func:`fund2oct.networks.layered.generator.layer_bands`.
        channels: number of channels of each of the discriminator's hidden layers.
        n_surfaces: number of surfaces.
        width: number of channels of the features of an A-scan.

    Example:
        >>> network = VolumeAutoencoder(32, (3, 11, 2, 2, 14), (8, 16), n_surfaces=4, width=24)
        >>> layers = [torch.rand(1, 8, 6, 16, 20), torch.rand(1, 16, 6, 8, 10)]
        >>> network(layers, torch.zeros(1, 4, 6, 40)).columns.shape
        torch.Size([1, 1, 6, 32, 40])
    """

    def __init__(
        self, n_depth: int, bands: Sequence[int], channels: Sequence[int], n_surfaces: int, width: int
    ) -> None:
        super().__init__()
        self.code = VolumeCode(n_depth, channels, width)
        self.tissue = TissueDecoder(SliceFeatures(width), sum(bands), bands[1], n_surfaces, width)

    def forward(self, hidden_layers: Sequence[Tensor], increments_um: Tensor) -> Tissue:
        """Draw tissue.

        Args:
            hidden_layers: outputs of the discriminator's hidden layers, each ``(B, C_l, S, Z_l, X_l)``.
            increments_um: surfaces in micrometres, see
                :class:`~fund2oct.networks.layered.surfaces.SurfaceDistribution`, shape ``(B, n, S, X)``.

        Returns:
            The tissue.
        """
        code = self.code(hidden_layers, increments_um.shape[-1])
        return self.tissue.draw(self.tissue.encoder(code, self.tissue.told(increments_um)))
