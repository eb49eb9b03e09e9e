"""Circular scans, such as those around the optic disc."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fund2oct.geometry.patterns import ScanPattern


@dataclass(frozen=True)
class CircularScan(ScanPattern):
    """Circles around one centre, each a B-scan whose first and last A-scan are neighbours.

    The centre is the scan's origin: give a :class:`Placement` whose shift is where the disc lies.

    Args:
        radius_mm: radius of each circle, in the order of the slices.
        start_deg: where the B-scan begins, seen from the centre, clockwise from straight up as displayed:
            -90 is to the left, which is temporal in a right eye.
        clockwise: whether it runs clockwise as displayed. A scan in the order temporal, superior, nasal,
            inferior does in a right eye, and runs the other way from 90 degrees in a left one.

    Raises:
        ValueError: if there is no circle, or one without a radius.

    Example:
        >>> ring = CircularScan((1.75,), start_deg=-90)
        >>> ring.coordinates(4)[0]
        tensor([[-1.2374, -1.2374],
                [ 1.2374, -1.2374],
                [ 1.2374,  1.2374],
                [-1.2374,  1.2374]])
    """

    radius_mm: tuple[float, ...] = (1.73,)
    start_deg: float = -90.0
    clockwise: bool = True
    kind: ClassVar[str] = "circles"

    def __post_init__(self) -> None:
        radii = tuple(float(radius) for radius in self.radius_mm)
        if not radii or not all(0 < radius < math.inf for radius in radii):
            raise ValueError(f"radius_mm: expected positive lengths, found {self.radius_mm}")
        if not math.isfinite(self.start_deg):
            raise ValueError(f"start_deg: expected finite degrees, found {self.start_deg}")
        object.__setattr__(self, "radius_mm", radii)

    @property
    def n_slices(self) -> int:
        """Number of B-scans."""
        return len(self.radius_mm)

    @property
    def length_mm(self) -> tuple[float, ...]:
        """Circumference of each circle."""
        return tuple(2 * math.pi * radius for radius in self.radius_mm)

    def points(self, along: Tensor) -> Tensor:
        """Places at shares of each circle, see :meth:`ScanPattern.points`."""
        turn = 360 if self.clockwise else -360
        angle = torch.deg2rad(self.start_deg + turn * along)
        radius = torch.tensor(self.radius_mm, device=along.device, dtype=along.dtype)
        return radius[:, None, None] * torch.stack([angle.sin(), -angle.cos()], -1)

    def chosen(self, slices: Sequence[int]) -> ScanPattern:
        """The circles of some slices, in their order."""
        return CircularScan(tuple(self.radius_mm[n] for n in slices), self.start_deg, self.clockwise)

    def _fields(self) -> dict[str, Any]:
        return {
            "radius_mm": list(self.radius_mm),
            "start_deg": self.start_deg,
            "clockwise": self.clockwise,
        }
