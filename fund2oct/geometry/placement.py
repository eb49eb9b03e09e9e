"""Where a scan's millimetres lie on the photo."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fund2oct.geometry.symmetry import Symmetry

Point = tuple[float, float]
"""``(x, y)``, in millimetres around the fovea or in grid units."""


@dataclass(frozen=True)
class Placement:
    r"""Where a scan's millimetres lie on a square photo.

    .. math:: g = \text{shift} + R(\text{rotation}) \, p / \text{half\_width\_mm}

    Args:
        shift: the fovea's position, in grid units ``(x, y)``.
        rotation_deg: turn of the scan on the photo, clockwise as displayed.
        half_width_mm: millimetres of retina under half the photo's width. The default suits
            a 45 to 50 degree camera whose circle of retina fills the photo.

    Raises:
        ValueError: if ``half_width_mm`` is not positive, or a number is not finite.

    Example:
        >>> placement = Placement(shift=(0.1, 0.0), half_width_mm=6.5)
        >>> fovea_and_beside = torch.tensor([[0.0, 0.0], [3.25, 0.0]])  # millimetres
        >>> placement.to_pixels(fovea_and_beside, size_px=200)
        tensor([[109.5000,  99.5000],
                [159.5000,  99.5000]])
    """

    shift: Point = (0.0, 0.0)
    rotation_deg: float = 0.0
    half_width_mm: float = 6.5

    def __post_init__(self) -> None:
        if not 0 < self.half_width_mm < math.inf:
            raise ValueError(f"half_width_mm: expected a positive length, found {self.half_width_mm}")
        for name, values in (("shift", self.shift), ("rotation_deg", (self.rotation_deg,))):
            if not all(map(math.isfinite, values)):
                raise ValueError(f"{name}: expected finite numbers, found {', '.join(map(str, values))}")

    def to_grid(self, points_mm: Tensor) -> Tensor:
        """Map points ``(..., 2)`` in millimetres around the fovea to grid units of the photo."""
        return self.turned(points_mm) / self.half_width_mm + points_mm.new_tensor(self.shift)

    def turned(self, points_mm: Tensor) -> Tensor:
        """Turn points ``(..., 2)`` as the scan is turned on the photo.

        They are still millimetres around the fovea, but to the right and down of the photo as displayed,
        whatever the scan itself calls so.
        """
        turn = math.radians(self.rotation_deg)
        cos, sin = math.cos(turn), math.sin(turn)
        x, y = points_mm.unbind(-1)
        return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)

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
    """Turn grid units into pixel indices, for which (0, 0) is the centre of the top left pixel.

    Args:
        grid: places ``(x, y)``, shape ``(..., 2)``; -1 and 1 are the outer edges of the photo.
        size_px: width of the photo in pixels.

    Returns:
        ``(column, row)``, shape ``(..., 2)``.

    Example:
        >>> grid_to_pixels(torch.tensor([[-1.0, -1.0], [0.0, 0.0]]), size_px=100)  # corner and centre
        tensor([[-0.5000, -0.5000],
                [49.5000, 49.5000]])
    """
    return (grid + 1) * (size_px / 2) - 0.5
