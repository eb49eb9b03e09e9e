"""Patch discriminators of volumes, which also see the photo along the lines of the scan."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from fund2oct.networks.blocks import Recomputing, fold, unfold

_SLOPE = 0.2
_GAIN = (2 / (1 + _SLOPE**2)) ** 0.5
"""Keeps the variance through a LeakyReLU (He et al. 2015), which spectral normalisation cannot."""
_DETAIL_GAIN = 8.0
"""Brings the speckle, a tenth of the frame's contrast, to the size of the other channels."""


class DiscriminatorOutput(NamedTuple):
    """Scores and hidden features of a discriminator at one scale.

    Args:
        logits: raw scores of the patches, high for real ones, shape ``(B, 1, S, Z', X')``.
        features: outputs of the hidden layers, from shallow to deep, for feature matching.

    Example:
        >>> discriminator = BScanPatchDiscriminator(condition_channels=0, width=8)
        >>> fine, coarse = discriminator(torch.rand(1, 1, 6, 32, 48))
        >>> fine.logits.shape, len(fine.features)
        (torch.Size([1, 1, 6, 4, 6]), 3)
    """

    logits: Tensor
    features: list[Tensor]


class PatchDiscriminator(Recomputing):
    r"""Scores overlapping patches of a volume at several scales.

    Use a subclass: :class:`BScanPatchDiscriminator` judges each B-scan alone,
    :class:`VolumePatchDiscriminator` several neighbouring ones. A subclass sets ``slice_kernel``, the number
    of slices that each kernel spans.

    **Layers.** Each scale has ``n_layers`` convolutions of 4 x 4 pixels with stride 2 in Z and X, each with
    twice the channels of the one before and followed by LeakyReLU(0.2). A convolution of 3 x 3 pixels then
    gives the logits. Slices are not strided, because a radial scan has few. Spectral normalisation is the
    only one: it divides the weights of each hidden layer by their largest singular value. The last
    convolution is not normalised, so that the logits are not bounded. At scale :math:`k` the input has been
    reduced :math:`k` times to half its size. With :math:`n` layers a patch has :math:`5 \cdot 2^n` pixels in
    Z and X (40 for three layers), and about twice as many at each further scale.

    **Inputs.** The condition, such as the photo under each A-scan, is concatenated with the volume, so that
    the two are compared from the first layer on. If it has no depth, it is repeated along Z. A third input is
    the detail of the volume: the difference from the mean over 3 x 3 pixels, amplified. Speckle is a small
    part of the intensities. Without this input a discriminator needs several times as many steps to tell it
    from white noise.

    Args:
        condition_channels: number of channels of the condition; 0 for a discriminator without one.
        width: number of channels of the first layer.
        n_layers: number of strided convolutions.
        n_scales: number of scales. Z and X must be at least ``2 ** (n_layers + n_scales - 1)``.

    Raises:
        ValueError: if a count is not positive.

    References:
        Isola et al., pix2pix, CVPR 2017, arXiv:1611.07004 (patches); Wang et al., pix2pixHD, CVPR
        2018, arXiv:1711.11585 (scales, features); Miyato et al., ICLR 2018, arXiv:1802.05957
        (spectral normalisation); Park et al., SPADE, CVPR 2019,
        arXiv:1903.07291 (last convolution without normalisation).

    Example:
        A discriminator of your own, whose kernels span five slices:

        >>> class WidePatchDiscriminator(PatchDiscriminator):
        ...     slice_kernel = 5
        >>> discriminator = WidePatchDiscriminator(condition_channels=3, width=8)
        >>> volume, photo_lines = torch.rand(1, 1, 6, 32, 48), torch.rand(1, 3, 6, 48)
        >>> [scale.logits.shape[-2:] for scale in discriminator(volume, photo_lines)]
        [torch.Size([4, 6]), torch.Size([2, 3])]
    """

    slice_kernel: ClassVar[int]

    def __init__(
        self,
        condition_channels: int = 3,
        width: int = 32,
        n_layers: int = 3,
        n_scales: int = 2,
    ) -> None:
        super().__init__()
        if condition_channels < 0 or min(width, n_layers, n_scales) < 1:
            raise ValueError(
                "discriminator: expected positive width, n_layers and n_scales and "
                f"condition_channels >= 0, found {width}, {n_layers}, {n_scales} and {condition_channels}"
            )
        self.condition_channels = condition_channels
        self.min_size = 2 ** (n_layers + n_scales - 1)
        self.scales = nn.ModuleList(
            self._stack(1 + condition_channels, width, n_layers) for _ in range(n_scales)
        )

    def forward(self, volume: Tensor, condition: Tensor | None = None) -> list[DiscriminatorOutput]:
        """Score volumes, with the condition that they have to fit.

        Args:
            volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``.
            condition: values in [0, 1], either of each A-scan, such as the photo's colours there, shape
                ``(B, condition_channels, S, X)``, or of each voxel, ``(B, condition_channels, S, Z, X)``;
                None if ``condition_channels`` is 0.

        Returns:
            One output for each scale, finest first.

        Raises:
            ValueError: if a shape does not fit, or Z or X is too small for the coarsest scale.
        """
        self._check(volume, condition)
        inputs = volume
        if condition is not None:
            if condition.ndim == 4:
                condition = condition.unsqueeze(3).expand(-1, -1, -1, volume.shape[3], -1)
            inputs = torch.cat([volume, condition], 1)
        outputs = []
        for number, stack in enumerate(self.scales):
            if number:
                inputs = F.avg_pool3d(inputs, (1, 3, 3), (1, 2, 2), (0, 1, 1), count_include_pad=False)
            # Centred: spectral normalisation would spend the largest singular value on the common mean.
            seen = torch.cat([2 * inputs - 1, _DETAIL_GAIN * _detail(inputs[:, :1])], 1)
            outputs.append(self._score(stack, seen))
        return outputs

    def _stack(self, channels: int, width: int, n_layers: int) -> nn.ModuleList:
        depth = self.slice_kernel
        widths = [channels + 1, *(width * 2**number for number in range(n_layers))]
        hidden = [
            nn.Conv3d(before, after, (depth, 4, 4), (1, 2, 2), (depth // 2, 1, 1))
            for before, after in pairwise(widths)
        ]
        head = nn.Conv3d(widths[-1], 1, (depth, 3, 3), padding=(depth // 2, 1, 1))
        return nn.ModuleList([*map(spectral_norm, hidden), head])

    def _score(self, stack: nn.Module, inputs: Tensor) -> DiscriminatorOutput:
        assert isinstance(stack, nn.ModuleList)
        n_slices, in_slices = inputs.shape[2], self.slice_kernel == 1

        def outputs(x: Tensor, *weights: Tensor) -> list[Tensor]:
            found = []
            for layer, weight, bias in zip(stack, weights[::2], weights[1::2], strict=True):
                x = _convolve(layer, x, weight, bias)
                if layer is not stack[-1]:
                    x = _GAIN * F.leaky_relu(x, _SLOPE)
                found.append(x)
            return found

        # Looked at once, for spectral normalisation moves a weight at each look.
        weights = [value for layer in stack for value in (layer.weight, layer.bias)]
        found = self.part(outputs, fold(inputs) if in_slices else inputs, *weights)
        *features, logits = (unfold(each, n_slices) if in_slices else each for each in found)
        return DiscriminatorOutput(logits, features)

    def _check(self, volume: Tensor, condition: Tensor | None) -> None:
        if volume.ndim != 5 or volume.shape[1] != 1:
            raise ValueError(f"volume: expected (B, 1, S, Z, X), found {tuple(volume.shape)}")
        batch, _, n_slices, n_depth, n_ascans = volume.shape
        if min(n_depth, n_ascans) < self.min_size:
            raise ValueError(
                f"volume: expected Z and X of at least {self.min_size} for these layers and scales, "
                f"found Z={n_depth}, X={n_ascans}; use fewer n_layers or n_scales"
            )
        if self.condition_channels == 0:
            if condition is not None:
                raise ValueError("condition: expected None, for condition_channels is 0")
            return
        flat = (batch, self.condition_channels, n_slices, n_ascans)
        deep = (batch, self.condition_channels, n_slices, n_depth, n_ascans)
        found = None if condition is None else tuple(condition.shape)
        if found not in (flat, deep):
            raise ValueError(
                f"condition: expected (B, C, S, X) = {flat} or (B, C, S, Z, X) = {deep}, found {found}"
            )


class VolumePatchDiscriminator(PatchDiscriminator):
    """A patch discriminator whose kernels span three slices, see :class:`PatchDiscriminator`.

    It judges whether neighbouring slices belong to the same eye. With three layers a patch covers nine
    slices, more than a star of six lines has.

    Example:
        >>> discriminator = VolumePatchDiscriminator(condition_channels=3, width=8)
        >>> volume, photo_lines = torch.rand(1, 1, 6, 32, 48), torch.rand(1, 3, 6, 48)
        >>> [scale.logits.shape[2:] for scale in discriminator(volume, photo_lines)]
        [torch.Size([6, 4, 6]), torch.Size([6, 2, 3])]
    """

    slice_kernel = 3


class BScanPatchDiscriminator(PatchDiscriminator):
    """A patch discriminator that judges each B-scan alone, see :class:`PatchDiscriminator`.

    It is a two-dimensional discriminator that is applied to all B-scans of a volume.

    Example:
        >>> discriminator = BScanPatchDiscriminator(condition_channels=3, width=8)
        >>> volume, photo_lines = torch.rand(1, 1, 6, 32, 48), torch.rand(1, 3, 6, 48)
        >>> [scale.logits.shape[2:] for scale in discriminator(volume, photo_lines)]
        [torch.Size([6, 4, 6]), torch.Size([6, 2, 3])]
    """

    slice_kernel = 1


def _convolve(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a layer to a volume, or, where its kernel measures one slice, to folded B-scans in 2D."""
    assert isinstance(layer, nn.Conv3d)
    if x.ndim == 5:
        return F.conv3d(x, weight, bias, layer.stride, layer.padding)
    return F.conv2d(x, weight[:, :, 0], bias, layer.stride[1:], layer.padding[1:])


def _detail(volume: Tensor) -> Tensor:
    return volume - F.avg_pool3d(volume, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)
