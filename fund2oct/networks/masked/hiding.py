"""Hiding random cells of pictures, so that nothing of what they hold is left to be seen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.networks.noise import NoiseSource

_NOTHING_SEEN = 0.5


def hidden_cells(
    n_pictures: int,
    cells: tuple[int, int],
    share: float | Tensor,
    rng: NoiseSource,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw which cells of pictures are hidden.

    Args:
        n_pictures: number of pictures; B-scans count each.
        cells: numbers of cells along rows and columns.
        share: share of the cells that is hidden, in [0, 1]; one number, or one for each picture, ``(N,)``.
        rng: source of the noise.
        device: device of the result.

    Returns:
        True where a cell is hidden, shape ``(N, 1, *cells)``. Of each picture so many cells are hidden,
        rounded.

    Raises:
        ValueError: if there are no cells, or a share is out of its range.

    Example:
        >>> hidden = hidden_cells(2, (4, 8), share=0.75, rng=NoiseSource())
        >>> hidden.shape, hidden.sum((1, 2, 3))
        (torch.Size([2, 1, 4, 8]), tensor([24, 24]))
    """
    shares = torch.as_tensor(share, dtype=torch.float32, device=device).reshape(-1, 1)
    if min(cells) < 1:
        raise ValueError(f"cells: expected at least one along rows and columns, found {cells}")
    if not isinstance(share, Tensor) and not 0 <= share <= 1:
        raise ValueError(f"hidden share: expected a number in [0, 1], found {share}")
    n_cells = cells[0] * cells[1]
    order = rng.randn((n_pictures, n_cells), device).argsort(1).argsort(1)
    return (order < (shares * n_cells).round()).view(n_pictures, 1, *cells)


def enlarged(hidden: Tensor, size: tuple[int, int]) -> Tensor:
    """The hidden pixels of pictures of a size ``(rows, columns)`` from the hidden cells ``(N, 1, h, w)``."""
    return F.interpolate(hidden.float(), size, mode="nearest") > 0.5


def hide(pictures: Tensor, hidden: Tensor) -> Tensor:
    """Replace hidden pixels by the mean of those that are left, in each picture and channel.

    A mean is a colour that a network knows, and says nothing of what is hidden.

    Args:
        pictures: values in [0, 1], shape ``(N, C, H, W)``.
        hidden: True where a pixel is hidden, shape ``(N, 1, H, W)``.

    Returns:
        The pictures; where all of one is hidden, it is grey.

    Example:
        >>> picture = torch.tensor([0.2, 0.4, 0.9]).view(1, 1, 1, 3)
        >>> hide(picture, torch.tensor([False, False, True]).view(1, 1, 1, 3)).flatten()
        tensor([0.2000, 0.4000, 0.3000])
    """
    seen = (~hidden).to(pictures.dtype)
    n_seen = seen.sum((2, 3), keepdim=True)
    mean = (pictures * seen).sum((2, 3), keepdim=True) / n_seen.clamp(min=1)
    mean = torch.where(n_seen > 0, mean, torch.full_like(mean, _NOTHING_SEEN))
    return torch.where(hidden, mean, pictures)
