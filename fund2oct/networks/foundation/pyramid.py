"""A pyramid of maps from the depths of a vision transformer, which all have one size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 96, 128, 192)
_HALVED = 3
"""Number of the map that is made half as fine."""


class TokenPyramid(nn.Module):
    """Makes a feature pyramid of maps of one size, as the dense prediction transformer does.

    Each map is projected to fewer channels. Then it is resampled by trained convolutions: the shallowest is
    made four times as fine, the next twice, the third stays, the deepest is made half as fine. A fine map
    thereby holds what a patch's token knows of the places within the patch. These layers are trained, also
    where the transformer is frozen.

    A map is read as one that spans the whole photo. Two patches make a cell of the coarsest one: where their
    number is odd, the map is first resampled to one more along each side, so that no cell lies half outside.

    Args:
        channels: number of channels of each map, at most four, the shallowest first.

    Raises:
        ValueError: if there are no maps, or more than four.

    References:
        Ranftl et al., Vision transformers for dense prediction, ICCV 2021, arXiv:2103.13413, section 3.1
        (the operation "Reassemble", without its readout token).

    Example:
        >>> pyramid = TokenPyramid(channels=(384, 384, 384, 384))
        >>> maps = pyramid([torch.rand(1, 384, 16, 16) for _ in range(4)])
        >>> [tuple(each.shape) for each in maps]
        [(1, 64, 64, 64), (1, 96, 32, 32), (1, 128, 16, 16), (1, 192, 8, 8)]
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        if not 1 <= len(channels) <= len(WIDTHS):
            raise ValueError(f"channels: expected those of one to {len(WIDTHS)} maps, found {len(channels)}")
        self.channels = WIDTHS[: len(channels)]
        resample = (
            lambda width: nn.ConvTranspose2d(width, width, 4, 4),
            lambda width: nn.ConvTranspose2d(width, width, 2, 2),
            lambda width: nn.Identity(),
            lambda width: nn.Conv2d(width, width, 3, 2, padding=1),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, width, 1), make(width))
            for before, width, make in zip(channels, self.channels, resample, strict=False)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Resample maps, each ``(B, C_l, h, w)``, to ``(B, channels[l], ...)``."""
        maps = [*maps[:_HALVED], *map(_even, maps[_HALVED:])]
        return [level(each) for level, each in zip(self.levels, maps, strict=True)]


def _even(maps: Tensor) -> Tensor:
    """The same maps with an even number of cells along each side."""
    height, width = maps.shape[-2:]
    if height % 2 == width % 2 == 0:
        return maps
    size = height + height % 2, width + width % 2
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
