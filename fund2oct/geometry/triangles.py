"""Which triangles between A-scans lie over what was not scanned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fund2oct.geometry.patterns import ScanPattern

Array = np.ndarray[Any, Any]

_OUTLINE = 65
_GAP = 0.25
"""Share of its width by which a closed B-scan may be open: a polygon need not repeat its first point."""


def inside_a_ring(scan: ScanPattern, triangles: Array, n_points: int) -> Array:
    """Tell which triangles lie inside a closed B-scan, as a circle is one.

    Delaunay's triangles fill a circle with chords, over retina that was not scanned. Such a triangle has its
    three corners on one closed B-scan; one between two circles has them on both.

    Args:
        scan: the scan.
        triangles: numbers of the three corners of each, shape ``(N, 3)``. Point x of slice s has the number
            ``s * n_points + x``; a larger one belongs to no slice.
        n_points: points of a slice.

    Returns:
        Bool, shape ``(N,)``.

    Example:
        >>> from fund2oct.geometry import CircularScan
        >>> inside_a_ring(CircularScan((1.0, 2.0)), np.array([[0, 2, 5], [0, 1, 8]]), n_points=8)
        array([ True, False])
    """
    outlines = scan.points(torch.linspace(0, 1, _OUTLINE, dtype=torch.float64)).numpy()
    gaps = np.hypot(*(outlines[:, -1] - outlines[:, 0]).T)
    closed = np.append(gaps < _GAP * np.ptp(outlines, axis=1).max(-1), False)
    # Slices along one curve, as of a circle that was scanned twice, count as one.
    _, curves = np.unique(outlines.reshape(len(outlines), -1).round(2), axis=0, return_inverse=True)
    curves = np.append(curves.reshape(-1), -1)
    slices = np.minimum(triangles // n_points, len(outlines))
    found: Array = closed[slices[:, 0]] & (curves[slices] == curves[slices[:, :1]]).all(1)
    return found
