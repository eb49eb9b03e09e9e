"""The registration benchmark: photo and places move together, and a blind network sees another eye."""

from types import SimpleNamespace

import torch
from cached_eyes import SEEN, moved_photo
from registration import SHIFT, Network, moved_placement, others, photo_move

from fund2oct.geometry import Placement, RadialScan

SCAN, SIZE = RadialScan(), 96


def test_the_placement_on_a_moved_photo_is_that_of_its_places():
    true, points = Placement((0.05, -0.1), 3.0, 6.2), SCAN.coordinates(40)
    for number in range(5):
        move = photo_move(number)
        moved = moved_placement(true, move)
        torch.testing.assert_close(
            moved.to_grid(points), move.place(true.to_grid(points)), atol=1e-5, rtol=1e-5
        )


def test_a_bright_spot_moves_with_its_place_and_the_frame_stays():
    row, column = 40, 58
    photo = torch.full((1, 3, SIZE, SIZE), 0.5)
    photo[..., row - 1 : row + 2, column - 1 : column + 2] = 1
    for number in range(5):
        move = photo_move(number)
        moved = moved_photo(photo, move)[0, 0]
        x, y = move.place(2 * (torch.tensor([column, row]) + 0.5) / SIZE - 1).tolist()
        found = (moved > 0.75).nonzero().float().mean(0)
        torch.testing.assert_close((2 * (found + 0.5) / SIZE - 1), torch.tensor([y, x]), atol=0.02, rtol=0)
        line = 2 * (torch.arange(SIZE) + 0.5) / SIZE - 1
        assert torch.equal(moved > 0, torch.hypot(line[:, None], line) <= SEEN)


def test_the_centre_of_a_moved_photo_tells_nothing():
    shifts = torch.tensor([photo_move(number).shift for number in range(2000)])
    assert shifts.mean(0).abs().max() < 0.01 and shifts.norm(dim=1).max() <= SHIFT
    # Evenly over the circle: the mean of the squared distance is half of the radius squared.
    assert abs(shifts.square().sum(1).mean() / SHIFT**2 - 0.5) < 0.03


def test_a_blind_network_does_not_see_the_photo_of_the_eye():
    chosen = torch.arange(7)
    assert all((others(chosen, 7) != chosen).all() for _ in range(50))
    shown = []
    eyes = SimpleNamespace(
        photos=torch.zeros(7, 3, 8, 8),
        grid=torch.stack([Placement().to_grid(SCAN.coordinates(40))] * 7),
        of_some=lambda which: (shown.append(which), (None, [torch.rand(len(which), 8, 8, 8)]))[1],
    )
    for blind in (False, True):
        Network((8,), registers=True, blind=blind).places(eyes, chosen)
    assert torch.equal(shown[0], chosen) and (shown[1] != chosen).all()
