import json

import pytest
import torch
from torch import Tensor

from fund2oct.metrics.sets.estimate import DistanceResult, compare_eyes
from fund2oct.metrics.sets.frechet import frechet_distance
from fund2oct.metrics.sets.kernel import kernel_distance


def _eyes(count: int = 12, rows: int = 3, width: int = 8, shift: float = 0.0, seed: int = 0) -> Tensor:
    """Eyes ``(count, rows, width)`` whose rows are alike within an eye, as B-scans are."""
    rng = torch.Generator().manual_seed(seed)
    eye = torch.randn(count, 1, width, generator=rng)
    return eye + 0.5 * torch.randn(count, rows, width, generator=rng) + shift


def test_value_and_rescan_floor_are_the_distances_of_all_rows() -> None:
    real, fake, rescan = _eyes(), _eyes(shift=0.5, seed=1), _eyes(seed=2)
    found = compare_eyes("name", frechet_distance, real, fake, rescan=rescan)
    assert found.value == frechet_distance(real.flatten(0, 1), fake.flatten(0, 1)).item()
    assert found.rescan_floor == frechet_distance(real.flatten(0, 1), rescan.flatten(0, 1)).item()
    assert (found.name, found.n_real, found.n_fake, found.floor_n) == ("name", 12, 12, 6)


def test_eyes_stay_together() -> None:
    # Rows of an eye are equal: a floor that split them would be far too low.
    real = torch.eye(8)[:, None].expand(8, 5, 8)

    def shared(first: Tensor, other: Tensor) -> Tensor:
        return (first @ other.T).sum()

    found = compare_eyes("name", shared, real, real, shuffled=real)
    assert found.floor == found.value_at_floor_n == found.shuffle_control == 0
    # Paired: the halves of an interval's draw are the same four eyes, 5 x 5 equal rows of each.
    assert found.interval == (found.value, found.value)
    assert found.curve == ((4, 100.0), (5, 125.0), (6, 150.0), (7, 175.0), (8, 200.0))


def test_floor_is_that_of_equal_sets() -> None:
    # A generator as good as other real eyes: both numbers have one expectation.
    real, fake = _eyes(40, 1), _eyes(40, 1, seed=1)
    found = compare_eyes("name", frechet_distance, real, fake, paired=False)
    assert found.floor is not None
    assert found.floor_n == 20
    assert found.value_at_floor_n == pytest.approx(found.floor, rel=0.25)
    worse = compare_eyes("name", frechet_distance, real, fake + 1.0)
    assert worse.floor == pytest.approx(found.floor, rel=0.25)
    assert worse.value_at_floor_n == pytest.approx(found.floor + 8, rel=0.25)
    # Few eyes have more bias, so the full value is the lower one.
    assert found.value < found.value_at_floor_n


def test_extrapolation_finds_a_line_in_one_over_n() -> None:
    def line(first: Tensor, other: Tensor) -> Tensor:
        return torch.tensor(3 + 20 / len(first))

    real = _eyes(20, 1)
    found = compare_eyes("name", line, real, real)
    assert found.value == pytest.approx(4)
    assert found.extrapolated == pytest.approx(3)
    assert [number for number, _ in found.curve] == [10, 12, 14, 16, 18, 20]


def test_extrapolation_takes_off_bias() -> None:
    # Of one distribution: the truth is 0. The curve takes 20 draws a point; more are for the interval alone.
    found = [
        compare_eyes("", frechet_distance, _eyes(40, 1, seed=n), _eyes(40, 1, seed=n + 1), resamples=20)
        for n in range(0, 30, 2)
    ]
    value, extrapolated = (sum(getattr(one, name) for one in found) for name in ("value", "extrapolated"))
    assert abs(extrapolated) < 0.3 * value


@pytest.mark.parametrize(
    ("distance", "width"),
    [(frechet_distance, 30), pytest.param(kernel_distance, 5, marks=pytest.mark.slow)],
)
def test_interval_holds_the_expectation(distance, width: int) -> None:
    def drawn(trial: int) -> tuple[Tensor, Tensor]:
        real = _eyes(16, 1, width, seed=2 * trial)
        return real, 0.5 * real + 0.5 * _eyes(16, 1, width, shift=0.3, seed=2 * trial + 1)

    values = [compare_eyes("", distance, *drawn(trial), resamples=0).value for trial in range(200)]
    expected = sum(values) / len(values)
    trials = 40
    held, width_sum = 0, 0.0
    for trial in range(1000, 1000 + trials):
        real, fake = drawn(trial)
        low, high = compare_eyes("", distance, real, fake, resamples=40).interval
        held += low <= expected <= high
        width_sum += high - low
    # 95% are wanted; three standard deviations of so few trials are 10%.
    assert held / trials > 0.85
    ideal = 3.92 * torch.tensor(values).std().item()
    # Half of 16 eyes are few: the jackknife is half as wide again.
    assert 0.75 < width_sum / trials / ideal < 1.7


def test_eyes_of_a_patient_stay_together() -> None:
    # Both eyes of a patient are equal: a floor that split them would be below 0 here.
    real = torch.eye(8).repeat_interleave(2, 0)[:, None]
    patients = [f"p{number // 2}" for number in range(16)]

    def shared(first: Tensor, other: Tensor) -> Tensor:
        return (first @ other.T).sum()

    assert compare_eyes("name", shared, real, real, patients=patients).floor == 0
    assert compare_eyes("name", shared, real, real).floor > 0


