"""Rotations and reflections that map a scan onto itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Array = np.ndarray[Any, Any]

_TOLERANCE_MM = 1e-6


@dataclass(frozen=True)
class Symmetry:
    r"""A rotation or reflection about the fovea that maps a scan's lines onto themselves.

    The slices of a moved volume are those of the old one in another order, some of them read backwards: it
    is not resampled. :meth:`ScanPattern.symmetries` finds all symmetries of a scan.

    Args:
        matrix: what is at ``p``, in millimetres around the fovea, moves to ``matrix @ p``.
        slices: slice ``s`` of the moved volume is slice ``slices[s]`` of the old one.
        mirrored: for each slice of the moved volume, whether it is read backwards.

    Example:
        >>> from fund2oct import RadialScan
        >>> quarter = next(one for one in RadialScan(2).symmetries() if one.matrix == ((0, -1), (1, 0)))
        >>> quarter.slices, quarter.mirrored  # each of the two lines comes to lie on the other
        ((1, 0), (True, False))
        >>> quarter.apply_to_scan(torch.rand(1, 1, 2, 32, 48)).shape
        torch.Size([1, 1, 2, 32, 48])
    """

    matrix: tuple[tuple[float, float], tuple[float, float]]
    slices: tuple[int, ...]
    mirrored: tuple[bool, ...]

    @property
    def swaps_laterality(self) -> bool:
        """Whether it is a reflection, which turns a right eye into a left one."""
        (a, b), (c, d) = self.matrix
        return a * d - b * c < 0

    def apply_to_fundus(self, fundus: Tensor) -> Tensor:
        """Move photos, shape ``(B, C, H, H)``, about their centre; what comes from outside is 0."""
        if fundus.ndim != 4 or fundus.shape[-1] != fundus.shape[-2]:
            raise ValueError(f"fundus: expected a square (B, C, H, H), found {tuple(fundus.shape)}")
        inverse = put_beside(fundus, self.matrix).T
        theta = F.pad(inverse, (0, 1)).expand(len(fundus), 2, 3)
        grid = F.affine_grid(theta, list(fundus.shape), align_corners=False)
        return F.grid_sample(fundus, grid, mode="bilinear", align_corners=False)

    def apply_to_scan(self, scan: Tensor, slice_dim: int = 2, ascan_dim: int = -1) -> Tensor:
        """Move a volume ``(B, C, S, Z, X)``, or any tensor with a slice and an A-scan dimension."""
        if scan.shape[slice_dim] != len(self.slices):
            raise ValueError(
                f"scan: expected {len(self.slices)} slices in dimension {slice_dim}, "
                f"found shape {tuple(scan.shape)}"
            )
        index = put_beside(scan, self.slices, torch.long)
        moved = scan.index_select(slice_dim, index)
        shape = [1] * scan.ndim
        shape[slice_dim] = -1
        mirrored = put_beside(scan, self.mirrored, torch.bool).view(shape)
        return torch.where(mirrored, moved.flip(ascan_dim), moved)


def put_beside(tensor: Tensor, values: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers as a tensor on the device of another one, which does not wait until a GPU has done its work.

    Args:
        tensor: the other one.
        values: a number, or nested sequences of numbers.
        dtype: of the result; that of ``tensor`` when absent.
    """
    return torch.tensor(values, dtype=dtype or tensor.dtype).to(tensor.device, non_blocking=True)


@lru_cache(maxsize=1024)
def find_symmetries(curves: tuple[tuple[tuple[float, float], ...], ...]) -> tuple[Symmetry, ...]:
    """Find all rotations and reflections about the origin that permute curves, identity first.

    Args:
        curves: of each slice, places at shares of the B-scan that lie alike from both of its ends, as many
            in each.
    """
    points = np.array(curves)
    # A symmetry takes a place off the origin to its counterpart on some curve, forwards or backwards, with
    # or without a reflection, and is fixed by that: so these are all the candidates there are.
    place = int(np.hypot(*points[0].T).argmax())
    source = points[0, place]
    found: dict[tuple[tuple[int, ...], tuple[bool, ...], bool], Symmetry] = {}
    for reflect in (False, True):
        first = math.atan2(source[1], source[0])
        for curve in points:
            for target in (curve[place], curve[len(curve) - 1 - place]):
                if abs(math.hypot(*target) - math.hypot(*source)) > _TOLERANCE_MM:
                    continue
                last = math.atan2(target[1], target[0])
                turn = last + first if reflect else last - first
                cos, sin = math.cos(turn), math.sin(turn)
                matrix = np.array([[cos, sin], [sin, -cos]] if reflect else [[cos, -sin], [sin, cos]])
                if symmetry := _as_symmetry(matrix, points):
                    found.setdefault((symmetry.slices, symmetry.mirrored, reflect), symmetry)
    return tuple(found.values())


def _as_symmetry(matrix: Array, points: Array) -> Symmetry | None:
    source = points @ matrix  # row vectors: the inverse of an orthogonal matrix is its transpose
    # The ends alone tell most candidates from a symmetry.
    last = points.shape[1] - 1
    if not _matches(source[:, ::last], points[:, ::last]).any(axis=(1, 2)).all():
        return None
    forwards, backwards = np.moveaxis(_matches(source, points), 2, 0)
    matches = forwards | backwards
    if not matches.any(axis=1).all():
        return None
    # Where a line is scanned twice, each of its slices goes to another one: none may be lost.
    slices = list[int]()
    for number, targets in enumerate(matches):
        free = set(targets.nonzero()[0].tolist()).difference(slices)
        if not free:
            return None
        slices.append(min(free, key=lambda one: (not forwards[number, one], one != number, one)))
    mirrored = ~forwards[np.arange(len(points)), slices]
    # Exact ends of the circle (0, 1, -1) keep turns by 90 degrees free of rounding.
    snapped = np.where(np.abs(matrix - matrix.round()) < 1e-12, matrix.round(), matrix) + 0.0
    (a, b), (c, d) = snapped.tolist()
    return Symmetry(((a, b), (c, d)), tuple(slices), tuple(mirrored.tolist()))


def _matches(source: Array, points: Array) -> Array:
    """Whether each curve lies on each other, forwards and backwards, shape ``(S, S, 2)``."""
    both = np.stack([points, points[:, ::-1]], 1)
    return np.abs(source[:, None, None] - both[None]).max((-1, -2)) < _TOLERANCE_MM
