"""Which lengths an eye and its scan may have: what is not among them was read or given in another unit."""

from __future__ import annotations

import math

from fund2oct.eye import DataError

Range = tuple[float, float]

SPACING_MM: dict[str, Range] = {"s": (0.0005, 6.0), "z": (0.0005, 0.3), "x": (0.0005, 0.95)}
"""Distances of slices, rows and A-scans, from the finest scanner to a picture of ten columns. Rows and
A-scans 1 mm apart are none: programs write 1 where they know nothing."""
EXTENT_MM: dict[str, Range] = {"s": (0.0, 30.0), "z": (0.0, 20.0), "x": (0.2, 30.0)}
"""Height of a raster, depth of a frame and length of a line; a widefield scan has 26 mm, a frame 12."""
HALF_WIDTH_MM: Range = (1.0, 20.0)
"""Retina from the centre of a photo's circle to its edge: 6.5 of 45 degrees, 17 of an ultra-wide photo."""
_NAMES = {"s": "slices", "z": "rows", "x": "A-scans"}


def check_spacing(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    """Refuse a volume whose distances or whole size no scan of a retina has.

    Args:
        shape: ``(S, Z, X)``.
        spacing_mm: ``(s, z, x)``; s is NaN where slices are not parallel.

    Raises:
        DataError: if there is one; it says which, and in which unit it would make sense.

    Example:
        >>> check_spacing((49, 496, 512), (0.12, 0.0039, 0.0117))
    """
    for axis, size, step in zip("szx", shape, spacing_mm, strict=True):
        if axis == "s" and (math.isnan(step) or size < 2):
            continue
        if _within(axis, size, step):
            continue
        units = {"micrometres": 1e-3, "metres": 1e3, "nanometres": 1e-6}
        fitting = next((unit for unit, mm in units.items() if _within(axis, size, step * mm)), None)
        hint = f" (is it in {fitting}?)" if fitting else ""
        (least, most), (_, longest) = SPACING_MM[axis], EXTENT_MM[axis]
        raise DataError(
            f"spacing_mm: {size} {_NAMES[axis]} {step:.5g} mm apart are {size * step:.5g} mm, expected "
            f"{least:g} to {most:g} mm between them and at most {longest:g} mm in all{hint}; "
            "give --spacing-mm S Z X in millimetres"
        )


def check_half_width(half_width_mm: float) -> None:
    """Refuse a field that no photo has.

    Raises:
        DataError: if it is not between 1 and 20 mm; degrees and micrometres are likely mistakes.
    """
    least, most = HALF_WIDTH_MM
    if not least <= half_width_mm <= most:
        raise DataError(
            f"half_width_mm: expected {least:g} to {most:g} millimetres of retina from the centre of the "
            f"photo's circle to its edge, found {half_width_mm:g}; a photo of 45 degrees has 6.5"
        )


def _within(axis: str, size: int, step: float) -> bool:
    (least, most), (shortest, longest) = SPACING_MM[axis], EXTENT_MM[axis]
    return least <= step <= most and shortest <= size * step <= longest
