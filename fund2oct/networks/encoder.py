"""From the photo to a pyramid of 2D features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.networks.blocks import ResidualBlock
from fund2oct.networks.features.efficientnet import EfficientNetLite0
from fund2oct.networks.features.weights import find_weights


class FundusEncoder(nn.Module):
    """Residual feature pyramid of a photo, with a way up and a way down.

    The way down joins each level to the coarser one (Lin et al., Feature pyramid networks, CVPR 2017,
    arXiv:1612.03144): the finest map has the photo's resolution and the whole photo in view.

    The position in the photo is given as two more channels (CoordConv, Liu et al. 2018,
    arXiv:1807.03247), since retinal thickness depends on the distance from the fovea.

    A user's own encoder has the same two members: ``channels`` and a ``forward`` that returns as
    many maps, each half as wide as the one before.

    Args:
        channels: widths of the levels, finest first; level ``l`` has ``1 / 2**l`` of the size.
    """

    def __init__(self, channels: Sequence[int] = (8, 24, 48, 64, 96)) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.stem = nn.Conv2d(5, self.channels[0], 3, padding=1)
        levels = [ResidualBlock(self.channels[0], self.channels[0])]
        levels += [
            ResidualBlock(fine, coarse, stride=2)
            for fine, coarse in zip(self.channels[:-1], self.channels[1:], strict=True)
        ]
        self.levels = nn.ModuleList(levels)
        self.merges = nn.ModuleList(
            nn.Sequential(nn.Conv2d(fine + coarse, fine, 1), ResidualBlock(fine, fine))
            for fine, coarse in zip(self.channels[:-1], self.channels[1:], strict=True)
        )

    def forward(self, fundus: Tensor) -> list[Tensor]:
        """Encode ``(B, 3, H, W)`` in [0, 1] to maps ``(B, channels[l], H / 2**l, W / 2**l)``.

        Raises:
            ValueError: if the photo is not RGB or smaller than the coarsest level needs.
        """
        if fundus.ndim != 4 or fundus.shape[1] != 3:
            raise ValueError(f"fundus: expected (B, 3, H, W), found {tuple(fundus.shape)}")
        smallest = 2 ** (len(self.channels) - 1)
        if min(fundus.shape[-2:]) < smallest:
            raise ValueError(
                f"fundus: {len(self.channels)} levels need at least {smallest} pixels a side, "
                f"found {tuple(fundus.shape[-2:])}; give a larger photo or fewer levels"
            )
        x = self.stem(torch.cat([2 * fundus - 1, _positions(fundus)], 1))
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        # Down again, so that what is fine in place also knows what lies around it.
        for number in reversed(range(len(self.merges))):
            coarser = F.interpolate(maps[number + 1], maps[number].shape[-2:], mode="bilinear")
            maps[number] = self.merges[number](torch.cat([maps[number], coarser], 1))
        return maps


def _positions(fundus: Tensor) -> Tensor:
    height, width = fundus.shape[-2:]
    ys = torch.linspace(-1, 1, height, device=fundus.device, dtype=fundus.dtype)
    xs = torch.linspace(-1, 1, width, device=fundus.device, dtype=fundus.dtype)
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij"))
    return grid.expand(len(fundus), -1, -1, -1)


class PretrainedEncoder(nn.Module):
    """EfficientNet-Lite0's feature maps, trained on ImageNet, at 1/2 to 1/32 of the photo's size.

    What natural images taught it about edges, blobs and colours is worth more than hundreds of eyes:
    frozen, it sees lesions that an encoder of our own has to learn from every one of a few eyes.

    Args:
        fine_tune: whether it is trained too; its batch normalisation stays folded into its convolutions.
        width_px: the width at which it sees the photo. It was trained at 224, and sees less in a photo
            that is shown smaller.

    Raises:
        ModuleNotFoundError: if its weights are not at hand; the message says how to get them.
    """

    _BALANCE = (1.0, 1.0, 1.0, 0.7, 0.7)
    """Brings the maps, whose later ones are the stronger, to like size."""

    def __init__(self, fine_tune: bool = False, width_px: int = 192) -> None:
        super().__init__()
        self.width_px = width_px
        self.network = EfficientNetLite0()
        self.channels: tuple[int, ...] = tuple(self.network.channels)
        self.network.requires_grad_(fine_tune)

    def forward(self, fundus: Tensor) -> list[Tensor]:
        """Encode ``(B, 3, H, H)`` in [0, 1] to maps, 1/2 to 1/32 of ``width_px`` wide, rounded up."""
        if fundus.shape[-1] != self.width_px:
            size = self.width_px, self.width_px
            smaller = fundus.shape[-1] > self.width_px
            fundus = F.interpolate(fundus, size, mode="bilinear", align_corners=False, antialias=smaller)
        maps = self.network(fundus)
        return [share * each for share, each in zip(self._BALANCE, maps, strict=True)]


ENCODERS: tuple[str, ...] = ("efficientnet_lite0", "own")
"""Names of :func:`build_encoder`."""


def available_encoder(name: str) -> str:
    """Choose an encoder where ``"auto"`` leaves it open: the pre-trained one if its weights are at hand.

    Args:
        name: ``"auto"``, ``"efficientnet_lite0"`` or ``"own"``, which is returned as it is.

    Raises:
        ValueError: if it is neither.
    """
    if name in ENCODERS:
        return name
    if name != "auto":
        raise ValueError(f"encoder: expected auto, {' or '.join(ENCODERS)}, found {name!r}")
    try:
        find_weights("efficientnet_lite0")
    except FileNotFoundError as error:
        warnings.warn(f"the photo encoder starts from nothing, for want of {error}", stacklevel=2)
        return "own"
    return "efficientnet_lite0"


def build_encoder(name: str, fine_tune: bool = False, width_px: int = 192) -> nn.Module:
    """Build a photo encoder: a module with ``channels``, which maps a photo to as many maps.

    Args:
        name: ``"efficientnet_lite0"``, pre-trained, or ``"own"``, which starts from nothing.
        fine_tune: whether a pre-trained encoder is trained too.
        width_px: the width at which a pre-trained encoder sees the photo.

    Raises:
        ValueError: if there is none of that name.
        ModuleNotFoundError: if weights are missing.
    """
    if name == "efficientnet_lite0":
        return PretrainedEncoder(fine_tune, width_px)
    if name == "own":
        return FundusEncoder()
    raise ValueError(f"encoder: expected {' or '.join(ENCODERS)}, found {name!r}")
