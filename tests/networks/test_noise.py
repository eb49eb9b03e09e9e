"""The noise of an eye belongs to the eye, not to its batch."""

import doctest

import pytest
import torch

from fund2oct.geometry import Placement, RadialScan
from fund2oct.networks import noise
from fund2oct.networks.noise import NoiseSource, NoNoise, eye_seed
from fund2oct.networks.voxels.generator import VolumeGenerator

KEYS = ["a-OD", "a-OS", "b-OD"]


def test_the_examples_run():
    assert doctest.testmod(noise).failed == 0


def test_an_eye_draws_the_same_in_every_batch_and_at_every_place():
    shapes = [(4,), (1, 8, 6), (1, 16, 12)]
    together = NoiseSource.of_keys(KEYS, seed=3)
    drawn = [together.randn((3 * 5, *shape)).unflatten(0, (3, 5)) for shape in shapes]
    other = NoiseSource.of_keys(KEYS[::-1], seed=3)
    for many, shape in zip(drawn, shapes, strict=True):
        assert torch.equal(other.randn((3 * 5, *shape)).unflatten(0, (3, 5)).flip(0), many)
    alone = NoiseSource.of_keys(KEYS[1:2], seed=3)
    for many, shape in zip(drawn, shapes, strict=True):
        assert torch.equal(alone.randn((5, *shape)), many[1])


def test_eyes_seeds_and_draws_differ():
    source = NoiseSource.of_keys(KEYS)
    first, second = source.randn((3, 1000)), source.randn((3, 1000))
    everything = torch.cat([first, second, NoiseSource.of_keys(KEYS, seed=1).randn((3, 1000))])
    assert (torch.corrcoef(everything) - torch.eye(9)).abs().max() < 0.15
    assert float(everything.mean()) == pytest.approx(0, abs=0.05)
    assert float(everything.std()) == pytest.approx(1, abs=0.05)
    assert len({eye_seed(key, seed) for key in KEYS for seed in range(5)}) == 15


def test_one_generator_serves_a_whole_batch():
    drawn = NoiseSource([torch.Generator().manual_seed(2)]).randn((6, 2))
    assert torch.equal(drawn, torch.randn(6, 2, generator=torch.Generator().manual_seed(2)))


def test_rows_that_cannot_be_shared_out_are_refused():
    with pytest.raises(ValueError, match=r"a multiple of 3 rows.*found 4"):
        NoiseSource.of_keys(KEYS).randn((4, 2))


def test_a_volume_depends_neither_on_the_batch_nor_on_its_order():
    network = VolumeGenerator(6, 32, (8, 8, 16)).eval()
    photos = torch.rand(3, 3, 32, 32)
    grid = Placement().to_grid(RadialScan(6).coordinates(24)).expand(3, -1, -1, -1)
    together = network(photos, grid, rng=NoiseSource.of_keys(KEYS))
    backwards = network(photos.flip(0), grid, rng=NoiseSource.of_keys(KEYS[::-1]))
    torch.testing.assert_close(backwards.flip(0), together)
    for number, key in enumerate(KEYS):
        here = slice(number, number + 1)
        alone = network(photos[here], grid[here], rng=NoiseSource.of_keys([key]))
        torch.testing.assert_close(alone, together[here])


def test_noise_can_be_switched_off():
    network = VolumeGenerator(6, 32, (8, 8, 16)).eval()
    photos = torch.rand(1, 3, 32, 32)
    grid = Placement().to_grid(RadialScan(6).coordinates(24))[None]
    quiet = [network(photos, grid, rng=NoNoise()) for _ in range(2)]
    assert torch.equal(*quiet)
    assert not torch.allclose(quiet[0], network(photos, grid, rng=NoiseSource.of_keys(["a"])), atol=1e-3)
