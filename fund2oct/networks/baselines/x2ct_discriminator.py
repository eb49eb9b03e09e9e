"""The discriminator of X2CT-GAN, for volumes that are no cubes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fund2oct.networks.baselines.plane import Shape, level_strides, photo_plane, repeated

_SLOPE = 0.2
_WIDEST = 8
"""Most channels, in multiples of the first layer's."""


class X2CTDiscriminator(nn.Module):
    """Score overlapping 3D patches of a volume, with the photo that it has to fit.

    Three convolutions of stride 2, then two of stride 1. Kernels measure 4 samples. Along an axis that is too
    short to be halved by all three, such as the six slices of a star, those that do not halve it measure 3.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        width: number of channels of the first layer; each further one has twice as many, up to eight times.
        n_layers: number of strided convolutions.

    References:
        Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902, the 3D patch discriminator; Isola et al.,
        pix2pix, CVPR 2017, arXiv:1611.07004, section 3.2.2.

    Example:
        >>> discriminator = X2CTDiscriminator((6, 32, 48), width=8)
        >>> discriminator(torch.rand(1, 1, 6, 32, 48), torch.rand(1, 3, 64, 64)).shape  # a score a patch
        torch.Size([1, 1, 6, 7, 9])
    """

    def __init__(self, shape: Shape, width: int = 64, n_layers: int = 3) -> None:
        super().__init__()
        strides = level_strides(shape, n_layers)
        # An axis that every layer halves is long enough for the wide kernel in the last two as well.
        always = tuple(min(steps) for steps in zip(*strides, strict=True))
        strided = [(stride, stride) for stride in strides]
        kinds = [*strided, ((1, 1, 1), always), ((1, 1, 1), always)]
        widths = [width * min(2**number, _WIDEST) for number in range(n_layers + 1)]
        layers: list[nn.Module] = []
        before = 1 + 3
        for number, ((stride, wide), after) in enumerate(zip(kinds, [*widths, 1], strict=True)):
            first, last = number == 0, number == len(kinds) - 1
            s, z, x = (4 if step == 2 else 3 for step in wide)
            padding = s // 2, z // 2, x // 2
            layers.append(nn.Conv3d(before, after, (s, z, x), stride, padding, bias=first or last))
            if not (first or last):
                layers.append(nn.InstanceNorm3d(after))
            if not last:
                layers.append(nn.LeakyReLU(_SLOPE))
            before = after
        self.layers = nn.Sequential(*layers)

    def forward(self, volume: Tensor, fundus: Tensor) -> Tensor:
        """Score volumes.

        Args:
            volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``, which every slice gets.

        Returns:
            Raw scores of the patches, high for real ones, shape ``(B, 1, S', Z', X')``.
        """
        n_slices, n_rows, n_columns = volume.shape[2:]
        photo = repeated(photo_plane(fundus, n_rows, n_columns), n_slices)
        return self.layers(torch.cat([photo, volume], 1))
