"""Columns of a table that name masks of its photos."""

from __future__ import annotations

from collections.abc import Iterable

MASK_COLUMN = "mask_"
"""How a column begins that names the file of a mask, as in ``mask_disc``."""


def is_mask_column(name: str) -> bool:
    """Whether a column, under our names, names masks."""
    return name.startswith(MASK_COLUMN) and name != MASK_COLUMN


def mask_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Our names of the columns that name masks: their beginning in small letters, the mask's name as it is.

    Args:
        names: of columns, as a table or a user has them.

    Returns:
        Each once, in their order.

    Example:
        >>> mask_columns(["photo", "Mask_MA", "age_years"])
        ('mask_MA',)
    """
    ours = (MASK_COLUMN + name[len(MASK_COLUMN) :] for name in names if is_mask_column(name.casefold()))
    return tuple(dict.fromkeys(ours))
