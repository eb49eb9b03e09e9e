"""The generator of X2CT-GAN for a single view, for volumes that are no cubes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fund2oct.networks.baselines.plane import (
    Shape,
    check_fits,
    level_shapes,
    level_strides,
    photo_plane,
    repeated,
)
from fund2oct.networks.baselines.x2ct_encoder import DenseEncoder
from fund2oct.networks.blocks import Recomputing
from fund2oct.networks.noise import NoiseSource
from fund2oct.precision import no_autocast


def basic_block(before: int, after: int) -> nn.Sequential:
    """The paper's basic 3D block: convolution, instance normalisation, ReLU."""
    # A bias before the normalisation would be taken out by it.
    return nn.Sequential(
        nn.Conv3d(before, after, 3, padding=1, bias=False), nn.InstanceNorm3d(after), nn.ReLU()
    )


class ConnectionA(nn.Module):
    """From the encoder's vector to the coarsest volume, by a layer that is fully connected."""

    def __init__(self, width: int, channels: int, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.shape = channels, *shape
        self.dropout = dropout
        self.connect = nn.Linear(width, math.prod(self.shape))

    def forward(self, vector: Tensor, rng: NoiseSource | None = None) -> Tensor:
        """``(B, width)`` to ``(B, channels, S, Z, X)``."""
        x = torch.relu(self.connect(vector))
        if self.training and self.dropout:
            # From the step's own noise, so that a resumed training is the training itself.
            drawn = (rng or NoiseSource()).randn(x.shape, x.device)
            kept = torch.special.ndtr(drawn) >= self.dropout
            x = x * kept / (1 - self.dropout)
        return x.unflatten(1, self.shape)


class ConnectionB(nn.Module):
    """From a map of the encoder to a volume: fewer channels, repeated in every slice, one 3D block."""

    def __init__(self, encoded: int, channels: int) -> None:
        super().__init__()
        self.compress = nn.Sequential(
            nn.Conv2d(encoded, channels, 1, bias=False), nn.InstanceNorm2d(channels), nn.ReLU()
        )
        self.block = basic_block(channels, channels)

    def forward(self, features: Tensor, n_slices: int) -> Tensor:
        """``(B, encoded, Z, X)`` to ``(B, channels, S, Z, X)``."""
        return self.block(repeated(self.compress(features), n_slices))


class DecoderLevel(nn.Module):
    """Join a volume with a map of the encoder, convolve, and enlarge the result for the next level."""

    def __init__(self, encoded: int, channels: int, n_blocks: int, up: nn.Module) -> None:
        super().__init__()
        self.connection = ConnectionB(encoded, channels) if encoded else None
        blocks = [basic_block(2 * channels, channels)] if encoded else []
        blocks += [basic_block(channels, channels) for _ in range(n_blocks)]
        self.blocks = nn.Sequential(*blocks)
        self.up = up

    def forward(self, x: Tensor, features: Tensor | None) -> Tensor:
        """Draw one level, ``(B, channels, S, Z, X)``, as large as the next one."""
        if self.connection is not None:
            x = torch.cat([x, self.connection(features, x.shape[2])], 1)
        return self.up(self.blocks(x))


class X2CTGenerator(Recomputing):
    """Generator that encodes the photo in 2D and decodes a volume in 3D, with connections A and B.

    It knows nothing of the scan: the photo's rows and columns become rows and A-scans of every slice.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` of the volumes.
        stem: number of channels of the encoder's first convolution.
        dense_layers: number of layers of each dense block, finest first: the number of levels.
        growth: number of channels that a dense layer adds.
        channels: numbers of channels of the decoder, finest first, one more than there are levels.
        n_blocks: number of further 3D blocks at each of these sizes, finest first.
        dropout: share of the values of connection A that is set to 0 in training, in [0, 1).
        head_kernel: size of the last convolution, an odd number.

    Raises:
        ValueError: if the numbers of levels do not agree.

    References:
        Ying et al., X2CT-GAN, CVPR 2019, arXiv:1905.06902, figures 3 and 4.

    Example:
        >>> encoder = {"stem": 8, "dense_layers": (2, 3), "growth": 4}
        >>> generator = X2CTGenerator((6, 32, 48), channels=(4, 4, 8), n_blocks=(1, 1, 0), **encoder)
        >>> generator(torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 48, 2)).shape
        torch.Size([1, 1, 6, 32, 48])
    """

    def __init__(
        self,
        shape: Shape,
        stem: int = 64,
        dense_layers: Sequence[int] = (6, 12, 24, 16, 6),
        growth: int = 32,
        channels: Sequence[int] = (16, 16, 32, 64, 128, 256),
        n_blocks: Sequence[int] = (1, 2, 2, 2, 2, 0),
        dropout: float = 0.5,
        head_kernel: int = 7,
    ) -> None:
        super().__init__()
        n_levels = len(dense_layers)
        if not len(channels) == len(n_blocks) == n_levels + 1:
            raise ValueError(
                f"channels and n_blocks: expected {n_levels + 1} numbers, one more than dense_layers, "
                f"found {len(channels)} and {len(n_blocks)}"
            )
        if head_kernel < 1 or head_kernel % 2 == 0:
            raise ValueError(f"head_kernel: expected an odd number, found {head_kernel}")
        self.shape = shape
        strides = level_strides(shape, n_levels)
        shapes = level_shapes(shape, strides)
        self.encoder = DenseEncoder(strides, stem, dense_layers, growth)
        self.bridge = ConnectionA(self.encoder.vector_width, channels[-1], shapes[-1], dropout)
        ups = [nn.Identity()] + [
            _enlarge(channels[level + 1], channels[level], shapes[level + 1], shapes[level], stride)
            for level, stride in enumerate(strides)
        ]
        encoded = [*self.encoder.channels, 0]
        self.levels = nn.ModuleList(map(DecoderLevel, encoded, channels, n_blocks, ups))
        # Along an axis shorter than the kernel most of its weights would see padding alone.
        s, z, x = (min(head_kernel, size - 1 + size % 2) for size in shape)
        self.head = nn.Conv3d(channels[0], 1, (s, z, x), padding=(s // 2, z // 2, x // 2))

    def forward(
        self,
        fundus: Tensor,
        grid: Tensor,
        spacing_z_mm: Tensor | float = math.nan,
        n_depth: int | None = None,
        rng: NoiseSource | None = None,
    ) -> Tensor:
        """Draw the retina in the aligned frame.

        Args:
            fundus: photos in [0, 1], shape ``(B, 3, H, W)``.
            grid: positions of the A-scans, shape ``(B, S, X, 2)``; only the shape is used.
            spacing_z_mm: not used. Other generators need it.
            n_depth: number of rows Z of the volume; None takes that of the constructor.
            rng: source of the dropout in training; None takes torch's global generator.

        Returns:
            Volumes in [0, 1], shape ``(B, 1, S, Z, X)``.

        Raises:
            ValueError: if another shape is asked for than the generator was built for.
        """
        check_fits(fundus, grid, n_depth, self.shape)
        maps, vector = self.part(self.encoder, photo_plane(fundus, *self.shape[1:]))
        x = self.bridge(vector, rng)
        for level, features in zip(reversed(self.levels), [None, *reversed(maps)], strict=True):
            x = self.part(level, x, features)
        # In bfloat16 a bright pixel has steps of 1/256, which a discriminator sees.
        with no_autocast(x.device):
            return torch.sigmoid(self.head(x.float()))


def _enlarge(before: int, after: int, small: Shape, large: Shape, stride: Shape) -> nn.Sequential:
    """The paper's up-convolution block, to the exact shape, which may be odd."""
    s, z, x = (big - (step * (size - 1) + 1) for big, size, step in zip(large, small, stride, strict=True))
    return nn.Sequential(
        nn.ConvTranspose3d(before, after, 3, stride, 1, output_padding=(s, z, x), bias=False),
        nn.InstanceNorm3d(after),
        nn.ReLU(),
    )
