"""The pose's surface, its robust fit, and what symmetries do to it."""

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from torch import Tensor

from fund2oct.geometry import RadialScan, RasterScan
from fund2oct.retina import N_POSE, apply_symmetry_to_pose, fit_pose, pose_surface_um

X = 113


def _pose(n: int = 24) -> Tensor:
    """Parabolas, as most eyes have them."""
    pose = torch.zeros(n, N_POSE, dtype=torch.float64)
    spread = torch.tensor([50.0, 60, 40], dtype=torch.float64)
    pose[:, :3] = torch.randn(n, 3, dtype=torch.float64) * spread + torch.tensor([1100.0, 0, -60])
    return pose


def _bump(first: int, last: int, height_um: float) -> Tensor:
    lift = torch.zeros(X, dtype=torch.float64)
    lift[first:last] = height_um * torch.sin(torch.linspace(0, torch.pi, last - first).double())
    return lift


@pytest.mark.parametrize("n_coefficients", [3, 5, 7])
def test_surface_is_numpys_legendre_series_at_ascan_centres(n_coefficients):
    pose = torch.randn(2, 2, n_coefficients, dtype=torch.float64)
    u = (2 * np.arange(7) + 1) / 7 - 1
    expected = np.stack([[legendre.legval(u, c) for c in eye] for eye in pose.numpy()])
    np.testing.assert_allclose(pose_surface_um(pose, 7).numpy(), expected, rtol=1e-12)


def test_fit_inverts_the_surface():
    pose = _pose(6).view(2, 3, N_POSE)
    torch.testing.assert_close(fit_pose(pose_surface_um(pose, X)), pose, atol=1e-3, rtol=0)


def test_fit_of_noise_is_near_least_squares():
    pose = _pose()
    surface = pose_surface_um(pose, X) + 5 * torch.randn(24, X)
    u = (2 * np.arange(X) + 1) / X - 1
    expected = legendre.legfit(u, surface.T.numpy(), 2).T
    np.testing.assert_allclose(fit_pose(surface)[:, :3].numpy(), expected, atol=2.0)


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
    assert pose_surface_um(plain - pose[:, :3], X).abs().mean() > 15


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
    pose = _pose(60).view(10, 6, N_POSE)
    pose[..., 2] = -90 + 10 * torch.randn(10, 6)
    surface = pose_surface_um(pose, X) + 3 * torch.randn(10, 6, X)
    surface[:, 2, :50] -= 250 * torch.cos(torch.linspace(0, torch.pi / 2, 50))
    together, alone = fit_pose(surface)[:, 2], fit_pose(surface[:, 2, None])[:, 0]
    off = [pose_surface_um(fitted - pose[:, 2], X).abs().mean(-1) for fitted in (together, alone)]
    assert off[0].max() < 15 and off[1].max() > 50
    torch.testing.assert_close(fit_pose(surface[:1]), fit_pose(surface)[:1])  # and by no other eye's


STAR_MM = 12.0


def _star(*places_mm: tuple[float, float, float, float]) -> Tensor:
    """Depths of a bowl under a star of 12 mm, moved by bumps ``(x, y, sigma, depth)``, mm and um."""
    points = RadialScan(6, STAR_MM).coordinates(X, dtype=torch.float64)
    x, y = points.unbind(-1)
    depth_um = 1100 + 12 * x - 20 * y - 6 * x.square() - 9 * y.square()
    for centre_x, centre_y, sigma_mm, height_um in places_mm:
        distance2 = (x - centre_x).square() + (y - centre_y).square()
        depth_um = depth_um + height_um * torch.exp(-distance2 / (2 * sigma_mm**2))
    return depth_um


@pytest.mark.parametrize("sigma_mm", [1.9, 2.6])
@pytest.mark.parametrize("centre_mm", [(0.0, 0.0), (2.0, 1.0), (4.0, -1.0)])
@pytest.mark.parametrize("height_um", [150.0, 350.0])
def test_a_staphyloma_is_followed(sigma_mm, centre_mm, height_um):
    sunk = _star((*centre_mm, sigma_mm, height_um))
    noise = 5 * torch.randn(sunk.shape, generator=torch.Generator().manual_seed(0))
    followed = pose_surface_um(fit_pose(sunk + noise, length_mm=STAR_MM), X) - sunk
    assert followed.abs().mean() < 10 and followed.abs().quantile(0.95) < 25
    # A parabola cannot: the test would not pass without the higher degrees.
    u = (2 * np.arange(X) + 1) / X - 1
    best = torch.from_numpy(legendre.legval(u, legendre.legfit(u, sunk.T.numpy(), 2)))
    assert (best - sunk).abs().mean() > 2 * followed.abs().mean()


