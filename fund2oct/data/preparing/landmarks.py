"""The disc and the fovea in a photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from fund2oct.eye import Array
from fund2oct.geometry import Point

_WORK_PX = 160
_N_DISCS = 6
_SAME_MM = 0.5

# What the eyes of the studies cited below have in common; the spreads allow for a tilted head.
DISC_FOVEA_MM, _DISTANCE_SD = 4.76, 0.08
_BELOW_DEG, _ANGLE_SD_DEG = 7.0, 6.0
_DISC_RADIUS_MM = 0.9
# Photographers aim at the macula, at the disc, or between both; cameras see 30 to 60 degrees.
_OFF_MACULA, _OFF_LINE, _MACULA_ODDS = 0.12, 0.3, 2.7
_USUAL_MM, _USUAL_SD = 6.0, 0.25
_HALF_WIDTHS_MM = tuple(4.2 * 1.14**step for step in range(6))

# What a unit of each measurement adds to the logarithm of the odds; these of a photo that shows
# neither; and the contrast, in standard deviations of the photo, below which a match counts for less.
_BRIGHT, _CONVERGING, _DARK, _BLOODLESS = 10.0, 15.0, 8.0, 3.0
# Added where vessels run across a place, as over an atrophy as pale and large as a disc; less is chance.
_CROSSED, _BY_CHANCE = 60.0, 0.01
_NEITHER = 3.0
_FAINT = 1.0


@dataclass(frozen=True)
class Landmarks:
    """Disc and fovea of a photo, in grid units of its square (see :mod:`fund2oct.geometry`).

    Args:
        disc: centre of the disc, ``(x, y)``.
        fovea: ``(x, y)``.
        disc_confidence: from 0 to 1: the weight of all hypotheses whose disc is within half a
            millimetre of the most likely one.
        fovea_confidence: from 0 to 1: the same for the fovea.

    Example:
        >>> found = Landmarks(disc=(0.7, -0.1), fovea=(0.0, 0.0), disc_confidence=0.98, fovea_confidence=0.9)
        >>> round(found.half_width_mm, 2)
        6.73
    """

    disc: Point
    fovea: Point
    disc_confidence: float
    fovea_confidence: float

    @property
    def half_width_mm(self) -> float:
        """Millimetres of retina under half the photo's width, if disc and fovea are 4.76 mm apart."""
        return DISC_FOVEA_MM / math.dist(self.disc, self.fovea)


def find_landmarks(photo: Array, laterality: str = "", half_width_mm: float | None = None) -> Landmarks:
    r"""Find disc and fovea together, at the scale that suits both.

    Of all discs :math:`d`, foveas :math:`f` and half widths :math:`w` of the photo,

    .. math::
        \log p(d, f, w) = 10\, b_w(d) + 15\, c_w(d) + 8\, k_w(f) - 3\, v_w(f) + \log p_w(d, f)

    where :math:`b` and :math:`k` are correlations with a bright disc and with a dark, blurred spot,
    :math:`c` says how far the vessels around run towards the place, :math:`v` is the share of vessels on
    it, and the prior knows how far apart disc and fovea are, at what angle, and where cameras aim. Where
    :math:`c < -0.01`, vessels run across the place, and what is below counts fivefold. The result is the
    mean of the hypotheses near the most likely one. A disc or a fovea outside the photo is not found;
    diseases of the macula lower the confidence.

    Args:
        photo: RGB uint8, shape ``(H, H, 3)``, the square around the circle of retina, of any width.
        laterality: ``"OD"`` or ``"OS"`` where it is known: the side of the fovea on which the disc lies.
        half_width_mm: where it is known; otherwise half widths from 4.2 to 8.1 mm are tried, those of
            cameras of 30 to 60 degrees.

    Returns:
        Centres of disc and fovea, with the confidence of each.

    Raises:
        ValueError: if it is no square RGB picture of bytes.

    References:
        Jonas et al.: Optic disc - fovea distance, axial length and parapapillary zones, PLoS ONE 10
        (2015), e0138701 (4.76 mm, standard deviation 0.34). Jonas et al.: Optic disc-fovea angle, PLoS
        ONE 10 (2015), e0141771 (7.8 degrees, standard deviation 3.6). Foracchia, Grisan, Ruggeri:
        Detection of optic disc in retinal images by means of a geometrical model of vessel structure,
        IEEE TMI 23 (2004) (vessels that converge).

    Example:
        >>> from fund2oct.data import crop_retina, find_retina
        >>> photo = np.asarray(Image.open("photo.png"))
        >>> found = find_landmarks(crop_retina(photo, find_retina(photo), 128), "OD", half_width_mm=6.5)
        >>> [round(place, 1) for place in found.disc], [round(place, 1) for place in found.fovea]
        ([0.6, -0.1], [-0.1, 0.0])
    """
    if photo.ndim != 3 or photo.shape[0] != photo.shape[1] or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"photo: expected RGB uint8 (H, H, 3), found {photo.dtype} {photo.shape}")
    seen = _look_at(photo)
    scales = _HALF_WIDTHS_MM if half_width_mm is None else (half_width_mm,)
    hypotheses = []
    for half_mm in scales:
        pixel_mm = 2 * half_mm / _WORK_PX
        disc, fovea = _disc_odds(seen, pixel_mm), _fovea_odds(seen, pixel_mm)
        usual = -0.5 * (math.log(half_mm / _USUAL_MM) / _USUAL_SD) ** 2
        for row, column in _peaks(disc, round(_DISC_RADIUS_MM / pixel_mm)):
            odds = disc[row, column] + fovea + usual + _prior(row, column, pixel_mm, laterality)
            hypotheses.append(_Hypotheses(pixel_mm, row, column, odds))
    return _decide(hypotheses)


