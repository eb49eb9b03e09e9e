"""The scores against scoringrules, and what makes them proper."""

import numpy as np
import pytest
import scoringrules
import torch

from fund2oct.losses import energy_score, normal_crps


def test_energy_score_is_that_of_scoringrules():
    rng = torch.Generator().manual_seed(0)
    draws = 30 * torch.randn(6, 4, 3, 5, generator=rng, dtype=torch.float64)
    truth = 30 * torch.randn(4, 3, 5, generator=rng, dtype=torch.float64)
    found = energy_score(draws, truth)
    ensemble = draws.flatten(2).permute(1, 0, 2).numpy()
    expected = scoringrules.es_ensemble(truth.flatten(1).numpy(), ensemble, estimator="fair")
    np.testing.assert_allclose(found.numpy() * 15**0.5, expected, rtol=1e-5)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(half):
    draws, truth = (30 * torch.randn(6, 4, 3000)).to(half), (30 * torch.randn(4, 3000)).to(half)
    torch.testing.assert_close(energy_score(draws, truth), energy_score(draws.float(), truth.float()))
    assert energy_score(draws, truth).isfinite().all()


def test_what_is_unknown_does_not_count():
    draws, truth = torch.randn(4, 2, 3, 5), torch.randn(2, 3, 5)
    known = torch.rand(2, 3, 5) > 0.4
    spoilt = truth.masked_fill(~known, float("nan"))
    found = energy_score(draws, spoilt, known)
    for eye in range(2):
        kept = known[eye]
        alone = energy_score(draws[:, eye][:, kept][:, None], truth[eye][kept][None])
        torch.testing.assert_close(found[eye : eye + 1], alone, rtol=1e-4, atol=1e-4)


def test_one_number_an_eye_is_a_vector_of_one_element():
    draws, truth, known = 30 * torch.randn(5, 3), 30 * torch.randn(3), torch.tensor([True, True, False])
    expected = energy_score(draws[..., None], truth[..., None], known[..., None])
    assert torch.equal(energy_score(draws, truth, known), expected) and expected.shape == (3,)
    found = energy_score(torch.tensor([[0.0], [20.0]]), torch.tensor([40.0]))
    torch.testing.assert_close(found, torch.tensor([20.0]), rtol=1e-4, atol=0)  # 30 away, 10 for the spread


def test_the_true_distribution_scores_least():
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(4000, 2, generator=rng)
    scores = {}
    for deviation in (0.5, 1.0, 2.0):
        draws = deviation * torch.randn(8, 4000, 2, generator=rng)
        scores[deviation] = float(energy_score(draws, truth).mean())
    assert min(scores, key=scores.get) == 1.0


def test_crps_is_that_of_scoringrules():
    rng = np.random.default_rng(0)
    truth, mean, deviation = rng.normal(size=50), rng.normal(size=50), rng.uniform(0.2, 3, 50)
    found = normal_crps(*(torch.from_numpy(values) for values in (mean, deviation, truth)))
    np.testing.assert_allclose(found.numpy(), scoringrules.crps_normal(truth, mean, deviation), rtol=1e-9)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="energy score: expected at least two draws"):
        energy_score(torch.zeros(1, 2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="energy score: expected at least two draws of"):
        energy_score(torch.zeros(4, 2, 3), torch.zeros(2, 4))
