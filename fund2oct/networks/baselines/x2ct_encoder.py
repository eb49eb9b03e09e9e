"""The densely connected encoder of X2CT-GAN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fund2oct.networks.baselines.plane import Shape

_BOTTLENECK = 4
"""Channels of a dense layer's 1x1 convolution, in multiples of the growth (Huang et al., section 3)."""


def normed(channels: int, *convolutions: nn.Module) -> nn.Sequential:
    """Instance normalisation and ReLU, then what follows: the pre-activation order of a DenseNet."""
    return nn.Sequential(nn.InstanceNorm2d(channels), nn.ReLU(), *convolutions)


class DenseLayer(nn.Module):
    """Add ``growth`` channels to all those before: 1x1 convolution to four times as many, then 3x3."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        inner = _BOTTLENECK * growth
        self.narrow = normed(channels, nn.Conv2d(channels, inner, 1, bias=False))
        self.grow = normed(inner, nn.Conv2d(inner, growth, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, Z, X)`` to ``(B, channels + growth, Z, X)``."""
        return torch.cat([x, self.grow(self.narrow(x))], 1)


class DenseEncoder(nn.Module):
    """Encode a plane as maps of several sizes, and as one vector.

    Each level is a convolution of stride 2, a densely connected block, and a 1x1 convolution that halves the
    channels. The last level is averaged over the plane instead.

    Args:
        strides: strides ``(s, z, x)`` of each level, see
            :func:`fund2oct.networks.baselines.plane.level_strides`; that of the slices is not used.
        stem: number of channels of the first convolution.
        dense_layers: number of layers of each dense block, finest first.
        growth: number of channels that a layer adds.

    References:
        Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902, the encoder of figure 3; Huang et al., Densely
        connected convolutional networks, CVPR 2017, arXiv:1608.06993, section 3.

    Example:
        >>> encoder = DenseEncoder([(1, 2, 2), (1, 2, 2)], stem=8, dense_layers=(2, 3), growth=4)
        >>> maps, vector = encoder(torch.rand(1, 3, 32, 48))
        >>> [tuple(each.shape) for each in maps], vector.shape
        ([(1, 8, 32, 48), (1, 8, 16, 24)], torch.Size([1, 20]))
    """

    def __init__(self, strides: Sequence[Shape], stem: int, dense_layers: Sequence[int], growth: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, stem, 7, bias=False), nn.InstanceNorm2d(stem), nn.ReLU()
        )
        self.levels, self.compressions = nn.ModuleList(), nn.ModuleList()
        channels = [stem]
        for number, (stride, n_layers) in enumerate(zip(strides, dense_layers, strict=True), start=1):
            width = channels[-1]
            down = normed(width, nn.Conv2d(width, width, 3, stride[1:], padding=1, bias=False))
            layers = [DenseLayer(width + n * growth, growth) for n in range(n_layers)]
            self.levels.append(nn.Sequential(down, *layers))
            width += n_layers * growth
            if number < len(strides):
                self.compressions.append(normed(width, nn.Conv2d(width, width // 2, 1, bias=False)))
                width //= 2
            channels.append(width)
        self.channels = tuple(channels[:-1])
        """Channels of each map, finest first."""
        self.vector_width = channels[-1]

    def forward(self, plane: Tensor) -> tuple[list[Tensor], Tensor]:
        """Encode planes.

        Args:
            plane: pictures, shape ``(B, 3, Z, X)``.

        Returns:
            A map of the plane for each level, finest first, and a vector of it, ``(B, vector_width)``.
        """
        maps = [self.stem(plane)]
        for level, compression in zip(self.levels, self.compressions, strict=False):
            maps.append(compression(level(maps[-1])))
        return maps, self.levels[-1](maps[-1]).mean((2, 3))
