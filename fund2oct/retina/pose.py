r"""The pose of a scan: how high the outer retina lies in each slice, how tilted, how curved.

The pose comes from the operator and from the eye's alignment, not from the retina's anatomy. It is
three coefficients a slice, those of the Legendre polynomials along the slice:

.. math:: d(s, u) = c_{s,0} + c_{s,1} u + c_{s,2} \frac{3 u^2 - 1}{2}

with ``d`` in micrometres below the frame's top edge and ``u`` from -1 to 1 over the slice, at the
centre of A-scan ``i`` of ``X`` :math:`u_i = (2 i + 1) / X - 1`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor

from fund2oct.geometry import Symmetry

N_COEFFICIENTS = 3

# A healthy outer retina stays within about 20 um of its parabola over 9 mm of scan. Atrophy sinks it
# by some 30 um; a point far below a parabola speaks against it more than one as far above.
_TOLERANCE_UM = 20.0
_MIN_SCALE_UM, _MAX_SCALE_UM = 6.0, 15.0
_SUNK_UM, _DETACHED_UM = 60.0, 300.0
_ANY_CURVATURE_UM = 150.0
_LIKE_CURVATURE_UM = 40.0
_MIN_SLICES = 3
_N_ANCHORS = 14
_N_SCORED = 96
_N_REFINEMENTS = 12


def pose_surface_um(pose_um: Tensor, n_ascans: int) -> Tensor:
    """Depth of the pose's surface below the frame's top edge, at each A-scan.

    Args:
        pose_um: coefficients in micrometres, shape ``(..., S, 3)``.
        n_ascans: number of A-scans in a slice.

    Returns:
        Depth in micrometres, shape ``(..., S, X)``.

    Raises:
        ValueError: if the last dimension of ``pose_um`` is not 3.
    """
    _check_pose(pose_um)
    return pose_um @ _legendre(n_ascans).to(pose_um).T


def fit_pose(surface_um: Tensor, weights: Tensor | None = None) -> Tensor:
    """Fit the pose to a found outer retina, without following what lifts it.

    A detachment lifts the outer retina over up to about half of a slice; little pushes it down. So
    the parabola is first chosen among those through three points of the surface, by a cost that
    nearly saturates for points off it, and costs points below it most; slices of one eye, where
    there are three or more, favour a like curvature. Then it is refined by least squares,
    reweighted by Tukey's biweight.

    A detachment that is cut off by the slice's end can pass for a bent and tilted pose once it covers
    a third of the slice; one inside the slice cannot.

    Args:
        surface_um: depth in micrometres, NaN where unknown, shape ``(..., S, X)``.
        weights: trust in each point, at least 0, same shape; 1 everywhere by default.

    Returns:
        Coefficients in micrometres, shape ``(..., S, 3)``; NaN for a slice with fewer than three
        known points.

    Raises:
        ValueError: if the shapes differ, or a slice has fewer than three A-scans.

    References:
        Choice among sampled parabolas: Torr and Zisserman, MLESAC, CVIU 2000. Biweight: Beaton and
        Tukey, Technometrics 1974.
    """
    if surface_um.ndim < 1 or surface_um.shape[-1] < N_COEFFICIENTS:
        raise ValueError(
            f"surface: expected (..., S, X) with at least 3 A-scans, found {tuple(surface_um.shape)}"
        )
    if weights is not None and weights.shape != surface_um.shape:
        raise ValueError(
            f"weights: expected the surface's shape {tuple(surface_um.shape)}, found {tuple(weights.shape)}"
        )
    lines = surface_um.detach().double().flatten(0, -2) if surface_um.ndim > 1 else surface_um.double()[None]
    trust = lines.isfinite().double()
    if weights is not None:
        trust = trust * weights.detach().double().reshape(lines.shape)
    known = (trust > 0).sum(-1) >= N_COEFFICIENTS
    lines = _fill_unknown(lines, trust)
    candidates, cost = _parabolas(lines, trust)
    pose = _refine(_cheapest(candidates, cost, torch.zeros(len(lines)), _ANY_CURVATURE_UM), lines, trust)
    n_slices = surface_um.shape[-2] if surface_um.ndim > 1 else 1
    if n_slices >= _MIN_SLICES:
        # The slices are of one eye: a detachment that a bent parabola imitates in one of them shows.
        usual = pose.masked_fill(~known[:, None], torch.nan)[:, 2].view(-1, n_slices).nanmedian(-1).values
        usual = usual.nan_to_num(0.0).repeat_interleave(n_slices)
        pose = _refine(_cheapest(candidates, cost, usual, _LIKE_CURVATURE_UM), lines, trust)
    pose = torch.where(known[:, None], pose, torch.nan)
    return pose.view(*surface_um.shape[:-1], N_COEFFICIENTS).to(surface_um)


def apply_symmetry_to_pose(pose_um: Tensor, symmetry: Symmetry) -> Tensor:
    """Pose of the volume that :meth:`fund2oct.geometry.Symmetry.apply_to_scan` returns.

    The slices are permuted; where one is read backwards, its tilt changes sign.

    Args:
        pose_um: coefficients, shape ``(..., S, 3)``.
        symmetry: a symmetry of the scan, of as many slices.

    Returns:
        Coefficients, same shape.

    Raises:
        ValueError: if the shape does not fit the symmetry.
    """
    _check_pose(pose_um)
    if pose_um.ndim < 2 or pose_um.shape[-2] != len(symmetry.slices):
        raise ValueError(
            f"pose: expected (..., {len(symmetry.slices)}, 3) for this symmetry, found {tuple(pose_um.shape)}"
        )
    moved = pose_um[..., list(symmetry.slices), :]
    sign = torch.ones(len(symmetry.slices), N_COEFFICIENTS).to(pose_um)
    sign[list(symmetry.mirrored), 1] = -1
    return moved * sign


def _check_pose(pose_um: Tensor) -> None:
    if pose_um.ndim < 1 or pose_um.shape[-1] != N_COEFFICIENTS:
        raise ValueError(f"pose: expected (..., S, 3) coefficients, found shape {tuple(pose_um.shape)}")


@lru_cache(maxsize=32)
def _legendre(n_ascans: int) -> Tensor:
    u = (2 * torch.arange(n_ascans, dtype=torch.float64) + 1) / n_ascans - 1
    return torch.stack([torch.ones_like(u), u, (3 * u**2 - 1) / 2], -1)


def _fill_unknown(lines: Tensor, trust: Tensor) -> Tensor:
    """Put a finite depth where none is known: its weight is 0, but 0 times NaN is NaN."""
    return torch.where(trust > 0, lines, 0.0)


def _parabolas(lines: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    """Parabolas through three points of each line, ``(N, T, 3)``, and their cost in 0 to about 1."""
    anchors, anchor_u = _anchors(lines, trust)
    basis = torch.stack([torch.ones_like(anchor_u), anchor_u, (3 * anchor_u**2 - 1) / 2], -1)
    triples = torch.tensor(list(combinations(range(anchors.shape[-1]), 3)))
    system, depth = basis[:, triples], anchors[:, triples]  # (N, T, 3, 3), (N, T, 3)
    distinct = torch.linalg.det(system).abs() > 1e-3
    system = torch.where(distinct[..., None, None], system, torch.eye(3, dtype=torch.float64))
    candidates = torch.linalg.solve(system, depth)  # (N, T, 3)
    every = max(1, lines.shape[-1] // _N_SCORED)
    seen, weight = lines[:, ::every], trust[:, ::every]
    residual = seen[:, None] - candidates @ _legendre(lines.shape[-1])[::every].T
    off = (residual / _TOLERANCE_UM).square()
    ceiling = 1 + torch.where(residual > 0, residual / _SUNK_UM, -residual / _DETACHED_UM)
    cost = (torch.minimum(off, ceiling) * weight[:, None]).sum(-1) / weight.sum(-1, keepdim=True).clamp(
        min=1e-6
    )
    return candidates, cost.masked_fill(~distinct, torch.inf)


def _cheapest(candidates: Tensor, cost: Tensor, curvature_um: Tensor, within_um: float) -> Tensor:
    unlike = ((candidates[..., 2] - curvature_um[:, None]) / within_um).square()
    best = (cost + 0.01 * unlike).argmin(1)
    return candidates[torch.arange(len(candidates)), best]


def _anchors(lines: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    """Medians of the known depths in equal shares of the known A-scans, with their positions."""
    n_lines, n_ascans = lines.shape
    order = (trust <= 0).long().argsort(dim=-1, stable=True)  # known A-scans first, in their order
    n_known = (trust > 0).sum(-1, keepdim=True).clamp(min=1)
    n_anchors = min(_N_ANCHORS, n_ascans)
    centre = (torch.arange(n_anchors) + 0.5) / n_anchors * n_known
    width = (n_known / (4 * n_anchors)).clamp(min=0)
    near = torch.linspace(-1, 1, 5)[None, None] * width[..., None] + centre[..., None]
    picked = near.floor().long().clamp(min=0).minimum(n_known[..., None] - 1)
    column = order.gather(1, picked.flatten(1)).view(n_lines, n_anchors, 5)
    depth = lines.gather(1, column.flatten(1)).view(n_lines, n_anchors, 5)
    depth, middle = depth.median(-1)
    column = column.gather(-1, middle[..., None]).squeeze(-1)
    return depth, (2 * column.double() + 1) / n_ascans - 1


def _refine(pose: Tensor, lines: Tensor, trust: Tensor) -> Tensor:
    basis = _legendre(lines.shape[-1])
    for _ in range(_N_REFINEMENTS):
        residual = lines - pose @ basis.T
        near = (residual.abs() < 2 * _TOLERANCE_UM) & (trust > 0)
        spread = torch.where(near, residual.abs(), torch.nan).nanmedian(-1, keepdim=True).values
        scale = (1.4826 * spread.nan_to_num(_MAX_SCALE_UM)).clamp(_MIN_SCALE_UM, _MAX_SCALE_UM)
        weight = trust * (1 - (residual / (4.685 * scale)).square()).clamp(min=0).square()
        weighted = basis * weight[..., None]
        # The ridge decides only where the weighted points do not fix a parabola.
        normal = weighted.mT @ basis + 1e-6 * torch.eye(N_COEFFICIENTS, dtype=torch.float64)
        step = torch.linalg.solve(normal, (weighted * residual[..., None]).sum(-2))
        pose = pose + step
    return pose
