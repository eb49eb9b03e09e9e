"""Best paths through score images, one row an A-scan, by dynamic programming."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def best_path(score: Floats, climb_cost: float, reach: int) -> NDArray[np.int64]:
    r"""Find in each slice the path from the first to the last A-scan of the highest total.

    .. math:: \max_{z} \sum_x \text{score}(z_x, x) - \text{climb\_cost} \sum_x |z_{x+1} - z_x|

    Args:
        score: worth of each voxel, finite, shape ``(S, Z, X)``.
        climb_cost: cost of a row's climb from one A-scan to the next, at least 0.
        reach: most rows that the path climbs from one A-scan to the next, at least 1.

    Returns:
        Row at each A-scan, shape ``(S, X)``.

    References:
        For retinal layers, Chiu et al., Optics Express 2010. As the cost is linear in the climb, two
        running maxima stand for a search over all steps, as in Felzenszwalb and Huttenlocher,
        Distance Transforms of Sampled Functions, 2012.
    """
    n_slices, n_rows, n_ascans = score.shape
    total = np.ascontiguousarray(score.transpose(2, 0, 1))
    rows = np.arange(n_rows)
    slope = climb_cost * rows.astype(np.float32)
    for x in range(1, n_ascans):
        from_above = _highest_above(total[x - 1] + slope, reach) - slope
        from_below = _highest_above((total[x - 1] - slope)[:, ::-1], reach)[:, ::-1] + slope
        total[x] += np.maximum(from_above, from_below)
    path = np.empty((n_slices, n_ascans), np.int64)
    path[:, -1] = total[-1].argmax(-1)
    for x in range(n_ascans - 1, 0, -1):
        climb = np.abs(rows - path[:, x, None])
        worth = total[x - 1] - climb_cost * climb.astype(np.float32)
        path[:, x - 1] = np.where(climb <= reach, worth, -np.inf).argmax(-1)
    return path


def _highest_above(values: Floats, reach: int) -> Floats:
    """Maximum of each row and those up to ``reach`` above it, by windows that double in size."""
    size = 1
    while size <= reach:
        step = min(size, reach + 1 - size)
        values = np.concatenate([values[:, :step], np.maximum(values[:, step:], values[:, :-step])], 1)
        size += step
    return values


def refine_to_peak(score: Floats, path: NDArray[np.int64]) -> Floats:
    """Move each row of a path to the vertex of the parabola through it and its neighbours.

    Args:
        score: the score of each place, see :func:`best_path`.
        path: rows, shape ``(S, X)``.

    Returns:
        Rows with their fraction, at most half a row from ``path``, shape ``(S, X)``.
    """
    inner = path.clip(1, score.shape[1] - 2)[:, None]
    above, here, below = (np.take_along_axis(score, inner + k, 1)[:, 0] for k in (-1, 0, 1))
    bend = above - 2 * here + below
    peak = (bend < 0) & (here >= above) & (here >= below) & (inner[:, 0] == path)
    shift = np.where(peak, 0.5 * (above - below) / np.where(peak, bend, -1), 0)
    return (path + shift.clip(-0.5, 0.5)).astype(np.float32)
