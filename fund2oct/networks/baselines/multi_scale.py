"""The discriminators of pix2pixHD, which judge all slices as the channels of one image."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from fund2oct.networks.adversaries.discriminators import DiscriminatorOutput
from fund2oct.networks.baselines.coarse_to_fine import begin_as_gaussian, halved
from fund2oct.networks.blocks import Recomputing

_SLOPE = 0.2


class MultiScaleDiscriminator(Recomputing):
    r"""The discriminators :math:`D_1, \ldots, D_K`, which judge an image beside the photo at several scales.

    All have the same layers: ``C64-C128-C256-C512`` with the paper's ``width`` 64, where ``Ck`` is a
    convolution of 4 x 4 pixels, instance normalisation (not in the first layer) and LeakyReLU(0.2), and a
    last convolution to one channel. The first three have stride 2 and the others stride 1, which gives
    patches of 70 x 70 pixels. Image and photo of discriminator :math:`k` are halved :math:`k - 1` times.

    Args:
        channels: number of channels of image and photo together.
        width: number of channels of the first layer.
        n_scales: number of discriminators.

    References:
        Wang et al., pix2pixHD, CVPR 2018, arXiv:1711.11585, section 3.2 and the appendix on discriminators;
        Isola et al., pix2pix, CVPR 2017, arXiv:1611.07004, appendix 6.1.2 (the patch).

    Example:
        >>> discriminator = MultiScaleDiscriminator(channels=9, width=8, n_scales=2)
        >>> fine, coarse = discriminator(torch.rand(1, 6, 32, 48), torch.rand(1, 3, 32, 48))
        >>> fine.logits.shape, len(fine.features)
        (torch.Size([1, 1, 4, 6]), 4)
    """

    def __init__(self, channels: int, width: int = 64, n_scales: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_patch_layers(channels, width) for _ in range(n_scales))

    def forward(self, image: Tensor, photo: Tensor, finest: int = 0) -> list[DiscriminatorOutput]:
        """Judge images.

        Args:
            image: slices as channels, in [0, 1], shape ``(B, S, H, W)``.
            photo: photos in [0, 1], shape ``(B, 3, H, W)``.
            finest: number of the scale that the image has; that of 1 has half the size of a whole one.

        Returns:
            An output for each scale from ``finest`` on.
        """
        x = 2 * torch.cat([image, photo], 1) - 1
        outputs = []
        for number, layers in enumerate(self.scales[finest:]):
            x = halved(x) if number else x
            *features, logits = self.part(_each_output, layers, x)
            outputs.append(DiscriminatorOutput(logits, features))
        return outputs


def _patch_layers(channels: int, width: int) -> nn.ModuleList:
    widths = (width, 2 * width, 4 * width, 8 * width)
    found = nn.ModuleList([nn.Sequential(*_convolution(channels, width, stride=2), nn.LeakyReLU(_SLOPE))])
    for before, after in pairwise(widths):
        layers = _convolution(before, after, stride=2 if after != widths[-1] else 1, bias=False)
        found.append(nn.Sequential(*layers, nn.InstanceNorm2d(after), nn.LeakyReLU(_SLOPE)))
    found.append(nn.Sequential(*_convolution(widths[-1], 1, stride=1)))
    begin_as_gaussian(found)
    return found


def _convolution(before: int, after: int, stride: int, bias: bool = True) -> list[nn.Module]:
    """A convolution of 4 x 4 pixels that halves the size or keeps it."""
    padding = nn.ZeroPad2d(1 if stride == 2 else (1, 2, 1, 2))
    return [padding, nn.Conv2d(before, after, 4, stride, bias=bias)]


def _each_output(layers: nn.ModuleList, x: Tensor) -> list[Tensor]:
    found = []
    for layer in layers:
        x = layer(x)
        found.append(x)
    return found
