"""A volume of fewer slices: which ones are kept."""

from __future__ import annotations

from functools import lru_cache

from fund2oct.geometry import RadialScan, ScanPattern


def spaced_slices(scan: ScanPattern, n_slices: int) -> tuple[int, ...]:
    """Numbers of evenly spaced slices of a scan, the first among them.

    The lines of a star follow each other all around, so that the step from the last one kept to the
    first counts like the others. Of any other scan the last line is kept as well, and what is kept lies
    alike from both ends.

    Args:
        scan: the scan.
        n_slices: how many to keep.

    Raises:
        ValueError: if the scan has fewer.
    """
    found = scan.n_slices
    if not 1 <= n_slices <= found:
        raise ValueError(f"n_slices: expected 1 to {found} of the scan's lines, found {n_slices}")
    if isinstance(scan, RadialScan):
        return tuple(number * found // n_slices for number in range(n_slices))
    if n_slices == 1:
        return (found // 2,)
    first = [round(number * (found - 1) / (n_slices - 1)) for number in range((n_slices + 1) // 2)]
    last = [found - 1 - number for number in reversed(first[: n_slices // 2])]
    return tuple(first + last)


@lru_cache
def kept_lines(scan: ScanPattern, n_slices: int) -> tuple[tuple[int, ...] | None, ScanPattern]:
    """The numbers of evenly spaced slices and the lines under them; None and all of them for 0 slices."""
    if n_slices in (0, scan.n_slices):
        return None, scan
    slices = spaced_slices(scan, n_slices)
    return slices, scan.chosen(slices)
