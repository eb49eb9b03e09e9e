"""Scalars that are told of an eye: scaled as in the training, and read right however a user writes them."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fund2oct.data import EyeWriter, FundusOCTDataModule, FundusOCTDataset
from fund2oct.evaluation.held_out import unseen_eyes
from fund2oct.models import SurfaceModel
from fund2oct.models.task import Task
from fund2oct.models.training.conditions import Conditions

SHAPE = (6, 8, 10)

EYES = [
    {"age_years": 60, "device": "Maestro", "myope": True, "sex": 1, "diagnosis": "PED+GA"},
    {"age_years": 70.0, "device": "Cirrus", "myope": False, "sex": 2, "diagnosis": "PED"},
    {"age_years": 80, "device": "", "laterality": "OS", "sex": 2.0, "diagnosis": "normal"},
]


def one(name, eye, eyes=EYES):
    return Conditions.of([name], eyes).read([eye]).item()


def test_scalars_are_scaled_as_in_the_training_and_survive_a_checkpoint():
    conditions = Conditions.of(["age_years", "device=Cirrus", "myope"], EYES)
    again = Conditions.from_dict(conditions.to_dict())
    assert again == conditions and Conditions.from_dict({}) == Conditions()
    deviation = math.sqrt(200 / 3)
    wanted = torch.tensor([[-10 / deviation, -1, 1], [0, 1, -1], [10 / deviation, math.nan, math.nan]])
    torch.testing.assert_close(again.read(EYES), wanted, equal_nan=True)


def test_what_all_eyes_share_has_no_scale():
    assert one("age_years", EYES[0], EYES[:1]) == 0
    rounded = [{"axial_length_mm": 23.4 + n * 1e-9} for n in range(5)]
    assert one("axial_length_mm", {"axial_length_mm": 23.9}, rounded) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("value", [1, 1.0, "1", " 1.0 "])
def test_a_code_is_the_same_however_it_is_written(value):
    assert one("sex=1", {"sex": value}) == 1
    assert one("sex=2", {"sex": value}) == -1


def test_a_name_that_looks_like_a_number_stays_one():
    eyes = [{"device": "007"}, {"device": "12E4"}]
    conditions = Conditions.of(["device=007", "device=12E4"], eyes)
    told = [conditions.told({"device": name})[0] for name in ("007", "12E4")]
    assert conditions.read(told).tolist() == [[1, -1], [-1, 1]]


def test_an_eye_has_each_of_its_diagnoses():
    assert [one("diagnosis=PED", {"diagnosis": text}) for text in ("PED", "GA + PED", "GA")] == [1, 1, -1]
    assert one("diagnosis=GA", EYES[1]) == -1


@pytest.mark.parametrize("word", ["", "NA", "n/a", "unknown", "-", "nan", "none", None, math.nan])
def test_words_for_nothing_are_missing(word):
    assert math.isnan(one("device=Cirrus", {"device": word}))
    assert math.isnan(one("age_years", {"age_years": word}))
    conditions = Conditions.of(["age_years", "laterality=OS"], EYES)
    # A word for the side says that it is unknown, whatever the name of the file tells; None says nothing.
    side = {} if word is None else {"laterality": ""}
    assert conditions.told({"age_years": word, "laterality": word}) == (side, ())


def test_none_is_a_value_of_a_text_and_what_python_calls_none_is_missing():
    eyes = [{"drug": "none"}, {"drug": "A"}]
    assert [one("drug=none", {"drug": drug}, eyes) for drug in ("none", "A")] == [1, -1]
    told = Conditions.of(["drug=none"], eyes).told
    assert told({"drug": "none"}) == ({"drug": "none"}, ()) and told({"drug": None}) == ({}, ())


def test_zero_and_no_are_values():
    assert one("age_years", {"age_years": 0}, [{"age_years": 0}, {"age_years": 2}]) == -1
    assert one("myope", {"myope": "false"}) == -1


def test_small_and_capital_letters_of_a_text_are_one():
    eyes = [{"diagnosis": "Drusen+GA"}, {"diagnosis": "drusen"}, {"diagnosis": "normal"}]
    conditions = Conditions.of(["diagnosis=drusen", "diagnosis=ga"], eyes)
    assert conditions.read(eyes).tolist() == [[1, 1], [1, -1], [-1, -1]]
    assert conditions.scalars[0].seen == ("Drusen", "GA", "normal")
    device = Conditions.of(["device=cirrus"], EYES)
    told, notes = device.told({"device": "CIRRUS"})
    assert device.read([told, {"device": "maestro"}]).tolist() == [[1], [-1]] and notes == ()


def test_a_model_whose_training_took_two_spellings_for_two_values_reads_both():
    seen = ["Drusen", "drusen", "normal"]
    scalar = {"name": "diagnosis=drusen", "mean": 0.5, "deviation": 0.5, "seen": seen}
    conditions = Conditions.from_dict({"scalars": [scalar]})
    eyes = [{"diagnosis": name} for name in ("Drusen", "drusen", "DRUSEN", "Normal", "PED")]
    *known, unknown = conditions.read(eyes).flatten().tolist()
    assert known == [1, 1, 1, -1] and math.isnan(unknown)


def test_what_no_training_eye_had_is_missing_or_the_nearest_and_is_said():
    conditions = Conditions.of(["age_years", "device=Cirrus", "device=Maestro"], EYES)
    told, notes = conditions.told({"age_years": "700", "device": "Spectralis"})
    age, *devices = conditions.read([told])[0].tolist()
    assert age == pytest.approx(10 / math.sqrt(200 / 3)) and all(map(math.isnan, devices))
    assert told == {"age_years": 700, "device": "Spectralis"}
    assert notes == (
        "age_years 700: the training eyes have 60 to 80, and it is taken for 80; is the unit right?",
        "device 'Spectralis': no training eye has it, and it is taken for missing; they have Cirrus, Maestro",
    )
    assert conditions.told({"age_years": 61.5, "device": "Cirrus"})[1] == ()


@pytest.mark.parametrize(("said", "side"), [("OD", "OD"), ("R", "OD"), ("left", "OS"), ("", "")])
def test_a_side_however_it_is_spelt(said, side):
    eyes = [{"laterality": "OD"}, {"laterality": "OS"}]
    told, notes = Conditions.of(["laterality=OD"], eyes).told({"laterality": said})
    assert told == {"laterality": side} and notes == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("age", r"no training eye has age; they have age_years, device, diagnosis, laterality, myope, sex"),
        ("device", r"device is a text, 'Cirrus'; name it with a value, as in device=Cirrus"),
        ("device=Spectralis", r"device=Spectralis: no training eye has it, but Cirrus, Maestro"),
    ],
)
def test_a_condition_that_no_eye_has(name, message):
    with pytest.raises(ValueError, match=rf"^conditions: {message}$"):
        Conditions.of([name], EYES)


def test_a_cell_that_is_no_number_is_named_and_not_the_column():
    eyes = [*({"axial_length_mm": f"{23 + n / 10}"} for n in range(9)), {"axial_length_mm": "24 mm"}]
    with pytest.raises(ValueError, match=r"expected numbers, found '24 mm' in 1 of 10 training eyes"):
        Conditions.of(["axial_length_mm"], eyes)
    eyes[-1] = {"axial_length_mm": "unknown"}  # which made texts of all cells of the column
    assert one("axial_length_mm", {"axial_length_mm": 23.4}, eyes) == pytest.approx(0)


@pytest.mark.parametrize("code", [999, 0, -1])
def test_a_number_far_from_all_others_is_remarked(code):
    eyes = [{"axial_length_mm": 22 + n / 10} for n in range(20)] + [{"axial_length_mm": code}] * 9
    with pytest.warns(UserWarning, match=rf"axial_length_mm: {code} in 9 of 29 training eyes lies far from"):
        Conditions.of(["axial_length_mm"], eyes)


def test_a_tail_and_a_code_of_two_values_are_not_remarked(recwarn):
    Conditions.of(["age_years"], [{"age_years": age} for age in (*range(50, 80), 18, 95)])
    Conditions.of(["smoker"], [{"smoker": n % 2} for n in range(20)])
    assert not [one for one in recwarn if "lies far" in str(one.message)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"age": 63.0}, r"^age: expected one of age_years, device, laterality$"),
        ({"age_years": "old"}, r"^age_years: expected a number, found 'old'$"),
        ({"age_years": "inf"}, r"^age_years: expected a number, found 'inf'$"),
        ({"laterality": "both"}, r"^laterality: expected OD, OS, R, L, right or left, found 'both'$"),
    ],
)
def test_what_a_user_tells_in_vain(given, message):
    with pytest.raises(ValueError, match=message):
        Conditions.of(["age_years", "device=Cirrus", "laterality=OS"], EYES).told(given)
    with pytest.raises(ValueError, match=r"^age: expected nothing, for the model takes only photos$"):
        Conditions().told({"age": 63.0})


@pytest.fixture
def one_bad_cell(make_eye, tmp_path):
    """A file of three eyes, of which the last has an age with a unit."""
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        for number, age in enumerate((60, "70", "63y")):
            writer.add(make_eye(number, patient=f"p{number}", sha256="", metadata={"age_years": age}))
    return str(tmp_path / "eyes.h5")


BAD_CELL = r"eyes\.h5: conditions: eye 'eye02': age_years: expected a number, found '63y'; mend these cells"


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_bad_cell_of_an_eye_that_judges_is_said_before_the_training(part, one_bad_cell):
    data = FundusOCTDataModule(one_bad_cell, split={"train": ["eye00", "eye01"], part: ["eye02"]})
    with pytest.raises(ValueError, match=BAD_CELL):
        Task.of(data, SHAPE, ["age_years"])
    assert Task.of(data, SHAPE, ["laterality=OD"]).conditions.names == ("laterality=OD",)


def test_a_bad_cell_of_a_plain_loader_is_said_too(one_bad_cell):
    train, val = (FundusOCTDataset(one_bad_cell, keys) for keys in (["eye00", "eye01"], ["eye02"]))
    with pytest.raises(ValueError, match=BAD_CELL):
        Task.of((train, val), SHAPE, ["age_years"])


def test_a_bad_cell_is_said_before_an_evaluation(one_bad_cell):
    task = Task.of(FundusOCTDataset(one_bad_cell, ["eye00", "eye01"]), SHAPE, ["age_years"])
    with pytest.raises(ValueError, match=BAD_CELL):
        unseen_eyes({"model": SimpleNamespace(task=task)}, one_bad_cell, one_bad_cell)


def test_a_number_of_numpy_is_told_as_one_of_python():
    conditions = Conditions.of(["sex=1"], [{"sex": 1}, {"sex": 2}])
    (value,) = conditions.told({"sex": np.int64(1)})[0].values()
    assert type(value) is int and conditions.read([{"sex": value}]).tolist() == [[1.0]]


@pytest.mark.parametrize("metadata", [{"age_years": torch.tensor([63, 64])}, [{"age_years": 63}], 63])
def test_metadata_of_a_batch_are_texts(metadata):
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8, conditions=["age_years"])
    model.task = SimpleNamespace(
        conditions=Conditions.of(["age_years"], [{"age_years": 50}, {"age_years": 70}])
    )
    with pytest.raises(ValueError, match=r"batch: metadata: expected a JSON object of each eye, as a text"):
        model.known({"metadata": metadata})
    known = model.known({"metadata": [json.dumps({"age_years": 70}), "{}"]})["known"]
    assert known.conditions[0].item() == 1 and known.conditions[1].isnan()
