"""What a network that knows nothing of the scan makes of a photo: one plane, the same in every slice.

The photo's rows and columns become rows and A-scans of the slices, as in
:class:`fund2oct.networks.lift.RepeatLift`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

Shape = tuple[int, int, int]

_FEWEST = 4
"""Samples that an axis keeps. X2CT-GAN halves its cubes of 128 five times, to 4."""


def level_strides(shape: Sequence[int], n_levels: int) -> list[Shape]:
    """Strides of a pyramid over a volume that is not a cube.

    An axis is halved as long as four samples remain. The six slices of a star stay six at every level.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)``.
        n_levels: number of times that the volume is made smaller.

    Returns:
        The strides ``(s, z, x)`` of each level, each 1 or 2, finest first.

    Example:
        >>> level_strides((6, 80, 112), n_levels=5)
        [(1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 1, 2)]
    """
    strides: list[Shape] = []
    sizes = list(shape)
    for _ in range(n_levels):
        s, z, x = (2 if -(-size // 2) >= _FEWEST else 1 for size in sizes)
        strides.append((s, z, x))
        sizes = [-(-size // stride) for size, stride in zip(sizes, strides[-1], strict=True)]
    return strides


def level_shapes(shape: Sequence[int], strides: Sequence[Shape]) -> list[Shape]:
    """Shapes of a volume and of each smaller one, halves rounded up.

    Args:
        shape: numbers of slices, rows and A-scans ``(S, Z, X)``.
        strides: those of :func:`level_strides`.

    Returns:
        One shape more than there are strides, finest first.

    Example:
        >>> level_shapes((6, 80, 112), level_strides((6, 80, 112), n_levels=5))[-2:]
        [(6, 5, 7), (6, 5, 4)]
    """
    s, z, x = shape
    shapes: list[Shape] = [(s, z, x)]
    for stride in strides:
        s, z, x = (-(-size // step) for size, step in zip(shapes[-1], stride, strict=True))
        shapes.append((s, z, x))
    return shapes


def photo_plane(fundus: Tensor, n_rows: int, n_columns: int) -> Tensor:
    """Resize photos to the plane of a slice.

    Args:
        fundus: photos, shape ``(B, 3, H, W)``.
        n_rows: number of rows of the plane.
        n_columns: number of its columns.

    Returns:
        Photos, shape ``(B, 3, n_rows, n_columns)``.

    Example:
        >>> import torch
        >>> photo_plane(torch.rand(2, 3, 64, 64), 32, 48).shape
        torch.Size([2, 3, 32, 48])
    """
    if tuple(fundus.shape[2:]) == (n_rows, n_columns):
        return fundus
    return F.interpolate(fundus, (n_rows, n_columns), mode="bilinear", align_corners=False, antialias=True)


def repeated(plane: Tensor, n_slices: int) -> Tensor:
    """Give every slice the same plane.

    Args:
        plane: maps of a plane, shape ``(B, C, Z, X)``.
        n_slices: number of slices S.

    Returns:
        The same values in every slice, shape ``(B, C, S, Z, X)``; they take no memory of their own.

    Example:
        >>> import torch
        >>> repeated(torch.rand(2, 3, 32, 48), n_slices=6).shape
        torch.Size([2, 3, 6, 32, 48])
    """
    return plane.unsqueeze(2).expand(-1, -1, n_slices, -1, -1)


def check_fits(fundus: Tensor, grid: Tensor, n_depth: int | None, shape: Shape) -> None:
    """Refuse a call for a volume of another shape than a network was built for.

    Args:
        fundus: photos, shape ``(B, 3, H, W)``.
        grid: positions of the A-scans, shape ``(B, S, X, 2)``; only the shape is used.
        n_depth: number of rows Z that is asked for; None asks for that of ``shape``.
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` that the network was built for.

    Raises:
        ValueError: if something does not fit.

    Example:
        >>> import torch
        >>> check_fits(torch.rand(1, 3, 64, 64), torch.zeros(1, 5, 48, 2), None, (6, 32, 48))
        Traceback (most recent call last):
            ...
        ValueError: grid: expected (1, 6, 48, 2), found (1, 5, 48, 2); this network draws the shape that ...
    """
    if fundus.ndim != 4 or fundus.shape[1] != 3:
        raise ValueError(f"fundus: expected (B, 3, H, W), found {tuple(fundus.shape)}")
    expected = (len(fundus), shape[0], shape[2], 2)
    built_for = "this network draws the shape that it was built for alone"
    if tuple(grid.shape) != expected:
        raise ValueError(f"grid: expected {expected}, found {tuple(grid.shape)}; {built_for}")
    if n_depth not in (None, shape[1]):
        raise ValueError(f"n_depth: expected {shape[1]} rows, found {n_depth}; {built_for}")
