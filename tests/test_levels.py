"""Black and white of numbers of any type."""

import numpy as np
import pytest

from fund2oct.eye import DataError
from fund2oct.levels import find_levels, to_bytes


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.uint8([0, 7]), (0, 255)),
        (np.array([True, False]), (0, 1)),
        (np.uint16([0, 255]), (0, 255)),
        (np.uint16([0, 256]), (0, 1023)),
        (np.int64([0, 4095]), (0, 4095)),
        (np.int16([0, 32767]), (0, 65535)),
        (np.uint16([0, 65535]), (0, 65535)),
        (np.float32([0, 1]), (0, 1)),
        (np.float16([0, 0.5, 1]), (0, 1)),
        (np.float64([0, 0.5, 1.0001]), (0, 1)),
        (np.float32([-0.005, 0.5, 1.009]), (0, 1)),
        (np.float32([0, 0.02]), (0, 1)),
        (np.float32([0, 100, 255]), (0, 255)),
        (np.float32([0, 3000, np.nan]), (0, 4095)),
        (np.float32([-1.2, 0.5, 254.6]), (0, 255)),
    ],
)
def test_black_and_white_are_known(values, levels):
    assert find_levels(values) == levels


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.float32([-1, 0.5, 1]), "float32 from -1 to 1"),
        (np.float32([-0.92, 0, 4.41]), "float32 from -0.92 to 4.41"),
        (np.float32([0, 0.5, 1.02]), "float32 from 0 to 1.02"),
        (np.float64([20.5, 93.1]), "float64 from 20.5 to 93.1"),
        (np.float32([0.5, 4000.2]), "float32 from 0.5 to 4000.2"),
        (np.int16([-32768, 32767]), "int16 from -32768 to 32767"),
        (np.int8([-1, 5]), "int8 from -1 to 5"),
        (np.uint32([0, 65536]), "uint32 from 0 to 65536"),
        (np.float32([0, np.inf]), "infinity"),
        (np.float32([np.nan]), "NaN throughout"),
        (np.complex64([1]), "complex64"),
    ],
)
def test_what_cannot_be_known_is_refused(values, found):
    with pytest.raises(DataError, match=found):
        find_levels(values)


def test_bytes_are_linear_between_black_and_white():
    values = np.linspace(-2, 3, 11)
    expected = np.round(((values + 1) / 2).clip(0, 1) * 255)
    np.testing.assert_array_equal(to_bytes(values, (-1, 1)), expected)
    np.testing.assert_array_equal(
        to_bytes(values, (1, -1)), np.array([255, 255, 255, 191, 128, 64, 0, 0, 0, 0, 0])
    )
    deep = np.arange(65536, dtype=np.uint16).reshape(4, 128, 128)
    np.testing.assert_array_equal(to_bytes(deep, (0, 65535)), np.round(deep / 257))
    assert to_bytes(np.array([np.nan, 0.0]), (1, 0)).tolist() == [0, 255], "NaN is black, whatever is white"
    same = np.uint8([1, 2])
    assert to_bytes(same, (0, 255)) is same
    for levels in ((1, 1), (0, np.nan)):
        with pytest.raises(DataError, match="expected black and white, two numbers that differ"):
            to_bytes(same, levels)