@dataclass(frozen=True)
class _Seen:
    """What a photo shows, at the working width: light freed of its slow part, and dark lines."""

    retina: Array
    luminance: Array
    green: Array
    ridge: Array
    ridge_cos: Array
    ridge_sin: Array


@dataclass(frozen=True)
class _Hypotheses:
    """A disc, and for each pixel the logarithm of the odds that the fovea is there."""

    pixel_mm: float
    row: int
    column: int
    odds: Array


def _look_at(photo: Array) -> _Seen:
    small = np.asarray(Image.fromarray(photo).resize((_WORK_PX, _WORK_PX), Image.Resampling.BOX))
    rows, columns = np.indices(small.shape[:2]) + 0.5 - _WORK_PX / 2
    retina = (np.hypot(rows, columns) < 0.97 * _WORK_PX / 2) & (small.max(-1) > 15)
    green = _evened(small[..., 1].astype(np.float64), retina)
    luminance = _evened(small @ np.array([0.5, 1.0, 0.0]), retina)
    yy, xy, xx = (ndimage.gaussian_filter(green, 1.5, order) for order in ((2, 0), (1, 1), (0, 2)))
    # The edge of the retina is no vessel.
    inner = ndimage.binary_erosion(retina, iterations=4)
    ridge = np.where(inner & (xx + yy > 0), np.hypot(xx - yy, 2 * xy), 0)
    strong = np.percentile(ridge[inner], 97) if inner.any() else 0.0
    ridge = np.minimum(ridge / (strong + 1e-6), 1)
    # A line runs at a right angle to its greatest curvature; angles are doubled, for it has no head.
    double = np.arctan2(2 * xy, xx - yy) + math.pi
    return _Seen(retina, luminance, green, ridge, ridge * np.cos(double), ridge * np.sin(double))


def _evened(values: Array, retina: Array) -> Array:
    if not retina.any():
        return np.zeros_like(values)
    sigma = _WORK_PX / 8
    weight = ndimage.gaussian_filter(retina.astype(float), sigma) + 1e-6
    slow = ndimage.gaussian_filter(np.where(retina, values, 0), sigma) / weight
    rest = np.where(retina, values - slow, 0)
    return np.asarray(np.clip(rest / (rest[retina].std() + 1), -3, 3))


def _disc_odds(seen: _Seen, pixel_mm: float) -> Array:
    bright = _match(seen.luminance, seen.retina, _disc_template(pixel_mm))
    cos, sin, weight = _star_template(pixel_mm)
    votes = _convolve(seen.ridge_cos, cos) + _convolve(seen.ridge_sin, sin)
    visible = _convolve(seen.retina.astype(float), weight)
    converging = votes / np.maximum(visible, 0.4 * weight.sum())
    vessels = _CONVERGING * converging + _CROSSED * np.minimum(converging + _BY_CHANCE, 0)
    return np.where(seen.retina, _BRIGHT * bright + vessels, -np.inf)


def _fovea_odds(seen: _Seen, pixel_mm: float) -> Array:
    dark = -_match(seen.green, seen.retina, _fovea_template(pixel_mm))
    blood = ndimage.gaussian_filter(seen.ridge, 0.35 / pixel_mm)
    return np.where(seen.retina, _DARK * dark - _BLOODLESS * blood, -np.inf)


def _convolve(image: Array, kernel: Array) -> Array:
    from scipy.signal import fftconvolve  # takes a second to import

    return np.asarray(fftconvolve(image, kernel, "same"))


def _match(image: Array, retina: Array, template: Array) -> Array:
    """Correlation, from -1 to 1, of a symmetric template with as much of the photo as is retina."""
    visible = retina.astype(float)
    window = np.ones_like(template)
    n_visible = np.maximum(_convolve(visible, window), 1)
    mean = _convolve(image, window) / n_visible
    power = np.maximum(_convolve(image**2, window) - n_visible * mean**2, 0)
    template_sum = _convolve(visible, template)
    template_power = _convolve(visible, template**2) - template_sum**2 / n_visible
    spread = np.sqrt(np.maximum(template_power, 1e-9) * (power + _FAINT * n_visible))
    return np.asarray((_convolve(image, template) - mean * template_sum) / spread)


