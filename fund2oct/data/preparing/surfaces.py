"""Pose and surfaces of a volume, as stored with its eye and as shown in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.eye import Array
from fund2oct.retina.search import find_retina


def searched_fields(
    volume: Array, spacing_mm: tuple[float, float, float], notes: list[str]
) -> dict[str, Any]:
    """Search a volume for its pose and its surfaces.

    Args:
        volume: B-scans, uint8, shape ``(S, Z, X)``.
        spacing_mm: distance of two slices, rows and A-scans.
        notes: a line is added if the outer retina is uncertain in some slices.

    Returns:
        The fields :data:`fund2oct.eye.SEARCHED` of an :class:`~fund2oct.data.Eye`.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> eye = EyeReader("eyes.h5").read("sim3-0000000-OD")
        >>> found = searched_fields(eye.volume, eye.spacing_mm, [])
        >>> {name: array.shape for name, array in found.items()}
        {'pose_um': (6, 7), 'surfaces_um': (4, 6, 48), 'surface_confidence': (6, 48)}
    """
    surfaces, pose = find_retina(volume, spacing_mm)
    if not pose.ok.all():
        numbers = ", ".join(map(str, np.flatnonzero(~pose.ok)))
        notes.append(f"the outer retina is uncertain in slices {numbers}")
    return {
        "pose_um": pose.pose_um,
        "surfaces_um": surfaces.surfaces_um,
        "surface_confidence": surfaces.confidence,
    }


def resample_ascans(values: Tensor, n_ascans: int) -> Tensor:
    r"""Resample maps along their A-scans, linearly, without the unknown spreading into the known.

    A new A-scan is the weighted mean of the known ones among those that it covers, and NaN where these
    have less than half of the weight.

    Args:
        values: NaN where unknown, shape ``(n, S, X)``.
        n_ascans: number of A-scans of the result.

    Returns:
        Shape ``(n, S, n_ascans)``.

    Example:
        >>> heights_um = torch.tensor([[[100.0, 200.0, torch.nan, 400.0, torch.nan, torch.nan]]])
        >>> resample_ascans(heights_um, 3).isnan()  # two of the last three A-scans are unknown
        tensor([[[False, False,  True]]])
    """
    if values.shape[-1] == n_ascans:
        return values
    known = values.isfinite()
    weights, total = (
        # Fewer A-scans are means over what they cover, as those of the resized volume are.
        F.interpolate(each[None], (values.shape[1], n_ascans), mode="bilinear", antialias=True)[0]
        for each in (known.to(values), values.masked_fill(~known, 0))
    )
    return torch.where(weights > 0.5 - 1e-6, total / weights, torch.nan)
