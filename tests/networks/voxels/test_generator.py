"""The generator and its lifts."""

import pytest
import torch

from fund2oct.geometry import Placement, RadialScan, RasterScan
from fund2oct.networks.lift import LIFTS, GeometryLift, coarsen
from fund2oct.networks.noise import NoiseSource
from fund2oct.networks.voxels.generator import VolumeGenerator

CHANNELS = (8, 8, 16)


def grid_of(scan, n_ascans, batch=1):
    return Placement().to_grid(scan.coordinates(n_ascans)).expand(batch, -1, -1, -1)


@pytest.mark.parametrize("lift", sorted(LIFTS))
@pytest.mark.parametrize(
    "scan, n_depth, n_ascans, size_px", [(RadialScan(5), 33, 47, 40), (RasterScan(3), 16, 20, 31)]
)
def test_any_size(lift, scan, n_depth, n_ascans, size_px):
    network = VolumeGenerator(scan.n_slices, n_depth, CHANNELS, lift)
    volume = network(torch.rand(2, 3, size_px, size_px), grid_of(scan, n_ascans, 2))
    assert volume.shape == (2, 1, scan.n_slices, n_depth, n_ascans)
    assert volume.min() >= 0 and volume.max() <= 1
    other = network(torch.rand(1, 3, 64, 64), grid_of(scan, 24), n_depth=28)
    assert other.shape == (1, 1, scan.n_slices, 28, 24)


def test_the_geometry_lift_takes_another_scan():
    network = VolumeGenerator(6, 32, CHANNELS)
    assert network(torch.rand(1, 3, 32, 32), grid_of(RasterScan(9), 24)).shape == (1, 1, 9, 32, 24)


def test_the_geometry_lift_puts_a_bright_pixel_under_its_own_ascan_alone():
    scan, n_ascans, size_px = RadialScan(6), 48, 128
    where = Placement().to_pixels(scan.coordinates(n_ascans), size_px)[2, 40].round().long()
    features = torch.zeros(1, 4, size_px, size_px)
    features[:, :, where[1], where[0]] = 1
    lift = GeometryLift(4, 6, 10)
    lift.profile.bias.data.zero_()
    lifted = lift(features, grid_of(scan, n_ascans), 10)
    energy = lifted.square().sum((1, 2))
    assert lifted.shape == (6, 4, 10, n_ascans)
    assert divmod(int(energy.argmax()), n_ascans) == (2, 40)
    assert (energy > 0).sum() <= 3


@pytest.mark.parametrize("lift", ["repeat", "channels"])
def test_the_other_lifts_ignore_where_the_scan_lies(lift):
    network = LIFTS[lift](4, 6, 10)
    features = torch.rand(1, 4, 16, 16)
    star, turned = (network(features, grid_of(RadialScan(6, start_deg=d), 12), 10) for d in (0, 40))
    assert torch.equal(star, turned)


def test_coarser_ascans_are_means_of_finer_ones():
    grid = grid_of(RadialScan(6), 48)
    torch.testing.assert_close(coarsen(grid, 12), grid_of(RadialScan(6), 12))


def test_noise_can_be_repeated_and_matters():
    network = VolumeGenerator(6, 32, CHANNELS)
    photo, grid = torch.rand(1, 3, 32, 32), grid_of(RadialScan(6), 24)
    draws = [network(photo, grid, rng=NoiseSource.of_keys(["eye"], seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2], atol=1e-3)


def test_every_weight_gets_a_gradient():
    network = VolumeGenerator(6, 32, CHANNELS)
    network(torch.rand(2, 3, 32, 32), grid_of(RadialScan(6), 24, 2)).square().sum().backward()
    still = [
        name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert not still


def test_bfloat16():
    network = VolumeGenerator(6, 32, CHANNELS)
    with torch.autocast("cpu", torch.bfloat16):
        volume = network(torch.rand(1, 3, 32, 32), grid_of(RadialScan(6), 24))
    assert volume.isfinite().all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda n: VolumeGenerator(6, 32, CHANNELS, "magic"), "lift: expected one of"),
        (lambda n: n(torch.rand(1, 3, 2, 2), grid_of(RadialScan(6), 24)), "at least 4 pixels"),
        (lambda n: n(torch.rand(1, 1, 32, 32), grid_of(RadialScan(6), 24)), r"\(B, 3, H, W\)"),
        (lambda n: n(torch.rand(1, 3, 32, 32), grid_of(RadialScan(6), 3)), "at least 4 samples"),
        (lambda n: n(torch.rand(2, 3, 32, 32), grid_of(RadialScan(6), 24)), "grid: expected"),
        (
            lambda n: VolumeGenerator(6, 32, CHANNELS, "repeat")(
                torch.rand(1, 3, 32, 32), grid_of(RadialScan(5), 24)
            ),
            "built for 6 slices, found 5",
        ),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(VolumeGenerator(6, 32, CHANNELS))
