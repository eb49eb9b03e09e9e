import math

import numpy as np
import pytest
import torch

from fund2oct.data import FundusOCTDataset
from fund2oct.data.preparing.surfaces import resample_ascans, searched_fields
from fund2oct.eye import SEARCHED
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina import SURFACES, find_retina


def test_one_search_gives_pose_and_surfaces():
    eye = simulate_eye(4, 1, PhantomConfig(n_depth=64, n_ascans=72))
    notes: list[str] = []
    fields = searched_fields(eye.volume, eye.spacing_mm, notes)
    surfaces, pose = find_retina(eye.volume, eye.spacing_mm)
    assert tuple(fields) == SEARCHED and not notes
    np.testing.assert_array_equal(fields["pose_um"], pose.pose_um)
    for name, surface in (("ILM", surfaces.ilm_um), ("RPE", surfaces.rpe_um), ("BM", surfaces.bm_um)):
        stored = fields["surfaces_um"][SURFACES.index(name)]
        np.testing.assert_array_equal(stored[surfaces.ok], surface[surfaces.ok])
    assert fields["surface_confidence"].dtype == fields["surfaces_um"].dtype == np.float32


def test_an_empty_volume_is_noted_and_has_no_surfaces():
    notes: list[str] = []
    fields = searched_fields(np.full((2, 40, 50), 9, np.uint8), (math.nan, 0.048, 0.17), notes)
    assert np.isnan(fields["surfaces_um"]).all() and np.isfinite(fields["pose_um"]).all()
    assert notes == ["the outer retina is uncertain in slices 0, 1"]


def test_half_as_many_ascans_are_weighted_means():
    values = torch.rand(2, 3, 12)
    found = resample_ascans(values, 6)
    padded = torch.cat([values[..., :1], values, values[..., -1:]], -1)
    inner = (torch.tensor([1.0, 3, 3, 1]) / 8 * padded.unfold(-1, 4, 2))[..., 1:-1, :].sum(-1)
    torch.testing.assert_close(found[..., 1:-1], inner)
    assert found.shape == (2, 3, 6)


@pytest.mark.parametrize("n_ascans", [5, 7, 10, 12, 25])
def test_a_line_stays_a_line_and_the_unknown_stays_where_it_is(n_ascans):
    centres = (torch.arange(10) + 0.5) / 10
    values = (100 + 300 * centres).expand(4, 6, 10).clone()
    values[:, 2, 6:] = torch.nan
    found = resample_ascans(values, n_ascans)
    places = (torch.arange(n_ascans) + 0.5) / n_ascans
    unknown = found.isnan()
    assert not unknown[:, [0, 1, 3, 4, 5]].any()
    wrong = unknown[:, 2] != (places > 0.6)
    assert wrong.sum(-1).max() <= 1  # the one across the edge may count either way
    middle = (places > 0.2) & (places < 0.4)
    # The triangle's weights, sampled at the A-scans, move a line by up to half a micrometre.
    wanted = (100 + 300 * places[middle]).expand(4, -1)
    torch.testing.assert_close(found[:, 2, middle], wanted, atol=0.6, rtol=0)
    near = (places > 0.4) & ~unknown[0, 2]
    assert ((found[:, 2, near] - (100 + 300 * places[near])).abs() < 45).all()


def test_a_batch_has_the_surfaces_of_its_slices_and_size(make_file, make_eye):
    surfaces = make_eye(0).surfaces_um.copy()
    surfaces[:, 3, 4:6] = np.nan
    path = make_file(1, surfaces_um=surfaces)
    sample = FundusOCTDataset(path, volume_shape=(3, 8, 5))[0]
    assert sample["surfaces_um"].shape == (4, 3, 5) and sample["surface_confidence"].shape == (3, 5)
    assert not sample["surfaces_um"].isnan().any()  # slices 0, 2 and 4
    sample = FundusOCTDataset(path, volume_shape=(6, 8, 5))[0]
    assert sample["surfaces_um"].isnan().nonzero()[:, 1:].unique(dim=0).tolist() == [[3, 2]]
    assert (sample["surfaces_um"].diff(dim=0)[:, :3] >= 0).all()
