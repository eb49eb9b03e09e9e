"""The working copy of a volume, on which boundaries are searched: of one resolution, without fill."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]

ROW_UM = 8.0
_MAX_ASCANS = 256
_MIN_ASCAN_UM = 25.0
_FLAT = 0.013
WHITE = 0.96
"""Intensity above which a voxel may be fill."""


@dataclass(frozen=True)
class WorkingVolume:
    """A smoothed, normalised copy of a volume.

    Args:
        values: 0 at the noise's level, 1 at bright tissue, shape ``(S, rows, columns)``.
        filled: where the device wrote no measurement, same shape.
        dark_fill: where that is as dark as the vitreous: one without noise looks like fill. Same shape.
        column_um: distance of two columns.
    """

    values: Floats
    filled: NDArray[np.bool_]
    dark_fill: NDArray[np.bool_]
    column_um: float


def prepare(volume: Floats, spacing_mm: tuple[float, float, float]) -> WorkingVolume:
    """Detect fill, resample to the working resolution, smooth and normalise each slice."""
    row_um, ascan_um = 1000 * spacing_mm[1], 1000 * spacing_mm[2]
    # Fill is as uniform in every other voxel, and found there in a quarter of the time.
    every = max(1, min(volume.shape[1:]) // 200)
    found = find_fill(volume[:, ::every, ::every])
    filled = found.repeat(every, 1).repeat(every, 2)[:, : volume.shape[1], : volume.shape[2]]
    dark = _dark_level(volume, filled)
    clean = np.where(filled, dark, volume)
    n_rows = max(8, round(volume.shape[1] * row_um / ROW_UM))
    width_um = volume.shape[2] * ascan_um
    n_columns = int(min(volume.shape[2], _MAX_ASCANS, max(24, width_um // _MIN_ASCAN_UM)))
    values = resample(resample(clean, n_rows, 1), n_columns, 2)
    column_um = width_um / n_columns
    sigma = (0, 6.0 / ROW_UM, 30.0 / column_um)
    values = ndimage.gaussian_filter(values, sigma, mode="nearest") - dark
    bright = np.percentile(values, 99, axis=(1, 2), keepdims=True)
    values = (values / np.maximum(bright, 1e-4)).clip(0, 1.5).astype(np.float32)
    filled = resample(resample(filled.astype(np.float32), n_rows, 1), n_columns, 2) > 0.3
    near_rows, near_columns = _nearest(volume.shape[1], n_rows), _nearest(volume.shape[2], n_columns)
    is_dark = volume[:, near_rows[:, None], near_columns] <= dark
    return WorkingVolume(values, filled, filled & is_dark, column_um)


def find_fill(volume: Floats) -> NDArray[np.bool_]:
    """Find white or uniform areas that reach in from the top, the bottom or the sides of a slice."""
    flat = ndimage.maximum_filter(volume, (1, 3, 3)) - ndimage.minimum_filter(volume, (1, 3, 3)) < _FLAT
    filled = np.zeros(volume.shape, bool)
    for candidate in (volume > WHITE, flat):
        for axis in (1, 2):
            filled |= np.logical_and.accumulate(candidate, axis)
            filled |= np.flip(np.logical_and.accumulate(np.flip(candidate, axis), axis), axis)
    thick = ndimage.binary_opening(filled, np.ones((1, 3, 3)))
    return ndimage.binary_dilation(thick, np.ones((1, 5, 5)))


def resample(volume: Floats, size: int, axis: int) -> Floats:
    """Resample along one axis, between pixel areas: mean of the covered part, or linear."""
    old = volume.shape[axis]
    if size == old:
        return volume
    weights = _resampling(old, size)
    if axis == volume.ndim - 1:
        return volume @ weights.T
    return np.moveaxis(np.moveaxis(volume, axis, -1) @ weights.T, -1, axis)


def _nearest(old: int, size: int) -> NDArray[np.int64]:
    return ((np.arange(size) + 0.5) * old / size).astype(np.int64)


@lru_cache(maxsize=32)
def _resampling(old: int, size: int) -> Floats:
    if size < old:
        edges = np.arange(size + 1) * old / size
        first, last = edges[:-1, None], edges[1:, None]
        pixel = np.arange(old)
        covered = (np.minimum(last, pixel + 1) - np.maximum(first, pixel)).clip(0)
        return (covered * size / old).astype(np.float32)
    position = ((np.arange(size) + 0.5) * old / size - 0.5).clip(0, old - 1)
    return (1 - np.abs(position[:, None] - np.arange(old))).clip(0).astype(np.float32)


def _dark_level(volume: Floats, filled: NDArray[np.bool_]) -> Floats:
    """Lower quartile of what was measured in each slice, shape ``(S, 1, 1)``."""
    levels = []
    for bscan, hidden in zip(volume, filled, strict=True):
        kept = bscan[~hidden]
        levels.append(np.percentile(kept[:: 1 + kept.size // 20_000], 25) if kept.size else 0.0)
    return np.asarray(levels, np.float32)[:, None, None]
