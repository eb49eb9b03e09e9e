"""Warping aligned tissue from surfaces to surfaces: one bright voxel, and nothing where nothing moves."""

import torch

from fund2oct.evaluation.answers.borrowed import warp_heights as warp
from fund2oct.retina import ALIGNED_DEPTH

B, S, Z, X = 2, 3, 50, 7
SPACING = torch.tensor([0.01, 0.02])


def heights(*um: float) -> torch.Tensor:
    return torch.tensor(um).view(1, -1, 1, 1).expand(B, len(um), S, X).clone()


def test_nothing_moves_between_the_same_surfaces() -> None:
    volume = torch.rand(B, 1, S, Z, X)
    surfaces = heights(200.0, 26.0, 26.0, 0.0)
    torch.testing.assert_close(warp(volume, surfaces, surfaces, SPACING), volume, atol=1e-4, rtol=0)


def test_what_lies_on_a_surface_stays_on_it() -> None:
    volume = torch.zeros(B, 1, S, Z, X)
    outer = round(ALIGNED_DEPTH * Z)
    volume[0, 0, 1, outer - 10, 3] = 1  # its centre is 95 um above the pose's surface
    own, wanted = heights(95.0, 0.0), heights(95.0, 0.0)
    wanted[0, 0, 1, 3] = 145.0
    moved = warp(volume, own, wanted, SPACING)
    assert moved[0, 0, 1].argmax(0)[3] == outer - 15 and moved[0, 0, 1, outer - 15, 3] > 0.99
    assert moved[0, 0, 0].max() == 0 and moved[1].max() == 0
    # Between the surfaces tissue is stretched evenly: half way up stays half way up.
    volume = torch.zeros(B, 1, S, Z, X)
    volume[1, 0, 2, outer - 3, 4] = 1  # rows of 20 um: 50 um above, half way to 100
    moved = warp(volume, heights(100.0, 0.0), heights(180.0, 0.0), SPACING)
    assert moved[1, 0, 2].argmax(0)[4] == outer - 5


def test_beyond_the_surfaces_tissue_is_shifted() -> None:
    volume = torch.zeros(B, 1, S, Z, X)
    outer = round(ALIGNED_DEPTH * Z)
    volume[0, 0, :, outer + 5], volume[0, 0, :, outer - 20] = 1, 1
    moved = warp(volume, heights(100.0, 0.0), heights(130.0, -20.0), SPACING)[0, 0]
    assert (moved[:, outer + 7] > 0.99).all() and (moved[:, outer - 23] > 0.99).all()


def test_a_gap_without_tissue_is_filled_by_its_edge() -> None:
    # Where the other eye has no fluid, a band of nothing is stretched to the wanted height.
    volume = torch.linspace(0, 1, Z).view(1, 1, 1, Z, 1).expand(B, 1, S, Z, X).contiguous()
    moved = warp(volume, heights(100.0, 20.0, 20.0, 0.0), heights(150.0, 70.0, 20.0, 0.0), SPACING)
    outer = round(ALIGNED_DEPTH * Z)
    inside = moved[0, 0, 0, outer - 6 : outer - 2, 0]
    assert inside.std() < 1e-3
    assert (moved[0, 0, 0, :, 0].diff() > -1e-6).all()