@lru_cache(maxsize=32)
def _disc_template(pixel_mm: float) -> Array:
    distance = np.hypot(*_offsets(1.9, pixel_mm))
    return np.asarray(1 / (1 + np.exp((distance - _DISC_RADIUS_MM) / 0.08)))


@lru_cache(maxsize=32)
def _fovea_template(pixel_mm: float) -> Array:
    return np.asarray(np.exp(-0.5 * (np.hypot(*_offsets(1.7, pixel_mm)) / 0.6) ** 2))


@lru_cache(maxsize=32)
def _star_template(pixel_mm: float) -> tuple[Array, Array, Array]:
    """Cosine, sine and weight of the direction that a vessel has if it comes from the middle."""
    y, x = _offsets(3.2, pixel_mm)
    distance, double = np.hypot(y, x), 2 * np.arctan2(y, x)
    ring = np.where((distance > 0.5) & (distance < 3.2), 1 / (distance + 0.5), 0)
    # Large vessels leave the disc upwards and downwards.
    weight = ring * (1 - 0.4 * np.cos(double))
    return weight * np.cos(double), weight * np.sin(double), weight


def _offsets(reach_mm: float, pixel_mm: float) -> Array:
    reach = math.ceil(reach_mm / pixel_mm)
    return np.mgrid[-reach : reach + 1, -reach : reach + 1] * pixel_mm


def _peaks(score: Array, apart_px: int) -> list[tuple[int, int]]:
    highest = (score == ndimage.maximum_filter(score, 2 * apart_px + 1)) & np.isfinite(score)
    rows, columns = np.nonzero(highest)
    order = np.argsort(-score[rows, columns], kind="stable")[:_N_DISCS]
    return [(int(rows[i]), int(columns[i])) for i in order]


def _prior(row: int, column: int, pixel_mm: float, laterality: str) -> Array:
    """How likely each pixel is the fovea of an eye with this disc, and this the aim of a camera."""
    rows, columns = np.indices((_WORK_PX, _WORK_PX))
    x, y = columns - column, rows - row
    distance = (np.hypot(x, y) * pixel_mm / DISC_FOVEA_MM - 1) / _DISTANCE_SD
    sides = {"OD": (-1,), "OS": (1,)}.get(laterality, (-1, 1))
    angles = [(np.degrees(np.arctan2(y, side * x)) - _BELOW_DEG) / _ANGLE_SD_DEG for side in sides]
    anatomy = -0.5 * (distance**2 + np.minimum.reduce([angle**2 for angle in angles]))
    half = _WORK_PX / 2
    to_x, to_y = half - 0.5 - column, half - 0.5 - row
    along = np.clip((to_x * x + to_y * y) / np.maximum(x**2 + y**2, 1), 0, 1)
    off_line = np.hypot(to_x - along * x, to_y - along * y) / half / _OFF_LINE
    off_macula = np.hypot(to_x - x, to_y - y) / half / _OFF_MACULA
    aim = np.logaddexp(-0.5 * off_line**2, -0.5 * off_macula**2 + math.log(_MACULA_ODDS))
    return np.asarray(anatomy + aim)


def _decide(hypotheses: list[_Hypotheses]) -> Landmarks:
    highest = [float(hypothesis.odds.max()) for hypothesis in hypotheses]
    if not hypotheses or not np.isfinite(max(highest)):
        # Nothing of the photo is retina.
        return Landmarks((0.5, 0.0), (0.0, 0.0), 0.0, 0.0)
    best = hypotheses[int(np.argmax(highest))]
    fovea = np.unravel_index(best.odds.argmax(), best.odds.shape)
    near_px = _SAME_MM / best.pixel_mm
    places = np.indices(best.odds.shape)
    at_fovea = np.hypot(places[0] - fovea[0], places[1] - fovea[1]) <= near_px
    total = math.pi * near_px**2 * math.exp(_NEITHER - max(highest))
    disc_sum, fovea_sum = np.zeros(3), np.zeros(3)
    for hypothesis in hypotheses:
        weight = np.exp(hypothesis.odds - max(highest))
        mass = float(weight.sum())
        total += mass
        if math.hypot(hypothesis.row - best.row, hypothesis.column - best.column) <= near_px:
            disc_sum += mass * np.array([1, hypothesis.row, hypothesis.column])
        near = weight[at_fovea]
        fovea_sum += [near.sum(), (near * places[0][at_fovea]).sum(), (near * places[1][at_fovea]).sum()]
    return Landmarks(
        _to_grid(disc_sum), _to_grid(fovea_sum), float(disc_sum[0] / total), float(fovea_sum[0] / total)
    )


def _to_grid(sums: Array) -> Point:
    row, column = sums[1:] / sums[0]
    return float((column + 0.5) * 2 / _WORK_PX - 1), float((row + 0.5) * 2 / _WORK_PX - 1)
