"""The simulator's parts against closed forms."""

import numpy as np
import pytest
import torch

from fund2oct.geometry import LineScan, Placement, RadialScan, RasterScan
from fund2oct.phantom.anatomy import sample_anatomy
from fund2oct.phantom.grid import PhotoGrid, smoothstep
from fund2oct.phantom.pose import keep_in_frame, pose_surface, sample_pose
from fund2oct.phantom.rendering.scanner import DYNAMIC_RANGE_DB, Optics, acquire, linear
from fund2oct.phantom.vessels import draw_vessels, grow_vessels
from fund2oct.retina import pose_surface_um

PLACEMENT = Placement((0.05, -0.03), 7.0, 6.2)


@pytest.mark.parametrize("side", [1, -1])
def test_grid_agrees_with_the_placement(side):
    grid = PhotoGrid(PLACEMENT, 90, side)
    points = torch.tensor([[0.0, 0.0], [1.5, -2.0], [-3.0, 1.0]])
    column, row = grid.to_pixels(points[:, 0].numpy() * side, points[:, 1].numpy())
    expected = PLACEMENT.to_pixels(points, 90).numpy()
    np.testing.assert_allclose(np.stack([column, row], 1), expected, atol=1e-4)
    read = grid.sample([grid.x, grid.y], points[:, 0].numpy() * side, points[:, 1].numpy())
    np.testing.assert_allclose(read.T, points.numpy() * [side, 1], atol=1e-4)


@pytest.mark.parametrize("cell_mm", [0.15, 1.0])
def test_noise_has_unit_variance_and_no_resolution(cell_mm):
    fields = {
        size: PhotoGrid(PLACEMENT, size, 1).noise(np.random.default_rng(4), cell_mm) for size in (100, 300)
    }
    assert fields[300].std() == pytest.approx(1, abs=0.25)
    assert fields[300].mean() == pytest.approx(0, abs=0.25)
    np.testing.assert_allclose(fields[300][1::3, 1::3], fields[100], atol=0.05)


def test_smoothstep():
    np.testing.assert_allclose(smoothstep(np.array([-1, 0, 0.5, 1, 2.0]), 0, 1), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize(
    "scan", [RadialScan(5, 8.0), RasterScan(4, 6.0, 5.0), LineScan((((-1.0, 2.0), (3.0, -1.5)),))]
)
def test_pose_without_motion_is_one_paraboloid(scan, monkeypatch):
    class Still:
        """No motion, and the same eye each time."""

        def normal(self, mean, _deviation, size=None):
            return mean if size is None else np.zeros(size) if size != 2 else np.array([20.0, -35.0])

        def gamma(self, *_arguments):
            return np.array([10.0, 23.0])

    pose = sample_pose(Still(), scan, 2000.0)
    points = scan.coordinates(9).numpy()
    x, y = points[..., 0], points[..., 1]
    expected = 1100 + 20 * x - 35 * y - 7 * x * x - 20 * y * y
    np.testing.assert_allclose(pose_surface(pose, 9), expected, atol=0.05)
    np.testing.assert_allclose(pose_surface_um(torch.from_numpy(pose), 9), expected, atol=0.05)


def test_slices_are_kept_in_the_frame():
    rng = np.random.default_rng(0)
    pose = rng.normal(0, 1, (40, 3)) * (900, 300, 250) + (1000, 0, 0)
    above, below = np.full((40, 31), 420.0), np.full((40, 31), 3.0)
    kept = keep_in_frame(pose, above, below, 1920)
    surface = pose_surface(kept, 31)
    assert (surface - above).min() >= 0.03 * 1920 - 1e-6
    assert (surface + below).max() <= 0.80 * 1920 + 1e-6
    harmless = np.array([[1100.0, 30, -40]])
    np.testing.assert_array_equal(keep_in_frame(harmless, above[:1], below[:1], 1920), harmless)


@pytest.mark.parametrize("arterioles", [True, False])
def test_vessels_leave_the_disc_and_avoid_the_fovea(arterioles):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        anatomy = sample_anatomy(rng, rng)
        grid = PhotoGrid(Placement(), 256, 1)
        drawn = draw_vessels(grid, grow_vessels(rng, anatomy, arterioles))
        assert drawn.min() >= 0
        assert drawn.max() <= 1
        radius = np.hypot(grid.x, grid.y)
        assert not drawn[radius < 0.3].any()
        assert 0.01 < drawn[radius < 6].mean() < 0.15
        for half in (grid.y < -1, grid.y > 1):
            assert drawn[half & (grid.x < 3)].max() > 0.5, "an arcade is missing"
        from_disc = anatomy.disc_distance(grid.x, grid.y)
        assert drawn[from_disc < 1].mean() > drawn[(from_disc > 2.5) & (radius < 6)].mean()


def test_venules_are_wider_than_arterioles():
    rng = np.random.default_rng(0)
    anatomy = sample_anatomy(rng, rng)
    grid = PhotoGrid(Placement(), 256, 1)
    arterioles, venules = (
        draw_vessels(grid, grow_vessels(np.random.default_rng(1), anatomy, kind)) for kind in (True, False)
    )
    assert venules.sum() > 1.15 * arterioles.sum()


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("spacing_um", [(24.0, 80.0), (3.0, 6.0)])
def test_speckle_contrast_is_that_of_averaged_power(looks, spacing_um):
    """Fully developed speckle averaged over n patterns has a contrast of 1 / sqrt(n)."""
    optics = Optics(looks=looks, noise_floor=0.0)
    signal = np.full((3, 250, 260), linear(0.6), np.float32)
    display = acquire(np.random.default_rng(0), signal, *spacing_um, optics) / 255
    inside = display[:, 20:-20, 20:-20]
    power = 10 ** (inside * DYNAMIC_RANGE_DB / 10)
    assert power.std() / power.mean() == pytest.approx(1 / np.sqrt(looks), rel=0.08)
    assert power.mean() == pytest.approx(linear(0.6), rel=0.05)


def test_grains_are_as_wide_as_the_point_spread():
    signal = np.full((2, 200, 220), linear(0.6), np.float32)
    optics = Optics(axial_um=12.0, lateral_um=30.0, looks=1, noise_floor=0.0)
    power = 10 ** (acquire(np.random.default_rng(0), signal, 3.0, 5.0, optics) / 255 * DYNAMIC_RANGE_DB / 10)
    power = power - power.mean()
    for axis, width_px in ((1, 4.0), (2, 6.0)):
        lag = round(width_px)
        lead, late = np.delete(power, np.s_[:lag], axis), np.delete(power, np.s_[-lag:], axis)
        # The field's correlation after one full width is exp(-width^2 / (4 sigma^2)); power squares it.
        expected = np.exp(-(2.355**2) / 4) ** 2
        assert (lead * late).mean() / power.var() == pytest.approx(expected, abs=0.05)


def test_brightness_is_logarithmic():
    optics = Optics(looks=5000, noise_floor=0.0)
    for wanted in (0.3, 0.6, 0.9):
        signal = np.full((1, 20, 30), linear(wanted), np.float32)
        display = acquire(np.random.default_rng(0), signal, 24.0, 80.0, optics)
        assert display.mean() / 255 == pytest.approx(wanted, abs=0.02)
