"""The pose's surface, its robust fit, and what symmetries do to it."""

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from torch import Tensor

from fund2oct.geometry import RadialScan, RasterScan
from fund2oct.retina import apply_symmetry_to_pose, fit_pose, pose_surface_um

X = 113


def _pose(n: int = 24) -> Tensor:
    spread = torch.tensor([50.0, 60, 40], dtype=torch.float64)
    return torch.randn(n, 3, dtype=torch.float64) * spread + torch.tensor([1100.0, 0, -60]).double()


def _bump(first: int, last: int, height_um: float) -> Tensor:
    lift = torch.zeros(X, dtype=torch.float64)
    lift[first:last] = height_um * torch.sin(torch.linspace(0, torch.pi, last - first).double())
    return lift


def test_surface_is_numpys_legendre_series_at_ascan_centres():
    pose = _pose(4).view(2, 2, 3)
    u = (2 * np.arange(7) + 1) / 7 - 1
    expected = np.stack([[legendre.legval(u, c) for c in eye] for eye in pose.numpy()])
    np.testing.assert_allclose(pose_surface_um(pose, 7).numpy(), expected, rtol=1e-12)


def test_fit_inverts_the_surface():
    pose = _pose(6).view(2, 3, 3)
    torch.testing.assert_close(fit_pose(pose_surface_um(pose, X)), pose, atol=1e-3, rtol=0)


def test_fit_of_noise_is_near_least_squares():
    pose = _pose()
    surface = pose_surface_um(pose, X) + 5 * torch.randn(24, X)
    u = (2 * np.arange(X) + 1) / X - 1
    expected = legendre.legfit(u, surface.T.numpy(), 2).T
    np.testing.assert_allclose(fit_pose(surface).numpy(), expected, atol=2.0)


@pytest.mark.parametrize("first", [5, 30, 55])
@pytest.mark.parametrize("height_um", [100.0, 350.0])
def test_a_detachment_under_45_percent_of_a_slice_does_not_lift_the_pose(first, height_um):
    pose = _pose()
    surface = pose_surface_um(pose, X) + 4 * torch.randn(24, X) - _bump(first, first + 51, height_um)
    shift = pose_surface_um(fit_pose(surface) - pose, X).abs()
    assert shift.mean() < 5 and shift.max() < 30
    # Least squares follows it: the test would not pass by an easy surface.
    u = (2 * np.arange(X) + 1) / X - 1
    plain = torch.from_numpy(legendre.legfit(u, surface.T.numpy(), 2).T)
    assert pose_surface_um(plain - pose, X).abs().mean() > 15


@pytest.mark.parametrize("height_um", [200.0, 350.0])
def test_a_detachment_cut_off_by_the_slices_end(height_um):
    pose = _pose()
    lift = torch.zeros(X, dtype=torch.float64)
    lift[:34] = height_um * torch.cos(torch.linspace(0, torch.pi / 2, 34).double())
    surface = pose_surface_um(pose, X) + 4 * torch.randn(24, X) - lift
    shift = pose_surface_um(fit_pose(surface) - pose, X).abs().mean(-1)
    assert shift.median() < 5 and shift.max() < 15


def test_an_eyes_slices_share_their_curvature():
    """A detachment that a bent parabola imitates in one slice is betrayed by the eye's other slices."""
    torch.manual_seed(2)
    pose = _pose(60).view(10, 6, 3)
    pose[..., 2] = -90 + 10 * torch.randn(10, 6)
    surface = pose_surface_um(pose, X) + 3 * torch.randn(10, 6, X)
    surface[:, 2, :50] -= 250 * torch.cos(torch.linspace(0, torch.pi / 2, 50))
    together, alone = fit_pose(surface)[:, 2], fit_pose(surface[:, 2, None])[:, 0]
    off = [pose_surface_um(fitted - pose[:, 2], X).abs().mean(-1) for fitted in (together, alone)]
    assert off[0].max() < 15 and off[1].max() > 50
    torch.testing.assert_close(fit_pose(surface[:1]), fit_pose(surface)[:1])  # and by no other eye's


def test_unknown_depths_and_zero_weights_count_alike_for_nothing():
    pose = _pose(3)
    surface = pose_surface_um(pose, X)
    hidden = torch.zeros(3, X, dtype=torch.bool)
    hidden[:, 70:] = True
    spoilt = torch.where(hidden, 400.0, surface)
    for fitted in (
        fit_pose(surface.masked_fill(hidden, torch.nan)),
        fit_pose(spoilt, weights=(~hidden).double()),
    ):
        torch.testing.assert_close(fitted, pose, atol=1e-2, rtol=0)


def test_a_slice_without_three_known_points_has_no_pose():
    surface = torch.full((2, X), 700.0)
    surface[1, 2:] = torch.nan
    fitted = fit_pose(surface)
    assert fitted[0].isfinite().all() and fitted[1].isnan().all()


def test_fit_keeps_type_and_leading_dimensions():
    assert fit_pose(torch.full((2, 3, X), 500.0)).shape == (2, 3, 3)
    assert fit_pose(torch.full((X,), 500.0)).dtype == torch.float32
    assert fit_pose(torch.full((X,), 500.0)).shape == (3,)


@pytest.mark.parametrize("scan", [RadialScan(), RasterScan(5)])
def test_symmetry_moves_the_pose_as_it_moves_the_surface(scan):
    pose = _pose(2 * scan.n_slices).view(2, scan.n_slices, 3)
    for symmetry in scan.symmetries():
        moved = pose_surface_um(apply_symmetry_to_pose(pose, symmetry), X)
        expected = symmetry.apply_to_scan(pose_surface_um(pose, X), slice_dim=1)
        torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: pose_surface_um(torch.zeros(6, 2), 9), r"\(\.\.\., S, 3\)"),
        (lambda: fit_pose(torch.zeros(4, 2)), "at least 3 A-scans"),
        (lambda: fit_pose(torch.zeros(4, 9), torch.zeros(4, 8)), "surface's shape"),
        (
            lambda: apply_symmetry_to_pose(torch.zeros(5, 3), RadialScan().symmetries()[1]),
            r"\(\.\.\., 6, 3\)",
        ),
    ],
)
def test_wrong_shapes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
