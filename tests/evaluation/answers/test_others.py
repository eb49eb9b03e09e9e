"""Whose eye stands in for an eye: another patient's, of the same side."""

import pytest

from fund2oct.evaluation.answers.others import other_eyes


@pytest.mark.parametrize("n_patients", [75, 74, 3, 2])
def test_of_pairs_the_side_is_kept_and_each_eye_is_taken_once(n_patients):
    patients = [f"patient {number // 2}" for number in range(2 * n_patients)]
    sides = ["OD", "OS"] * n_patients
    found = other_eyes(patients, sides)
    assert [sides[other] for other in found] == sides
    assert [number for number, other in enumerate(found) if patients[other] == patients[number]] == []
    assert sorted(found) == list(range(2 * n_patients))


@pytest.mark.parametrize("n_patients", [75, 74])
@pytest.mark.parametrize("told", [True, False])
def test_where_no_side_is_known_alternating_sides_agree_all_the_same(n_patients, told):
    everyone = range(2 * n_patients)
    patients = [f"{number // 2 if told else number}" for number in everyone]
    found = other_eyes(patients, [""] * len(patients))
    assert all(found[number] % 2 == number % 2 and found[number] // 2 != number // 2 for number in everyone)


def test_the_patient_matters_more_than_the_side():
    # No other patient has a left eye, and the next right eyes are of the same patient.
    patients, sides = ["a", "a", "a", "a", "b"], ["OD", "OD", "OD", "OS", "OD"]
    found = other_eyes(patients, sides)
    assert [patients[other] for other in found] == ["b", "b", "b", "b", "a"]
    assert sides[found[4]] == "OD"


def test_without_another_patient_or_eye_there_is_still_an_answer():
    assert other_eyes(["a", "a"], ["OD", "OS"]) == [1, 0]
    assert other_eyes(["a"], [""]) == [0]
    assert other_eyes([], []) == []
