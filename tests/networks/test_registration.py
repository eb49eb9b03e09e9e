"""A scan is registered to its photo: the fit of a similarity, the conventions, and that it learns."""

import math

import numpy as np
import pytest
import torch

from fund2oct.geometry import Placement, RadialScan
from fund2oct.models import SurfaceModel
from fund2oct.models.thickness import predict_thickness
from fund2oct.networks.layered.generator import LayeredGenerator
from fund2oct.networks.lift import sample_lines
from fund2oct.networks.registration import RegistrationNetwork, Similarity, registered

B, S, X = 3, 6, 40
SCAN = RadialScan()


def grids(placements: list[Placement], n_ascans: int = X) -> torch.Tensor:
    return torch.stack([placement.to_grid(SCAN.coordinates(n_ascans)) for placement in placements])


def test_the_fit_finds_a_placement_again():
    given = grids([Placement(half_width_mm=6.5), Placement((0.1, -0.05), 4.0, 6.0)])
    true = grids([Placement((0.12, 0.05), 10.0, 7.15), Placement((-0.05, 0.0), -6.0, 6.6)])
    weights = torch.rand(2, S * X).softmax(1)
    found = Similarity.fitted(given.flatten(1, 2), (true - given).flatten(1, 2), weights)
    # The spread is held away from 0, which shrinks turn and scale by a hundredth.
    torch.testing.assert_close(found.moved(given), true, atol=4e-3, rtol=0)
    scale, angle = found.turn.norm(dim=1), torch.atan2(found.turn[:, 1], found.turn[:, 0])
    torch.testing.assert_close(scale, torch.tensor([6.5 / 7.15, 6.0 / 6.6]), atol=4e-3, rtol=0)
    assert angle.rad2deg().tolist() == pytest.approx([10.0, -10.0], abs=0.3)


def test_without_training_nothing_moves_and_nothing_else_changes():
    networks = []
    for registration in (False, True):
        torch.manual_seed(0)
        widths = {"surface_width": 8, "tissue_width": 8, "texture": (8, 8)}
        networks.append(LayeredGenerator(32, "own", **widths, registration=registration))
    without, with_it = (dict(network.named_parameters()) for network in networks)
    assert all(torch.equal(weight, with_it[name]) for name, weight in without.items())
    photo, grid = torch.rand(1, 3, 32, 32), grids([Placement((0.1, 0.0), 5.0)])
    found = [network.predict_surfaces(photo, grid).median_um for network in networks]
    torch.testing.assert_close(*found)


def test_some_slices_are_moved_as_their_whole_scan():
    network = RegistrationNetwork((8,))
    torch.nn.init.normal_(network.vote.weight, 0, 0.5)
    maps, grid = [torch.randn(2, 8, 16, 16)], grids([Placement((0.1, 0.0), 5.0), Placement()])
    moved, _ = registered(network, maps, grid)
    assert (moved - grid).abs().mean() > 0.01
    some, whole = registered(network, maps, grid[:, 2:4], whole=grid)
    torch.testing.assert_close((some, whole), (moved[:, 2:4], moved))


def test_a_map_of_the_thickness_moves_with_the_scan():
    model = SurfaceModel((S, 32, X), encoder="own", surface_width=8, registration=True)
    model.configure_model()
    network = model.generator_ema.module
    with torch.no_grad():
        network.registration.vote.bias.copy_(
            torch.tensor([2.0, 1.0, 0.0])
        )  # right and down, whatever is seen
    fundus = torch.randint(0, 255, (48, 48, 3), dtype=torch.uint8).numpy()
    first = predict_thickness(model, fundus, Placement(), SCAN).median_um
    network.registration = model.registration = None
    second = predict_thickness(model, fundus, Placement((0.2, 0.1)), SCAN).median_um
    np.testing.assert_allclose(first[np.isfinite(second)], second[np.isfinite(second)], atol=0.05)


def test_it_learns_where_the_scan_lies_from_what_is_seen_there():
    torch.manual_seed(0)
    network = RegistrationNetwork((3,))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    line = torch.linspace(-1, 1, 16)
    y, x = torch.meshgrid(line, line, indexing="ij")
    n_ascans, errors = 8, []
    for step in range(80):
        given, true, photos = [], [], []
        for number in range(8):
            rng = torch.Generator().manual_seed(1000 * step + number)
            u, v, angle = (0.4 * torch.rand(3, generator=rng) - 0.2).tolist()
            true.append(Placement((u, v)))
            turn = 2 * math.pi * torch.rand(1, generator=rng).item()
            given.append(Placement((u + 0.15 * math.cos(turn), v + 0.15 * math.sin(turn)), 50 * angle))
            photos.append(torch.stack([(-8 * ((x - u) ** 2 + (y - v) ** 2)).exp(), x - u, y - v]))
        maps, wrong, right = [torch.stack(photos)], grids(given, n_ascans), grids(true, n_ascans)
        found, _ = registered(network, maps, wrong)
        loss = (sample_lines(maps[0], found) - sample_lines(maps[0], right)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(((found - right).norm(dim=-1).mean() / (wrong - right).norm(dim=-1).mean()).item())
    assert errors[0] == pytest.approx(1, abs=0.01)
    assert sum(errors[-10:]) / 10 < 0.4
