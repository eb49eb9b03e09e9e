import pickle

import numpy as np
import pytest

from fund2oct.data.augmenting.photometry import FundusPhotometry


@pytest.fixture
def photo() -> np.ndarray:
    rows, columns = np.indices((48, 48))
    inside = np.hypot(rows - 23.5, columns - 23.5) < 22
    colours = np.random.default_rng(0).integers(60, 220, (48, 48, 3), dtype=np.uint8)
    return np.where(inside[..., None], colours, np.uint8(2))


def test_strength_0_changes_nothing(photo):
    assert FundusPhotometry(0.0)(photo, seed=1) is photo


def test_the_seed_alone_decides(photo):
    one, other = FundusPhotometry(0.7), FundusPhotometry(0.7)
    first = [one(photo, seed) for seed in range(6)]
    np.random.seed(9)  # noqa: NPY002 (it must have no effect)
    backwards = [other(photo, seed) for seed in reversed(range(6))]
    for a, b in zip(first, reversed(backwards), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({a.tobytes() for a in first}) > 4
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one))(photo, 3), first[3])


def test_it_keeps_type_shape_and_the_black_surround(photo):
    before = photo.copy()
    for seed in range(20):
        varied = FundusPhotometry(1.0)(photo, seed)
        assert varied.dtype == np.uint8 and varied.shape == photo.shape
        surround = photo.max(-1) == 2
        np.testing.assert_array_equal(varied[surround], photo[surround])
    np.testing.assert_array_equal(photo, before)


def test_a_higher_strength_changes_more(photo):
    def change(strength):
        vary = FundusPhotometry(strength)
        return np.mean([np.abs(vary(photo, seed).astype(int) - photo).mean() for seed in range(30)])

    assert 0 < change(0.1) < change(0.5) < change(1.0)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_bad_strength(strength):
    with pytest.raises(ValueError, match="photometric: expected a strength in"):
        FundusPhotometry(strength)
