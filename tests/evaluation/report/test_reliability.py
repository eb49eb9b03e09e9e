"""Reliability: intervals of a level hold the real value as often as they say, if the model is right."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fund2oct.evaluation.report.reliability import (
    LEVELS,
    held_of_patients,
    level_of_draws,
    level_of_normal,
    measure_reliability,
    reliability_table,
)
from fund2oct.metrics.sets.estimate import DistanceResult
from fund2oct.networks.layered.surfaces import SurfaceDistribution
from fund2oct.visual.report import draw_distances, draw_reliability

N_SURFACES, N_NUMBERS, S, X = 4, 3, 6, 40


def test_the_level_of_a_normal_interval():
    real, median, deviation = torch.randn(3, 50)
    deviation = deviation.abs() + 0.1
    expected = 2 * norm.cdf(((real - median).abs() / deviation).numpy()) - 1
    np.testing.assert_allclose(level_of_normal(real, median, deviation), expected, atol=1e-6)


def test_draws_of_the_same_distribution_hold_as_many_as_they_promise():
    numbers = torch.randn(10, 40_000) ** 3  # not normal
    level = level_of_draws(numbers[0], numbers[1:])
    found = [(level <= promised + 1e-6).float().mean().item() for promised in LEVELS]
    assert found == pytest.approx(LEVELS, abs=0.01)


class Knows:
    """Predicts the distribution from which the eyes were drawn, of a spread that may be wrong."""

    draws_volumes = False

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def known(self, batch):
        return {}

    def surfaces(self, fundus, grid):
        loadings = self.spread * torch.ones(len(fundus), N_SURFACES, N_NUMBERS, S, X)
        increments = torch.tensor([0.0, 400.0, 400.0, 400.0]).view(1, -1, 1, 1).expand(len(fundus), -1, S, X)
        return SurfaceDistribution(increments, loadings)


class Eyes:
    """Eyes of flat pose, whose surfaces are drawn by :class:`Knows`."""

    def __init__(self, n_batches: int) -> None:
        self.n_batches = n_batches
        self.keys = tuple(f"{eye}" for eye in range(20 * n_batches))
        self.patients = tuple(f"{eye // 2}" for eye in range(20 * n_batches))

    def batches(self):
        for number in range(self.n_batches):
            fundus, pose_um = torch.zeros(20, 3, 8, 8), torch.zeros(20, S, 3)
            pose_um[..., 0] = 900
            drawn = Knows(10.0).surfaces(fundus, None)
            rng = torch.Generator().manual_seed(number)
            z = torch.randn(20, N_NUMBERS, generator=rng)
            increments = drawn.increments_um + torch.einsum("bk,bnksx->bnsx", z, drawn.loadings_um)
            heights = increments.cumsum(1).flip(1)
            surfaces_um = 900 - heights
            surfaces_um[0, :, 0] = torch.nan
            yield {
                "key": list(self.keys[20 * number : 20 * (number + 1)]), "fundus": fundus, "pose_um": pose_um,
                "surfaces_um": surfaces_um, "grid": torch.zeros(20, S, X, 2),
            }  # fmt: skip


SURFACES_COUNTED = {
    "thickness", "inner limiting membrane", "outer segments", "pigment epithelium", "Bruch's membrane",
}  # fmt: skip


def test_a_model_that_is_too_sure_holds_less_than_it_promises():
    found = measure_reliability({"right": Knows(10.0), "too sure": Knows(5.0)}, Eyes(40))
    # All surfaces of which `predict` writes an interval.
    assert set(found["right"]) == SURFACES_COUNTED and len(SURFACES_COUNTED) == 1 + N_SURFACES
    for held in found["right"].values():
        assert held["share"] == pytest.approx(LEVELS, abs=0.06) and held["n_eyes"] == 800
        assert all(
            low < level < high for low, level, high in zip(held["low"], LEVELS, held["high"], strict=True)
        )
    expected = [2 * norm.cdf(norm.ppf(0.5 + level / 2) / 2) - 1 for level in LEVELS]
    for held in found["too sure"].values():
        assert held["share"] == pytest.approx(expected, abs=0.06)
        assert all(high < level for high, level in zip(held["high"], LEVELS, strict=True))
    table = reliability_table(found)
    assert table[0] == "| answer | interval of | eyes | 20% | 40% | 60% | 80% |" and len(table) == 2 + 10
    held = found["right"]["thickness"]
    told = f"| {held['share'][3]:.0%} [{held['low'][3]:.0%}, {held['high'][3]:.0%}] |"
    assert table[2].startswith("| right | thickness | 800 |") and table[2].endswith(told)
    figure = draw_reliability(found, LEVELS)
    assert [axes.get_title() for axes in figure.axes] == list(found["right"])


def test_the_interval_of_a_share_is_that_of_patients():
    # Of each patient both eyes and all A-scans are held, or none: as good as one draw of a patient.
    rng = np.random.default_rng(0)
    held = np.repeat(rng.random(200) < 0.8, 2)
    counts = torch.tensor([[100.0 * one, 100.0] for one in held])
    patients = [str(eye // 2) for eye in range(400)]
    found = held_of_patients(counts, patients)
    share = held.mean()
    reach = 1.96 * np.sqrt(share * (1 - share) / 200)
    assert found["share"] == pytest.approx([share])
    assert found["low"] == pytest.approx([share - reach], abs=0.012)
    assert found["high"] == pytest.approx([share + reach], abs=0.012)
    alone = held_of_patients(counts, [str(eye) for eye in range(400)])
    assert (alone["high"][0] - alone["low"][0]) * 2**0.5 == pytest.approx(2 * reach, rel=0.08)
    few = held_of_patients(counts[:8], patients[:8])
    assert np.isnan(few["low"]).all() and np.isnan(few["high"]).all()


def test_distances_are_drawn_with_and_without_intervals():
    whole = DistanceResult("d/p", 812.34, 56, 56, (790, 840), 28, 350.1, 901.2, 380, 120.3, 610)
    figure = draw_distances({"a": [whole], "b": [DistanceResult("d/p", 1.5, 2, 3)]})
    assert [axes.get_xlabel() for axes in figure.axes] == ["d/\np"]
