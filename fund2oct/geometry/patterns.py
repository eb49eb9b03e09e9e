"""What every scan pattern offers, and the form in which any of them can be stored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fund2oct.geometry.placement import Point
from fund2oct.geometry.symmetry import Symmetry, find_symmetries

KINDS: dict[str, type[ScanPattern]] = {}
"""The patterns of this package, by what a file calls them."""

_FINE = 1025
_CLOSE_MM = 1e-3
_MOST_POINTS = 2500
_ALIKE = 0.001


class ScanPattern(ABC):
    """Where the A-scans of a scan lie, slice by slice, around the fovea.

    A pattern of your own says no more than :meth:`points`. Make it a frozen data class, so that two of
    the same values are equal. A file holds it as a :class:`CurveScan`, so that nobody needs your code
    to read the file.

    Example:
        >>> import math, torch
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Arcs(ScanPattern):
        ...     radii_mm: tuple[float, ...] = (1.0, 2.0)
        ...     def points(self, along):
        ...         arc = torch.stack([(math.pi * along).cos(), (math.pi * along).sin()], -1)
        ...         return along.new_tensor(self.radii_mm)[:, None, None] * arc
        >>> Arcs().coordinates(5).shape
        torch.Size([2, 5, 2])
        >>> [round(length, 2) for length in Arcs().length_mm]
        [3.14, 6.28]
    """

    kind: ClassVar[str] = ""

    @abstractmethod
    def points(self, along: Tensor) -> Tensor:
        """Places at shares of each B-scan's width.

        Args:
            along: shares in [0, 1], 0 at the first edge of a B-scan as displayed and 1 at its last, shape
                ``(N,)``.

        Returns:
            Millimetres around the fovea, x to the right and y down as displayed, on the device and of
            the type of ``along``, shape ``(S, N, 2)``.
        """

    @property
    def n_slices(self) -> int:
        """Number of B-scans."""
        return len(self.points(torch.zeros(1)))

    @property
    def length_mm(self) -> tuple[float, ...]:
        """Length of each B-scan on the retina."""
        return tuple(self._fine().diff(dim=1).norm(dim=-1).sum(1).tolist())

    @property
    def reach_mm(self) -> float:
        """Distance of the farthest A-scan from the fovea."""
        return float(self._fine().norm(dim=-1).max())

    def coordinates(
        self, n_ascans: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Positions of the A-scans in millimetres around the fovea, shape ``(S, X, 2)``.

        The A-scans are the centres of ``n_ascans`` equal parts of each B-scan, so that a mirrored
        slice lies over the same points in reverse order.

        Raises:
            ValueError: if there is no A-scan, or the pattern's points are not finite or of another shape.
        """
        if n_ascans < 1:
            raise ValueError(f"n_ascans: expected at least 1, found {n_ascans}")
        along = (torch.arange(n_ascans, device=device, dtype=dtype) + 0.5) / n_ascans
        points = self.points(along)
        if points.ndim != 3 or points.shape[1:] != (n_ascans, 2) or not points.isfinite().all():
            raise ValueError(
                f"{type(self).__name__}.points: expected finite millimetres of shape (S, {n_ascans}, 2) for "
                f"{n_ascans} shares of a B-scan, found {tuple(points.shape)}"
                + ("" if points.isfinite().all() else " with NaN or infinity")
            )
        return points.to(dtype)

    def symmetries(self) -> tuple[Symmetry, ...]:
        """All rotations and reflections about the fovea that permute the slices, identity first.

        ``4 n`` for a star of ``n`` lines through the fovea, 4 for a centred raster, 2 for circles: the
        identity, and the reflection about the diameter on which they begin. Lines of a clinic's own have
        the identity alone, unless they are regular to a nanometre.
        """
        along = torch.linspace(0, 1, 17, dtype=torch.float64)
        return find_symmetries(tuple(map(_pairs, self.points(along).tolist())))

    def chosen(self, slices: Sequence[int]) -> ScanPattern:
        """The pattern of some slices, in their order."""
        return CurveScan.of(self).chosen(slices)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in a data file."""
        if KINDS.get(self.kind) is not type(self):
            return CurveScan.of(self).to_dict()
        return {"kind": self.kind, **self._fields()}

    def _fields(self) -> dict[str, Any]:
        raise NotImplementedError

    def _fine(self) -> Tensor:
        return self.points(torch.linspace(0, 1, _FINE, dtype=torch.float64)).double()

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ScanPattern:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: if it is of no kind that this package knows.
        """
        fields = dict(values)
        kind = fields.pop("kind", None)
        if kind not in KINDS:
            raise ValueError(f"scan pattern: expected a kind of {sorted(KINDS)}, found {kind!r}")
        return KINDS[kind](**fields)