def test_no_patient_has_eyes_in_both_halves() -> None:
    def shared(first: Tensor, other: Tensor) -> Tensor:
        return (first @ other.T).sum().sign()

    # Half of the eyes of three patients with two eyes each is one and a half patients.
    for eyes_of, floor_n in (([2, 2, 2], 2), ([2] * 5, 4), ([1, 2, 2, 3, 1], 3), ([2] * 6, 6), ([3, 2], 2)):
        named = [str(patient) for patient, n_eyes in enumerate(eyes_of) for _ in range(n_eyes)]
        real = torch.eye(len(eyes_of)).repeat_interleave(torch.tensor(eyes_of), 0)[:, None]
        found = compare_eyes("name", shared, real, real, shuffled=real, patients=named)
        assert found.floor == found.value_at_floor_n == found.shuffle_control == 0
        assert found.floor_n == floor_n
    alone = compare_eyes("name", shared, real, real, patients=["one"] * 4 + ["other"])
    assert alone.floor is alone.floor_n is None


@pytest.mark.parametrize("n_patients", [1, 2, 4, 5])
def test_fewer_than_five_patients_have_no_interval(n_patients: int) -> None:
    # With one patient all halves are the same eyes: their values do not scatter, and look exact.
    patients = [str(number % n_patients) for number in range(10)]
    found = compare_eyes(
        "name", frechet_distance, _eyes(10), _eyes(10, seed=1), patients=patients, resamples=20
    )
    if n_patients < 5:
        assert found.interval is found.extrapolated is None and found.curve == ()
    else:
        low, high = found.interval
        assert low < found.value < high
        assert [number for number, _ in found.curve] == [5, 6, 7, 8, 9, 10]
    assert (found.floor is None) == (n_patients == 1)


@pytest.mark.parametrize("told", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_interval_over_patients_is_wider_than_one_over_eyes_that_are_alike(told: bool) -> None:
    def width(trial: int) -> float:
        both = [_eyes(24, 1, 5, shift=shift, seed=2 * trial + n) for n, shift in enumerate((0.0, 0.5))]
        real, fake = (eyes.repeat_interleave(2, 0) for eyes in both)
        patients = [str(number // 2) for number in range(48)] if told else None
        low, high = compare_eyes("", kernel_distance, real, fake, patients=patients, resamples=40).interval
        alone = compare_eyes("", kernel_distance, *both, resamples=40).interval
        return (high - low) / (alone[1] - alone[0])

    # Twice the same eyes tell no more than once.
    ratio = sum(width(trial) for trial in range(20)) / 20
    assert (0.8 < ratio < 1.25) if told else ratio < 0.85


def test_odd_and_unequal_numbers() -> None:
    found = compare_eyes("name", frechet_distance, _eyes(9), _eyes(21, seed=1), paired=False)
    assert (found.n_real, found.n_fake, found.floor_n) == (9, 21, 4)
    assert found.curve[-1] == (9, found.value)
    assert found.interval[0] < found.value < found.interval[1]


def test_few_eyes_and_no_draws_leave_out_what_needs_them() -> None:
    real = _eyes(3)
    few = compare_eyes("name", frechet_distance, real, real, rescan=real, shuffled=real)
    none = compare_eyes("name", frechet_distance, _eyes(), _eyes(seed=1), rescan=_eyes(), resamples=0)
    for found in (few, none):
        assert found.rescan_floor == pytest.approx(0, abs=1e-9)
        assert found.interval is found.floor is found.extrapolated is found.shuffle_control is None
        assert found.curve == ()
    four, five = (compare_eyes("name", frechet_distance, _eyes(n), _eyes(n, seed=1)) for n in (4, 5))
    assert four.floor_n == five.floor_n == 2
    assert four.interval is four.extrapolated is None and four.curve == ()
    assert [number for number, _ in five.curve] == [2, 3, 4, 5]
    unpaired = compare_eyes("name", frechet_distance, _eyes(9), _eyes(4, seed=1), paired=False)
    assert unpaired.interval is None and unpaired.floor_n == 2


def test_same_seed_same_numbers() -> None:
    real, fake = _eyes(), _eyes(seed=1)
    first, again, other = (
        compare_eyes("name", frechet_distance, real, fake, resamples=20, seed=seed) for seed in (4, 4, 5)
    )
    assert first == again
    assert first.interval != other.interval


def test_json_and_line() -> None:
    found = compare_eyes("name", kernel_distance, _eyes(), _eyes(seed=1), rescan=_eyes(), shuffled=_eyes())
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["unit"] == "eyes"
    assert plain["interval"] == list(found.interval)
    assert plain["curve"][-1] == [12, found.value]
    assert set(plain) == {*DistanceResult._fields, "unit"}
    line = str(DistanceResult("d/p", 812.34, 56, 56, (790, 840), 28, 350.1, 901.2, 380, 120.3, 610))
    assert line == (
        "d/p: 812.34 [790, 840] (56 eyes; rescan 120.3; "
        "at 28 eyes 901.2, floor 350.1, shuffled 380; many eyes 610)"
    )
    assert str(DistanceResult("d/p", 1.5, 2, 3)) == "d/p: 1.5 (2 and 3 eyes)"


BAD = {
    "one real eye": (_eyes(1), _eyes(2), False, "name: expected at least two real eyes, found 1"),
    "no fake eye": (_eyes(2), _eyes(0), False, "name: expected at least two fake eyes, found 0"),
    "unequal pairs": (_eyes(4), _eyes(5), True, "as many fake as real eyes, found 5 and 4"),
}


@pytest.mark.parametrize(("real", "fake", "paired", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(real: Tensor, fake: Tensor, paired: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_eyes("name", frechet_distance, real, fake, paired=paired)
