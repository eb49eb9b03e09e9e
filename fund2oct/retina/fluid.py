"""Subretinal fluid: how far the retina stands off the pigment epithelium."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fund2oct.retina.paths import best_path, refine_to_peak
from fund2oct.retina.working import ROW_UM, Floats, WorkingVolume

_TALLEST_UM = 640.0
_ROOF_UM = 64.0
VITREOUS_UM = (50.0, 400.0)
"""Heights above the inner surface between which the vitreous is looked at."""
_LEAST_WIDTH_UM, _LEAST_HEIGHT_UM = 300.0, 25.0
_MAX_SLOPE = 0.7
_FORBIDDEN = -10.0
# The light of the epithelium reaches so far, and so many rows of the volume further.
_BLUR_UM, _BLUR_ROWS = 28.0, 0.5
# The light of the photoreceptors' tips reaches so far into the fluid: found on simulated eyes.
_EDGE_ROWS = 0.3


# Of a bright voxel against a dark one, and of a row in the light of the epithelium: not 0, or a path
# that runs there would cost as little as one on the epithelium.
_BRIGHT, _BLURRED = 10.0, 0.1


class _Costs(NamedTuple):
    """What a pocket pays.

    Args:
        limit: brightness, in shares of the retina's, up to which a voxel is a gain.
        climb_um: price of a rise by a row, as micrometres of the slice's width.
    """

    limit: float
    climb_um: float


# Pockets that are sure, and their whole extent: chosen on simulated eyes, whose fluid is known.
_SURE = _Costs(limit=0.4, climb_um=40.0)
_WHOLE = _Costs(limit=0.7, climb_um=20.0)


def fluid_height_um(
    working: WorkingVolume, inner: NDArray[np.int64], epithelium: NDArray[np.int64], row_um: float
) -> Floats:
    r"""Height of the fluid between the photoreceptors and the pigment epithelium.

    Fluid is nearly as dark as the vitreous, lies on the epithelium, and ends at the bright tips of the
    photoreceptors. Of all courses of the height :math:`h_x` along a slice, that of the highest

    .. math:: \sum_x \sum_{z < h_x} g(b(z, x)) - c \sum_x |h_{x+1} - h_x|

    is taken, with the brightness :math:`b` of a voxel that many micrometres above the epithelium, 0 as
    the vitreous and 1 as the retina; :math:`g` is positive up to a limit and falls steeply above it, so that
    a cyst, which the photoreceptors part from the epithelium, is not reached. It is done twice: at a low
    limit to see whether there is fluid, and at a higher one to see how far it reaches. Pockets of less than
    0.3 mm in width or 25 micrometres in height are left out, as are those under less than 64 micrometres
    of retina.

    Args:
        working: volume.
        inner: rows of the retina's inner surface, shape ``(S, columns)``.
        epithelium: rows of the middle of the epithelium, same shape.
        row_um: distance of the rows of the volume itself, over which the epithelium's light is spread.

    Returns:
        Micrometres above the middle of the epithelium, 0 where there is no fluid, shape ``(S, columns)``.
    """
    n_rows = min(round(_TALLEST_UM / ROW_UM), working.values.shape[1])
    rows = epithelium[:, None] - np.arange(n_rows)[:, None]
    dark, tissue = _levels(working, inner, epithelium)
    values = np.take_along_axis(working.values, rows.clip(0), 1)
    brightness = (values - dark) / np.maximum(tissue - dark, 0.05)
    filled = np.take_along_axis(working.filled, rows.clip(0), 1)
    retina_left = (rows - inner[:, None] >= _ROOF_UM / ROW_UM) & ~filled
    row_um = max(row_um, ROW_UM)
    blurred = np.arange(n_rows) < round((_BLUR_UM + _BLUR_ROWS * row_um) / ROW_UM)
    sure, whole = (
        _pockets(brightness, retina_left, blurred, working.column_um, costs) for costs in (_SURE, _WHOLE)
    )
    numbers = _numbered(whole)
    fluid = (numbers > 0) & np.isin(numbers, numbers[sure > 0])
    return np.where(fluid, whole + _EDGE_ROWS * row_um, 0).astype(np.float32)


def _levels(
    working: WorkingVolume, inner: NDArray[np.int64], epithelium: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Median brightness of each slice's vitreous and retina, ``(S, 1, 1)``."""
    row = np.arange(working.values.shape[1])[:, None]
    above_um = (inner[:, None] - row) * ROW_UM
    vitreous = (above_um > VITREOUS_UM[0]) & (above_um < VITREOUS_UM[1])
    retina = (above_um < 0) & (row < epithelium[:, None])
    return _medians(working, vitreous), _medians(working, retina)


def _medians(working: WorkingVolume, chosen: NDArray[np.bool_]) -> Floats:
    medians = [
        np.median(bscan[kept]) if kept.any() else 0.0
        for bscan, kept in zip(working.values, chosen & ~working.filled, strict=True)
    ]
    return np.asarray(medians, np.float32)[:, None, None]


def _pockets(
    brightness: Floats,
    allowed: NDArray[np.bool_],
    blurred: NDArray[np.bool_],
    column_um: float,
    costs: _Costs,
) -> Floats:
    """Height of the dark pockets on the epithelium, ``(S, columns)``, of ``(S, rows above it, columns)``."""
    gain = 1 - brightness / costs.limit
    gain = np.where(gain < 0, _BRIGHT * gain.clip(-3), gain)
    gain[:, blurred] = -_BLURRED
    gain = np.where(allowed, gain, _FORBIDDEN)
    worth = np.cumsum(gain, 1, dtype=np.float32)
    reach = max(2, math.ceil(_MAX_SLOPE * column_um / ROW_UM))
    path = best_path(worth, costs.climb_um / column_um, reach)
    height_um = refine_to_peak(worth, path) * ROW_UM
    numbers = _numbered(height_um)
    labels = np.arange(1, numbers.max() + 1)
    if not labels.size:
        return np.zeros_like(height_um)
    wide = ndimage.sum_labels(numbers > 0, numbers, labels) * column_um >= _LEAST_WIDTH_UM
    tall = ndimage.maximum(height_um, numbers, labels) >= _LEAST_HEIGHT_UM
    return np.where(np.isin(numbers, labels[wide & tall]), height_um, 0)


def _numbered(height_um: Floats) -> NDArray[np.int32]:
    """Pockets of each slice, numbered from 1, ``(S, columns)``; 0 is none."""
    numbers: NDArray[np.int32] = ndimage.label(height_um > 0, [[0, 0, 0], [1, 1, 1], [0, 0, 0]])[0]
    return numbers
