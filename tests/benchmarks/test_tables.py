"""The tables of a leaderboard, on made-up reports."""

import pytest
from made_up_reports import patients, report
from measures import ANATOMY
from standing import Standings
from tables import Line, budget, results

THICKNESS = ANATOMY[0]


def test_who_was_not_asked_with_shuffled_photos_is_not_said_to_read_its_own():
    energies = {"energy/fake": 2.0, "energy/real": 2.0}
    answers = {"a 0": [10.0] * 4, "b 0": [12.0] * 4, "b 0, shuffled photos": [None] * 4}
    standings = Standings({0: report(answers, {name: energies for name in answers})}, patients(4))
    for name in ("a {seed}", "b {seed}"):  # no such answer; one in which nothing could be measured
        assert not standings.is_asked(name, THICKNESS)
        with pytest.raises(ValueError, match="thickness/error_um was not measured with own and"):
            standings.reading(name, THICKNESS)
    text = results(standings, [Line("a", "a {seed}"), Line("b", "b {seed}")])
    assert "| `a` | 1 | not asked | 10.0 |" in text and "| `b` | 2 | not asked | 12.0 |" in text


def test_the_table_says_whose_volumes_have_no_retina_in_many_ascans():
    energies = {"energy/fake": 2.0, "energy/real": 2.0}
    more = {
        f"{name} 0": energies | {"thickness/failed": share} for name, share in (("a", 0.009), ("b", 0.034))
    }
    standings = Standings({0: report({"a 0": [10.0] * 4, "b 0": [12.0] * 4}, more)}, patients(4))
    text = results(standings, [Line("a", "a {seed}"), Line("b", "b {seed}")])
    assert [line for line in text if "A-scans" in line] == [
        "* `b` has no thickness in 3.4% of the A-scans, which are in no error."
    ]


def test_surfaces_are_compared_with_the_median_of_twins_and_volumes_with_one_twin():
    energies = {"energy/fake": 2.0, "energy/real": 2.0}
    answers = {"a 0": [17.0] * 8, "b 0": [20.0] * 8}
    floors = {"floor: one twin": [15.0] * 8, "floor: median of twins": [11.0] * 8}
    heights = {"a 0": 0.9, "b 0": 0.5, "floor: one twin": 0.97, "floor: median of twins": 0.99}
    distances = {"a 0": 19.0, "b 0": 34.0, "floor: one twin": 4.0}
    # The mean of each eye is 0, and its spread 1.
    moments = {
        f"sums/height/{part}": float(part in ("n", "aa", "bb")) for part in ("n", "a", "b", "aa", "bb")
    }
    more = {name: moments | {"sums/height/ab": value} for name, value in heights.items()}
    for name in answers:
        more[name] |= energies
    made_up = report(
        answers | floors,
        more,
        distances={
            name: [
                {
                    "name": "image_distance/efficientnet_lite0-pooled",
                    "value": value,
                    "interval": [value - 1, value + 2],
                }
            ]
            for name, value in distances.items()
        },
    )
    standings = Standings({0: made_up}, patients(8))
    text = results(standings, [Line("b", "b {seed}"), Line("a", "a {seed}")])
    assert [line for line in text[text.index("### Excess over the floor") :] if line.startswith("|")] == [
        "| entry | thickness error, µm (floor: median of twins) | height of the epithelium (floor: median of "
        "twins) | image distance (floor: one twin) |",
        "|---|---:|---:|---:|",
        "| `a` | 6.0 | 0.09 | 15.0 (14.0 to 17.0) |",
        "| `b` | 9.0 | 0.49 | 30.0 (29.0 to 32.0) |",
    ]
    differences = text[text.index("### Differences from `a`") : text.index("### Excess over the floor")]
    assert [line for line in differences if line.startswith("|")] == [
        "| entry | thickness error, µm | height of the epithelium |",
        "|---|---:|---:|",
        "| `b` | 3.0 | 0.40 |",
    ]


