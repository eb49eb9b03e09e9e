"""Intervals, ranks and marks of a leaderboard, on made-up reports."""

import math

import numpy as np
import pytest
from measures import ANATOMY, REALISM, of_eyes, overlap_of_lesions
from standing import Standings
from tables import Line, results

THICKNESS, _, HEIGHT, LESIONS, *_ = ANATOMY
IMAGE, _, SHARPNESS = REALISM


def report(values, more=None, sets=None, distances=None):
    """A report whose answers have these thickness errors."""
    eyes = {
        name: [
            {"key": f"eye {i}", "thickness/error_um": value} | (more or {}).get(name, {})
            for i, value in enumerate(each)
        ]
        for name, each in values.items()
    }
    return {"eyes": eyes, "sets": sets or {}, "distances": distances or {}}


def patients(n_eyes, n_each=1):
    return {f"eye {i}": f"patient {i // n_each}" for i in range(n_eyes)}


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(20, 6, 200)
    found = Standings({0: report({"a 0": values})}, patients(200)).estimate("a {seed}", THICKNESS)
    error = 1.96 * values.std(ddof=1) / 200**0.5
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(error, rel=0.1)
    assert found.value - found.low == pytest.approx(error, rel=0.1)


def test_two_eyes_of_a_patient_count_once():
    values = np.repeat(np.random.default_rng(1).normal(20, 6, 100), 2)
    apart, together = (
        Standings({0: report({"a 0": values})}, patients(200, n_each)).estimate("a {seed}", THICKNESS)
        for n_each in (1, 2)
    )
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(2**0.5, rel=0.1)


def test_seeds_that_differ_widen_the_interval():
    reports = {seed: report({f"a {seed}": [10.0 + 3 * seed] * 20}) for seed in range(3)}
    found = Standings(reports, patients(20)).estimate("a {seed}", THICKNESS)
    assert (found.value, found.low, found.high) == pytest.approx((13, 10, 16))


def test_an_eye_that_could_not_be_measured_is_left_out_and_counted():
    found = Standings({0: report({"a 0": [1.0, 2.0, None, 6.0]})}, patients(4)).estimate(
        "a {seed}", THICKNESS
    )
    assert found.value == pytest.approx(3) and found.n_eyes == 3


def test_the_overlap_is_the_mean_dice_of_the_kinds_that_are_there():
    rows = [
        {"PED/real_mm": 2.0, "PED/fake_mm": 1.0, "PED/both_mm": 1.0, "SRF/real_mm": 1.0, "SRF/fake_mm": 1.0},
        {"PED/real_mm": 0.0, "PED/fake_mm": 1.0, "PED/both_mm": 0.0},
    ]
    over, under = (part.sum(0) for part in overlap_of_lesions(rows))
    assert np.divide(over, under, where=under > 0, out=np.zeros(5)) == pytest.approx([0.5, 0, 0, 0, 0])
    more = {"a 0": {f"{kind}/{side}_mm": 1.0 for kind in ("PED", "GA") for side in ("real", "fake", "both")}}
    made_up = report({"a 0": [1.0, 1.0]}, more)
    assert Standings({0: made_up}, patients(2)).estimate("a {seed}", LESIONS).value == pytest.approx(1)


def test_photos_are_compared_eye_by_eye():
    rng = np.random.default_rng(2)
    values = rng.normal(20, 10, 60)
    answers = {
        "reads 0": values,
        "reads 0, shuffled photos": values + rng.normal(2, 1, 60),
        "ignores 0": values,
        "ignores 0, shuffled photos": values + rng.normal(0, 1, 60) - 0.2,
    }
    standings = Standings({0: report(answers)}, patients(60))
    right, shuffled = (
        standings.estimate(name, THICKNESS) for name in ("reads {seed}", "reads {seed}, shuffled photos")
    )
    assert right.high > shuffled.low  # the intervals of the two overlap, that of the difference is clear
    assert standings.gets_worse("reads {seed}", THICKNESS)
    assert not standings.gets_worse("ignores {seed}", THICKNESS)


def test_a_value_without_rows_has_to_get_worse_in_each_seed():
    def of(seed, right, shuffled):
        sets = {f"a {seed}": {HEIGHT.key: right}, f"a {seed}, shuffled photos": {HEIGHT.key: shuffled}}
        return report({f"a {seed}": [1.0]}, sets=sets)

    clear, unclear = ({0: of(0, 0.8, 0.1), 1: of(1, 0.7, low)} for low in (0.2, 0.75))
    assert Standings(clear, patients(1)).gets_worse("a {seed}", HEIGHT)
    assert not Standings(unclear, patients(1)).gets_worse("a {seed}", HEIGHT)
    found = Standings(clear, patients(1)).estimate("a {seed}", HEIGHT)
    assert (found.value, found.low, found.high) == pytest.approx((0.75, 0.7, 0.8))


def test_a_distance_keeps_the_widest_of_its_intervals():
    def of(seed, value, interval):
        one = {"name": "image_distance/network", "value": value, "interval": interval}
        return report({f"a {seed}": [1.0]}, distances={f"a {seed}": [one]})

    standings = Standings({0: of(0, 20.0, [18, 23]), 1: of(1, 24.0, [21, 26])}, patients(1))
    found = standings.estimate("a {seed}", IMAGE)
    assert (found.value, found.low, found.high) == (22, 18, 26)
    assert not standings.has("b {seed}", IMAGE)


def test_ranks_are_of_the_mean_rank_and_may_be_shared():
    other = of_eyes("other", "other", "{:.1f}", "more")
    more = {f"{name} 0": {"other": value} for name, value in zip("abcd", (1.0, 3.0, 2.0, 2.0), strict=True)}
    answers = {"a 0": [1.0], "b 0": [3.0], "c 0": [2.0], "d 0": [None]}
    standings = Standings({0: report(answers, more)}, patients(1))
    # Of the first a, c, b, d (not measured, the last); of the second b, then c and d alike, then a.
    names = [f"{name} {{seed}}" for name in "abcd"]
    each = {"a": 1 + 4, "b": 3 + 1, "c": 2 + 2.5, "d": 4 + 2.5}
    expected = [1 + sum(other < mine for other in each.values()) for mine in each.values()]
    assert standings.ranks(names, [THICKNESS, other]) == expected
    assert standings.ranks(names[:2], [THICKNESS, other]) == [1, 1]


def test_nearness_to_one_is_the_same_from_both_sides():
    assert SHARPNESS.cost(np.array([0.5, 2.0, 1.0, math.nan])) == pytest.approx(
        [math.log(2)] * 2 + [0, math.inf]
    )


def test_the_table_marks_who_ignores_the_photo():
    energies = {"energy/fake": 2.0, "energy/real": 2.0}
    names = ("good 0", "good 0, shuffled photos", "blind 0", "blind 0, shuffled photos", "mean volume")
    answers = dict(zip(names, ([10.0] * 8, [20.0] * 8, [15.0] * 8, [15.0] * 8, [16.0] * 8), strict=True))
    standings = Standings({0: report(answers, {name: energies for name in names})}, patients(8))
    text = results(standings, [Line("blind", "blind {seed}"), Line("good", "good {seed}")])
    anatomy = [line for line in text[: text.index("### Realism")] if line.startswith("|")]
    assert anatomy[2:] == [
        "| `good` | 1 | 10.0 | read |",
        "| `blind` | 2 | 15.0 | **ignored in all of 1** |",
        "| mean volume | - | 16.0 |  |",
    ]
    assert "* `blind` does not get worse with the photos of other patients in: thickness error." in text
