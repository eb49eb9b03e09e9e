"""A scan is registered to its photo: the fit of a similarity, the conventions, and that it learns."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fund2oct.data import Eye
from fund2oct.geometry import Placement, RadialScan
from fund2oct.models import SurfaceModel
from fund2oct.models.predicting.generate import complete, find_place
from fund2oct.models.predicting.photo_reader import ReadyPhoto
from fund2oct.models.thickness import predict_thickness
from fund2oct.models.training.conditions import Conditions
from fund2oct.networks.layered.generator import LayeredGenerator
from fund2oct.networks.lift import sample_lines
from fund2oct.networks.registration import RegistrationNetwork, Similarity, at_given_places, registered

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


@pytest.fixture
def registering():
    """A model that moves each scan to the right and down, whatever is seen."""
    model = SurfaceModel((S, 32, X), encoder="own", surface_width=8, registration=True)
    model.configure_model()
    with torch.no_grad():
        model.generator_ema.module.registration.vote.bias.copy_(torch.tensor([2.0, 1.0, 0.0]))
    return model


FUNDUS = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)


def test_a_map_of_the_thickness_moves_with_the_scan(registering):
    first = predict_thickness(registering, FUNDUS, Placement(), SCAN)
    with at_given_places(registering):
        second = predict_thickness(registering, FUNDUS, Placement((0.2, 0.1)), SCAN)
        there = predict_thickness(registering, FUNDUS, Placement(), SCAN)
    np.testing.assert_allclose(first.grid, second.grid, atol=1e-5)
    np.testing.assert_allclose(first.median_um, second.median_um, atol=0.05)
    assert np.abs(there.grid - first.grid).max() == pytest.approx(0.2, abs=1e-5)


def test_the_place_that_is_found_is_that_of_the_moved_scan():
    given = Placement((0.1, -0.05), 4.0, 6.0)
    grid = grids([given])
    found = Similarity.fitted(
        grid.flatten(1, 2), (0.1 * torch.randn_like(grid)).flatten(1, 2), torch.ones(1, S * X) / (S * X)
    )
    torch.testing.assert_close(grids([found.moved_placement(given)]), found.moved(grid), atol=1e-5, rtol=0)


def test_what_is_predicted_lies_where_the_scan_was_found(registering, tmp_path):
    assert find_place(registering, FUNDUS, Placement(), SCAN).shift == pytest.approx((0.2, 0.1), abs=1e-5)
    with at_given_places(registering):
        assert find_place(registering, FUNDUS, Placement(), SCAN) == Placement()
    task = SimpleNamespace(scan=SCAN, conditions=Conditions())
    registering.task = task
    eye = Eye(key="a", patient="a", laterality="OD", fundus=FUNDUS)
    done = complete(registering, ReadyPhoto(eye, SCAN, (1.0, 0.01, 0.1), ()))
    assert done.placement.shift == pytest.approx((0.2, 0.1), abs=1e-5) and done.history["registered"]


def test_a_generator_that_was_built_without_registration_leaves_a_scan_where_it_is(registering):
    registering.generator_ema.module.registration = None
    assert find_place(registering, FUNDUS, Placement((0.1, 0.0)), SCAN) == Placement((0.1, 0.0))


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
