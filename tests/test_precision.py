"""What is measured and drawn in full precision while the networks run in half of it."""

import doctest

import pytest
import torch

from fund2oct import precision
from fund2oct.metrics import find_surfaces, measure_eyes, volume_ms_ssim
from fund2oct.metrics.eyes.findings import Findings
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.networks.layered.surfaces import SurfaceDistribution
from fund2oct.networks.lift import coarsen, sample_lines
from fund2oct.networks.noise import NoiseSource
from fund2oct.networks.voxels.decoder import SpeckleHead
from fund2oct.networks.voxels.generator import VolumeGenerator

BF16 = {"device_type": "cpu", "dtype": torch.bfloat16}


def test_the_examples_run():
    assert doctest.testmod(precision).failed == 0


def test_ascans_lie_where_the_grid_says():
    width = 200
    # Column numbers, which bfloat16 holds exactly: what is read is the position itself.
    columns = torch.arange(width, dtype=torch.bfloat16).expand(1, 1, 3, width)
    position = torch.linspace(3.3, 190.7, 448)
    grid = torch.stack([(2 * position + 1) / width - 1, torch.zeros(448)], -1)[None, None]
    with torch.autocast(**BF16):
        found = sample_lines(columns, grid)
        means = coarsen(grid, 112)
    assert found.dtype == means.dtype == torch.float32
    torch.testing.assert_close(found[0, 0, 0], position, atol=1e-3, rtol=0)
    torch.testing.assert_close(means[0, 0, :, 0], grid[0, 0, :, 0].view(112, 4).mean(1))


def test_heights_have_no_steps():
    pose_um = torch.tensor([[[1150.0, 37, 12, 3, -2, 1, 0.5]]])
    batch = {"pose_um": pose_um, "surfaces_um": 1150 - 300 * torch.rand(1, 4, 1, 448)}
    outside = heights_above_pose(batch)
    with torch.autocast(**BF16):
        inside = heights_above_pose(batch)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, atol=1e-2, rtol=0)


def test_drawn_surfaces_have_no_steps():
    found = SurfaceDistribution(100 * torch.rand(1, 4, 6, 40), 30 * torch.randn(1, 4, 16, 6, 40))
    outside = found.draw(NoiseSource.of_keys(["eye"]))
    with torch.autocast(**BF16):
        inside = found.draw(NoiseSource.of_keys(["eye"]))
    torch.testing.assert_close(inside, outside, atol=1e-2, rtol=0)


def test_a_bright_pixel_has_no_steps():
    head = SpeckleHead(8)
    with torch.no_grad():
        head.anatomy.weight.mul_(6)
    x = torch.randn(4, 8, 96, 128)
    with torch.autocast(**BF16):
        drawn = head(x, NoiseSource.of_keys(["eye"]))
    assert drawn.dtype == torch.float32
    assert drawn.min() < 0.02 and drawn.max() > 0.98
    bright = torch.arange(0x3F00, 0x3F80 + 1).to(torch.int16).view(torch.bfloat16)  # its bits, one by one
    assert bright[0] == 0.5 and bright[-1] == 1 and len(bright) == 129
    assert len(drawn[drawn >= 0.5].unique()) > 100 * len(bright)
    assert len(drawn.unique()) > 0.5 * drawn.numel()


def test_a_generator_draws_in_full_precision():
    network = VolumeGenerator(6, 32, (8, 8, 16))
    grid = torch.rand(1, 6, 24, 2) - 0.5
    with torch.autocast(**BF16):
        assert network(torch.rand(1, 3, 32, 32), grid).dtype == torch.float32


@pytest.fixture
def eyes():
    """A layered retina and one like it."""
    torch.manual_seed(3)
    rows = torch.arange(80.0).view(1, 1, 1, 80, 1)
    retina = 0.2 + 0.5 * torch.exp(-(((rows - 48) / 3) ** 2)) + 0.3 * torch.exp(-(((rows - 36) / 2) ** 2))
    real = (retina + 0.05 * torch.randn(2, 1, 6, 80, 100)).clamp(0, 1)
    return (real + 0.03 * torch.randn_like(real)).clamp(0, 1), real


def test_metrics_are_the_same_within_autocast(eyes):
    fake, real = eyes
    mask = torch.ones_like(real, dtype=torch.bool)
    spacing = torch.full((2,), 0.024), torch.full((2,), 0.08)

    def measured():
        return measure_eyes(Findings(fake, *spacing), Findings(real, *spacing), fake, real, mask)

    outside = measured()
    with torch.autocast(**BF16):
        inside = measured()
    for name, value in outside.items():
        torch.testing.assert_close(inside[name], value, equal_nan=True, msg=name)


def test_half_precision_images_can_be_measured(eyes):
    fake, real = (volume.bfloat16() for volume in eyes)
    expected = volume_ms_ssim(fake.float(), real.float())
    assert volume_ms_ssim(fake, real).dtype == torch.float32
    torch.testing.assert_close(volume_ms_ssim(fake, real), expected)
    found = find_surfaces(fake, torch.full((2,), 0.024), torch.full((2,), 0.08))
    assert found.ilm_um.dtype == torch.float32
