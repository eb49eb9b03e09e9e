"""Best paths, against an exhaustive search."""

import itertools

import numpy as np
import pytest

from fund2oct.retina.paths import best_path, refine_to_peak


@pytest.mark.parametrize("climb_cost, reach", [(0.0, 1), (0.15, 1), (0.15, 2), (0.4, 3), (0.05, 9)])
def test_path_is_the_best_of_all(climb_cost, reach):
    rng = np.random.default_rng(0)
    score = rng.random((3, 6, 5), np.float32)
    found = best_path(score, climb_cost, reach)
    for bscan, path in zip(score, found, strict=True):

        def worth(rows, bscan=bscan):
            climb = np.abs(np.diff(rows))
            if climb.max() > reach:
                return -np.inf
            return bscan[list(rows), range(5)].sum() - climb_cost * climb.sum()

        assert worth(path) == pytest.approx(max(map(worth, itertools.product(range(6), repeat=5))), abs=1e-5)


def test_path_crosses_a_gap_and_ignores_a_bright_spot():
    score = np.zeros((1, 30, 40), np.float32)
    score[0, 12] = 1
    score[0, 12, 15:22] = 0
    score[0, 25, 18] = 3
    assert (best_path(score, 0.3, 4) == 12).all()


def test_peak_of_a_parabola_is_found_between_rows():
    rows = np.arange(9.0)
    score = (5 - (rows[:, None] - np.array([3.3, 4.0, 5.5])) ** 2).astype(np.float32)[None]
    found = refine_to_peak(score, np.array([[3, 4, 5]]))
    np.testing.assert_allclose(found, [[3.3, 4.0, 5.5]], atol=1e-5)
    np.testing.assert_array_equal(refine_to_peak(score, np.array([[0, 8, 1]])), [[0, 8, 1]])
