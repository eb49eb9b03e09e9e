"""The convolution blocks that the encoder and the decoder share.

Inside the networks a volume is *folded*: its slices stand in the batch dimension, shape
``(B * S, C, Z, X)``, because a B-scan is sampled finely and the slices are far apart. Only
:class:`SliceMixer` looks across slices.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fund2oct.networks.noise import NoiseSource


class Recomputing(nn.Module):
    """A network that computes its parts once more in the backward pass, where it is told to, and keeps less.

    What a part returns must depend on its inputs and on trained weights alone. Noise is drawn outside it, and
    weights that move by themselves are looked at outside it.

    References:
        Chen et al., Training deep nets with sublinear memory cost, arXiv:1604.06174.
    """

    recompute: bool = False

    def part(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """Compute ``function(*inputs)``; where ``recompute`` is set, nothing between the two is kept."""
        if not (self.recompute and torch.is_grad_enabled()):
            return function(*inputs)
        return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def set_recompute(network: nn.Module, on: bool) -> None:
    """Tell all :class:`Recomputing` parts of a network whether to compute once more; warn where none can."""
    parts = [part for part in network.modules() if isinstance(part, Recomputing)]
    for part in parts:
        part.recompute = on
    if on and not any(weight.requires_grad for part in parts for weight in part.parameters()):
        warnings.warn(
            "recompute: no trained part of this model can be computed once more; it saves no memory here",
            stacklevel=2,
        )


_GROUP = 8  # channels a normalisation group, at least


def fold(volume: Tensor) -> Tensor:
    """``(B, C, S, Z, X)`` to ``(B * S, C, Z, X)``."""
    return volume.transpose(1, 2).flatten(0, 1)


def unfold(folded: Tensor, n_slices: int) -> Tensor:
    """``(B * S, C, Z, X)`` to ``(B, C, S, Z, X)``."""
    return folded.unflatten(0, (-1, n_slices)).transpose(1, 2)


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018): it does not depend on the batch, which is small here.

    There are as many groups of eight channels or more as divide the width evenly.
    """
    most = max(1, channels // _GROUP)
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if channels % n == 0), channels)


def normalise_as(layer: nn.GroupNorm, features: Tensor, others: Tensor) -> Tensor:
    """Normalise features by the means and variances of others, so that they mean the same beside these.

    Args:
        layer: the normalisation.
        features: shape ``(B, C, ...)``.
        others: shape ``(B, C, ...)``; where it is ``features`` itself, this is a call of the layer.

    Returns:
        Shape of ``features``.

    Example:
        >>> layer, scan = norm(16), torch.rand(1, 16, 6, 40)
        >>> some = normalise_as(layer, scan[:, :, 2:4], scan)
        >>> torch.allclose(some, layer(scan)[:, :, 2:4], atol=1e-5)
        True
    """
    if features is others:
        normalised: Tensor = layer(features)
        return normalised
    groups = others.float().unflatten(1, (layer.num_groups, -1)).flatten(2)
    variance, mean = (each[..., None] for each in torch.var_mean(groups, 2, correction=0))
    found = features.float().unflatten(1, (layer.num_groups, -1))
    standard = (found.flatten(2) - mean) * (variance + layer.eps).rsqrt()
    scale, shift = (each.view(-1, *[1] * (features.ndim - 2)) for each in (layer.weight, layer.bias))
    return standard.view(features.shape) * scale + shift


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions (He et al. 2016, arXiv:1603.05027).

    ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``, rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1)
        same = stride == 1 and in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out = self.conv1(self.act(self.norm1(x)))
        return self.skip(x) + self.conv2(self.act(self.norm2(out)))


class Noise(nn.Module):
    """Add white noise with one learned strength a channel (StyleGAN, arXiv:1812.04948, section 3.2).

    Speckle is decided by nothing in the photo; without a source of randomness the generator would
    have to hide one in the features that it does get.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Of many sizes and both signs: a channel that starts without noise is slow to get any.
        self.strength = nn.Parameter(0.5 * torch.randn(channels, 1, 1))

    def forward(self, x: Tensor, rng: NoiseSource | None = None) -> Tensor:
        """Add noise drawn from ``rng`` (torch's own when absent) to the folded ``(B * S, C, Z, X)``."""
        rng = rng or NoiseSource()
        noise = rng.randn((x.shape[0], 1, *x.shape[2:]), x.device, self.strength.dtype)
        return x + (self.strength * noise).to(x.dtype)


class SliceMixer(nn.Module):
    """Residual convolution across neighbouring slices alone, on a folded volume."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, folded: Tensor, n_slices: int) -> Tensor:
        """Mix ``(B * S, C, Z, X)`` across S."""
        volume = unfold(self.norm(folded), n_slices)
        return folded + fold(self.conv(volume))
