"""Heidelberg's ``.vol``: B-scans, localizer, positions and boundaries of one scan.

The layout is that of the vendor's "Spectralis special function: exporting raw data": a header of 2048
bytes, the localizer, and for each B-scan a header with its boundaries before its reflectance.
"""

from __future__ import annotations

import math
import struct
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from fund2oct.data.formats.exam import (
    Exam,
    age_years,
    between_slices_mm,
    centred_scan,
    named_boundaries,
    square_localizer,
)
from fund2oct.data.formats.naming import laterality_of
from fund2oct.data.formats.scanners.curved import heidelberg_circles
from fund2oct.eye import Array, DataError, Plain
from fund2oct.geometry import ScanPattern

MAGIC = b"HSF-OCT-"
LAYERS = {
    0: "ILM",
    1: "BM",
    2: "RNFL_GCL",
    3: "GCL_IPL",
    4: "IPL_INL",
    5: "INL_OPL",
    6: "OPL_ONL",
    8: "ELM",
    14: "EZ",
    16: "IZ_RPE",
}
"""The schema's name of each of the vendor's numbers: ILM, BM, the lower surfaces of RNFL, GCL, IPL, INL
and OPL, ELM, PR1 and RPE. The others have no counterpart."""

_HEADER, _BSCAN_HEADER = 2048, 256
_ABSENT = 3e38
_CIRCLE, _STAR_AND_CIRCLES = 2, 6
_N_CIRCLES = 3
_DAY_0 = date(1899, 12, 30)


def read_vol(path: Path) -> Exam:
    """Read a ``.vol`` file.

    Raises:
        DataError: if it is none, is truncated, or has no B-scans.
    """
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise DataError(f"{path}: expected a Heidelberg .vol that begins with HSF-OCT-, found {data[:8]!r}")
    _need(path, data, _HEADER, "the header")
    n_ascans, n_slices, n_depth = struct.unpack_from("<3I", data, 12)
    x_mm, stated_mm, z_mm = struct.unpack_from("<3d", data, 24)
    columns, rows = struct.unpack_from("<2I", data, 48)
    across_mm, down_mm = struct.unpack_from("<2d", data, 56)
    pattern, bscan_header = struct.unpack_from("<2I", data, 96)
    if 0 in (n_ascans, n_slices, n_depth):
        raise DataError(f"{path}: expected B-scans, found none ({n_slices} of {n_depth} x {n_ascans})")
    first, block = _HEADER + rows * columns, bscan_header + 4 * n_depth * n_ascans
    if bscan_header < _BSCAN_HEADER:
        raise DataError(f"{path}: expected B-scan headers of 256 bytes or more, found {bscan_header}")
    _need(path, data, first + n_slices * block, f"{n_slices} B-scans of {n_depth} x {n_ascans}")
    if not (0 < z_mm < 1 and 0 < x_mm < 1):
        raise DataError(f"{path}: expected pixels of less than a millimetre, found {x_mm:g} x {z_mm:g} mm")

    notes: tuple[str, ...] = ()
    if pattern == _STAR_AND_CIRCLES and n_slices > _N_CIRCLES:
        n_slices -= _N_CIRCLES
        notes = (f"its last {_N_CIRCLES} B-scans are circles around its star; they are left out",)
    starts = [first + number * block for number in range(n_slices)]
    ends = np.array([struct.unpack_from("<4d", data, start + 16) for start in starts]).reshape(-1, 2, 2)
    quality = [struct.unpack_from("<f", data, start + 56)[0] for start in starts]
    reflectance = [np.frombuffer(data, "<f4", n_depth * n_ascans, start + bscan_header) for start in starts]
    volume = np.stack([displayed(values).reshape(n_depth, n_ascans) for values in reflectance])
    laterality = laterality_of(_text(data, 84, 4))
    scan: ScanPattern
    try:
        if pattern == _CIRCLE:  # each of a point and the centre
            scan, centre, notes = heidelberg_circles(ends[:, 0], ends[:, 1], laterality)
        else:
            scan, centre = centred_scan(ends)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    layers = [_layers(path, data, start, bscan_header, n_ascans) for start in starts]
    boundaries, dropped = boundaries_of(layers, z_mm, n_ascans)
    fields: dict[str, Any] = {}
    if rows and columns and across_mm > 0 and down_mm > 0:
        localizer = np.frombuffer(data, np.uint8, rows * columns, _HEADER).reshape(rows, columns)
        square, placement = square_localizer(localizer, (across_mm, down_mm), centre)
        fields = {"localizer": square, "localizer_placement": placement}
    return Exam(
        volume=volume,
        spacing_mm=(between_slices_mm(scan, stated_mm), z_mm, x_mm),
        laterality=laterality,
        patient=_text(data, 140, 24) or str(struct.unpack_from("<I", data, 136)[0] or ""),
        source="Heidelberg .vol",
        lines=scan,
        boundaries_um=boundaries,
        metadata=_visit(data, quality),
        history={"levels_from": "reflectance ** 0.25"},
        notes=notes + dropped_note(dropped),
        **fields,
    )