@dataclass(frozen=True)
class CurveScan(ScanPattern):
    """B-scans along any curves, each given by points at equal shares of the B-scan's width.

    Args:
        curves: for each slice at least two points ``(x, y)`` in millimetres around the fovea, y down, as
            many in each slice. Between them the A-scans lie on straight lines.

    Raises:
        ValueError: if there are no points, or they differ in number.

    Example:
        >>> CurveScan((((0, 0), (3, 0), (3, 4)),)).length_mm
        (7.0,)
    """

    curves: tuple[tuple[Point, ...], ...]
    kind: ClassVar[str] = "curves"

    def __post_init__(self) -> None:
        curves = tuple(map(_pairs, self.curves))
        if not curves or len({len(curve) for curve in curves}) != 1 or len(curves[0]) < 2:
            found = [len(curve) for curve in curves]
            raise ValueError(f"curves: expected two points or more, as many in each slice, found {found}")
        if not np.isfinite(curves).all():
            raise ValueError("curves: expected finite millimetres, found NaN or infinity")
        object.__setattr__(self, "curves", curves)

    @classmethod
    def of(cls, scan: ScanPattern) -> CurveScan:
        """Any pattern as curves, with points close enough that no A-scan is off by more than 1 µm.

        Raises:
            ValueError: if it winds too much for that.
        """
        fine = scan._fine().numpy()
        for n_parts in (2**power for power in range(11)):
            step = (_FINE - 1) // n_parts
            kept = cls(tuple(map(_pairs, fine[:, ::step].round(6).tolist())))
            if np.abs(kept._fine().numpy() - fine).max() < _CLOSE_MM:
                break
        if len(kept.curves) * len(kept.curves[0]) > _MOST_POINTS:
            raise ValueError(
                f"{type(scan).__name__}: expected at most {_MOST_POINTS} points to describe its curves to "
                f"1 µm, found {len(kept.curves)} slices of {len(kept.curves[0])}; a file cannot hold it"
            )
        return kept

    @property
    def n_slices(self) -> int:
        """Number of B-scans."""
        return len(self.curves)

    @property
    def length_mm(self) -> tuple[float, ...]:
        """Length of each curve."""
        return tuple(sum(math.dist(a, b) for a, b in pairwise(curve)) for curve in self.curves)

    def points(self, along: Tensor) -> Tensor:
        """Places at shares of each curve, see :meth:`ScanPattern.points`."""
        curves = torch.tensor(self.curves, device=along.device, dtype=along.dtype)
        n_parts = curves.shape[1] - 1
        first = (along * n_parts).floor().clamp(0, n_parts - 1)
        part = first.long()
        return torch.lerp(curves[:, part], curves[:, part + 1], (along * n_parts - first)[:, None])

    def chosen(self, slices: Sequence[int]) -> ScanPattern:
        """The curves of some slices, in their order."""
        return CurveScan(tuple(self.curves[number] for number in slices))

    def _fields(self) -> dict[str, Any]:
        return {"curves": [[list(point) for point in curve] for curve in self.curves]}


def ascan_spacing_mm(mean_mm: float, lengths: Sequence[float]) -> tuple[float, ...]:
    """Distance of neighbouring A-scans in each slice, where only their mean distance is told.

    Slices of one volume have as many A-scans each: on a longer circle or line they lie farther apart.

    Args:
        mean_mm: mean over the slices in millimetres.
        lengths: length of each slice, in any one unit.

    Returns:
        Millimetres for each slice; all are the mean itself where the slices are equally long, to 0.1%.

    Example:
        >>> ascan_spacing_mm(0.25, lengths=(6.0, 2.0)), ascan_spacing_mm(0.25, lengths=(6.0, 6.001))
        ((0.375, 0.125), (0.25, 0.25))
    """
    mean = sum(lengths) / len(lengths)
    if max(lengths) - min(lengths) <= _ALIKE * mean:
        return (mean_mm,) * len(lengths)
    return tuple(mean_mm * length / mean for length in lengths)


def _pairs(points: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in points)
