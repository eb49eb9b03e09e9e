"""Intervals of surfaces that are searched in the draws, where the search fails in some of them."""

from dataclasses import replace

import pytest
import torch

from fund2oct.models import VoxelGAN, load_model
from fund2oct.models.uncertainty import draws
from fund2oct.models.uncertainty.draws import N_DRAWS, predict_intervals
from fund2oct.phantom import simulate_eye
from fund2oct.visual.thickness import draw_intervals


@pytest.fixture
def model(tiny_checkpoint):
    made = VoxelGAN((6, 32, 48), channels=[8, 8, 16])
    made.configure_model()
    made.task = load_model(tiny_checkpoint).task
    return made.eval()


@pytest.mark.parametrize(
    "n_missing", [1, N_DRAWS, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, N_DRAWS - 1))]
)
def test_a_surface_that_is_missing_in_a_draw_has_no_interval(n_missing, model, monkeypatch):
    search = draws.find_surfaces

    def find(*given):
        found = search(*given)
        depths = torch.arange(300.0, 300.0 + N_DRAWS).view(-1, 1, 1).expand_as(found.ilm_um).clone()
        depths[:n_missing, :, 10] = torch.nan
        return replace(found, ilm_um=depths, rpe_um=depths + 250, bm_um=depths + 270)

    monkeypatch.setattr(draws, "find_surfaces", find)
    eye = model.predict(simulate_eye(0, 0).fundus)
    found = predict_intervals(model, eye)
    width = found.widths["ILM"]
    others = torch.arange(48) != 10
    assert (width[:, others] == N_DRAWS - 1).all()
    if n_missing:
        assert width[:, 10].isnan().all() and found.surfaces_um[1:, :, :, 10].isnan().all()
    else:
        assert (width[:, 10] == N_DRAWS - 1).all()
    assert found.surfaces_um[0, :, :, 10].isnan().all() == (n_missing == N_DRAWS)
    draw_intervals(eye, found)
