"""Fit of the pose to a found outer retina: what the eye's shape bends, and no disease lifts.

A parabola comes first, chosen among many by a robust cost. It is exact for most eyes, and nothing
that a lesion does can bend it further. A slice that it leaves far off is then tried with the higher
degrees, under a prior that says what an eye's wall may do and a lesion does not: see
:func:`fit_pose`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from fund2oct.retina.pose import N_PARABOLA, N_POSE, legendre_basis

# A healthy outer retina stays within about 20 um of its parabola over 9 mm of scan. Atrophy sinks it
# by some 30 um; a point far below a curve speaks against it more than one as far above.
_TOLERANCE_UM = 20.0
_MIN_SCALE_UM, _MAX_SCALE_UM = 6.0, 15.0
_SUNK_UM, _DETACHED_UM = 60.0, 300.0
_ANY_CURVATURE_UM = 150.0
_LIKE_CURVATURE_UM = 40.0
_MIN_SLICES = 3
_N_ANCHORS = 14
_N_SCORED = 96
_N_REFINEMENTS = 12

# The prior of the higher degrees. Coefficients that cost 1, over 12 mm, by degree from 3 on: a smooth
# shape over a line of length L has coefficients that fall with L to the power of their degree.
_USUAL_UM = (600.0, 450.0, 340.0, 250.0)
_USUAL_LENGTH_MM = 12.0
# The margin of a staphyloma of 300 um and 1.8 mm (one sigma) bulges towards the vitreous by
# 40 um/mm^2, and narrowly; a detachment of 100 um and 4 mm by 65 throughout, one of 350 by 220.
_BULGE_UM_PER_MM2 = 35.0
_N_BENDS = 24
# What the higher degrees have to gain before they are believed: where half of the eye's other slices
# gain as well, and what more where none does.
_HIGHER_COST, _ALONE_COST = 0.15, 0.25
_SCALES_UM = (150.0, 100.0, 70.0, 50.0, 35.0, 25.0, 20.0, 20.0)
_N_POLISHES = 6


def fit_pose(surface_um: Tensor, weights: Tensor | None = None, length_mm: float = 9.0) -> Tensor:
    r"""Fit the pose to a found outer retina, without following what lifts it.

    A detachment lifts the outer retina over up to about half of a slice; little pushes it down. So
    the parabola is first chosen among those through three points of the surface, by a cost that
    nearly saturates for points off it, and costs points below it most; slices of one eye, where
    there are three or more, favour a like curvature. Then it is refined by least squares,
    reweighted by Tukey's biweight.

    Where the parabola's cost is high, all degrees are fitted, by reweighted least squares whose scale
    shrinks from 150 to 20 um. Points below the curve keep pulling at it, points above it let go. The
    prior is

    .. math:: \sum_{k \ge 3} \left( \frac{c_k}{\sigma_k} \right)^2
              + \frac{1}{\beta^2} \int_0^1 \max\left(0, \frac{d^2 d}{d x^2}\right)^2,

    whose second term is about bulges towards the vitreous: detachments and drusen are such bulges,
    whereas the wall of a long eye sinks, broadly and with narrow margins. One of higher
    degrees has to gain a margin over the parabola, which is wider where few of the eye's other slices
    gain it.

    A detachment that is cut off by the slice's end can pass for a bent and tilted pose once it covers
    a third of the slice; one inside the slice cannot.

    Args:
        surface_um: depth in micrometres, NaN where unknown, shape ``(..., S, X)``.
        weights: trust in each point, at least 0, same shape; 1 everywhere by default.
        length_mm: length of the slices, which says how sharply a coefficient bends the surface.

    Returns:
        Coefficients in micrometres, shape ``(..., S, 7)``; 0 from the fourth on where a parabola
        fits, NaN for a slice with fewer than three known points.

    Raises:
        ValueError: if the shapes differ, a slice has fewer than three A-scans, or the length is not
            positive.

    References:
        Choice among sampled parabolas: Torr and Zisserman, MLESAC, CVIU 2000. Biweight: Beaton and
        Tukey, Technometrics 1974. Shrinking scales: Blake and Zisserman, Visual Reconstruction, 1987.

    Example:
        >>> surface_um = 1000 - 90 * torch.linspace(-1, 1, 200).square().expand(6, -1)
        >>> fit_pose(surface_um).shape
        torch.Size([6, 7])
    """
    if surface_um.ndim < 1 or surface_um.shape[-1] < N_PARABOLA:
        raise ValueError(
            f"surface: expected (..., S, X) with at least 3 A-scans, found {tuple(surface_um.shape)}"
        )
    if weights is not None and weights.shape != surface_um.shape:
        raise ValueError(
            f"weights: expected the surface's shape {tuple(surface_um.shape)}, found {tuple(weights.shape)}"
        )
    if not length_mm > 0:
        raise ValueError(f"length_mm: expected a positive length, found {length_mm}")
    # The fit is made on the CPU, wherever the surface lies.
    lines = surface_um.detach().cpu().double().reshape(-1, surface_um.shape[-1])
    trust = lines.isfinite().double()
    if weights is not None:
        trust = trust * weights.detach().cpu().double().reshape(lines.shape)
    known = (trust > 0).sum(-1) >= N_PARABOLA
    # A depth that is not known needs a finite place: its weight is 0, but 0 times NaN is NaN.
    lines = torch.where(trust > 0, lines, 0.0)
    n_slices = surface_um.shape[-2] if surface_um.ndim > 1 else 1
    pose = torch.zeros(len(lines), N_POSE, dtype=torch.float64)
    pose[:, :N_PARABOLA] = _fit_parabolas(lines, trust, known, n_slices)
    pose = _bend(pose, lines, trust, _Prior.of(length_mm), n_slices)
    pose = torch.where(known[:, None], pose, torch.nan)
    return pose.view(*surface_um.shape[:-1], N_POSE).to(surface_um)


def _fit_parabolas(lines: Tensor, trust: Tensor, known: Tensor, n_slices: int) -> Tensor:
    """The robust parabola of each line, ``(N, 3)``; each ``n_slices`` lines are of one eye."""
    candidates, cost = _parabolas(lines, trust)
    pose = _refine(_cheapest(candidates, cost, torch.zeros(len(lines)), _ANY_CURVATURE_UM), lines, trust)
    if n_slices >= _MIN_SLICES:
        # The slices are of one eye: a detachment that a bent parabola imitates in one of them shows.
        usual = pose.masked_fill(~known[:, None], torch.nan)[:, 2].view(-1, n_slices).nanmedian(-1).values
        usual = usual.nan_to_num(0.0).repeat_interleave(n_slices)
        pose = _refine(_cheapest(candidates, cost, usual, _LIKE_CURVATURE_UM), lines, trust)
    return pose


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
    residual = seen[:, None] - candidates @ legendre_basis(lines.shape[-1], N_PARABOLA)[::every].T
    return candidates, _cost(residual, weight).masked_fill(~distinct, torch.inf)


def _cost(residual: Tensor, weight: Tensor) -> Tensor:
    """Mean cost of curves whose residuals are ``(N, T, X)``, in 0 to about 1, ``(N, T)``."""
    off = (residual / _TOLERANCE_UM).square()
    ceiling = 1 + torch.where(residual > 0, residual / _SUNK_UM, -residual / _DETACHED_UM)
    total = (torch.minimum(off, ceiling) * weight[:, None]).sum(-1)
    return total / weight.sum(-1, keepdim=True).clamp(min=1e-6)


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
    basis = legendre_basis(lines.shape[-1], N_PARABOLA)
    for _ in range(_N_REFINEMENTS):
        residual = lines - pose @ basis.T
        weighted = basis * _biweight(residual, trust)[..., None]
        # The ridge decides only where the weighted points do not fix a parabola.
        normal = weighted.mT @ basis + 1e-6 * torch.eye(N_PARABOLA, dtype=torch.float64)
        step = torch.linalg.solve(normal, (weighted * residual[..., None]).sum(-2))
        pose = pose + step
    return pose


def _biweight(residual: Tensor, trust: Tensor) -> Tensor:
    near = (residual.abs() < 2 * _TOLERANCE_UM) & (trust > 0)
    spread = torch.where(near, residual.abs(), torch.nan).nanmedian(-1, keepdim=True).values
    scale = (1.4826 * spread.nan_to_num(_MAX_SCALE_UM)).clamp(_MIN_SCALE_UM, _MAX_SCALE_UM)
    return trust * (1 - (residual / (4.685 * scale)).square()).clamp(min=0).square()


class _Prior:
    """What the higher degrees cost over a slice of some length.

    Attributes:
        ridge: cost of a coefficient's square, shape ``(K,)``.
        bends: second derivative by the coefficients, in units that cost 1, shape ``(places, K)``.
    """

    def __init__(self, length_mm: float) -> None:
        degree = np.arange(N_PARABOLA, N_POSE)
        usual_um = np.array(_USUAL_UM) * (length_mm / _USUAL_LENGTH_MM) ** degree
        self.ridge = torch.from_numpy(np.concatenate([np.zeros(N_PARABOLA), usual_um**-2.0]))
        u = (2 * np.arange(_N_BENDS) + 1) / _N_BENDS - 1
        curvature = legendre.legval(u, legendre.legder(np.eye(N_POSE), 2))
        unit = _BULGE_UM_PER_MM2 * (length_mm / 2) ** 2 * _N_BENDS**0.5
        self.bends = torch.from_numpy(curvature.T / unit)

    @staticmethod
    @lru_cache(maxsize=16)
    def of(length_mm: float) -> _Prior:
        return _Prior(length_mm)

    def cost(self, pose: Tensor) -> Tensor:
        """Of poses ``(..., K)``."""
        bulge = (pose @ self.bends.T).clamp(min=0)
        return (pose.square() * self.ridge).sum(-1) + bulge.square().sum(-1)

    def curvature(self, pose: Tensor) -> Tensor:
        """The quadratic form that equals the cost at these poses, ``(..., K, K)``."""
        bulging = self.bends * (pose @ self.bends.T > 0).double()[..., None]
        # The last term decides only where neither points nor prior fix the curve.
        return self.ridge.diag() + bulging.mT @ self.bends + 1e-9 * torch.eye(N_POSE, dtype=torch.float64)


def _bend(pose: Tensor, lines: Tensor, trust: Tensor, prior: _Prior, n_slices: int) -> Tensor:
    """Give the lines that their parabola leaves far off the higher degrees, where that pays."""
    every = max(1, lines.shape[-1] // _N_SCORED)
    basis = legendre_basis(lines.shape[-1], N_POSE)[::every]
    lines, trust = lines[:, ::every], trust[:, ::every]
    off = _cost((lines - pose @ basis.T)[:, None], trust)[:, 0]
    # A lower cost than the margin cannot be undercut by it.
    poor = off > _HIGHER_COST
    if not poor.any():
        return pose
    straight, lines = pose[poor], lines[poor]
    trust = trust[poor] / trust[poor].sum(-1, keepdim=True).clamp(min=1e-6)
    # From the parabola, and from all points alike: either may be caught by what is not the pose.
    near = _wall_weight(lines - straight @ basis.T, _SCALES_UM[0])
    bent = _settle(
        straight.repeat(2, 1),
        torch.cat([near, torch.ones_like(near)]),
        lines.repeat(2, 1),
        trust.repeat(2, 1),
        basis,
        prior,
    )
    candidates = torch.stack([straight, *bent.chunk(2)], 1)
    cost = _cost(lines[:, None] - candidates @ basis.T, trust) + prior.cost(candidates)
    least, best = cost[:, 1:].min(1)
    gain = cost[:, 0] - least
    bent = candidates[torch.arange(len(best)), 1 + best]
    for _ in range(_N_POLISHES):
        bent = _step(bent, _biweight(lines - bent @ basis.T, trust), lines, basis, prior)
    gains = torch.zeros(len(poor), dtype=torch.float64)
    gains[poor] = gain
    believed = gain > _margin(gains, n_slices)[poor]
    pose = pose.clone()
    pose[poor] = torch.where(believed[:, None], bent, straight)
    return pose


def _margin(gains: Tensor, n_slices: int) -> Tensor:
    """What each of the lines ``(N,)`` has to gain: the wall of an eye bends in more slices than one."""
    gained = (gains > _HIGHER_COST).double().view(-1, n_slices)
    others = (gained.sum(1, keepdim=True) - gained) / max(1, n_slices - 1)
    alone = (1 - 2 * others).clamp(min=0) if n_slices >= _MIN_SLICES else torch.zeros_like(others)
    return (_HIGHER_COST + _ALONE_COST * alone).flatten()


def _settle(
    pose: Tensor, first: Tensor, lines: Tensor, trust: Tensor, basis: Tensor, prior: _Prior
) -> Tensor:
    """Fit with shrinking scales, the first time with the weights ``first``."""
    pose = _step(pose, trust * first, lines, basis, prior)
    for scale_um in _SCALES_UM[1:]:
        pose = _step(pose, trust * _wall_weight(lines - pose @ basis.T, scale_um), lines, basis, prior)
    return pose


def _wall_weight(residual: Tensor, scale_um: float) -> Tensor:
    """Weight of points at a scale: what lies above the curve lets go of it, what lies below pulls on."""
    off = residual / scale_um
    return torch.where(off < 0, (1 + off.square()) ** -2.0, 1 / (1 + off.abs()))


def _step(pose: Tensor, weight: Tensor, lines: Tensor, basis: Tensor, prior: _Prior) -> Tensor:
    """Weighted least squares under the prior as it stands at ``pose``."""
    weighted = basis * (weight / _TOLERANCE_UM**2)[..., None]
    normal = weighted.mT @ basis + prior.curvature(pose)
    return torch.linalg.solve(normal, (weighted * lines[..., None]).sum(-2))
