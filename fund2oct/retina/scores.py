"""How much each voxel of a working volume looks like the retina's inner or outer boundary."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fund2oct.retina.working import ROW_UM, Floats, WorkingVolume

_DEEPEST_RIDGE_UM = 480.0
_MAX_RETINA_UM = 700.0
_SHARE_OF_FILL = 0.3


def ridge_contrast(values: Floats) -> Floats:
    """Contrast of a bright band of the epithelium's thickness with what lies above and below."""
    around = 0.5 * (_mean_between(values, -96, -40) + _mean_between(values, 40, 96))
    return (_mean_between(values, -12, 12) - around).clip(0, 1)


def outer_score(working: WorkingVolume, ridge: Floats) -> Floats:
    """A ridge counts with retina above it and without another ridge below it.

    The nerve fibre layer is a ridge too, often the brighter one, but has the vitreous above it and
    the outer retina below it. The choroid has retina above it and is hardly a ridge.
    """
    first_um = 80.0
    deep = round((_DEEPEST_RIDGE_UM - first_um) / ROW_UM)
    later = below(ndimage.maximum_filter1d(ridge, deep, axis=1, mode="nearest"), first_um / ROW_UM + deep / 2)
    retina_above = (_mean_between(working.values, -350, -64) / 0.2).clip(0, 1)
    # Not 0 without retina above: the outer retina lies bare in a macular hole.
    score = ridge * (0.1 + 0.9 * retina_above) - 0.4 * later
    return np.where(working.filled, -1, score).astype(np.float32)


def inner_scores(working: WorkingVolume, outer: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Scores of the first step from vitreous to tissue on the way to the outer retina.

    Args:
        working: volume.
        outer: rows of the outer retina, shape ``(S, columns)``.

    Returns:
        Score for the path's course, and contrast for its exact place, each ``(S, rows, columns)``.
    """
    rows = np.arange(working.values.shape[1])[:, None]
    before = rows <= outer[:, None]
    # Near the retina alone, the two classes that are to be told apart are of like size.
    near = before & (rows > outer[:, None] - _MAX_RETINA_UM / ROW_UM)
    dark, spread = _vitreous(working, near)
    lit: Floats = (working.values - dark).clip(0)
    # Saturated, so that a faint nerve fibre layer over a bright epithelium counts as tissue too.
    tissue: Floats = lit / (lit + spread)
    # A thin line between dark and dark is no tissue: the detached hyaloid, or a reflection.
    beside = np.maximum(_mean_between(tissue, -76, -28), _mean_between(tissue, 28, 76))
    tissue = np.minimum(tissue, 0.1 + 1.5 * beside)
    edge = _mean_between(tissue, 4, 44) - _mean_between(tissue, -52, -4)
    passed = np.cumsum((tissue - 0.4).clip(0), 1) * (ROW_UM / 100)
    score = np.where(before, 1.5 * edge - 2 * passed.clip(0, 1), -3)
    sharp = _mean_between(lit, 4, 20) - _mean_between(lit, -28, -12)
    return score.astype(np.float32), sharp.clip(0)


def below(values: Floats, rows: float) -> Floats:
    """What lies so many rows below each row; beyond the frame, what lies at its edge."""
    return values[:, (np.arange(values.shape[1]) + round(rows)).clip(0, values.shape[1] - 1)]


def _mean_between(values: Floats, start_um: float, end_um: float) -> Floats:
    """Mean over the rows from ``start_um`` to ``end_um`` below each row (above where negative)."""
    first, last = start_um / ROW_UM, end_um / ROW_UM
    mean = ndimage.uniform_filter1d(values, max(1, round(last - first) | 1), axis=1, mode="nearest")
    return below(mean, (first + last) / 2)


def _vitreous(working: WorkingVolume, near: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Brightness of the vitreous in each slice, and how far above it tissue begins, ``(S, 1, 1)``."""
    levels = []
    for bscan, *where in zip(working.values, near & ~working.filled, near & working.dark_fill, strict=True):
        measured, fill = (bscan[chosen] for chosen in where)
        # A little of what may be fill or a vitreous without noise counts: enough to stand for the vitreous
        # where nothing else is left of it, too little to part its noise from true fill.
        some = _SHARE_OF_FILL * max(measured.size, 1)
        seen = np.concatenate([measured, fill[:: max(1, math.ceil(fill.size / some))]])
        # The root makes the classes' spreads alike: the vitreous is narrow, the retina wide.
        limit = _otsu(np.sqrt(seen)) ** 2
        dark = seen[seen <= limit]
        middle = np.median(dark) if dark.size else 0.0
        spread = 6 * np.median(np.abs(dark - middle)) if dark.size else 0.0
        apart = max(limit - middle, 0.03)
        levels.append((middle, np.clip(spread, 0.6 * apart, apart)))
    dark_level, tissue_level = np.asarray(levels, np.float32).T[..., None, None]
    return dark_level, tissue_level


def _otsu(values: Floats) -> float:
    """Threshold that parts values into two classes.

    References:
        Otsu, IEEE Transactions on Systems, Man, and Cybernetics 1979.
    """
    counts, edges = np.histogram(values, 64, (0, 1.25))
    centres = (edges[1:] + edges[:-1]) / 2
    n, total = counts.cumsum(), (counts * centres).cumsum()
    between = (total * n[-1] - total[-1] * n) ** 2 / np.maximum(n * (n[-1] - n), 1)
    return float(edges[1:][between.argmax()])