def test_an_entry_that_failed_in_a_seed_has_no_rank():
    energies = {"energy/fake": 2.0, "energy/real": 2.0}
    reports = {}
    for seed in range(2):
        names = [f"a {seed}"] if seed else [f"a {seed}", f"b {seed}"]
        values = {name: [12.0 if "a" in name else 10.0] * 4 for name in names}
        reports[seed] = report(values, {name: energies for name in names})
    failed = {"b": "failed in 1 of 2 seeds, and has no rank: step 7: not a finite number: l1."}
    text = results(Standings(reports, patients(4)), [Line("a", "a {seed}"), Line("b", "b {seed}")], failed)
    anatomy = text[: text.index("### Realism")]
    assert "| `a` | 1 | not asked | 12.0 |" in anatomy and "| `b` | - | not asked | 10.0 |" in anatomy
    assert f"* `b` {failed['b']}" in anatomy


def test_the_budget_says_which_weights_others_trained():
    known = {"minutes": 13.0, "steps": 1200, "n_train": 770, "batch_size": 8}
    known |= {"generator": 550_000, "discriminators": 0}
    *_, row = budget(
        {"a": [known]}, {"a": "symmetries: all"}, {"a": ["3.37 M of Network", "none"]}, {"a": "much"}
    )
    weights = "0.55 M, none | 3.37 M of Network, none"
    assert row == f"| `a` | 13.0 | 1,200 | 770 | 8 | 9,600 | symmetries: all | {weights} | much |"


def test_the_table_marks_who_is_no_better_with_its_photo():
    energies = {"energy/fake": 2.0, "energy/real": 2.0}
    names = ("good 0", "good 0, shuffled photos", "blind 0", "blind 0, shuffled photos", "wrong 0",
             "wrong 0, shuffled photos", "mean volume")  # fmt: skip
    answers = {name: [error] * 8 for name, error in zip(names, (10, 20, 15, 15, 15.5, 12, 16), strict=True)}
    standings = Standings({0: report(answers, {name: energies for name in names})}, patients(8))
    text = results(standings, [Line(name, f"{name} {{seed}}") for name in ("wrong", "blind", "good")])
    anatomy = [line for line in text[: text.index("### Realism")] if line.startswith("|")]
    assert anatomy[2:] == [
        "| `good` | 1 | 1 of 1 | 10.0 |",
        "| `blind` | 2 | **0 of 1** | 15.0 |",
        "| `wrong` | 3 | **0 of 1** | 15.5 |",
        "| mean volume | - |  | 16.0 |",
    ]
    assert [line for line in text if line.startswith("* ")] == [
        "* `blind` is no better with its own photo than with those of other patients in: thickness error.",
        "* `wrong` is worse with its own photo than with those of other patients, so that it reads it, "
        "wrongly, in: thickness error.",
    ]


def test_surfaces_alone_have_a_table_of_their_anatomy():
    standings = Standings({0: report({"a 0, median surfaces": [12.0] * 4})}, patients(4))
    text = results(standings, [Line("a", "a {seed}, median surfaces")])
    assert "| `a` | - | not asked | 12.0 |" in text and "### Realism" not in text


def test_nobody_is_said_to_read_its_photo_where_none_was_asked():
    standings = Standings({0: report({"a 0": [12.0] * 4})}, patients(4))
    text = "\n".join(results(standings, [Line("a", "a {seed}")]))
    assert "No entry was asked with the photos of other patients." in text
    assert "gets worse in each measure" not in text


def test_the_table_names_the_protocol_of_its_distances():
    energies = {"a 0": {"energy/fake": 2.0, "energy/real": 2.0}}
    one = {"name": "image_distance/efficientnet_lite0-stem", "value": 4.0, "interval": None}
    made_up = report({"a 0": [12.0] * 4}, energies, distances={"a 0": [one]})
    text = results(Standings({0: made_up}, patients(4)), [Line("a", "a {seed}")])
    assert "Distances by their full names: `image_distance/efficientnet_lite0-stem`." in text
