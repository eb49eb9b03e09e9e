r"""Where each A-scan lies on the photograph.

A :class:`ScanPattern` says where the lines of a scan run, in millimetres around the fovea; a
:class:`Placement` says where those millimetres lie on the photo. Both frames are the frame of the
photo *as displayed*: x to the right, y down, whatever the eye's laterality.

The photo's own coordinates are *grid units*, those of :func:`torch.nn.functional.grid_sample` with
``align_corners=False``: (-1, -1) is the outer corner of the top left pixel and (1, 1) that of the
bottom right one, so they do not change when the photo is resized.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

Point = tuple[float, float]
Line = tuple[Point, Point]

_TOLERANCE_MM = 1e-6


@dataclass(frozen=True)
class Symmetry:
    r"""A rotation or reflection about the fovea that maps a scan's lines onto themselves.

    Content at ``p`` (millimetres) moves to ``matrix @ p``. Slice ``s`` of the moved volume is
    slice ``slices[s]`` of the old one, read backwards where ``mirrored[s]``: the volume is
    permuted and never resampled.
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
        inverse = torch.tensor(self.matrix, dtype=fundus.dtype, device=fundus.device).T
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
        index = torch.tensor(self.slices, device=scan.device)
        moved = scan.index_select(slice_dim, index)
        shape = [1] * scan.ndim
        shape[slice_dim] = -1
        mirrored = torch.tensor(self.mirrored, device=scan.device).view(shape)
        return torch.where(mirrored, moved.flip(ascan_dim), moved)


