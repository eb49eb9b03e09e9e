"""What is hidden is not seen: nothing of it reaches what is filled in."""

import numpy as np
import pytest
import torch

from fund2oct.networks.encoder import FundusEncoder
from fund2oct.networks.masked.hiding import enlarged, hidden_cells, hide
from fund2oct.networks.masked.photo import PhotoAutoencoder
from fund2oct.networks.noise import NoiseSource


def test_of_each_picture_so_many_cells_are_hidden_as_its_share_says():
    shares = torch.tensor([0.0, 0.25, 0.6, 1.0])
    hidden = hidden_cells(4, (5, 8), shares, NoiseSource())
    assert hidden.shape == (4, 1, 5, 8)
    assert hidden.sum((1, 2, 3)).tolist() == [0, 10, 24, 40]
    mean = torch.stack([hidden_cells(64, (2, 3), 0.5, NoiseSource()).float() for _ in range(40)]).mean((0, 1))
    assert (mean - 0.5).abs().max() < 0.06  # no cell is hidden more often than another


def test_an_eye_is_hidden_alike_in_any_batch():
    both = hidden_cells(2 * 3, (4, 5), 0.5, NoiseSource.of_keys(["a", "b"]))
    alone = hidden_cells(3, (4, 5), 0.5, NoiseSource.of_keys(["b"]))
    assert torch.equal(both[3:], alone) and not torch.equal(both[:3], alone)


def test_cells_cover_the_picture():
    cells = torch.zeros(1, 1, 2, 3, dtype=torch.bool)
    cells[0, 0, 1, 2] = True
    pixels = enlarged(cells, (7, 9))
    expected = np.zeros((7, 9), bool)
    expected[4:, 6:] = True  # 3.5 rows and 3 columns a cell
    np.testing.assert_array_equal(pixels[0, 0], expected)


def test_hidden_pixels_become_the_mean_of_the_others():
    rng = np.random.default_rng(0)
    pictures, hidden = rng.random((2, 3, 5, 6), np.float32), rng.random((2, 1, 5, 6)) < 0.5
    hidden[1] = True
    found = hide(torch.from_numpy(pictures), torch.from_numpy(hidden))
    for channel in range(3):
        seen = pictures[0, channel][~hidden[0, 0]]
        expected = np.where(hidden[0, 0], seen.mean(), pictures[0, channel])
        np.testing.assert_allclose(found[0, channel], expected, rtol=1e-6)
    assert (found[1] == 0.5).all()


@pytest.mark.parametrize("size", [(48, 48), (50, 46)])
def test_a_photo_is_filled_in_from_what_is_seen_of_it(size):
    network = PhotoAutoencoder(FundusEncoder((8, 8, 16)))
    photo = torch.rand(2, 3, *size)
    hidden = enlarged(hidden_cells(2, (4, 4), 0.5, NoiseSource()), size)
    with torch.no_grad():
        drawn = network(photo, hidden)
        assert drawn.shape == photo.shape
        other = torch.where(hidden, torch.rand_like(photo), photo)
        assert torch.equal(network(other, hidden), drawn)
        other = torch.where(hidden, photo, torch.rand_like(photo))
        assert not torch.allclose(network(other, hidden), drawn)


@pytest.mark.parametrize(
    ("cells", "share", "message"),
    [((0, 4), 0.5, r"cells: expected at least one .* found \(0, 4\)"), ((4, 4), 1.5, "hidden share: .*1.5")],
)
def test_what_cannot_be_hidden_is_refused(cells, share, message):
    with pytest.raises(ValueError, match=message):
        hidden_cells(1, cells, share, NoiseSource())
