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


def check_width(width_px: int, cell_px: int, of: str) -> None:
    """Refuse a width of the photo whose last pixels would lie in no cell of a map.

    A-scans are looked up in maps that are taken to span the whole photo.

    Args:
        width_px: of the prepared photo.
        cell_px: its pixels along a cell.
        of: whose cell it is, for the message.

    Raises:
        ValueError: if the cells do not fill the width.

    Example:
        >>> check_width(225, 32, "the coarsest map's")
        Traceback (most recent call last):
            ...
        ValueError: encoder_px: expected a multiple of the coarsest map's 32 pixels, found 225
    """
    if width_px % cell_px:
        raise ValueError(f"encoder_px: expected a multiple of {of} {cell_px} pixels, found {width_px}")


def evenly(n_depths: int, n_maps: int = 4) -> list[int]:
    """Depths at even distances, the last of them the deepest, counted from 1.

    Example:
        >>> evenly(12), evenly(24), evenly(2)
        ([3, 6, 9, 12], [6, 12, 18, 24], [1, 2])
    """
    return sorted({max(1, n_depths * number // n_maps) for number in range(1, n_maps + 1)})
