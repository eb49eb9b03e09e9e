"""Scans of straight lines: any list of them, a star, a raster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fund2oct.geometry.patterns import ScanPattern
from fund2oct.geometry.placement import Point

Line = tuple[Point, Point]
"""Begin and end of a straight line."""

_TOLERANCE_MM = 1e-6


@dataclass(frozen=True)
class LineScan(ScanPattern):
    """A scan of straight lines, in the order of the slices.

    Args:
        lines: for each slice, its first and last point ``((x, y), (x, y))`` in millimetres around
            the fovea, y down.

    Raises:
        ValueError: if there is no line, or one that is not finite or has no length.

    Example:
        >>> LineScan((((-3, 0), (3, 0)), ((0, -2), (0, 2)))).length_mm
        (6.0, 4.0)
    """

    lines: tuple[Line, ...]
    kind: ClassVar[str] = "lines"

    def __post_init__(self) -> None:
        lines = tuple((_point(start), _point(end)) for start, end in self.lines)
        if not lines:
            raise ValueError("lines: expected at least one line, found none")
        for number, (start, end) in enumerate(lines):
            if not math.dist(start, end) > _TOLERANCE_MM:
                raise ValueError(f"lines: line {number} has no length: {start} to {end}")
        object.__setattr__(self, "lines", lines)

    @property
    def n_slices(self) -> int:
        """Number of B-scans."""
        return len(self.lines)

    @property
    def length_mm(self) -> tuple[float, ...]:
        """Length of each line."""
        return tuple(math.dist(start, end) for start, end in self.lines)

    def points(self, along: Tensor) -> Tensor:
        """Places at shares of each line, see :meth:`ScanPattern.points`."""
        ends = torch.tensor(self.lines, device=along.device, dtype=along.dtype)
        return torch.lerp(ends[:, None, 0], ends[:, None, 1], along[:, None])

    def chosen(self, slices: Sequence[int]) -> ScanPattern:
        """The lines of some slices, in their order."""
        return LineScan(tuple(self.lines[number] for number in slices))

    def _fields(self) -> dict[str, Any]:
        return {"lines": [[list(start), list(end)] for start, end in self.lines]}


@dataclass(frozen=True, init=False)
class RadialScan(LineScan):
    """A star of lines through the fovea; the default is the challenge's six-line star.

    Args:
        n_lines: number of lines.
        length_mm: length of each.
        start_deg: direction in which the first line runs, clockwise from straight up as displayed:
            0 runs from inferior to superior.
        clockwise: whether each next line is turned clockwise as displayed, by 180 / ``n_lines``.

    Raises:
        ValueError: if there is no line, or the length is not positive.

    Example:
        >>> scan = RadialScan(n_lines=6, length_mm=8.8)
        >>> scan.coordinates(n_ascans=448).shape  # (x, y) in mm of each A-scan
        torch.Size([6, 448, 2])
        >>> scan.lines[0]  # upwards, for y points down
        ((-0.0, 4.4), (0.0, -4.4))
    """

    kind: ClassVar[str] = "radial"

    def __init__(
        self, n_lines: int = 6, length_mm: float = 8.8, start_deg: float = 0.0, clockwise: bool = True
    ) -> None:
        if n_lines < 1 or not length_mm > 0:
            raise ValueError(
                f"radial scan: expected lines of positive length, found {n_lines} of {length_mm} mm"
            )
        step_deg = (180 if clockwise else -180) / n_lines
        lines = []
        for number in range(n_lines):
            turn = math.radians(start_deg + number * step_deg)
            x, y = math.sin(turn) * length_mm / 2, -math.cos(turn) * length_mm / 2
            lines.append(((-x, -y), (x, y)))
        object.__setattr__(self, "lines", tuple(lines))
        object.__setattr__(
            self,
            "_arguments",
            {"n_lines": n_lines, "length_mm": length_mm, "start_deg": start_deg, "clockwise": clockwise},
        )
        self.__post_init__()

    def _fields(self) -> dict[str, Any]:
        return dict(self._arguments)  # type: ignore[attr-defined]


@dataclass(frozen=True, init=False)
class RasterScan(LineScan):
    """Parallel lines from left to right as displayed, centred on the fovea.

    Args:
        n_lines: number of lines.
        width_mm: length of each line.
        height_mm: distance from the first to the last line.
        upwards: whether the first line is the lowest one.

    Raises:
        ValueError: if there are fewer than two lines, or a size is not positive.

    Example:
        >>> scan = RasterScan(n_lines=25, width_mm=6.0, height_mm=6.0)
        >>> scan.lines[0], scan.lines[1]  # the lines are 0.25 mm apart
        (((-3.0, -3.0), (3.0, -3.0)), ((-3.0, -2.75), (3.0, -2.75)))
    """

    kind: ClassVar[str] = "raster"

    def __init__(
        self, n_lines: int = 49, width_mm: float = 6.0, height_mm: float = 6.0, upwards: bool = False
    ) -> None:
        if n_lines < 2 or not (width_mm > 0 and height_mm > 0):
            raise ValueError(
                "raster scan: expected at least two lines over a positive area, "
                f"found {n_lines} over {width_mm} x {height_mm} mm"
            )
        top = height_mm / 2 if upwards else -height_mm / 2
        rows = [top * (1 - 2 * number / (n_lines - 1)) for number in range(n_lines)]
        object.__setattr__(self, "lines", tuple(((-width_mm / 2, y), (width_mm / 2, y)) for y in rows))
        object.__setattr__(
            self,
            "_arguments",
            {"n_lines": n_lines, "width_mm": width_mm, "height_mm": height_mm, "upwards": upwards},
        )
        self.__post_init__()

    def _fields(self) -> dict[str, Any]:
        return dict(self._arguments)  # type: ignore[attr-defined]


def _point(values: Sequence[float]) -> Point:
    x, y = values
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"lines: expected finite millimetres, found {x}, {y}")
    return float(x), float(y)
