"""Intervals, ranks and marks of a leaderboard, on made-up reports."""

import math

import numpy as np
import pytest
import torch
from made_up_reports import patients, report
from measures import ANATOMY, REALISM, of_eyes, overlap_of_lesions
from standing import Standings
from tables import Line, results

from fund2oct.metrics.eyes.heights import correlation_sums

THICKNESS, _, HEIGHT, LESIONS, *_ = ANATOMY
IMAGE, *_, SHARPNESS = REALISM


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
    over, under = np.split(np.nansum(overlap_of_lesions(rows), 0), 2)
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
        "ignores 0, shuffled photos": values + rng.normal(0, 1, 60),
    }
    standings = Standings({0: report(answers)}, patients(60))
    right, shuffled = (
        standings.estimate(name, THICKNESS) for name in ("reads {seed}", "reads {seed}, shuffled photos")
    )
    assert right.high > shuffled.low  # the intervals of the two overlap, that of the difference is clear
    assert standings.reading("reads {seed}", THICKNESS) == "read"
    assert standings.reading("ignores {seed}", THICKNESS) == "no better with it"


def lifted(name, drawn, real):
    """Rows of eyes with something to lift their epithelium, drawn so high where the real ones are so high."""
    rows = []
    for ours, theirs in zip(drawn, real, strict=True):
        sums = correlation_sums(*(torch.from_numpy(heights)[None, None] for heights in (ours, theirs)))
        rows.append({f"sums/height/{part}": float(value) for part, value in sums.items()})
    return {name: [{"key": f"eye {i}", "thickness/error_um": 1.0} | row for i, row in enumerate(rows)]}


def test_a_correlation_of_all_eyes_has_an_interval_over_patients():
    rng = np.random.default_rng(5)
    real = rng.normal(50, 40, (60, 1)).repeat(4, 1)  # eyes differ, and the A-scans of one do not
    drawn = real + rng.normal(0, 40, (60, 1))
    made_up = {"eyes": lifted("a 0", drawn, real), "sets": {}, "distances": {}}
    made_up["eyes"]["a 0"] += [{"key": "flat eye", "thickness/error_um": 1.0}] * 3  # nothing lifts theirs
    for number, row in enumerate(made_up["eyes"]["a 0"]):
        row["key"] = f"eye {number}"
    found = Standings({0: made_up}, patients(63)).estimate("a {seed}", HEIGHT)
    expected = np.corrcoef(drawn.ravel(), real.ravel())[0, 1]
    assert found.value == pytest.approx(expected) and found.n_eyes == 60
    # Fisher: the arctangent of a correlation of 60 pairs errs by 1 / sqrt(57), one standard deviation.
    error = 1.96 / 57**0.5
    ends = np.tanh(np.arctanh(expected) + np.array([-error, error]))
    assert (found.low, found.high) == pytest.approx(ends, abs=0.06)


@pytest.mark.parametrize("blind", [True, False])
def test_a_correlation_that_gets_worse_by_chance_alone_is_no_reading(blind):
    rng = np.random.default_rng(6)
    reports = {}
    for seed in range(3):
        real = rng.normal(50, 40, (40, 4))
        own, other = (real * (not blind) + rng.normal(0, 40, real.shape) for _ in range(2))
        other = other - real * (not blind)
        eyes = lifted(f"a {seed}", own, real) | lifted(f"a {seed}, shuffled photos", other, real)
        reports[seed] = {"eyes": eyes, "sets": {}, "distances": {}}
    standings = Standings(reports, patients(40))
    assert standings.reading("a {seed}", HEIGHT) == ("no better with it" if blind else "read")


def test_an_answer_that_reads_its_photo_wrongly_is_not_said_to_ignore_it():
    rng = np.random.default_rng(7)
    real = rng.normal(50, 40, (40, 4))
    noise = rng.normal(0, 40, (2, *real.shape))
    eyes = lifted("a 0", noise[0] - real, real) | lifted("a 0, shuffled photos", noise[1], real)
    standings = Standings({0: {"eyes": eyes, "sets": {}, "distances": {}}}, patients(40))
    assert standings.reading("a {seed}", HEIGHT) == "worse with its own"


def test_a_report_without_the_sums_of_each_eye_is_refused():
    sets = {"a 0": {HEIGHT.key: 0.8}}
    with pytest.raises(ValueError, match=r"report of seed 0: an earlier version made it.*delete its folder"):
        Standings({0: report({"a 0": [1.0]}, sets=sets)}, patients(1))


def test_differences_are_paired_over_eyes_and_seeds():
    rng = np.random.default_rng(4)
    hard = rng.normal(20, 8, 80)  # what is hard in an eye is hard for both
    reports = {
        seed: report({f"a {seed}": hard + seed, f"b {seed}": hard + seed + rng.normal(1, 0.5, 80)})
        for seed in range(3)
    }
    standings = Standings(reports, patients(80, 2))
    a, b = (standings.estimate(name, THICKNESS) for name in ("a {seed}", "b {seed}"))
    assert a.high > b.low  # apart the two intervals overlap
    found = standings.excess("b {seed}", "a {seed}", THICKNESS)
    assert found.value == pytest.approx(b.value - a.value) and 0.8 < found.low < 1 < found.high < 1.2
    back = standings.excess("a {seed}", "b {seed}", THICKNESS)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert math.isnan(standings.excess("a {seed}", "c {seed}", THICKNESS).value)


