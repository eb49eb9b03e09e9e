"""How the eye lies in the frame: height, tilt and curvature of each slice, with motion between them."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre

from fund2oct.geometry import LineScan, ScanPattern
from fund2oct.phantom.grid import Array
from fund2oct.retina.pose import N_POSE

MOTION_UM = (14, 18, 5)
"""Deviations of what moves between slices: height, tilt and curvature."""
_N_FITTED = 128


def sample_pose(rng: np.random.Generator, scan: ScanPattern, depth_um: float) -> Array:
    r"""Draw Legendre coefficients of each slice, ``(S, 3)`` micrometres, or more for curves.

    The whole eye's outer retina is the paraboloid :math:`h + g \cdot p + p^T K p`, of which a
    straight line cuts an exact parabola; small motion comes on top, slice by slice. Of another curve the
    coefficients are those of a fit, as many as a pose has.
    """
    height = depth_um * rng.normal(0.55, 0.05)
    gradient = rng.normal(0, 22, 2)
    # Edges of the frame are shallower than its middle in most eyes.
    bend = 3.0 - rng.gamma(4.0, 4.0, 2)
    if not isinstance(scan, LineScan):
        points = scan.coordinates(_N_FITTED).double().numpy()
        surface = height + points @ gradient + (points * points) @ bend
        pose = legendre.legfit((2 * np.arange(_N_FITTED) + 1) / _N_FITTED - 1, surface.T, N_POSE - 1).T
        pose[:, :3] += rng.normal(0, 1, (len(pose), 3)) * MOTION_UM
        return pose.astype(np.float32)
    ends = np.array(scan.lines)
    middle, half = ends.mean(1), (ends[:, 1] - ends[:, 0]) / 2
    quadratic = (half * half) @ bend
    pose = np.stack(
        [
            height + middle @ gradient + (middle * middle) @ bend + quadratic / 3,
            half @ gradient + 2 * (middle * half) @ bend,
            2 / 3 * quadratic,
        ],
        1,
    )
    return (pose + rng.normal(0, 1, pose.shape) * MOTION_UM).astype(np.float32)


def pose_surface(pose_um: Array, n_ascans: int) -> Array:
    """Depth of the smooth outer retina under each A-scan, ``(S, X)`` micrometres."""
    u = (2 * np.arange(n_ascans, dtype=np.float32) + 1) / n_ascans - 1
    higher = legendre.legvander(u, pose_um.shape[1] - 1).T[3:]
    surface: Array = pose_um @ np.stack([np.ones_like(u), u, 1.5 * u * u - 0.5, *higher])
    return surface


def keep_in_frame(
    pose_um: Array,
    above_um: Array,
    below_um: Array,
    depth_um: float,
    between: tuple[float, float] = (0.03, 0.80),
) -> Array:
    """Flatten and shift slices until the retina lies between two depths of the frame.

    Args:
        pose_um: coefficients, ``(S, K)``.
        above_um: height of the inner surface above the pose surface, ``(S, X)``.
        below_um: depth of the outer retina below it, ``(S, X)``.
        depth_um: height of the frame.
        between: the two depths, shares of the frame.
    """
    top, bottom = between[0] * depth_um, between[1] * depth_um
    pose = pose_um.copy()
    for _ in range(30):
        surface = pose_surface(pose, above_um.shape[1])
        highest, lowest = (surface - above_um).min(1), (surface + below_um).max(1)
        tall = lowest - highest > bottom - top
        if not tall.any():
            break
        pose[tall, 1:] *= 0.85
    pose[:, 0] += np.maximum(top - highest, 0)
    pose[:, 0] -= np.maximum(lowest + np.maximum(top - highest, 0) - bottom, 0)
    return pose
