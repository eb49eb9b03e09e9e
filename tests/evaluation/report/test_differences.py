"""Differences of answers eye by eye, by hand-made rows and by SciPy's test of paired samples."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from fund2oct.evaluation.report.differences import COMPARED, difference, difference_table, differences

KEY = COMPARED[0]
COLUMNS = {key: (f"{key} ↓", "{:.1f}") for key in COMPARED}


def rows(values, patients=None, key=KEY):
    patients = patients or [*map(str, range(len(values)))]
    return [{"patient": who, key: float(value)} for who, value in zip(patients, values, strict=True)]


def test_the_interval_is_that_of_paired_samples_and_narrower_than_those_of_the_means():
    draws = np.random.default_rng(0)
    eye = draws.normal(20, 10, 30)  # some eyes are hard for both
    worse, better = eye + 2 + draws.normal(0, 1, 30), eye + draws.normal(0, 1, 30)
    found = difference(rows(worse), rows(better), KEY)
    low, high = ttest_1samp(worse - better, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["low"] > 0 and found["n_eyes"] == 30
    low, high = ttest_1samp(worse, 0).confidence_interval(0.95)
    assert low < better.mean() < high  # side by side they tell nothing


def test_both_eyes_of_a_patient_count_as_one_patient():
    once = difference(rows([3, 5, 7]), rows([2, 2, 3]), KEY)
    patients = ["a", "a", "b", "b", "c", "c"]
    twice = difference(rows([3, 3, 5, 5, 7, 7], patients), rows([2, 2, 2, 2, 3, 3], patients), KEY)
    assert twice["n_eyes"] == 6
    assert (twice["low"], twice["high"]) == pytest.approx((once["low"], once["high"]))


def test_what_was_not_measured_in_both_is_left_out_and_one_patient_has_no_interval():
    nan = math.nan
    found = difference(rows([5, nan, 9]), rows([4, 4, nan]), KEY)
    assert found["mean"] == 1 and found["n_eyes"] == 1 and math.isnan(found["low"])
    assert difference(rows([nan]), rows([1]), KEY)["n_eyes"] == 0


def test_each_model_is_compared_with_its_shuffled_photos_and_with_the_first():
    eyes = {
        "floor: rescan": rows([1, 1]),
        "one": rows([4, 6]),
        "one, noise off": rows([4, 5]),
        "one, shuffled photos": rows([14, 18]),
        "two": rows([5, 7]),
        "two, shuffled photos": rows([5, math.nan]),
    }
    found = differences(eyes)
    pairs = ["one, shuffled photos less one", "two, shuffled photos less two", "two less one"]
    assert [*found] == pairs
    assert [found[pair][KEY]["mean"] for pair in pairs] == [11, 0, 1]
    *_, first, second, third = difference_table(found, COLUMNS, n_eyes=2)
    assert first == "| one, shuffled photos less one | +11.0 (-1.7 to +23.7) |"
    assert second == "| two, shuffled photos less two | +0.0 (1 of 2 eyes) |"
    assert third == "| two less one | +1.0 (+1.0 to +1.0) |"
    assert (
        differences({"generated": rows([1]), "generated, other eyes": rows([3])})[
            "generated, other eyes less generated"
        ][KEY]["mean"]
        == 2
    )
    assert differences({"mine": rows([1])}) == {}


def test_models_that_draw_are_compared_with_each_other_and_surfaces_with_surfaces():
    """In the order in which a report has its rows: surfaces come before all that is drawn."""
    eyes = {
        "median surfaces, no photo": rows([9, 9]),
        "one, median surfaces": rows([3, 5]),
        "one, nearest eye warped to its surfaces": rows([5, 5]),
        "surfaces, median surfaces": rows([2, 3]),
        "surfaces, nearest eye warped to its surfaces": rows([6, 6]),
        "surfaces, median surfaces, shuffled photos": rows([8, 8]),
        "surfaces, nearest eye warped to its surfaces, shuffled photos": rows([9, 9]),
        "one": rows([4, 6]),
        "one, shuffled photos": rows([14, 18]),
        "two": rows([5, 8]),
        "two, shuffled photos": rows([6, 8]),
    }
    found = {pair: values[KEY]["mean"] for pair, values in differences(eyes).items()}
    assert list(found.items()) == [
        ("surfaces, median surfaces, shuffled photos less surfaces, median surfaces", 5.5),
        (
            "surfaces, nearest eye warped to its surfaces, shuffled photos"
            " less surfaces, nearest eye warped to its surfaces",
            3,
        ),
        ("one, shuffled photos less one", 11),
        ("two, shuffled photos less two", 0.5),
        ("two less one", 1.5),
        ("surfaces, median surfaces less one, median surfaces", -1.5),
    ]
