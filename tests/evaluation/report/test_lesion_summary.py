"""Lesions found, missed and invented, errors by disease, and their tables, by hand-made rows."""

import math

import pytest

from fund2oct.evaluation.report.groups import GROUPS, groups_of, thickness_by_group
from fund2oct.evaluation.report.lesion_tables import group_table, lesion_table
from fund2oct.evaluation.report.lesions import detector_summary, lesion_summary
from fund2oct.metrics import KINDS
from fund2oct.phantom import DIAGNOSES


def row(real: float, fake: float, both: float, **more: float) -> dict:
    lengths = {f"{kind}/{whose}_mm": 0.0 for kind in KINDS for whose in ("real", "fake", "both")}
    return lengths | {"PED/real_mm": real, "PED/fake_mm": fake, "PED/both_mm": both} | more


ROWS = [
    row(5, 4, 3),  # found
    row(5, 4, 0),  # drawn elsewhere: not found
    row(5, 0.5, 0.5),  # too little
    row(0, 6, 0),  # invented
    row(0.5, 0, 0),  # too little to be there
]


def test_found_invented_and_overlap_are_counted() -> None:
    found = lesion_summary(ROWS)["PED"]
    assert found == {
        "n_real": 3,
        "found": pytest.approx(1 / 3),
        "invented": 0.5,
        "dice": pytest.approx(7 / 30),
    }
    nothing = lesion_summary(ROWS)["GA"]
    assert nothing["n_real"] == 0 and math.isnan(nothing["found"]) and nothing["invented"] == 0
    assert math.isnan(nothing["dice"])


def test_the_detector_is_judged_by_the_truth() -> None:
    assert detector_summary(ROWS) == {}
    truth = {f"{kind}/{whose}_mm": 0.0 for kind in KINDS for whose in ("truth", "confirmed")}
    rows = [one | truth for one in ROWS]
    rows[0] |= {"PED/truth_mm": 6.0, "PED/confirmed_mm": 5.0}
    found = detector_summary(rows)["PED"]
    assert found["n_real"] == 1 and found["found"] == 1 and found["invented"] == pytest.approx(2 / 4)
    assert found["dice"] == pytest.approx(2 * 5 / (6 + 15.5))


def test_every_diagnosis_is_in_a_group() -> None:
    assert {member for members in GROUPS.values() for member in members} == set(DIAGNOSES)
    assert groups_of("GA+haemorrhage") == ["flat"] and groups_of("drusen+GA") == ["detachment or drusen"]
    assert groups_of("PED+SRF") == ["detachment or drusen", "subretinal fluid"]
    assert groups_of("") == groups_of("glaucoma") == []
    assert groups_of("ga + Haemorrhage") == ["flat"] and groups_of("ped+srf") == groups_of("PED+SRF")


def test_errors_are_averaged_by_disease() -> None:
    rows = [
        {"patient": error, "diagnosis": diagnosis, "thickness/error_um": error}
        for diagnosis, error in (("normal", 10.0), ("PED+SRF", 40.0), ("PED", 20.0), ("", math.nan))
    ]
    found = thickness_by_group({"model": rows})["model"]
    assert {name: value["mean"] for name, value in found.items()} == {
        "all": pytest.approx(70 / 3), "flat": 10, "detachment or drusen": 30, "subretinal fluid": 40,
    }  # fmt: skip
    assert found["all"]["n_eyes"] == 3
    assert thickness_by_group({"model": [{"patient": "a", "diagnosis": "", "thickness/error_um": 1.0}]}) == {}
    table = group_table({"model": found})
    assert table[0].startswith("| answer | all (3 eyes) | flat (1 eyes) |")
    assert table[2] == "| model | 23.3 ± 8.8 | 10.0 | 30.0 ± 10.0 | 40.0 |"


def test_the_table_has_the_detector_first() -> None:
    table = lesion_table({"model": lesion_summary(ROWS)}, {})
    assert len(table) == 3 and "PED (3 eyes)" in table[0]
    assert table[2].startswith("| model | 33% / 50% / 0.23 | - / 0% / - |")
    assert lesion_table({"model": lesion_summary(ROWS)}, lesion_summary(ROWS))[2].startswith("| detector")
