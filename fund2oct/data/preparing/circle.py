"""The circle of retina in a photo, and the square around it that everything else works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from fund2oct.eye import Array, DataError

_WORK_PX = 256
_SMALLEST_PX = 32
_FRACTIONS = (0.03, 0.06, 0.12, 0.2, 0.3)
_N_ANGLES = 90
_SURE = 0.7


class NotAFundusError(DataError):
    """The picture is no fundus photograph: no disc on a dark ground, and not red throughout."""


@dataclass(frozen=True)
class RetinaCircle:
    """The edge of the visible retina, in pixels of the photo; (0, 0) is its outer corner.

    ``confidence`` is the share of the circle inside the photo along which an edge was found.
    """

    x: float
    y: float
    radius: float
    confidence: float

    @property
    def found(self) -> bool:
        """Whether the photo shows the circle; if not, the retina fills the photo."""
        return self.confidence >= _SURE

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Square around the circle, ``(left, top, right, bottom)``; it may leave the photo."""
        return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius


def find_retina(photo: Array) -> RetinaCircle:
    """Find the circle of retina.

    The edge between dark surround and retina is sought at several brightnesses, and a circle fitted
    to each by RANSAC, so that flattened sides, notches and labels do not move it. Where there is no
    circle but the picture is red throughout, the photo was cropped inside the retina, and the central
    square stands for it with a confidence below 0.7.

    Args:
        photo: RGB uint8, shape ``(rows, columns, 3)``, of any size.

    Raises:
        NotAFundusError: if it shows no retina.
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"photo: expected RGB uint8 (rows, columns, 3), found {photo.dtype} {photo.shape}")
    if min(photo.shape[:2]) < _SMALLEST_PX:
        raise NotAFundusError(f"expected a photo of at least {_SMALLEST_PX} pixels, found {photo.shape[:2]}")
    small, scale = _shrink(photo)
    level = ndimage.median_filter(small.max(-1).astype(np.float64), 3)
    dark, bright = np.percentile(level, (2, 95))
    if bright - dark < 4:
        raise NotAFundusError("the picture is of one colour, and shows no retina")
    fits = [_fit(level > dark + fraction * (bright - dark)) for fraction in _FRACTIONS]
    best = max((fit for fit in fits if fit), key=lambda fit: fit.confidence, default=None)
    if best and best.found and _has_detail(small, best):
        return RetinaCircle(best.x / scale, best.y / scale, best.radius / scale, best.confidence)
    if not _is_red(small):
        raise NotAFundusError(
            "the picture shows no disc of retina on a dark ground, and is not red throughout"
        )
    rows, columns = photo.shape[:2]
    return RetinaCircle(
        columns / 2, rows / 2, min(rows, columns) / 2, min(best.confidence, 0.5) if best else 0.0
    )


def crop_retina(photo: Array, circle: RetinaCircle, size_px: int) -> Array:
    """Cut out the square around the circle and resize it, antialiased.

    Args:
        photo: RGB uint8, shape ``(rows, columns, 3)``.
        circle: from :func:`find_retina`.
        size_px: width of the result.

    Returns:
        RGB uint8, shape ``(size_px, size_px, 3)``, black outside the photo and, where the circle was
        found, outside the circle.
    """
    left, top = math.floor(circle.box[0]), math.floor(circle.box[1])
    right, bottom = math.ceil(circle.box[2]), math.ceil(circle.box[3])
    # Pillow's crop fills what lies outside the photo with black.
    around = Image.fromarray(photo).crop((left, top, right, bottom))
    box = (circle.box[0] - left, circle.box[1] - top, circle.box[2] - left, circle.box[3] - top)
    square = np.asarray(around.resize((size_px, size_px), Image.Resampling.BICUBIC, box=box))
    if not circle.found:
        return square
    offset = np.arange(size_px) + 0.5 - size_px / 2
    inside = np.hypot(offset[:, None], offset[None]) <= size_px / 2
    return np.where(inside[..., None], square, np.uint8(0))


def _shrink(photo: Array) -> tuple[Array, float]:
    rows, columns = photo.shape[:2]
    scale = min(1.0, _WORK_PX / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX)), scale


def _fit(bright: Array) -> RetinaCircle | None:
    points = _edge_points(bright)
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
    confidence = min(_support(points, bright, x, y, r, tolerance), _agreement(bright, x, y, r))
    return RetinaCircle(float(x), float(y), float(r), confidence)


def _edge_points(bright: Array) -> Array:
    """First and last bright pixel edge of each row and column, but for those at the photo's border."""
    labels, n_parts = ndimage.label(ndimage.binary_opening(bright, np.ones((3, 3))))
    if not n_parts:
        return np.empty((0, 2))
    disc = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
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
    distance = _distance_from(x, y, bright.shape)
    filled = ndimage.binary_fill_holes(bright)
    inside, outside = filled[distance < 0.97 * r], filled[distance > 1.03 * r]
    return float(min(inside.mean(), 1 - outside.mean() if outside.size else 0.0))


def _has_detail(small: Array, circle: RetinaCircle) -> bool:
    inside = _distance_from(circle.x, circle.y, small.shape[:2]) < 0.9 * circle.radius
    return bool(small[inside].std(0).max() > 2)


def _distance_from(x: float, y: float, shape: tuple[int, ...]) -> Array:
    rows, columns = np.indices(shape)
    return np.hypot(columns + 0.5 - x, rows + 0.5 - y)


def _is_red(small: Array) -> bool:
    red, green, blue = np.median(small.reshape(-1, 3).astype(float), 0)
    return bool(red > 40 and red > 1.1 * green and red > 1.3 * blue and small.std((0, 1)).max() > 2)