def _dome(x_mm: float, y_mm: float, radius_mm: float, height_um: float) -> Tensor:
    """What a detachment lifts under the star."""
    distance = (RadialScan(6, STAR_MM).coordinates(X) - torch.tensor([x_mm, y_mm])).norm(dim=-1)
    return height_um * (1 - (distance / radius_mm).square()).clamp(min=0)


@pytest.mark.parametrize("centre_mm", [(0.0, 0.0), (2.0, 1.0), (3.0, -1.0)])
@pytest.mark.parametrize("height_um", [150.0, 350.0])
def test_a_detachment_as_high_as_a_staphyloma_is_deep_is_not_followed(centre_mm, height_um):
    """It is 5 mm wide, more than a staphyloma of 1.9 mm (one sigma) at half its depth."""
    bowl = _star()
    noise = 5 * torch.randn(bowl.shape, generator=torch.Generator().manual_seed(0))
    surface = bowl - _dome(*centre_mm, 2.5, height_um) + noise
    off = (pose_surface_um(fit_pose(surface, length_mm=STAR_MM), X) - bowl).abs()
    assert off.mean() < 3 and off.max() < 15


def test_a_detachment_within_a_staphyloma_stays_lifted():
    wall = _star((1.0, 0.5, 2.4, 300.0))
    off = fit_pose(wall - _dome(0.3, 0.0, 1.5, 250.0), length_mm=STAR_MM)
    off = (pose_surface_um(off, X) - wall).abs()
    assert off.mean() < 10 and off.max() < 45


def test_what_bends_too_sharply_for_a_wall_is_not_followed():
    """The same coefficients over a shorter slice are a sharper bend."""
    sunk = _star((0.0, 0.0, 1.9, 250.0))
    long, short = (fit_pose(sunk, length_mm=mm) for mm in (STAR_MM, 4.0))
    assert (long[:, 4:].abs().amax(-1) > 40).all() and (short[:, 3:].abs() < 10).all()


def test_most_eyes_are_parabolas():
    fitted = fit_pose(pose_surface_um(_pose(), X) + 6 * torch.randn(24, X))
    assert (fitted[:, 3:] == 0).all()


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
    assert fit_pose(torch.full((2, 3, X), 500.0)).shape == (2, 3, N_POSE)
    assert fit_pose(torch.full((X,), 500.0)).dtype == torch.float32
    assert fit_pose(torch.full((X,), 500.0)).shape == (N_POSE,)


@pytest.mark.parametrize("n_coefficients", [3, 6, 7])
@pytest.mark.parametrize("scan", [RadialScan(), RasterScan(5)])
def test_symmetry_moves_the_pose_as_it_moves_the_surface(scan, n_coefficients):
    pose = torch.randn(2, scan.n_slices, n_coefficients, dtype=torch.float64)
    for symmetry in scan.symmetries():
        moved = pose_surface_um(apply_symmetry_to_pose(pose, symmetry), X)
        expected = symmetry.apply_to_scan(pose_surface_um(pose, X), slice_dim=1)
        torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: pose_surface_um(torch.zeros(6, 2), 9), r"\(\.\.\., S, K\)"),
        (lambda: fit_pose(torch.zeros(4, 2)), "at least 3 A-scans"),
        (lambda: fit_pose(torch.zeros(4, 9), torch.zeros(4, 8)), "surface's shape"),
        (lambda: fit_pose(torch.zeros(4, 9), length_mm=0.0), "positive length"),
        (
            lambda: apply_symmetry_to_pose(torch.zeros(5, 3), RadialScan().symmetries()[1]),
            r"\(\.\.\., 6, K\)",
        ),
    ],
)
def test_wrong_shapes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