@dataclass(frozen=True)
class Placement:
    r"""Where a scan's millimetres lie on a square photo.

    .. math:: g = \text{shift} + R(\text{rotation}) \, p / \text{half\_width\_mm}

    Args:
        shift: the fovea's position, in grid units ``(x, y)``.
        rotation_deg: turn of the scan on the photo, clockwise as displayed.
        half_width_mm: millimetres of retina under half the photo's width. The default suits
            a 45 to 50 degree camera whose circle of retina fills the photo.
    """

    shift: Point = (0.0, 0.0)
    rotation_deg: float = 0.0
    half_width_mm: float = 6.5

    def __post_init__(self) -> None:
        if not self.half_width_mm > 0:
            raise ValueError(f"half_width_mm: expected a positive length, found {self.half_width_mm}")

    def to_grid(self, points_mm: Tensor) -> Tensor:
        """Map points ``(..., 2)`` in millimetres around the fovea to grid units of the photo."""
        turn = math.radians(self.rotation_deg)
        cos, sin = math.cos(turn), math.sin(turn)
        x, y = points_mm.unbind(-1)
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
        return turned / self.half_width_mm + points_mm.new_tensor(self.shift)

    def to_pixels(self, points_mm: Tensor, size_px: int) -> Tensor:
        """Map points ``(..., 2)`` to ``(column, row)`` pixel indices of a photo of that width."""
        return grid_to_pixels(self.to_grid(points_mm), size_px)

    def moved(self, symmetry: Symmetry) -> Placement:
        """The placement on a photo that the symmetry has turned about its own centre."""
        (a, b), (c, d) = symmetry.matrix
        x, y = self.shift
        turn = -self.rotation_deg if symmetry.swaps_laterality else self.rotation_deg
        return Placement((a * x + b * y, c * x + d * y), turn, self.half_width_mm)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in a data file."""
        return asdict(self) | {"shift": list(self.shift)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Placement:
        """Read what :meth:`to_dict` wrote."""
        x, y = values["shift"]
        return cls((float(x), float(y)), float(values["rotation_deg"]), float(values["half_width_mm"]))


def grid_to_pixels(grid: Tensor, size_px: int) -> Tensor:
    """Turn grid units into pixel indices, for which (0, 0) is the centre of the top left pixel."""
    return (grid + 1) * (size_px / 2) - 0.5


@dataclass(frozen=True)
class ScanPattern:
    """A scan of straight lines, in the order of the slices.

    Args:
        lines: for each slice, its first and last point ``((x, y), (x, y))`` in millimetres around
            the fovea, y down.
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

    def coordinates(
        self, n_ascans: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Positions of the A-scans in millimetres around the fovea, shape ``(S, X, 2)``.

        The A-scans are the centres of ``n_ascans`` equal parts of each line, so that a mirrored
        slice lies over the same points in reverse order.
        """
        if n_ascans < 1:
            raise ValueError(f"n_ascans: expected at least 1, found {n_ascans}")
        ends = torch.tensor(self.lines, device=device, dtype=dtype)
        along = (torch.arange(n_ascans, device=device, dtype=dtype) + 0.5) / n_ascans
        return torch.lerp(ends[:, None, 0], ends[:, None, 1], along[:, None])

    def symmetries(self) -> tuple[Symmetry, ...]:
        """All rotations and reflections about the fovea that permute the lines, identity first.

        ``4 n`` for a star of ``n`` lines through the fovea, 4 for a centred raster.
        """
        return _symmetries(self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in a data file."""
        return {"kind": self.kind, **self._fields()}

    def _fields(self) -> dict[str, Any]:
        return {"lines": [[list(start), list(end)] for start, end in self.lines]}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ScanPattern:
        """Read what :meth:`to_dict` wrote."""
        fields = dict(values)
        kind = fields.pop("kind", None)
        kinds = {cls.kind: cls for cls in (ScanPattern, RadialScan, RasterScan)}
        if kind not in kinds:
            raise ValueError(f"scan pattern: expected a kind of {sorted(kinds)}, found {kind!r}")
        return kinds[kind](**fields)


@dataclass(frozen=True, init=False)
class RadialScan(ScanPattern):
    """A star of lines through the fovea; the default is the challenge's six-line star.

    Args:
        n_lines: number of lines.
        length_mm: length of each.
        start_deg: direction in which the first line runs, clockwise from straight up as displayed:
            0 runs from inferior to superior.
        clockwise: whether each next line is turned clockwise as displayed, by 180 / ``n_lines``.
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
class RasterScan(ScanPattern):
    """Parallel lines from left to right as displayed, centred on the fovea.

    Args:
        n_lines: number of lines.
        width_mm: length of each line.
        height_mm: distance from the first to the last line.
        upwards: whether the first line is the lowest one.
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


@lru_cache
def _symmetries(lines: tuple[Line, ...]) -> tuple[Symmetry, ...]:
    # A symmetry takes the first line to some line, forwards or backwards, with or without a
    # reflection, and is fixed by that: so these are all the candidates there are.
    found: dict[tuple[tuple[int, ...], tuple[bool, ...], bool], Symmetry] = {}
    first = _direction(lines[0])
    for reflect in (False, True):
        for line in lines:
            for backwards in (False, True):
                last = _direction(line) + math.pi * backwards
                turn = last + first if reflect else last - first
                matrix = torch.tensor(
                    [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]],
                    dtype=torch.float64,
                )
                if reflect:
                    matrix = matrix @ torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
                symmetry = _as_symmetry(matrix, lines)
                if symmetry:
                    found.setdefault((symmetry.slices, symmetry.mirrored, reflect), symmetry)
    return tuple(found.values())


def _direction(line: Line) -> float:
    (x0, y0), (x1, y1) = line
    return math.atan2(y1 - y0, x1 - x0)


def _as_symmetry(matrix: Tensor, lines: tuple[Line, ...]) -> Symmetry | None:
    ends = torch.tensor(lines, dtype=torch.float64)  # (S, 2, xy)
    source = ends @ matrix  # row vectors: the inverse of an orthogonal matrix is its transpose
    forwards = (source[:, None] - ends[None]).abs().amax((-1, -2)) < _TOLERANCE_MM
    backwards = (source[:, None] - ends.flip(1)[None]).abs().amax((-1, -2)) < _TOLERANCE_MM
    matches = forwards | backwards
    if not matches.any(1).all():
        return None
    slices = matches.int().argmax(1)
    mirrored = ~forwards[torch.arange(len(lines)), slices]
    # Exact ends of the circle (0, 1, -1) keep turns by 90 degrees free of rounding.
    snapped = torch.where((matrix - matrix.round()).abs() < 1e-12, matrix.round(), matrix)
    (a, b), (c, d) = snapped.tolist()
    return Symmetry(
        ((a + 0.0, b + 0.0), (c + 0.0, d + 0.0)), tuple(slices.tolist()), tuple(mirrored.tolist())
    )
