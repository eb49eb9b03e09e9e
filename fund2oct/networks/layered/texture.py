"""Texture, such as speckle, which no photo shows: drawn from noise onto an anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.blocks import Recomputing
from fund2oct.networks.noise import NoiseSource
from fund2oct.precision import no_autocast

_POINTS, _COLUMNS, _WHOLE = 4, 2, 1
"""Channels of noise at each level: with a value for each pixel, for each A-scan, for the whole slice."""
_NEAR_UM, _FAR_UM = 100.0, 300.0


class TextureNetwork(Recomputing):
    """Draw the texture of B-scans from coarse to fine, with noise at every level.

    There are three kinds of noise: with a value for each pixel, for speckle; with one for each A-scan, for
    shadows and transmitted light, which run along the beam; and with one for the slice, for its brightness.

    What is drawn from the noise with its sign changed is subtracted. So the mean of all textures of an
    anatomy is 0: a texture makes no layer brighter and moves no edge, but at random. Without noise there is
    none.

    Args:
        channels: numbers of channels of the levels, finest first; each level is half as fine as the one
            before.
        n_surfaces: number of surfaces. The distances of each voxel from them are an input.

    Example:
        >>> network = TextureNetwork()
        >>> logits, distances_um = torch.zeros(6, 1, 32, 48), torch.zeros(6, 4, 32, 48)  # six slices
        >>> network(logits, distances_um, NoiseSource()).shape
        torch.Size([6, 1, 32, 48])
    """

    def __init__(self, channels: Sequence[int] = (16, 24, 32), n_surfaces: int = 4) -> None:
        super().__init__()
        self.channels = tuple(channels)
        inputs = 1 + 2 * n_surfaces + _POINTS + _COLUMNS + _WHOLE
        self.enter = nn.ModuleList(nn.Conv2d(inputs, width, 3, padding=1) for width in self.channels)
        self.refine = nn.ModuleList(nn.Conv2d(below, width, 1) for width, below in pairwise(self.channels))
        self.block = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in self.channels)
        self.out = nn.Conv2d(self.channels[0], 1, 3, padding=1, bias=False)

    def forward(self, anatomy: Tensor, distances_um: Tensor, rng: NoiseSource) -> Tensor:
        """Draw the texture.

        Args:
            anatomy: logits of the intensities without noise, N slices, shape ``(N, 1, Z, X)``.
            distances_um: distance of each voxel below each surface in micrometres, negative above it, shape
                ``(N, n, Z, X)``.
            rng: source of the noise.

        Returns:
            The texture, to be added to the intensities, shape ``(N, 1, Z, X)``.
        """
        given = torch.cat([anatomy / 2, (distances_um / _NEAR_UM).tanh(), (distances_um / _FAR_UM).tanh()], 1)
        n_slices, _, n_depth, n_ascans = given.shape
        shown, noise = [], []
        for level in reversed(range(len(self.channels))):
            size = -(-n_depth // 2**level), -(-n_ascans // 2**level)
            shown.append(given if level == 0 else F.adaptive_avg_pool2d(given, size))
            kinds = (_POINTS, size), (_COLUMNS, (1, size[1])), (_WHOLE, (1, 1))
            noise.append(
                [rng.randn((n_slices, kind, *shape), given.device, given.dtype) for kind, shape in kinds]
            )
        mirrored = [[-each for each in kinds] for kinds in noise]
        return (self._drawn(shown, noise) - self._drawn(shown, mirrored)) / 2

    def _drawn(self, shown: list[Tensor], noise: list[list[Tensor]]) -> Tensor:
        x: Tensor | None = None
        for number, (given, drawn) in enumerate(zip(shown, noise, strict=True)):
            x = self.part(self._level, len(shown) - 1 - number, x, given, *drawn)
        assert x is not None
        with no_autocast(x.device):
            return self.out(x.float())

    def _level(self, level: int, coarser: Tensor | None, *inputs: Tensor) -> Tensor:
        size = inputs[0].shape[-2:]
        x = self.enter[level](torch.cat([each.expand(-1, -1, *size) for each in inputs], 1))
        if coarser is not None:
            x = x + F.interpolate(self.refine[level](coarser), size, mode="nearest")
        x = F.silu(x)
        return x + F.silu(self.block[level](x))
