"""The pyramid of a transformer's maps."""

import pytest
import torch

from fund2oct.networks.foundation.pyramid import TokenPyramid


def test_a_pyramid_of_few_or_many_maps():
    assert [each.shape[-1] for each in TokenPyramid([8, 8])([torch.rand(1, 8, 3, 3)] * 2)] == [12, 6]
    with pytest.raises(ValueError, match="one to 4 maps, found 5"):
        TokenPyramid([8] * 5)


@pytest.mark.parametrize("n_patches", [6, 7, 37])
@torch.no_grad()
def test_the_coarsest_map_spans_the_photo_whatever_the_number_of_patches(n_patches):
    pyramid = TokenPyramid([1] * 4)
    project, halve = pyramid.levels[3]
    for layer in (project, halve):
        layer.weight.zero_()
        layer.bias.zero_()
    project.weight[0] = 1
    halve.weight[0, 0, 1:, 1:] = 1 / 4  # the mean of the patches of a cell
    places = (torch.arange(n_patches) + 0.5) / n_patches  # of the patches' centres, of the photo's width
    maps = places.expand(1, 1, n_patches, n_patches)
    found = pyramid([maps] * 4)[3][0, 0]
    n_cells = (n_patches + 1) // 2
    expected = (torch.arange(n_cells) + 0.5) / n_cells
    torch.testing.assert_close(found, expected.expand(n_cells, n_cells), atol=0.2 / n_patches, rtol=0)
