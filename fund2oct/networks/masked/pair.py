"""Filling in hidden parts of a photo and of its volume, each with the help of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from fund2oct.networks.layered.tissue import Tissue, TissueNetwork
from fund2oct.networks.masked.photo import PhotoDecoder
from fund2oct.networks.masked.volume import VolumeCode


class FilledPair(NamedTuple):
    """What is expected of a photo and of the retina under it.

    Args:
        photo: differences of the photo from its mean colour, shape ``(B, 3, H, W)``.
        tissue: tissue of each A-scan.
        colours: colours of the photo over each A-scan, shape ``(B, 3, S, X)``.

    Example:
        >>> import torch
        >>> tissue = Tissue(torch.zeros(1, 1, 2, 32, 8), torch.zeros(1, 1, 2, 11, 8), torch.zeros(()))
        >>> FilledPair(torch.zeros(1, 3, 16, 16), tissue, torch.zeros(1, 3, 2, 8)).colours.shape
        torch.Size([1, 3, 2, 8])
    """

    photo: Tensor
    tissue: Tissue
    colours: Tensor


class PairAutoencoder(nn.Module):
    """Fills in photo and volume from what is left of both.

    Each A-scan has features of the photo at its place, as in
    :class:`~fund2oct.networks.layered.generator.LayeredGenerator`, to which those of the volume there are
    added. From their sum the tissue is drawn, and the colour of the photo at the place. Encoder and tissue
    network have the names that they have in the generator.

    Args:
        encoder: the photo encoder.
        n_depth: number of rows Z of the volumes.
        bands: rows of the bands of the layer frame.
        channels: number of channels of each of the discriminator's hidden layers.
        n_surfaces: number of surfaces.
        width: number of channels of the features of an A-scan.

    References:
        Bachmann et al., MultiMAE, ECCV 2022, arXiv:2204.01678.

    Example:
        >>> import torch
        >>> from fund2oct.networks.encoder import FundusEncoder
        >>> network = PairAutoencoder(FundusEncoder((8, 16)), 32, (3, 11, 2, 2, 14), (8, 16), 4, 24)
        >>> photo, grid = torch.rand(1, 3, 48, 48), torch.zeros(1, 6, 40, 2)
        >>> layers = [torch.rand(1, 8, 6, 16, 20), torch.rand(1, 16, 6, 8, 10)]
        >>> network(photo, grid, layers, torch.zeros(1, 4, 6, 40)).tissue.columns.shape
        torch.Size([1, 1, 6, 32, 40])
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_depth: int,
        bands: Sequence[int],
        channels: Sequence[int],
        n_surfaces: int,
        width: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        of_photo: Sequence[int] = encoder.channels  # type: ignore[assignment]
        self.photo = PhotoDecoder(of_photo)
        self.code = VolumeCode(n_depth, channels, width)
        self.tissue = TissueNetwork(of_photo, sum(bands), bands[1], n_surfaces, width)
        self.colours = nn.Conv2d(width, 3, 1)

    def forward(
        self, seen: Tensor, grid: Tensor, hidden_layers: Sequence[Tensor], increments_um: Tensor
    ) -> FilledPair:
        """Fill in.

        Args:
            seen: photos whose hidden pixels were replaced, shape ``(B, 3, H, W)``.
            grid: places of the A-scans, shape ``(B, S, X, 2)``.
            hidden_layers: outputs of the discriminator's hidden layers on volumes whose hidden voxels were
                replaced, each ``(B, C_l, S, Z_l, X_l)``.
            increments_um: surfaces in micrometres, shape ``(B, n, S, X)``.

        Returns:
            What is expected of photo and volume.
        """
        maps = self.encoder(seen)
        code = self.code(hidden_layers, grid.shape[2])
        features = self.tissue.features(seen, maps, grid, increments_um, beside=code)
        drawn = self.photo(maps, seen.shape[-2:])
        return FilledPair(drawn, self.tissue.draw(features), self.colours(features))
