"""The circle of retina in a photo, and the square around it that everything else works on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from fund2oct.data.preparing.circle_fit import Fit, distance_from, fit_circle, largest
from fund2oct.eye import Array, DataError

_WORK_PX = 256
_SMALLEST_PX = 32
_FRACTIONS = (0.03, 0.06, 0.12, 0.2, 0.3)
_SURE = 0.7
_LEAST_RANGE, _ALMOST_BLACK = 4, 16
_STRETCHED = 1.1
_SMALL_PART = 0.6
# A frame is at most this share of the photo; levels of one colour, of what is not dark, and of grey.
_FRAME, _ALL_AROUND = 0.06, 0.9
_ONE_COLOUR, _NOT_DARK, _UNLIKE, _GREY = 8.0, 40.0, 20.0, 4.0
_NO_CIRCLE = "no circle of retina in the photo; took its central square"


class NotAFundusError(DataError):
    """The picture is no fundus photograph: no disc on a dark ground, and not red throughout."""


@dataclass(frozen=True)
class RetinaCircle:
    """The edge of the visible retina in a photo, in pixels; (0, 0) is the photo's outer corner.

    Args:
        x: column of the centre, to the right.
        y: row of the centre, downwards.
        radius: distance from the centre to the edge.
        confidence: share, in [0, 1], of the circle inside the photo along which an edge was found.
        notes: what is unusual: no circle, an ellipse, a small retina, a photo that is not red.

    Example:
        >>> circle = RetinaCircle(x=88.0, y=72.0, radius=64.0, confidence=0.95)
        >>> circle.found, circle.box
        (True, (24.0, 8.0, 152.0, 136.0))
    """

    x: float
    y: float
    radius: float
    confidence: float
    notes: tuple[str, ...] = ()

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
    to each by RANSAC, so that flattened sides, notches and labels do not move it; nor do a frame, a
    bright page around the photo, or a retina that is a small part of it. Where there is no circle but the
    picture is red throughout, the photo was cropped inside the retina, and the central square stands for it
    with a confidence below 0.7; likewise where the edge is an ellipse, 1.1 times as long as wide or more.

    Args:
        photo: RGB uint8, shape ``(rows, columns, 3)``, of any size.

    Returns:
        The circle, with its confidence and notes on what is unusual.

    Raises:
        NotAFundusError: if the photo shows no retina.
        ValueError: if it is no RGB picture of bytes.

    Example:
        >>> circle = find_retina(np.asarray(Image.open("photo.png")))
        >>> round(circle.x), round(circle.y), round(circle.radius)
        (88, 72, 64)
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"photo: expected RGB uint8 (rows, columns, 3), found {photo.dtype} {photo.shape}")
    if min(photo.shape[:2]) < _SMALLEST_PX:
        raise NotAFundusError(f"expected a photo of at least {_SMALLEST_PX} pixels, found {photo.shape[:2]}")
    left, top, right, bottom = _without_frame(photo)
    framed = _find(photo[top:bottom, left:right])
    return replace(framed, x=framed.x + left, y=framed.y + top)


def crop_retina(photo: Array, circle: RetinaCircle, size_px: int) -> Array:
    """Cut out the square around the circle and resize it, by the filter of every later resize of photos.

    Args:
        photo: RGB uint8, shape ``(rows, columns, 3)``, or a mask of it, ``(rows, columns)``.
        circle: the circle of retina, from :func:`find_retina`.
        size_px: width of the result.

    Returns:
        Uint8, shape ``(size_px, size_px, 3)``, or ``(size_px, size_px)`` of a mask, black outside the photo
        and, where the circle was found, outside the circle.

    Example:
        >>> photo = np.asarray(Image.open("photo.png"))
        >>> photo.shape, crop_retina(photo, find_retina(photo), size_px=64).shape
        ((144, 176, 3), (64, 64, 3))
    """
    left, top = math.floor(circle.box[0]), math.floor(circle.box[1])
    right, bottom = math.ceil(circle.box[2]), math.ceil(circle.box[3])
    # Pillow's crop fills what lies outside the photo with black.
    around = Image.fromarray(photo).crop((left, top, right, bottom))
    box = (circle.box[0] - left, circle.box[1] - top, circle.box[2] - left, circle.box[3] - top)
    square = np.asarray(around.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box))
    if not circle.found:
        return square
    offset = np.arange(size_px) + 0.5 - size_px / 2
    inside = np.hypot(offset[:, None], offset[None]) <= size_px / 2
    return np.where(inside[..., None] if square.ndim == 3 else inside, square, np.uint8(0))


def _shrink(photo: Array) -> tuple[Array, float]:
    rows, columns = photo.shape[:2]
    scale = min(1.0, _WORK_PX / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX)), scale


def _find(photo: Array) -> RetinaCircle:
    """The circle in a photo without a frame."""
    rows, columns = photo.shape[:2]
    small, scale = _shrink(photo)
    shown = np.where(_bright_ground(small)[..., None], np.uint8(0), small)
    level = ndimage.median_filter(shown.max(-1).astype(np.float64), 3)
    dark = float(np.percentile(level, 2))
    if level.max() - dark < _LEAST_RANGE:
        raise NotAFundusError("the picture is of one colour, and shows no retina")
    bright = float(np.percentile(level, 95))
    fits = [fit_circle(level > dark + fraction * (bright - dark)) for fraction in _FRACTIONS]
    best = max((fit for fit in fits if fit), key=lambda fit: fit.support, default=None)
    if best and best.support >= _SURE and _has_detail(small, best):
        notes = _colour_notes(small[distance_from(best.x, best.y, level.shape) < 0.9 * best.radius])
        if best.stretch > 1:
            notes += (
                f"the edge of the retina is an ellipse, {best.stretch:.2f} times as long as wide, as in an "
                "ultra-wide photo or one of oblong pixels: lengths on it are uncertain",
            )
        if best.stretch <= _STRETCHED:
            return RetinaCircle(best.x / scale, best.y / scale, best.radius / scale, best.support, notes)
        notes += (_NO_CIRCLE,)
    elif _is_red(small):
        notes = (_NO_CIRCLE,)
    else:
        if level.max() < _ALMOST_BLACK:
            raise NotAFundusError(
                f"the picture is almost black, its brightest level is {level.max():.0f} of 255"
            )
        return _find_small(photo, level > dark + _FRACTIONS[2] * (level.max() - dark), scale)
    confidence = min(best.support, 0.5) if best else 0.0
    return RetinaCircle(columns / 2, rows / 2, min(rows, columns) / 2, confidence, notes)


def _find_small(photo: Array, bright: Array, scale: float) -> RetinaCircle:
    """The circle where the retina is a small part of the photo, which is looked at alone."""
    none = NotAFundusError("the picture shows no disc of retina on a dark ground, and is not red throughout")
    place = ndimage.find_objects(largest(bright).astype(np.uint8))
    if not place:
        raise none
    sizes = [part.stop - part.start for part in place[0]]
    if max(np.divide(sizes, bright.shape)) > _SMALL_PART:
        raise none
    width = round(max(sizes) / scale)
    if width < _SMALLEST_PX:
        raise NotAFundusError(
            f"what is bright in the picture is {width} pixels wide, expected a retina of at least "
            f"{_SMALLEST_PX}"
        )
    (top, bottom), (left, right) = (
        (max(0, round((part.start - size / 4) / scale)), min(whole, round((part.stop + size / 4) / scale)))
        for part, size, whole in zip(place[0], sizes, photo.shape, strict=False)
    )
    found = _find(photo[top:bottom, left:right])
    if not found.found:
        raise none
    share = 2 * found.radius / photo.shape[1]
    notes = (*found.notes, f"the retina fills only {share:.0%} of the photo's width")
    return replace(found, x=found.x + left, y=found.y + top, notes=notes)


def _without_frame(photo: Array) -> tuple[int, int, int, int]:
    """What is left of a photo, ``(left, top, right, bottom)``, without the bright lines of a frame."""
    edges = []
    for turned in (photo.swapaxes(0, 1), photo, photo.swapaxes(0, 1)[::-1], photo[::-1]):
        most = round(_FRAME * len(turned))
        lines = turned[:most].astype(np.float32)
        plain = (lines.std(1).max(-1) < _ONE_COLOUR) & (lines.mean(1).max(-1) > _NOT_DARK)
        edge = 0 if plain.all() else int(plain.argmin())
        # The line behind a frame is blurred by compression; what lies behind it is unlike the frame.
        ends = edge > 0 and abs(lines[edge - 1].mean() - lines[min(edge + 1, most - 1)].mean()) > _UNLIKE
        edges.append(edge + 1 if ends else 0)
    left, top, right, bottom = edges
    return left, top, photo.shape[1] - right, photo.shape[0] - bottom


def _bright_ground(small: Array) -> Array:
    """Where a photo lies on a page, what of it is page: of one bright colour, and around it all."""
    edge = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]).astype(np.int16)
    colour = np.median(edge, 0)
    alike = np.abs(edge - colour).max(-1) < _ONE_COLOUR
    if alike.mean() < _ALL_AROUND or colour.max() < _NOT_DARK:
        return np.zeros(small.shape[:2], bool)
    labels, _ = ndimage.label(np.abs(small.astype(np.int16) - colour).max(-1) < _ONE_COLOUR)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, rim[rim > 0])


def _colour_notes(retina: Array) -> tuple[str, ...]:
    """What to say of pixels ``(n, 3)`` of a retina that are not red."""
    red, green, blue = retina.astype(float).mean(0)
    if max(red, green, blue) - min(red, green, blue) < _GREY:
        return ("the photo is grey, as red-free and infrared ones are; networks are trained on colour",)
    if blue > 1.2 * red:
        return ("the photo is blue where a retina is red: its channels may be in the order blue, green, red",)
    if green > 1.2 * red:
        return ("the photo is green where a retina is red, as red-free and ultra-wide ones are",)
    return ()


def _has_detail(small: Array, circle: Fit) -> bool:
    inside = distance_from(circle.x, circle.y, small.shape[:2]) < 0.9 * circle.radius
    return bool(small[inside].std(0).max() > 2)


def _is_red(small: Array) -> bool:
    red, green, blue = np.median(small.reshape(-1, 3).astype(float), 0)
    return bool(red > 40 and red > 1.1 * green and red > 1.3 * blue and small.std((0, 1)).max() > 2)
