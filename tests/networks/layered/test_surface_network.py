"""The distribution of the surfaces: order, increments, draws and intervals."""

import pytest
import torch

from fund2oct.networks.layered.surfaces import (
    SurfaceDistribution,
    SurfaceNetwork,
    increments_of,
    pile_up,
)
from fund2oct.networks.noise import NoiseSource

B, N, K, S, X = 2, 4, 5, 3, 7


@pytest.fixture
def distribution():
    rng = torch.Generator().manual_seed(0)
    increments = 60 * torch.randn(B, N, S, X, generator=rng)
    return SurfaceDistribution(increments, 20 * torch.randn(B, N, K, S, X, generator=rng))


def test_heights_are_piled_up_from_the_deepest_surface():
    increments = torch.tensor([5.0, 30.0, -4.0, 250.0]).view(1, 4, 1, 1)
    assert pile_up(increments).flatten().tolist() == [285.0, 35.0, 35.0, 5.0]


def test_increments_undo_the_pile():
    increments = torch.rand(B, N, S, X) * 100
    torch.testing.assert_close(increments_of(pile_up(increments)), increments, atol=1e-4, rtol=1e-5)
    heights = pile_up(increments)
    heights[0, 1] = float("nan")
    assert increments_of(heights)[0].isnan().flatten(1).any(1).tolist() == [False, False, True, True]


def test_surfaces_never_cross(distribution):
    for heights in (distribution.median_um, distribution.draw(NoiseSource())):
        assert (heights.diff(dim=1) <= 1e-3).all()


def test_draws_spread_as_the_loadings_say():
    increments = torch.full((1, N, S, X), 100.0)
    loadings = torch.zeros(1, N, K, S, X)
    loadings[:, 2, 0] = 3.0
    loadings[:, 3, 1] = 4.0
    found = SurfaceDistribution(increments, loadings)
    thickness, deviation = found.distance_um(0, 2)
    assert thickness.unique().tolist() == [200.0]
    torch.testing.assert_close(deviation, torch.full((1, S, X), 5.0))
    rng = NoiseSource([torch.Generator().manual_seed(0)])
    drawn = torch.stack([found.draw(rng) for _ in range(800)])
    spread = (drawn[:, :, 0] - drawn[:, :, 2]).std(0)
    torch.testing.assert_close(spread, torch.full((1, S, X), 5.0), rtol=0.1, atol=0)
    # One vector an eye: all A-scans of a draw move together.
    assert (drawn[:, 0, 0] - drawn[:, 0, 0, :1, :1]).abs().max() < 1e-4


def test_an_eye_is_drawn_by_its_own_numbers(distribution):
    both = distribution.draw(NoiseSource.of_keys(["a", "b"]))
    alone = SurfaceDistribution(distribution.increments_um[1:], distribution.loadings_um[1:])
    torch.testing.assert_close(alone.draw(NoiseSource.of_keys(["b"])), both[1:])


def test_surfaces_that_are_not_there_are_refused(distribution):
    with pytest.raises(ValueError, match="surfaces: expected 0 <= first < last < 4, found 2 and 2"):
        distribution.distance_um(2, 2)


def test_a_network_starts_at_a_healthy_eye_and_learns_a_step():
    network = SurfaceNetwork((8,), width=16, n_numbers=K)
    photo, maps = torch.rand(B, 3, 16, 16), [torch.rand(B, 8, 8, 8)]
    grid = torch.rand(B, S, X, 2) * 2 - 1
    found = network(photo, maps, grid)
    assert found.loadings_um.shape == (B, N, K, S, X)
    thickness, _ = found.distance_um(0, 2)
    assert (thickness - 265).abs().max() < 60
    # A bump under one place of the photo: the network can learn where it lies.
    photo = torch.zeros(1, 3, 16, 16)
    photo[..., 8:, :] = 1
    line = torch.stack([torch.zeros(40), torch.linspace(-0.9, 0.9, 40)], -1)[None, None]
    real = 265 + 100.0 * (line[..., 1] > 0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        thickness, _ = network(photo, [torch.zeros(1, 8, 8, 8)], line).distance_um(0, 2)
        optimizer.zero_grad()
        loss = (thickness - real).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 400  # 20 um; without the photo it is 50
