"""Numbers of any type as bytes: which of them is black, and which is white."""

from __future__ import annotations

import numpy as np

from fund2oct.eye import Array, DataError

Levels = tuple[float, float]
"""The numbers that are black and white. White is the lower one where a file stores light as little."""

GUESSED = {"photo": "photo_white_guessed", "volume": "volume_white_guessed"}
"""Where an eye's history has the white that was taken for its photo or its volume, if that was a guess."""

_DEPTHS = (8, 10, 12, 14, 16)
# Interpolation overshoots a little, and rounding does.
_SLACK = 0.01
_LEAST_OF_BYTES = 128


def find_levels(values: Array) -> Levels:
    """Tell which numbers are black and white, where their type and range leave no doubt.

    * Bytes run from 0 to 255, and truth values from 0 to 1.
    * Whole numbers, whatever their type, run to the largest of the smallest usual depth that holds them
      (8, 10, 12, 14 or 16 bits), so that 12 bits stored in 16 are not black.
    * Fractions run from 0 to 1, or to 255 where they reach at least 128; 1% beyond the ends is cut off.

    Args:
        values: numbers of any shape and type; NaN counts as black.

    Returns:
        The numbers that are black and white.

    Raises:
        DataError: if numbers are negative, infinite or out of these ranges: nothing tells their black
            and white then.

    Example:
        >>> find_levels(np.array([0, 3000], np.uint16))
        (0.0, 4095.0)
    """
    if values.dtype == np.uint8:
        return 0.0, 255.0
    if values.dtype == bool:
        return 0.0, 1.0
    if values.dtype.kind not in "uif":
        raise DataError(f"expected numbers, found {values.dtype}")
    low, high = _range(values)
    # A float that is 1 and 0 throughout is a picture of two levels, not of 255.
    if values.dtype.kind in "ui" or (high > 1 and _whole(values)):
        if low >= 0 and (bits := next((bits for bits in _DEPTHS if high < 2**bits), None)):
            return 0.0, 2.0**bits - 1
    elif low >= -_SLACK and high <= 1 + _SLACK:
        return 0.0, 1.0
    elif low >= -255 * _SLACK and _LEAST_OF_BYTES <= high <= 255 * (1 + _SLACK):
        return 0.0, 255.0
    raise DataError(
        "expected numbers from 0 to 1, or whole numbers of 8 to 16 bits, found "
        f"{values.dtype} from {low:.5g} to {high:.5g}, of which nothing tells black and white"
    )


def is_guessed(values: Array, levels: Levels) -> bool:
    """Tell whether white follows from the largest number, so that a darker picture gets another white.

    Args:
        values: numbers of any shape and type.
        levels: what :func:`find_levels` found in them.

    Returns:
        True for more than eight bits, and for fractions that run to 255.

    Example:
        >>> deep = np.array([0, 3000], np.uint16)
        >>> is_guessed(deep, find_levels(deep)), is_guessed(deep / 4095, (0.0, 1.0))
        (True, False)
    """
    return values.dtype.itemsize > 1 and levels[1] > 1


def to_bytes(values: Array, levels: Levels) -> Array:
    """Bring numbers to bytes, black to 0 and white to 255; NaN becomes black.

    Args:
        values: numbers of any shape and type.
        levels: the numbers that are black and white, see :func:`find_levels`.

    Returns:
        uint8, of the same shape.

    Raises:
        DataError: if black and white are the same, or not finite.

    Example:
        >>> to_bytes(np.array([-1.0, 0.0, 1.0]), (-1, 1))
        array([  0, 128, 255], dtype=uint8)
    """
    black, white = levels
    if not np.isfinite(levels).all() or black == white:
        raise DataError(f"levels: expected black and white, two numbers that differ, found {levels}")
    if values.dtype == np.uint8 and (black, white) == (0, 255):
        return values
    out: Array = np.empty(values.shape, np.uint8)
    # A slice at a time, for doubles of a whole volume are large.
    for place in range(len(values)) if values.ndim > 2 else [...]:
        scaled = (values[place].astype(np.float64) - black) * (255 / (white - black))
        out[place] = np.nan_to_num(scaled, nan=0.0).clip(0, 255).round()
    return out


def _range(values: Array) -> Levels:
    if values.dtype.kind != "f":
        return float(values.min()), float(values.max())
    if np.isinf(values).any():
        raise DataError("expected finite numbers, found infinity")
    if np.isnan(values).all():
        raise DataError("expected numbers, found NaN throughout")
    return float(np.nanmin(values)), float(np.nanmax(values))


def _whole(values: Array) -> bool:
    known = values[np.isfinite(values)]
    return bool((known == np.trunc(known)).all())
