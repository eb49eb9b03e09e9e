"""Which patient is trained on, and which is kept apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


class Split(NamedTuple):
    """Patients of each part."""

    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]


def patient_number(patient: str, seed: int = 0) -> float:
    """A number in [0, 1) that depends on nothing but the patient's name and the seed."""
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    # A float holds 53 bits exactly; all 64 could round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_patients(
    patients: Iterable[str], val_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
) -> Split:
    """Part patients by :func:`patient_number`: the lowest are tested on, the next validated on.

    A patient keeps its part when others come or go. The exception is a handful of patients, where a
    part might be empty: it then takes the patient whose number lies nearest. Fewer than three
    patients cannot be parted, and each part holds them all.

    Args:
        patients: names, repeated or not.
        val_fraction: expected share of the patients to validate on, above 0.
        test_fraction: expected share of the patients to test on; 0 tests on none.
        seed: another seed gives another split.

    Raises:
        ValueError: if there is no patient, or the fractions leave none to train on.
    """
    if not (val_fraction > 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
        raise ValueError(
            "val_fraction, test_fraction: expected val_fraction above 0, test_fraction of at least 0 and "
            f"a sum below 1, found {val_fraction} and {test_fraction}"
        )
    numbers = {patient: patient_number(patient, seed) for patient in patients}
    everyone = sorted(numbers, key=numbers.__getitem__)
    if not everyone:
        raise ValueError("patients: expected at least one, found none")
    if len(everyone) < 3:
        return Split(*[frozenset(everyone)] * 3)
    n_test = max(sum(number < test_fraction for number in numbers.values()), int(test_fraction > 0))
    n_test = min(n_test, len(everyone) - 2)
    below = sum(number < val_fraction + test_fraction for number in numbers.values())
    n_held = min(max(below, n_test + 1), len(everyone) - 1)
    return Split(
        frozenset(everyone[n_held:]), frozenset(everyone[n_test:n_held]), frozenset(everyone[:n_test])
    )
