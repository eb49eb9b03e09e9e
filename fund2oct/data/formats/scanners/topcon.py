"""Topcon's ``.fda``: B-scans, boundaries, infrared picture and colour photo of one scan.

A file is a row of chunks, each with a name and a length. The layout of those read here is that which the
uocte project and OCT-Converter found; the vendor does not document it.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fund2oct.data.formats.exam import Exam, age_years, named_boundaries, square_localizer
from fund2oct.data.formats.stacks import Spacing
from fund2oct.eye import Array, DataError, Plain
from fund2oct.geometry import Placement
from fund2oct.levels import Levels

MAGIC = b"FOCT"
LAYERS = {
    "MULTILAYERS_1": "ILM",
    "MULTILAYERS_2": "RNFL_GCL",
    "MULTILAYERS_3": "GCL_IPL",
    "MULTILAYERS_4": "IPL_INL",
    "MULTILAYERS_8": "INL_OPL",
    "MULTILAYERS_9": "ELM",
    "MULTILAYERS_5": "EZ",
    "MULTILAYERS_6": "IZ_RPE",
    "MULTILAYERS_7": "BM",
    "MULTILAYERS_10": "CSI",
}
"""The schema's name of each of the vendor's boundaries."""

_SIDES = {0: "OD", 1: "OS"}
_HEADER = 15
_DEPTHS = range(8, 17)
Chunks = Mapping[str, list[bytes]]


def read_fda(path: Path) -> Exam:
    """Read a ``.fda`` file.

    Raises:
        DataError: if it is none, is truncated, or has no B-scans.
    """
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise DataError(f"{path}: expected a Topcon .fda that begins with FOCT, found {data[:4]!r}")
    chunks = _chunks(path, data)
    try:
        return _exam(path, chunks)
    except (struct.error, OSError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: is damaged: {error}") from error


def _chunks(path: Path, data: bytes) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    place = _HEADER
    while place < len(data) and data[place]:
        name = data[place + 1 : place + 1 + data[place]].decode("latin-1").strip("\0")
        place += 1 + data[place]
        length = int.from_bytes(data[place : place + 4], "little")
        place += 4
        if place + length > len(data):
            missing = place + length - len(data)
            raise DataError(f"{path}: is truncated: {missing} bytes of its chunk {name} are missing")
        found.setdefault(name, []).append(data[place : place + length])
        place += length
    return found


def _exam(path: Path, chunks: Chunks) -> Exam:
    volume, levels = _volume(path, chunks)
    n_slices, n_depth, n_ascans = volume.shape
    spacing, size_mm = _spacing(chunks, volume.shape)
    notes: list[str] = []
    boundaries = _boundaries(chunks, spacing, (n_slices, n_depth, n_ascans), notes)
    fields: dict[str, Any] = {}
    if "@IMG_TRC_02" in chunks:
        grey = np.asarray(Image.open(io.BytesIO(chunks["@IMG_TRC_02"][0][21:])).convert("L"))
        if located := _localizer(chunks, grey, size_mm):
            fields["localizer"], fields["localizer_placement"] = located
        else:
            notes.append("its infrared picture was dropped: the file does not tell where the scan lies on it")
    if "@IMG_FUNDUS" in chunks:
        picture = np.asarray(Image.open(io.BytesIO(chunks["@IMG_FUNDUS"][0][24:])).convert("RGB"))
        fields["photo"] = np.ascontiguousarray(picture[..., ::-1])  # stored as blue, green, red
    side, seen = _capture(chunks)
    patient, born = _patient(chunks)
    return Exam(
        volume=volume,
        levels=levels,
        spacing_mm=spacing,
        laterality=side,
        patient=patient,
        source="Topcon .fda",
        boundaries_um=boundaries,
        metadata=age_years(born, seen) | _device(chunks),
        notes=tuple(notes),
        **fields,
    )


def _volume(path: Path, chunks: Chunks) -> tuple[Array, Levels | None]:
    levels = None
    if "@IMG_JPEG" in chunks:
        chunk = chunks["@IMG_JPEG"][0]
        columns, rows, n_slices = struct.unpack_from("<3I", chunk, 9)
        bscans, place = [], 25
        for _ in range(n_slices):
            (length,) = struct.unpack_from("<I", chunk, place)
            picture = Image.open(io.BytesIO(chunk[place + 4 : place + 4 + length]))
            bscans.append(np.asarray(picture))
            place += 4 + length
        volume = np.stack(bscans) if bscans else np.zeros((0, rows, columns), np.uint8)
    elif "@IMG_MOT_COMP_03" in chunks:
        chunk = chunks["@IMG_MOT_COMP_03"][0]
        columns, rows, bits, n_slices = struct.unpack_from("<4I", chunk, 1)
        levels = (0.0, 2.0**bits - 1) if bits in _DEPTHS else None
        volume = np.frombuffer(chunk, "<u2", n_slices * rows * columns, 22).reshape(n_slices, rows, columns)
    else:
        raise DataError(f"{path}: expected B-scans (@IMG_JPEG or @IMG_MOT_COMP_03), found none")
    if 0 in volume.shape or volume.ndim != 3:
        raise DataError(f"{path}: expected B-scans, found {n_slices} of {rows} x {columns}")
    return volume, levels


def _spacing(chunks: Chunks, shape: tuple[int, ...]) -> tuple[Spacing | None, tuple[float, float]]:
    """Distances ``(s, z, x)``, and width and height of what was scanned."""
    for name, offset in (("@PARAM_SCAN_04", 12), ("@PARAM_SCAN_02", 21)):
        if name in chunks:
            x_mm, y_mm, z_um = struct.unpack_from("<3d", chunks[name][0], offset)
            apart = y_mm / shape[0] if y_mm > 0 else math.nan
            return (apart, z_um / 1000, x_mm / shape[2]), (x_mm, y_mm)
    return None, (math.nan, math.nan)


def _boundaries(
    chunks: Chunks, spacing: Spacing | None, shape: tuple[int, int, int], notes: list[str]
) -> Array | None:
    n_slices, n_depth, n_ascans = shape
    contours = chunks.get("@CONTOUR_INFO", [])
    if spacing is None or not spacing[1] > 0:
        if contours:
            notes.append("the vendor's boundaries were dropped: the file does not tell the height of a row")
        return None
    rows, dropped = {}, []
    for chunk in contours:
        name = chunk[:20].split(b"\0")[0].decode("latin-1")
        columns, lines = struct.unpack_from("<2I", chunk, 22)
        if name not in LAYERS or (lines, columns) != (n_slices, n_ascans):
            dropped.append(name)
            continue
        # Counted from the bottom of the frame, the last slice first.
        height = np.frombuffer(chunk, "<u2", lines * columns, 34).reshape(lines, columns)[::-1]
        inside = (height > 0) & (height < n_depth)
        rows[LAYERS[name]] = np.where(inside, n_depth - height.astype(np.float32), np.nan)
    if dropped:
        notes.append(
            f"{len(dropped)} of the vendor's boundaries have no counterpart and were dropped: "
            + ", ".join(sorted(dropped))
        )
    return named_boundaries(rows, spacing[1], (n_slices, n_ascans))


def _localizer(chunks: Chunks, grey: Array, size_mm: tuple[float, float]) -> tuple[Array, Placement] | None:
    if "@REGIST_INFO" not in chunks:
        return None
    left, top, right, bottom = struct.unpack_from("<4I", chunks["@REGIST_INFO"][0], 57)
    rows, columns = grey.shape
    if not (left < right <= columns and top < bottom <= rows and min(size_mm) > 0):
        return None
    across, down = size_mm[0] / (right - left), size_mm[1] / (bottom - top)
    return square_localizer(grey, (across, down), ((left + right) / 2 * across, (top + bottom) / 2 * down))


def _capture(chunks: Chunks) -> tuple[str, date | None]:
    for name, offset in (("@CAPTURE_INFO_02", 106), ("@CAPTURE_INFO", 1)):
        if name in chunks:
            chunk = chunks[name][0]
            return _SIDES.get(chunk[0], ""), _date(chunk, offset)
    return "", None


def _patient(chunks: Chunks) -> tuple[str, date | None]:
    if "@PATIENT_INFO_02" not in chunks:
        return "", None
    chunk = chunks["@PATIENT_INFO_02"][0]
    number, first, last = (
        chunk[place : place + 32].split(b"\0")[0].decode("latin-1").strip() for place in (0, 32, 64)
    )
    return number or f"{first} {last}".strip(), _date(chunk, 105)


def _device(chunks: Chunks) -> dict[str, Plain]:
    """The name of the model. The number of the device, which stands behind it, is not kept."""
    model = chunks.get("@HW_INFO_03", [b""])[0][:16].split(b"\0")[0].decode("latin-1").strip()
    return {"device": model} if model else {}


def _date(chunk: bytes, offset: int) -> date | None:
    try:
        return date(*struct.unpack_from("<3H", chunk, offset))
    except (ValueError, struct.error):
        return None
