import pytest

from fund2oct.data.loading.split import patient_number, split_patients

PATIENTS = [f"{number:06d}" for number in range(2000)]


def test_numbers_are_those_of_sha256sum():
    # printf "1:alice" | sha256sum  begins with  4cb3513c5c555820
    assert patient_number("alice") == pytest.approx(0x5BE0C0A459E03EDF / 2**64, abs=1e-15)
    assert patient_number("alice", seed=1) == pytest.approx(0x4CB3513C5C555820 / 2**64, abs=1e-15)
    assert patient_number("011574") == pytest.approx(0xF387E1BC437B5E0D / 2**64, abs=1e-15)


def test_parts_are_disjoint_complete_and_of_the_size_asked_for():
    split = split_patients(PATIENTS, 0.1, 0.2)
    assert split.train | split.val | split.test == set(PATIENTS)
    assert sum(map(len, split)) == len(PATIENTS)
    assert len(split.val) == pytest.approx(200, abs=45)
    assert len(split.test) == pytest.approx(400, abs=60)


def test_a_patient_keeps_its_part_when_others_come():
    few, many = split_patients(PATIENTS[:1000]), split_patients(PATIENTS)
    for before, after in zip(few, many, strict=True):
        assert before <= after


def test_a_patient_tested_on_stays_so_when_more_are_held_back():
    assert split_patients(PATIENTS, 0.1, 0.1).test <= split_patients(PATIENTS, 0.3, 0.3).test


def test_another_seed_gives_another_split():
    assert split_patients(PATIENTS, seed=1).test != split_patients(PATIENTS).test


def test_order_and_repeats_do_not_matter():
    assert split_patients(PATIENTS[::-1] + PATIENTS) == split_patients(PATIENTS)


@pytest.mark.parametrize("n_patients", range(3, 30))
@pytest.mark.parametrize("fractions", [(0.1, 0.1), (0.01, 0.01), (0.6, 0.39), (0.98, 0.01), (0.1, 0.0)])
def test_no_part_is_empty_from_three_patients_on(n_patients, fractions):
    split = split_patients(PATIENTS[:n_patients], *fractions)
    assert split.train and split.val
    assert bool(split.test) == (fractions[1] > 0)
    assert sum(map(len, split)) == n_patients


@pytest.mark.parametrize("n_patients", [1, 2])
def test_fewer_than_three_are_in_each_part(n_patients):
    assert split_patients(PATIENTS[:n_patients]) == (set(PATIENTS[:n_patients]),) * 3


@pytest.mark.parametrize("fractions", [(0.0, 0.1), (0.5, 0.5), (-0.1, 0.2), (0.1, -0.1), (float("nan"), 0.1)])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match="expected val_fraction above 0"):
        split_patients(PATIENTS, *fractions)


def test_nobody_to_split():
    with pytest.raises(ValueError, match="patients: expected at least one, found none"):
        split_patients([])
