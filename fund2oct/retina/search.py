"""Search for the retina's inner and outer boundary, and for the pose, without annotations.

Both boundaries are best paths (:mod:`fund2oct.retina.paths`) on a working copy of the volume: first
the outer retina, a bright ridge with retina above it and no other such ridge below it; then the
first step from vitreous to tissue above that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from fund2oct.retina.fluid import fluid_height_um
from fund2oct.retina.layers import EPITHELIUM_UM
from fund2oct.retina.paths import best_path, refine_to_peak
from fund2oct.retina.pose import pose_surface_um
from fund2oct.retina.pose_fit import fit_pose
from fund2oct.retina.scores import inner_scores, outer_score, ridge_contrast
from fund2oct.retina.working import ROW_UM, Floats, prepare, resample

Spacing = tuple[float, float, float]

_MIN_SIZE = 8
_MAX_SLOPE = 1.5
_OUTER_STIFFNESS = 0.25
_INNER_STIFFNESS = 0.3
_SHARPEN_UM = (-24.0, 56.0)

# The ridge's centre lies a third into the epithelium: found on simulated eyes, whose truth is known.
_CENTRE_TO_BM_UM = 17.0

_MIN_CONFIDENCE = 0.25
_MIN_SHARE = 0.3
_MAX_THICKNESS_UM = 1200.0
_ON_POSE_UM = 40.0


@dataclass(frozen=True)
class RetinalBoundaries:
    """Surfaces found in a volume, in micrometres below the frame's top edge, each ``(S, X)``.

    Args:
        ilm_um: the retina's inner surface.
        os_um: the tips of the photoreceptors' outer segments: above the epithelium where subretinal
            fluid parts them, on it elsewhere.
        rpe_um: the pigment epithelium's inner surface, which a detachment lifts.
        bm_um: Bruch's membrane: under the epithelium, 26 micrometres below its inner surface, or the pose's
            surface where that lies more than 26 micrometres deeper still.
        confidence: trust in the A-scan's surfaces, from 0 to 1.
        ok: whether the search is to be used there.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> found = retinal_boundaries(eye.volume, eye.spacing_mm)
        >>> found.surfaces_um.shape, round(float(np.nanmedian(found.thickness_um)))  # micrometres
        ((4, 6, 48), 271)
    """

    ilm_um: Floats
    os_um: Floats
    rpe_um: Floats
    bm_um: Floats
    confidence: Floats
    ok: NDArray[np.bool_]

    @property
    def thickness_um(self) -> Floats:
        """Retinal thickness, NaN where the search failed, shape ``(S, X)``."""
        return np.where(self.ok, self.rpe_um - self.ilm_um, np.nan).astype(np.float32)

    @property
    def surfaces_um(self) -> Floats:
        """All of :data:`~fund2oct.retina.SURFACES`, NaN where the search failed, shape ``(4, S, X)``."""
        depths = np.stack([self.ilm_um, self.os_um, self.rpe_um, self.bm_um])
        return np.where(self.ok, depths, np.nan).astype(np.float32)


@dataclass(frozen=True)
class PoseEstimate:
    """The pose of a volume as the search finds it: how high, tilted and curved each slice lies.

    Args:
        pose_um: Legendre coefficients in micrometres, see :func:`fund2oct.retina.pose_surface_um`, shape
            ``(S, 7)``.
        outer_um: depth of the outer retina as found, which follows a detachment where the pose does not, in
            micrometres below the frame's top edge, shape ``(S, X)``.
        confidence: share of each slice that was found and lies on the pose, shape ``(S,)``.
        ok: whether the slice's pose is to be used, shape ``(S,)``.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> found = estimate_pose(eye.volume, eye.spacing_mm)
        >>> found.pose_um.shape, found.ok
        ((6, 7), array([ True,  True,  True,  True,  True,  True]))
    """

    pose_um: Floats
    outer_um: Floats
    confidence: Floats
    ok: NDArray[np.bool_]


def find_retina(volume: ArrayLike, spacing_mm: Spacing) -> tuple[RetinalBoundaries, PoseEstimate]:
    """Find the surfaces and the pose of a volume in one search.

    A volume that shows no retina raises no error: where the search is not to be trusted, ``ok`` is false.

    Args:
        volume: intensities in [0, 1], or uint8, shape ``(S, Z, X)``.
        spacing_mm: distance of two slices (unused, may be NaN), rows and A-scans.

    Returns:
        What :func:`retinal_boundaries` and :func:`estimate_pose` return.

    Raises:
        ValueError: if the shape, the values or the spacing are not as said.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> surfaces, pose = find_retina(eye.volume, eye.spacing_mm)
        >>> ilm_um, os_um, rpe_um, bm_um = surfaces.surfaces_um
        >>> ilm_um.shape, pose.pose_um.shape
        ((6, 48), (6, 7))
    """
    values = _check(volume, spacing_mm)
    found = _search(values, spacing_mm)
    return _boundaries(found), _pose(found, 1000 * spacing_mm[1] * values.shape[1])


def retinal_boundaries(volume: ArrayLike, spacing_mm: Spacing) -> RetinalBoundaries:
    """Find the retina's surfaces in each slice.

    A volume that shows no retina raises no error: where the search is not to be trusted, ``ok`` is false.

    Args:
        volume: intensities in [0, 1], or uint8, shape ``(S, Z, X)``.
        spacing_mm: distance of two slices (unused, may be NaN), rows and A-scans.

    Returns:
        The surfaces, with the A-scans where the search is trusted.

    Raises:
        ValueError: if the shape, the values or the spacing are not as said.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.retina import boundary_index
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> found = retinal_boundaries(eye.volume, eye.spacing_mm)
        >>> error_um = abs(found.ilm_um - eye.boundaries_um[boundary_index("ILM")])[found.ok]
        >>> round(float(np.nanmedian(error_um)))  # half a row of 60 um
        31
    """
    return find_retina(volume, spacing_mm)[0]


def estimate_pose(volume: ArrayLike, spacing_mm: Spacing) -> PoseEstimate:
    """Estimate a volume's pose: find the outer retina, and fit a smooth curve that no detachment lifts.

    Args:
        volume: intensities in [0, 1], or uint8, shape ``(S, Z, X)``.
        spacing_mm: distance of two slices (unused, may be NaN), rows and A-scans.

    Returns:
        The pose, finite in each slice, with the slices where it is trusted.

    Raises:
        ValueError: if the shape, the values or the spacing are not as said.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> pose = estimate_pose(eye.volume, eye.spacing_mm)
        >>> pose.pose_um[:, 0].round()  # height of each slice: micrometres below the top of the frame
        array([918., 880., 915., 903., 894., 904.], dtype=float32)
    """
    return find_retina(volume, spacing_mm)[1]


def _boundaries(found: _Found) -> RetinalBoundaries:
    rpe_um = found.outer_um - EPITHELIUM_UM
    thickness_um = rpe_um - found.ilm_um
    # In a macular hole the epithelium itself is the inner surface: a little below 0 is 0.
    plausible = (thickness_um > -EPITHELIUM_UM) & (thickness_um < _MAX_THICKNESS_UM)
    ilm_um = np.minimum(found.ilm_um, rpe_um)
    return RetinalBoundaries(
        ilm_um=ilm_um,
        os_um=np.clip(rpe_um - found.fluid_um, ilm_um, rpe_um),
        rpe_um=rpe_um,
        bm_um=np.where(found.surface_um - found.outer_um > EPITHELIUM_UM, found.surface_um, found.outer_um),
        confidence=found.confidence.clip(0, 1),  # a running mean may exceed 1 by its rounding
        ok=plausible & (found.confidence > _MIN_CONFIDENCE),
    )


def _pose(found: _Found, depth_um: float) -> PoseEstimate:
    on_pose = np.abs(found.outer_um - found.surface_um) < _ON_POSE_UM
    confidence = (on_pose & (found.outer_confidence > _MIN_CONFIDENCE)).mean(-1, dtype=np.float32)
    inside = (found.surface_um > 0) & (found.surface_um < depth_um)
    return PoseEstimate(
        found.pose_um, found.outer_um, confidence, (confidence > _MIN_SHARE) & (inside.mean(-1) > 0.9)
    )


@dataclass(frozen=True)
class _Found:
    """Surfaces ``(S, X)`` and pose ``(S, K)``; ``outer_um`` is the epithelium's outer surface."""

    ilm_um: Floats
    fluid_um: Floats
    outer_um: Floats
    surface_um: Floats
    outer_confidence: Floats
    confidence: Floats
    pose_um: Floats


