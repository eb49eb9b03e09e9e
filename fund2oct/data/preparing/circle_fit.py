"""A circle fitted to the edge of the bright part of a picture."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from fund2oct.eye import Array

_N_ANGLES = 90
_ROUND = 0.03
_BETTER = 0.1


class Fit(NamedTuple):
    """A circle in pixels; ``support`` is the share of its visible arc along which an edge was found.

    ``stretch`` is 1 where the edge is round; where an ellipse follows it clearly better than any circle, this
    is its longer axis over the shorter one, and the circle has its area.
    """

    x: float
    y: float
    radius: float
    support: float
    stretch: float = 1.0


def fit_circle(bright: Array) -> Fit | None:
    """Fit a circle to the largest bright part by RANSAC; None where its edge is no circle.

    Args:
        bright: truth values, shape ``(rows, columns)``.
    """
    disc = largest(bright)
    points = _edge_points(disc)
    if len(points) < 16:
        return None
    tolerance = 0.006 * max(bright.shape) + 0.5
    rng = np.random.default_rng(0)
    candidates = _through(points[rng.integers(len(points), size=(400, 3))])
    candidates = candidates[_plausible(candidates, bright.shape)]
    if not len(candidates):
        return None
    x, y, r = candidates[(np.abs(_distance(points, candidates)) < tolerance).sum(1).argmax()]
    for _ in range(4):
        near = np.abs(_distance(points, np.array([[x, y, r]]))[0]) < tolerance
        if near.sum() < 16:
            return None
        x, y, r = _least_squares(points[near])
    if not _plausible(np.array([x, y, r]), bright.shape):
        return None
    support = _support(points, bright, x, y, r, tolerance)
    stretch = 1.0
    ellipse = _ellipse(points, tolerance)
    if ellipse is not None and ellipse.support > support + _BETTER:
        x, y, r, support, stretch = ellipse
    return Fit(float(x), float(y), float(r), min(support, _agreement(bright, x, y, r)), stretch)


def largest(bright: Array) -> Array:
    """The largest connected part, without what is thinner than three pixels, such as a frame."""
    labels, n_parts = ndimage.label(ndimage.binary_opening(bright, np.ones((3, 3))))
    if not n_parts:
        return np.zeros(bright.shape, bool)
    return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())


def _ellipse(points: Array, tolerance: float) -> Fit | None:
    """The ellipse of the edge, as the circle of its area, where it is one; None where it is round."""
    import cv2

    (x, y), axes, degrees = cv2.fitEllipseDirect(points.astype(np.float32))
    a, b = axes[0] / 2, axes[1] / 2
    if not (math.isfinite(a + b) and min(a, b) > 0) or max(a, b) / min(a, b) < 1 + _ROUND:
        return None
    turn = math.radians(degrees)
    u, v = points[:, 0] - x, points[:, 1] - y
    along, across = u * math.cos(turn) + v * math.sin(turn), v * math.cos(turn) - u * math.sin(turn)
    radius = math.sqrt(a * b)
    near = np.abs(np.hypot(along / a, across / b) - 1) * radius < tolerance
    return Fit(x, y, radius, float(near.mean()), max(a, b) / min(a, b))


def _edge_points(disc: Array) -> Array:
    """First and last edge of each row and column, but for those at the photo's border."""
    if not disc.any():
        return np.empty((0, 2))
    edges = []
    for axis in (0, 1):
        lines = np.flatnonzero(disc.any(axis))
        across = disc.T[lines] if axis == 0 else disc[lines]
        size = across.shape[1]
        first = across.argmax(1)
        last = size - across[:, ::-1].argmax(1)
        for place in (first, last):
            seen = (place > 1) & (place < size - 1)
            pair = (lines[seen] + 0.5, place[seen].astype(float))
            edges.append(np.stack(pair if axis == 0 else pair[::-1], -1))
    return np.concatenate(edges)


def _through(triples: Array) -> Array:
    """Circles ``(n, 3)`` of ``x, y, radius`` through triples of points ``(n, 3, 2)``."""
    origin = triples[:, 0]
    (bx, by), (cx, cy) = (triples[:, 1] - origin).T, (triples[:, 2] - origin).T
    double_area = 2 * (bx * cy - by * cx)
    wide = np.abs(double_area) > 1
    b, c = bx * bx + by * by, cx * cx + cy * cy
    x, y = np.stack([cy * b - by * c, bx * c - cx * b])[:, wide] / double_area[wide]
    return np.stack([x + origin[wide, 0], y + origin[wide, 1], np.hypot(x, y)], -1)


def _least_squares(points: Array) -> tuple[float, float, float]:
    """The circle of Kasa: linear in the centre and in the square of the radius."""
    centre = points.mean(0)
    u, v = (points - centre).T
    design = np.stack([2 * u, 2 * v, np.ones_like(u)], -1)
    (x, y, rest), *_ = np.linalg.lstsq(design, u**2 + v**2, rcond=None)
    return x + centre[0], y + centre[1], math.sqrt(max(rest + x * x + y * y, 0.0))


def _plausible(circles: Array, shape: tuple[int, ...]) -> Array:
    x, y, r = circles.T
    rows, columns = shape
    centred = (np.abs(x / columns - 0.5) < 0.35) & (np.abs(y / rows - 0.5) < 0.35)
    return centred & (0.2 * max(rows, columns) < r) & (r < 0.75 * math.hypot(rows, columns))


def _distance(points: Array, circles: Array) -> Array:
    centres, radii = circles[:, None, :2], circles[:, 2:]
    return np.hypot(*np.moveaxis(points[None] - centres, -1, 0)) - radii


def _support(points: Array, bright: Array, x: float, y: float, r: float, tolerance: float) -> float:
    """Share of the circle's visible arc that has an edge point near it."""
    rows, columns = bright.shape
    angles = (np.arange(_N_ANGLES) + 0.5) * 2 * math.pi / _N_ANGLES
    px, py = x + r * np.cos(angles), y + r * np.sin(angles)
    visible = (px > 2) & (px < columns - 2) & (py > 2) & (py < rows - 2)
    if visible.sum() < _N_ANGLES // 10:
        return 0.0
    near = points[np.abs(_distance(points, np.array([[x, y, r]]))[0]) < tolerance]
    turn = np.arctan2(near[:, 1] - y, near[:, 0] - x) % (2 * math.pi)
    supported = np.zeros(_N_ANGLES, bool)
    supported[(turn / (2 * math.pi) * _N_ANGLES).astype(int) % _N_ANGLES] = True
    return float((supported & visible).sum() / visible.sum())


def _agreement(bright: Array, x: float, y: float, r: float) -> float:
    """How far the bright part is the disc: the lower of its shares inside and outside."""
    distance = distance_from(x, y, bright.shape)
    filled = ndimage.binary_fill_holes(bright)
    inside, outside = filled[distance < 0.97 * r], filled[distance > 1.03 * r]
    return float(min(inside.mean(), 1 - outside.mean() if outside.size else 0.0))


def distance_from(x: float, y: float, shape: tuple[int, ...]) -> Array:
    """How far each pixel's centre is from a point."""
    rows, columns = np.indices(shape)
    return np.hypot(columns + 0.5 - x, rows + 0.5 - y)
