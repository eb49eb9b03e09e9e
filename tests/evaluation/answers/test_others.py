"""Whose eye stands in for an eye: another patient's, of the same side, or of either if sides are told."""

import pytest
import torch

from fund2oct.evaluation.answers.controls import told_otherwise
from fund2oct.evaluation.answers.others import one_patient_note, other_eyes
from fund2oct.models import VolumeModel
from fund2oct.networks.known import Known
from fund2oct.networks.layered.surfaces import SurfaceDistribution


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
    assert one_patient_note(["a", "a"]) and not one_patient_note(["a", "b", "a"])
    assert other_eyes(["a"], [""]) == [0]
    assert other_eyes([], []) == []


class Alternating:
    """Twenty patients with a right and a left eye each, one after the other."""

    keys = tuple(f"{number}" for number in range(40))
    patients = tuple(f"{number // 2}" for number in range(40))

    def batch(self, key):
        grid, pose_um = torch.zeros(1, 6, 8, 2), torch.zeros(1, 6, 3)
        return {"key": [key], "fundus": torch.zeros(1, 3, 8, 8), "grid": grid, "pose_um": pose_um}


class ToldTheEye(VolumeModel):
    """Is told the number of the eye, and remembers it."""

    def known(self, batch, withhold=False):
        return {"known": Known(torch.tensor([[float(key)] for key in batch["key"]]), None)}

    def surfaces(self, fundus, grid, known=None, whole=None):
        self.told = int(known.conditions)
        return SurfaceDistribution(torch.zeros(1, 4, 6, 8), torch.zeros(1, 4, 1, 6, 8))


def test_shuffled_metadata_tell_about_half_of_the_eyes_another_side():
    eyes, model = Alternating(), ToldTheEye((6, 32, 8))
    model.conditions = ["laterality=OD"]
    shuffled, _ = told_otherwise("told", model, eyes)
    told = []
    for key in eyes.keys:
        shuffled.give(eyes.batch(key))
        told.append(model.told)
    assert 12 <= sum(other % 2 != number % 2 for number, other in enumerate(told)) <= 28
    assert all(eyes.patients[other] != eyes.patients[number] for number, other in enumerate(told))
    assert len(set(told)) > 30