def _search(values: Floats, spacing_mm: Spacing) -> _Found:
    working = prepare(values, spacing_mm)
    ridge = ridge_contrast(working.values)
    outer = _path(outer_score(working, ridge), working.column_um, _OUTER_STIFFNESS)
    score, edge = inner_scores(working, outer)
    inner = _path(score, working.column_um, _INNER_STIFFNESS)
    inner = _sharpen(edge, inner, working.column_um)

    fluid_um = fluid_height_um(working, inner, outer, 1000 * spacing_mm[1])

    ridge_there, edge_there = _at(ridge, outer), _at(edge, inner)
    measured = ~working.filled.all(1)
    # A path through noise follows ridges too, but such as there are everywhere.
    elsewhere = np.percentile(ridge, 90, axis=(1, 2)) + 1e-6
    stands_out = ((np.median(ridge_there, 1) / elsewhere - 1.4) / 0.5).clip(0, 1)[:, None]
    outer_trust = (ridge_there / 0.2).clip(0, 1) * stands_out * (outer < ridge.shape[1] - 2)
    inner_trust = (edge_there / 0.2).clip(0, 1) * (inner > 1)
    outer_trust, trust = (
        np.where(measured, ndimage.uniform_filter1d(each, 5, axis=-1), 0).astype(np.float32)
        for each in (outer_trust, np.minimum(outer_trust, inner_trust))
    )

    n_ascans = values.shape[2]
    length_mm = float(n_ascans * spacing_mm[2])
    outer_um = _depth_um(refine_to_peak(ridge, outer)) + _CENTRE_TO_BM_UM
    weights = np.where(measured, 0.3 + (ridge_there / 0.15).clip(0, 1), 0).astype(np.float32)
    pose = _fill_unknown(fit_pose(torch.from_numpy(outer_um), torch.from_numpy(weights), length_mm))
    return _Found(
        ilm_um=resample(_depth_um(refine_to_peak(edge, inner)), n_ascans, 1),
        fluid_um=resample((fluid_um - (EPITHELIUM_UM - _CENTRE_TO_BM_UM)).clip(0), n_ascans, 1),
        outer_um=resample(outer_um, n_ascans, 1),
        surface_um=pose_surface_um(pose, n_ascans).numpy(),
        outer_confidence=resample(outer_trust, n_ascans, 1),
        confidence=resample(trust, n_ascans, 1),
        pose_um=pose.numpy(),
    )


