"""Zeiss Cirrus' research export ``.img``: the voxels of a cube and nothing else.

The file has no header. Its size tells the cube, and its name, as the device gives it, the patient, the
side and the kind: ``P1_Macular Cube 512x128_1-2-2014_10-31-11_OD_sn1_cube_z.img``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fund2oct.data.formats.exam import Exam
from fund2oct.data.formats.naming import laterality_of
from fund2oct.eye import DataError

N_DEPTH = 1024
CUBES = {(128, 512), (200, 200)}
"""Slices and A-scans of the device's cubes."""
SIZE_MM, DEPTH_MM = 6.0, 2.0


def read_img(path: Path) -> Exam:
    """Read an ``.img`` file.

    Raises:
        DataError: if it is no cube, or the raw one, whose A-scans lie in another order.
    """
    if "raw" in path.stem.lower().split("_"):
        raise DataError(f"{path}: a raw cube, whose A-scans are interlaced; export the cube_z file")
    size = path.stat().st_size
    shapes = {slices * N_DEPTH * ascans: (slices, ascans) for slices, ascans in CUBES}
    if size not in shapes:
        wanted = " or ".join(
            f"{n_bytes} ({ascans}x{slices})" for n_bytes, (slices, ascans) in sorted(shapes.items())
        )
        raise DataError(f"{path}: expected a cube of {wanted} bytes, found {size}; it is truncated or none")
    n_slices, n_ascans = shapes[size]
    # Each frame is stored turned by half a circle.
    volume = np.fromfile(path, np.uint8).reshape(n_slices, N_DEPTH, n_ascans)[:, ::-1, ::-1]
    patient = re.match(r"[^_]+(?=_)", path.stem)
    return Exam(
        volume=np.ascontiguousarray(volume),
        spacing_mm=(SIZE_MM / n_slices, DEPTH_MM / N_DEPTH, SIZE_MM / n_ascans),
        laterality=laterality_of(path.stem),
        patient=patient.group() if patient else "",
        source="Zeiss .img",
    )
