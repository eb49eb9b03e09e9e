"""The photo's grid: maps over the retina, random textures, and sampling them under A-scans."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from fund2oct.geometry import Placement

Array = np.ndarray[Any, Any]
Window = tuple[slice, slice]


class PhotoGrid:
    """Square pixels over the photo, and where each lies on the retina.

    All maps of one eye share a grid, so that the photo and the volume are cut from the same
    anatomy. ``x`` runs from the fovea to the disc (nasal), whatever the laterality: anatomy is
    written once, as a right eye.

    Args:
        placement: where millimetres around the fovea lie on the photo.
        size_px: pixels along each side.
        side: +1 for a right eye, -1 for a left one.
    """

    def __init__(self, placement: Placement, size_px: int, side: int) -> None:
        self.placement = placement
        self.size_px = size_px
        self.side = side
        self.half_width_mm = placement.half_width_mm
        self.pixel_mm = 2 * placement.half_width_mm / size_px
        turn = math.radians(placement.rotation_deg)
        self._cos, self._sin = math.cos(turn), math.sin(turn)
        centres = ((np.arange(size_px, dtype=np.float32) + 0.5) * 2 / size_px - 1).astype(np.float32)
        self.u, self.v = np.meshgrid(centres, centres)
        u, v = self.u - placement.shift[0], self.v - placement.shift[1]
        self.x: Array = ((self._cos * u + self._sin * v) * self.half_width_mm * side).astype(np.float32)
        self.y: Array = ((self._cos * v - self._sin * u) * self.half_width_mm).astype(np.float32)

    def to_pixels(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Column and row of points in nasal millimetres; (0, 0) is the first pixel's centre."""
        x = x * self.side
        u = (self._cos * x - self._sin * y) / self.half_width_mm + self.placement.shift[0]
        v = (self._sin * x + self._cos * y) / self.half_width_mm + self.placement.shift[1]
        half = self.size_px / 2
        return (u + 1) * half - 0.5, (v + 1) * half - 0.5

    def window(self, x: float, y: float, radius_mm: float) -> Window:
        """Rows and columns of the square around a point, cut at the photo's border."""
        column, row = self.to_pixels(np.float32(x), np.float32(y))  # type: ignore[arg-type]
        reach = radius_mm / self.pixel_mm + 1
        edges = np.clip([row - reach, row + reach + 1, column - reach, column + reach + 1], 0, self.size_px)
        top, bottom, left, right = edges.astype(int)
        return slice(top, bottom), slice(left, right)

    def noise(self, rng: np.random.Generator, cell_mm: float) -> Array:
        """Smooth random map of mean 0 and variance about 1; the same at every resolution.

        Cubic B-splines on a lattice of ``cell_mm``, evaluated with two small matrix products.
        """
        cells = max(2, math.ceil(2 * self.half_width_mm / cell_mm))
        basis = spline_basis(self.size_px, cells)
        lattice = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
        return basis @ lattice @ basis.T

    def sample(self, maps: Iterable[Array], x: Array, y: Array) -> Array:
        """Read K maps ``(M, M)`` at points in nasal millimetres, bilinearly: ``(K, *x.shape)``."""
        column, row = self.to_pixels(x, y)
        limit = self.size_px - 1.001
        column, row = np.clip(column, 0, limit), np.clip(row, 0, limit)
        left, top = column.astype(np.int32), row.astype(np.int32)
        a, b = (column - left).astype(np.float32), (row - top).astype(np.float32)
        corners = [
            (top, left, (1 - a) * (1 - b)),
            (top, left + 1, a * (1 - b)),
            (top + 1, left, (1 - a) * b),
            (top + 1, left + 1, a * b),
        ]
        return np.stack([sum(values[i, j] * weight for i, j, weight in corners) for values in maps])


@lru_cache(maxsize=64)
def spline_basis(size: int, cells: int) -> Array:
    """Uniform cubic B-splines at pixel centres, ``(size, cells + 3)``, scaled to unit variance."""
    position = (np.arange(size) + 0.5) * cells / size
    first = position.astype(int)
    t = position - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    basis = np.zeros((size, cells + 3))
    np.put_along_axis(basis, first[:, None] + np.arange(4), weights, 1)
    return (basis / np.sqrt(np.mean(np.sum(basis**2, 1)))).astype(np.float32)


def smoothstep(values: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high`` and a cubic between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