def test_an_eye_that_one_of_two_failed_makes_no_difference():
    # Of the eyes that both could be measured in they are alike; the others are hard.
    answers = {"a 0": [10.0] * 30 + [None] * 10, "b 0": [10.0] * 30 + [50.0] * 10, "c 0": [None] * 40}
    answers["a 0, shuffled photos"], answers["floor"] = answers["b 0"], answers["b 0"]
    answers["d 0"] = [None] * 30 + [9.0] * 10
    energies = {"energy/fake": 2.0, "energy/real": 2.0}
    standings = Standings({0: report(answers, {name: energies for name in ("a 0", "b 0")})}, patients(40))
    for one, other in (("b {seed}", "a {seed}"), ("a {seed}", "b {seed}"), ("a {seed}", "floor")):
        found = standings.excess(one, other, THICKNESS)
        assert (found.value, found.low, found.high, found.n_eyes) == (0, 0, 0, 30)
    assert standings.reading("a {seed}", THICKNESS) == "no better with it"
    for none_in_common in ("c {seed}", "d {seed}"):
        assert math.isnan(standings.excess(none_in_common, "a {seed}", THICKNESS).value)
    text = "\n".join(results(standings, [Line("a", "a {seed}"), Line("b", "b {seed}")]))
    assert "| `a` | 1 | **0 of 1** | 10.0 [30 of 40 eyes] |" in text
    assert "| `b` | 0.0 [30 of 40 eyes] |" in text
    # Who fails in the hard eyes is no better for it.
    assert standings.ranks(["a {seed}", "b {seed}"], [THICKNESS]) == [1, 1]
    # Where there is no eye in which all could be measured, each counts in its own.
    assert standings.ranks(["a {seed}", "d {seed}"], [THICKNESS]) == [2, 1]


def test_a_lesion_that_only_one_of_two_draws_makes_a_difference():
    def eyes_with(fake, both):
        return {"PED/real_mm": 2.0, "PED/fake_mm": fake, "PED/both_mm": both}

    more = {"a 0": eyes_with(2.0, 2.0), "b 0": eyes_with(0.0, 0.0)}
    standings = Standings({0: report({"a 0": [1.0] * 4, "b 0": [1.0] * 4}, more)}, patients(4))
    assert standings.excess("b {seed}", "a {seed}", LESIONS).value == pytest.approx(1)


def test_a_seed_that_failed_counts_nothing():
    reports = {seed: report({f"a {seed}": [10.0 + seed] * 6, f"b {seed}": [20.0] * 6}) for seed in range(3)}
    del reports[1]["eyes"]["b 1"]
    standings = Standings(reports, patients(6))
    found = standings.estimate("b {seed}", THICKNESS)
    assert (found.value, found.low, found.high, found.n_eyes) == (20, 20, 20, 6)
    apart = standings.excess("b {seed}", "a {seed}", THICKNESS)  # of the seeds 0 and 2
    assert (apart.value, apart.low, apart.high) == pytest.approx((9, 8, 10))
    del reports[0]["eyes"]["b 0"], reports[2]["eyes"]["b 2"]
    assert not standings.has("b {seed}", THICKNESS)


def test_a_floor_of_the_first_report_is_that_of_each_seed():
    one = {"name": "image_distance/efficientnet_lite0-pooled", "value": 4.0, "interval": [3, 6]}
    reports = {seed: report({f"a {seed}": [20.0 + seed] * 6}) for seed in range(3)}
    reports[0]["eyes"] |= report({"floor": [12.0] * 6})["eyes"]
    reports[0]["distances"]["floor"] = [one]
    standings = Standings(reports, patients(6))
    assert standings.estimate("floor", THICKNESS).value == 12 and standings.estimate("floor", IMAGE).high == 6
    found = standings.excess("a {seed}", "floor", THICKNESS)
    assert (found.value, found.low, found.high) == pytest.approx((9, 8, 10))


def test_each_distance_is_that_of_its_own_network():
    found = [
        {"name": f"{name}/legacy224", "value": value, "interval": None}
        for name, value in (
            ("video_distance/oct3d-features", 1.0), ("video_distance/i3d-logits", 2.0),
            ("image_distance/efficientnet_lite0-pooled", 3.0),
        )
    ]  # fmt: skip
    standings = Standings({0: report({"a 0": [1.0]}, distances={"a 0": found})}, patients(1))
    values = {one.key: standings.estimate("a {seed}", one).value for one in REALISM[:-1]}
    assert values == {"image": 3.0, "video": 2.0, "video:oct3d": 1.0}


def test_a_distance_keeps_the_widest_of_its_intervals():
    def of(seed, value, interval):
        one = {"name": "image_distance/efficientnet_lite0-pooled", "value": value, "interval": interval}
        return report({f"a {seed}": [1.0]}, distances={f"a {seed}": [one]})

    standings = Standings({0: of(0, 20.0, [18, 23]), 1: of(1, 24.0, [21, 26])}, patients(1))
    found = standings.estimate("a {seed}", IMAGE)
    assert (found.value, found.low, found.high) == (22, 18, 26)
    assert not standings.has("b {seed}", IMAGE)


def test_ranks_are_of_the_mean_rank_and_may_be_shared():
    other = of_eyes("shadow/agreement", "more")
    more = {f"{name} 0": {other.key: value} for name, value in zip("abcd", (1.0, 3.0, 2.0, 2.0), strict=True)}
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
