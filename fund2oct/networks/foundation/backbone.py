"""What all networks of others have in common, whichever package built them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

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


def blocks_below(network: nn.Module, *lists: str) -> list[list[str]]:
    """Names of the weights of each module in some lists of modules, one after the other."""
    names = [name for name, _ in network.named_parameters()]
    beginnings = [
        f"{place}.{number}."
        for place in lists
        for number in range(len(network.get_submodule(place)))  # type: ignore[arg-type]
    ]
    return [[name for name in names if name.startswith(beginning)] for beginning in beginnings]


def evenly(n_depths: int, n_maps: int = 4) -> list[int]:
    """Depths at even distances, the last of them the deepest, counted from 1.

    Example:
        >>> evenly(12), evenly(24), evenly(2)
        ([3, 6, 9, 12], [6, 12, 18, 24], [1, 2])
    """
    return sorted({max(1, n_depths * number // n_maps) for number in range(1, n_maps + 1)})


def normalised(maps: Tensor) -> Tensor:
    """Maps ``(B, C, h, w)`` whose channels have mean 0 and deviation 1 at each place."""
    return F.layer_norm(maps.permute(0, 2, 3, 1), maps.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)


def as_map(tokens: Tensor, n_before: int) -> Tensor:
    """Tokens ``(B, N, C)`` of a square grid, without those before it, as a map ``(B, C, h, h)``."""
    patches = tokens[:, n_before:].transpose(1, 2)
    side = round(patches.shape[-1] ** 0.5)
    return patches.unflatten(2, (side, side))
