"""Retinal vessels: trees grown from the disc, drawn as maps of how much blood lies in each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fund2oct.phantom.anatomy import Anatomy
from fund2oct.phantom.grid import Array, PhotoGrid, smoothstep

_STEP_MM = 0.05
_LEAST_RADIUS_MM = 0.006
_FOVEAL_ZONE_MM = (0.35, 1.0)


@dataclass(frozen=True)
class Paths:
    """Vessels of one generation as polylines of equal point counts.

    Attributes:
        points: ``(n, k, 2)`` nasal millimetres.
        heading: direction at each point in radians, ``(n, k)``.
        radius: half the width in mm, ``(n, k)``; 0 where the vessel has ended.
    """

    points: Array
    heading: Array
    radius: Array


def grow_vessels(rng: np.random.Generator, anatomy: Anatomy, arterioles: bool) -> list[Paths]:
    """Four trunks from the disc and two generations of branches, arterioles or venules."""
    trunks = _trunks(rng, anatomy, radius_mm=0.046 if arterioles else 0.062)
    branches = _branch(rng, trunks, per_parent=10, length_mm=(1.4, 4.6), scale=(0.4, 0.75))
    twigs = _branch(rng, branches, per_parent=3, length_mm=(0.6, 2.4), scale=(0.45, 0.75))
    return [trunks, branches, twigs]


def draw_vessels(grid: PhotoGrid, generations: list[Paths]) -> Array:
    """Map of the share of each pixel that a vessel covers, in [0, 1]."""
    drawn = np.zeros((grid.size_px, grid.size_px), np.float32)
    for paths in generations:
        x, y, radius = _dense(paths, grid.pixel_mm)
        column, row = grid.to_pixels(x, y)
        inside = (np.minimum(column, row) > -0.5) & (np.maximum(column, row) < grid.size_px - 0.5)
        column, row, radius_px = column[inside], row[inside], radius[inside] / grid.pixel_mm
        if radius_px.size:
            np.maximum(drawn, _stamp(column, row, radius_px, grid.size_px), out=drawn)
    return drawn


def _stamp(column: Array, row: Array, radius_px: Array, size_px: int) -> Array:
    """Discs with soft edges at each point, on a canvas with a margin that takes what sticks out."""
    reach = int(np.ceil(radius_px.max() + 0.5))
    width = size_px + 2 * reach
    canvas = np.zeros(width * width, np.float32)
    offset = np.arange(-reach, reach + 1, dtype=np.int32)
    near_row, near_column = np.rint(row).astype(np.int32), np.rint(column).astype(np.int32)
    down = (near_row - row).astype(np.float32)[:, None, None] + offset[:, None]
    across = (near_column - column).astype(np.float32)[:, None, None] + offset
    radius = radius_px[:, None, None]
    # A vessel thinner than a pixel covers part of it at most.
    value = np.clip(radius + 0.5 - np.sqrt(down * down + across * across), 0, np.minimum(1, 2 * radius))
    corner = ((near_row + reach) * width + near_column + reach)[:, None, None]
    index = corner + (offset[:, None] * width + offset)
    touched = value > 0
    np.maximum.at(canvas, index[touched], value[touched].astype(np.float32))
    return canvas.reshape(width, width)[reach:-reach, reach:-reach]


def _dense(paths: Paths, spacing_mm: float) -> tuple[Array, Array, Array]:
    """Points of all vessels, no further apart than a pixel, with their radii."""
    x, y, radius = paths.points[..., 0], paths.points[..., 1], paths.radius
    parts = math.ceil(_STEP_MM / spacing_mm)
    along = (np.arange(parts, dtype=np.float32) / parts)[:, None, None]
    keep = np.broadcast_to(radius[:, 1:] > _LEAST_RADIUS_MM, (parts, len(x), x.shape[1] - 1))
    between = (part[:, :-1] + along * (part[:, 1:] - part[:, :-1]) for part in (x, y, radius))
    x, y, radius = (part[keep] for part in between)
    return x, y, radius


def _trunks(rng: np.random.Generator, anatomy: Anatomy, radius_mm: float) -> Paths:
    """Temporal arcades along parabolas around the macula, nasal trunks nearly straight."""
    count = 200
    along = np.arange(count) * _STEP_MM
    start = np.array(anatomy.disc) + rng.normal(0, 0.06, (4, 2)) + (0.1, 0)
    heading = np.empty((4, count))
    for number, vertical in enumerate((-1, 1)):
        # Along d = c y^2 the heading turns from vertical to temporal as the arc grows.
        opening = rng.normal(0.40, 0.04) / anatomy.raphe**2
        lead = rng.uniform(0.15, 0.5)
        height = np.maximum(along - lead, 0) * 0.75
        slope = 2 * opening * height / (1 + 0.01 * height**2)
        heading[number] = np.arctan2(vertical, -slope - rng.uniform(0, 0.15))
        bend = vertical * rng.normal(0.08, 0.05)
        heading[2 + number] = vertical * rng.uniform(0.6, 1.15) - bend * along
    heading += _wander(rng, 4, count, 0.13)
    radius = radius_mm * np.exp(-along / 11) * rng.normal(1, 0.1, (4, 1)) * [[1.1], [1.1], [0.8], [0.8]]
    return _walk(start, heading, radius)


def _branch(
    rng: np.random.Generator,
    parents: Paths,
    per_parent: int,
    length_mm: tuple[float, float],
    scale: tuple[float, float],
) -> Paths:
    """Side vessels that leave their parents at acute angles, alternately to both sides."""
    count_parents = len(parents.radius)
    alive = np.maximum((parents.radius > _LEAST_RADIUS_MM).sum(1, keepdims=True) - 1, 1)
    slot = (np.arange(per_parent) + rng.uniform(0.2, 0.9, (count_parents, per_parent))) / per_parent
    index = (slot * alive).astype(int)
    parent = np.arange(count_parents)[:, None]
    start = parents.points[parent, index].reshape(-1, 2)
    sign = np.where((np.arange(per_parent) + rng.integers(0, 2, (count_parents, 1))) % 2, 1, -1)
    angle = (sign * rng.uniform(0.5, 1.15, sign.shape)).reshape(-1, 1)
    length = rng.uniform(*length_mm, (len(start), 1))
    steps = int(length_mm[1] / _STEP_MM)
    along = np.arange(steps) * _STEP_MM
    heading = parents.heading[parent, index].reshape(-1, 1) + angle
    # A branch swings back towards its parent's course as it runs.
    heading = heading - 0.5 * angle * along / (1 + along) + _wander(rng, len(start), steps, 0.22)
    share = rng.uniform(*scale, (len(start), 1))
    radius = parents.radius[parent, index].reshape(-1, 1) * share * np.sqrt(np.clip(1 - along / length, 0, 1))
    return _walk(start, heading, np.where(along < length, radius, 0))


def _wander(rng: np.random.Generator, paths: int, count: int, amount: float) -> Array:
    """A smooth random turn along each path, of standard deviation ``amount`` radians."""
    along = np.arange(count) * _STEP_MM
    rate, phase = rng.uniform(0.7, 4.5, (paths, 3, 1)), rng.uniform(0, 2 * np.pi, (paths, 3, 1))
    return (0.8 * amount) * np.sin((rate * along + phase).astype(np.float32)).sum(1)


def _walk(start: Array, heading: Array, radius: Array) -> Paths:
    step = _STEP_MM * np.stack([np.cos(heading), np.sin(heading)], -1)
    points = start[:, None] + np.cumsum(step, 1) - step
    # The fovea has no vessels: a path that comes near it thins and never goes on behind it.
    distance = np.hypot(points[..., 0], points[..., 1])
    near = np.minimum.accumulate(distance, 1)
    radius = radius * smoothstep(near, *_FOVEAL_ZONE_MM) ** 0.5
    return Paths(points.astype(np.float32), heading.astype(np.float32), radius.astype(np.float32))