def displayed(reflectance: Array) -> Array:
    """The vendor's display of reflectance in [0, 1], its fourth root, as uint8; black where absent."""
    known = np.where(reflectance < _ABSENT, reflectance, 0)
    return (np.nan_to_num(known).clip(0, 1) ** 0.25 * 255).round().astype(np.uint8)


def boundaries_of(
    slices: list[dict[int, Array]], z_mm: float, n_ascans: int
) -> tuple[Array | None, list[int]]:
    """Boundaries under the schema's names.

    Args:
        slices: of each slice, rows by the vendor's number of the boundary, each of shape ``(X,)``.
        z_mm: height of a row.
        n_ascans: X.

    Returns:
        The boundaries, and the numbers of those that were found but have no name here.
    """
    absent = np.full(n_ascans, np.nan, np.float32)
    rows = {
        name: np.stack([layers.get(number, absent) for layers in slices]) for number, name in LAYERS.items()
    }
    found = {number for layers in slices for number, row in layers.items() if np.isfinite(row).any()}
    return named_boundaries(rows, z_mm, (len(slices), n_ascans)), sorted(found - set(LAYERS))


def dropped_note(numbers: list[int]) -> tuple[str, ...]:
    """What to say of boundaries that have no name here."""
    if not numbers:
        return ()
    listed = ", ".join(map(str, numbers))
    return (f"{len(numbers)} of the vendor's boundaries have no counterpart and were dropped: {listed}",)


def _layers(path: Path, data: bytes, start: int, header: int, n_ascans: int) -> dict[int, Array]:
    count, offset = struct.unpack_from("<2I", data, start + 48)
    offset = offset or _BSCAN_HEADER
    if offset + 4 * count * n_ascans > header:
        raise DataError(f"{path}: expected boundaries within the B-scan's header, found {count} of them")
    values = np.frombuffer(data, "<f4", count * n_ascans, start + offset).reshape(count, n_ascans)
    # Zero is the frame's edge, where the vendor puts what it did not find.
    values = np.where((values < _ABSENT) & (values > 0), values, np.nan)
    return dict(enumerate(values))


def _visit(data: bytes, quality: list[float]) -> dict[str, Plain]:
    (focus,) = struct.unpack_from("<d", data, 76)
    (born,) = struct.unpack_from("<d", data, 164)
    (ticks,) = struct.unpack_from("<Q", data, 88)
    kept = age_years(_day(_DAY_0, born), _day(date(1601, 1, 1), ticks / 864e9))
    known = [value for value in quality if math.isfinite(value) and 0 < value < 100]
    if math.isfinite(focus) and abs(focus) < 50:
        kept["scan_focus_d"] = round(focus, 3)
    if known:
        kept["quality_db"] = round(sum(known) / len(known), 2)
    return kept


def _day(origin: date, days: float) -> date | None:
    try:
        return origin + timedelta(days=math.floor(days)) if days > 0 else None
    except (OverflowError, ValueError):
        return None


def _text(data: bytes, start: int, length: int) -> str:
    return data[start : start + length].split(b"\0")[0].decode("latin-1").strip()


def _need(path: Path, data: bytes, n_bytes: int, what: str) -> None:
    if len(data) < n_bytes:
        raise DataError(f"{path}: is truncated: {what} need {n_bytes} bytes, found {len(data)}")
