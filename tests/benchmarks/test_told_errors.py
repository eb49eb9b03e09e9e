"""What the benchmarks of the surfaces print of errors: patients are drawn, and unknown eyes are left out."""

import math

import torch
from cached_eyes import told
from told import difference

UNKNOWN = math.nan


def test_two_eyes_of_a_patient_are_no_two_patients():
    errors = torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert told(errors, list("aabb")) == "2.00 ± 1.00 µm"
    assert told(errors, list("abcd")) == "2.00 ± 0.58 µm"


def test_an_eye_without_surfaces_is_left_out():
    patients = list("aabb")
    errors, plain = torch.tensor([1.0, UNKNOWN, 3.0, 3.0]), torch.tensor([1.0, 1.0, 2.0, UNKNOWN])
    assert told(errors, patients) == "2.33 ± 0.89 µm"  # sums of -4/3 and 4/3: sqrt(2 * 32 / 9) / 3
    known = difference(errors[[0, 2]], plain[[0, 2]], ["a", "b"])
    assert difference(errors, plain, patients) == known == "+0.50 (+0.00 to +1.00)"