def _check(volume: ArrayLike, spacing_mm: Spacing) -> Floats:
    values = np.asarray(volume)
    if values.ndim != 3 or min(values.shape[1:]) < _MIN_SIZE or not len(values):
        raise ValueError(
            f"volume: expected (S, Z, X) with at least {_MIN_SIZE} rows and A-scans, found {values.shape}"
        )
    scale = 255 if values.dtype == np.uint8 else 1
    values = np.divide(values, scale, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            "volume: expected finite intensities, found NaN or infinity; fill such voxels with 0"
        )
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            "volume: expected uint8 or intensities in [0, 1], "
            f"found {values.min():.4g} to {values.max():.4g}; scale them"
        )
    _, z_mm, x_mm = spacing_mm
    if not (0 < z_mm < np.inf and 0 < x_mm < np.inf):
        raise ValueError(f"spacing: expected (s, z, x) in millimetres, z and x above 0, found {spacing_mm}")
    return values


def _path(score: Floats, column_um: float, stiffness: float) -> NDArray[np.int64]:
    # Score is gained along the slice and lost along Z: the ratio frees the path of both pitches.
    per_row = ROW_UM / column_um
    return best_path(score, stiffness * per_row, max(2, math.ceil(_MAX_SLOPE / per_row)))


def _sharpen(edge: Floats, path: NDArray[np.int64], column_um: float) -> NDArray[np.int64]:
    """Rows of the best path along an edge near a path that was found at a coarser scale."""
    rows = np.arange(edge.shape[1])[:, None] - path[:, None]
    near = (rows >= _SHARPEN_UM[0] / ROW_UM) & (rows <= _SHARPEN_UM[1] / ROW_UM)
    masked = np.where(near, edge, -5).astype(np.float32)
    return _path(masked, column_um, _INNER_STIFFNESS)


def _fill_unknown(pose_um: Tensor) -> Tensor:
    """Give a slice in which nothing was measured the eye's median pose."""
    known = pose_um.isfinite().all(-1)
    usual = pose_um[known].median(0).values if known.any() else torch.zeros_like(pose_um[0])
    return torch.where(known[:, None], pose_um, usual)


def _depth_um(rows: Floats) -> Floats:
    return ((rows + 0.5) * ROW_UM).astype(np.float32)


def _at(values: Floats, path: NDArray[np.int64]) -> Floats:
    there: Floats = np.take_along_axis(values, path[:, None], 1)[:, 0]
    return there
