"""Heights of the epithelium, and whether predicted intervals of the thickness hold the real one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fund2oct.metrics.eyes.layers import check_maps
from fund2oct.retina.pose import heights_of

PARTS = ("n", "a", "b", "aa", "bb", "ab")
"""Sums of an eye, of which a correlation over several eyes can be made."""
_ROUNDING = 1e-12


def epithelium_height_um(rpe_um: Tensor, pose_um: Tensor) -> Tensor:
    """Height of the pigment epithelium above the smooth surface of the scan's pose.

    Args:
        rpe_um: depth of the epithelium in micrometres, NaN where unknown, shape ``(B, S, X)``.
        pose_um: pose of each slice, its coefficients in micrometres, shape ``(B, S, 3)`` or more of them, see
            :func:`fund2oct.retina.pose_surface_um`.

    Returns:
        Micrometres, positive where the epithelium lies above the surface, shape ``(B, S, X)``.

    Example:
        >>> pose_um = torch.tensor([[[600.0, 0.0, 0.0]]])  # a flat retina
        >>> epithelium_height_um(torch.tensor([[[600.0, 480.0, 600.0]]]), pose_um)
        tensor([[[  0., 120.,   0.]]])
    """
    return heights_of(rpe_um[:, None], pose_um.to(rpe_um))[:, 0]


def pooled_correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Pearson correlation of two maps over the A-scans of all eyes together.

    The mean of :func:`map_correlation` over eyes judges the shape of each map alone. This one also judges
    the differences between eyes: a model that draws each detachment as high as it really is has a larger
    value than one that draws all of them equally high.

    Args:
        a: maps of any quantity, NaN where unknown, shape ``(N, S, X)``.
        b: other maps of the same shape.

    Returns:
        A scalar in [-1, 1] over the A-scans known in both; NaN where a map is constant or fewer than
        two are known.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> real_um = torch.tensor([[[0.0, 50.0]], [[0.0, 200.0]]])  # a low and a high detachment
        >>> alike_um = torch.tensor([[[0.0, 125.0]], [[0.0, 125.0]]])  # drawn equally high
        >>> pooled_correlation(alike_um, real_um).round(decimals=2)
        tensor(0.7600)
    """
    sums = correlation_sums(a, b)
    return correlation_of_sums({part: of_eyes.sum() for part, of_eyes in sums.items()}).float()


def correlation_sums(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Sums over the A-scans of each eye, of which :func:`pooled_correlation` of any set of eyes can be made.

    Args:
        a: maps of any quantity, NaN where unknown, shape ``(N, S, X)``.
        b: other maps of the same shape.

    Returns:
        Number of the A-scans known in both, ``n``, and over these the sums ``a``, ``b``, ``aa``, ``bb`` and
        ``ab``, each float64 of shape ``(N,)``.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> sums = correlation_sums(torch.tensor([[[1.0, 2.0, math.nan]]]), torch.tensor([[[3.0, 4.0, 5.0]]]))
        >>> {name: value.item() for name, value in sums.items()}
        {'n': 2.0, 'a': 3.0, 'b': 7.0, 'aa': 5.0, 'bb': 25.0, 'ab': 11.0}
    """
    check_maps(a, b)
    known = a.isfinite() & b.isfinite()
    x, y = (torch.where(known, values, 0).double() for values in (a, b))
    of_ascans = zip(PARTS, (known.double(), x, y, x * x, y * y, x * y), strict=True)
    return {name: values.flatten(1).sum(1) for name, values in of_ascans}


def correlation_of_sums(sums: Mapping[str, Tensor]) -> Tensor:
    """The :func:`pooled_correlation` of some eyes, of what :func:`correlation_sums` gives for each.

    Args:
        sums: the sums of the eyes, added up, each float64 of one shape.

    Returns:
        Correlations in [-1, 1], same shape; NaN where a map is constant or fewer than two A-scans are known.

    Example:
        >>> a, b = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]]), torch.tensor([[[2.0, 4.0]], [[6.0, 10.0]]])
        >>> each = correlation_sums(a, b)
        >>> correlation_of_sums({part: of_eyes.sum() for part, of_eyes in each.items()}).item()
        1.0
    """
    n, a, b, aa, bb, ab = (sums[part] for part in PARTS)
    spread_a, spread_b = n * aa - a**2, n * bb - b**2
    varies = (spread_a > _ROUNDING * n * aa) & (spread_b > _ROUNDING * n * bb)
    found = (n * ab - a * b) / (spread_a * spread_b).sqrt()
    return torch.where(varies, found.clamp(-1, 1), math.nan)


def interval_coverage(interval_um: Tensor, real_um: Tensor) -> Tensor:
    """Share of the A-scans at which the real value lies within a predicted interval, its ends included.

    Args:
        interval_um: lower and upper end in micrometres, shape ``(B, 2, S, X)``. An interval of NaN holds no
            value.
        real_um: real value in micrometres, NaN where unknown, shape ``(B, S, X)``.

    Returns:
        Share of the known A-scans in [0, 1], shape ``(B,)``; NaN where none is known. Intervals that are said
        to hold nine tenths should give 0.9.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> interval_um = torch.stack([torch.full((1, 1, 4), 260.0), torch.full((1, 1, 4), 300.0)], dim=1)
        >>> interval_coverage(interval_um, torch.tensor([[[255.0, 270.0, 280.0, 300.0]]]))
        tensor([0.7500])
    """
    if interval_um.ndim != 4 or interval_um.shape[1] != 2:
        raise ValueError(f"interval: expected (B, 2, S, X), found shape {tuple(interval_um.shape)}")
    low, high = interval_um.unbind(1)
    check_maps(low, real_um)
    covered = (low <= real_um) & (real_um <= high)
    return covered.flatten(1).sum(1) / real_um.isfinite().flatten(1).sum(1)
