"""What all networks of others have in common, whichever package built them."""

from __future__ import annotations

from torch import Tensor, nn

from fund2oct.networks.foundation.photo_input import PhotoInput


class Backbone(nn.Module):
    """A pre-trained network that makes maps of a prepared photo, at several of its depths.

    Attributes:
        photo_input: how it wants the photo.
        channels: number of channels of each map.
        reductions: pixels of the prepared photo along a cell of each map. A transformer's are all the same.
    """

    photo_input: PhotoInput
    channels: tuple[int, ...]
    reductions: tuple[int, ...]

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """Maps of prepared photos, each ``(B, C, h, w)``."""
        raise NotImplementedError

    def blocks(self) -> list[list[str]]:
        """Names of the weights of each block, from the first block to the last."""
        raise NotImplementedError


def evenly(n_depths: int, n_maps: int = 4) -> list[int]:
    """Depths at even distances, the last of them the deepest, counted from 1.

    Example:
        >>> evenly(12), evenly(24), evenly(2)
        ([3, 6, 9, 12], [6, 12, 18, 24], [1, 2])
    """
    return sorted({max(1, n_depths * number // n_maps) for number in range(1, n_maps + 1)})
