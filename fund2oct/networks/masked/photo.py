"""Filling in the hidden parts of photos, to train any photo encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.masked.hiding import hide

_WIDTH = 32
_FINE = 4
"""Pixels along a cell of the map from which the photo is drawn."""


class PhotoDecoder(nn.Module):
    """Draws a photo from an encoder's maps: small on purpose, so that the encoder has to understand.

    Args:
        map_channels: number of channels of each of the encoder's maps.

    Example:
        >>> decoder = PhotoDecoder(map_channels=(8, 16))
        >>> decoder([torch.rand(1, 8, 32, 32), torch.rand(1, 16, 16, 16)], (48, 48)).shape
        torch.Size([1, 3, 48, 48])
    """

    def __init__(self, map_channels: Sequence[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in map_channels)
        self.mix = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.out = nn.Conv2d(_WIDTH, 3 * _FINE**2, 3, padding=1)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Draw what a photo differs by from its mean colour.

        Args:
            maps: the encoder's maps, each ``(B, C_l, H_l, W_l)``.
            size: rows and columns of the photo.

        Returns:
            Differences of intensities, shape ``(B, 3, *size)``.
        """
        coarse = -(-size[0] // _FINE), -(-size[1] // _FINE)
        read = [
            _resized(projection(each), coarse)
            for projection, each in zip(self.projections, maps, strict=True)
        ]
        x = F.silu(torch.stack(read).sum(0))
        x = F.silu(x + self.mix(x))
        drawn = F.pixel_shuffle(self.out(x), _FINE)
        return drawn[..., : size[0], : size[1]]


class PhotoAutoencoder(nn.Module):
    """Photo encoder and decoder that fill in the hidden cells of photos.

    Hidden pixels are replaced in the photo itself, so that any encoder can be trained: a pyramid of
    convolutions, EfficientNet, or a transformer of others.

    Args:
        encoder: the photo encoder, see :func:`fund2oct.networks.encoder.build_encoder`.

    References:
        He et al., Masked autoencoders are scalable vision learners, CVPR 2022, arXiv:2111.06377 (the task);
        Xie et al., SimMIM, CVPR 2022, arXiv:2111.09886 (hidden pixels are replaced in the picture, a small
        decoder, L1).

    Example:
        >>> from fund2oct.networks.encoder import FundusEncoder
        >>> network = PhotoAutoencoder(FundusEncoder(channels=(8, 16)))
        >>> hidden = torch.rand(1, 1, 48, 48) > 0.5
        >>> network(torch.rand(1, 3, 48, 48), hidden).shape
        torch.Size([1, 3, 48, 48])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        channels: Sequence[int] = encoder.channels  # type: ignore[assignment]
        self.photo = PhotoDecoder(channels)

    def forward(self, fundus: Tensor, hidden: Tensor) -> Tensor:
        """Fill in photos.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            hidden: True where a pixel is hidden, shape ``(B, 1, H, W)``.

        Returns:
            Whole photos as they are expected to be, shape ``(B, 3, H, W)``.
        """
        seen = hide(fundus, hidden)
        return seen + self.photo(self.encoder(seen), fundus.shape[-2:])


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[-1] > size[1]:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
