"""Two eyes of a patient are no two patients: standard errors and shuffled photos know whose an eye is."""

import math
from statistics import stdev
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from fund2oct.data import EyeReader
from fund2oct.data.store.patients import hashed_patient
from fund2oct.evaluation.checkpoints import evaluate
from fund2oct.evaluation.compare import mean_of
from fund2oct.evaluation.distances import Wanted
from fund2oct.evaluation.own import LoadedEyes
from fund2oct.models import VolumeGAN

pytestmark = pytest.mark.usefixtures("few_twins")
NOTHING = Wanted((), required=True, thorough=False)


class Constant(VolumeGAN):
    """Answers every photo with black."""

    def forward(self, fundus, grid, n_depth=None, rng=None):
        return torch.zeros(len(fundus), 1, *self.shape)


def test_batches_may_tell_the_patients(datamodule):
    dataset = datamodule.test_dataset
    first, second, third = (dict(dataset[number]) for number in range(3))

    def eyes_of(*samples):
        loader = DataLoader(samples, batch_size=2)
        return LoadedEyes(SimpleNamespace(test_dataloader=lambda: loader), torch.device("cpu"))

    with EyeReader(datamodule.path) as reader:
        patients = tuple(reader.info(key).patient for key in dataset.keys[:3])
    assert eyes_of(first, second, third).patients == patients
    unknown = [{name: value for name, value in one.items() if name != "patient"} for one in (first, second)]
    assert eyes_of(*unknown).patients == dataset.keys[:2]
    told = [
        {**one, "patient": who, "laterality": ""} for one, who in ((first, "a"), (second, "a"), (third, "b"))
    ]
    eyes = eyes_of(*told)
    assert eyes.patients == ("a", "a", "b")
    assert torch.equal(eyes.photo_of_another(first["key"])["fundus"], third["fundus"])
    assert torch.equal(eyes.photo_of_another(second["key"])["fundus"], third["fundus"])
    assert eyes.notes == []
    (note,) = eyes_of(*told[:2]).notes
    assert note.startswith("**There is no other patient")
    names = hashed_patient("a", ""), "a", "b"
    one = eyes_of(*({**sample, "patient": name} for sample, name in zip(told, names, strict=True)))
    assert one.patients == (names[0], names[0], "b")


def test_two_eyes_of_a_patient_tell_less_than_two_patients():
    """By hand: differences -1, -1, 1, 1 from the mean; of two patients the sums are -2 and 2."""
    values = [1.0, 1.0, 3.0, 3.0]
    assert mean_of(values, list("abcd"))["standard_error"] == pytest.approx(stdev(values) / 2)
    assert mean_of(values, list("aabb"))["standard_error"] == pytest.approx((2 * 8) ** 0.5 / 4)
    assert mean_of(values, list("abab"))["standard_error"] == 0  # they differ within patients alone
    unknown = mean_of([1.0, math.nan, 3.0], list("aab"))
    assert unknown == {"mean": 2.0, "standard_error": pytest.approx(1.0), "n_eyes": 2}
    assert math.isnan(mean_of([1.0, 2.0], ["a", "a"])["standard_error"])
    assert mean_of([math.nan], ["a"])["n_eyes"] == 0


@pytest.mark.usefixtures("plain_pictures")
def test_standard_errors_draw_patients(few, tmp_path):
    models = {"black": Constant((6, 32, 48))}
    found = evaluate(models, few, tmp_path, distances=NOTHING, only=["floor: rescan"])
    rows = found["eyes"]["floor: rescan"]
    with EyeReader(few.path) as reader:
        patients = [reader.info(row["key"]).patient for row in rows]
    assert [row["patient"] for row in rows] == patients and len(set(patients)) < len(patients)
    told = found["summary"]["floor: rescan"]["aligned/l1"]
    assert told == mean_of([row["aligned/l1"] for row in rows], patients)
