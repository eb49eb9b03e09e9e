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
from fund2oct.eye import ON_DISC, DataError, Plain

N_DEPTH = 1024
CUBES = {(128, 512), (200, 200)}
"""Slices and A-scans of the device's cubes."""
SIZE_MM, DEPTH_MM = 6.0, 2.0

_NAME = re.compile(r"(.+?)_([^_]+(?= )|macular|optic_disc)[ _]cube", re.IGNORECASE)
"""Patient, who may be called with underscores, and kind of the cube; some programs write these for spaces."""


def read_img(path: Path) -> Exam:
    """Read an ``.img`` file.

    A cube around the optic disc, as its name tells, is read as any other, and a note and the history say so.

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
    patient, history, notes = _named(path.stem)
    return Exam(
        volume=np.ascontiguousarray(volume),
        spacing_mm=(SIZE_MM / n_slices, DEPTH_MM / N_DEPTH, SIZE_MM / n_ascans),
        laterality=laterality_of(path.stem),
        patient=patient,
        source="Zeiss .img",
        history=history,
        notes=notes,
    )


def _named(name: str) -> tuple[str, dict[str, Plain], tuple[str, ...]]:
    """What a name tells beside the side: the patient, history and notes."""
    told = _NAME.match(name)
    if told is None:
        first, underscore, _ = name.partition("_")
        patient = first if underscore else ""
        note = "its name has no kind of cube, as in ID_Macular Cube; its first word was taken for the patient"
        return patient, {}, (note,) if patient else ()
    if told[2].lower().replace("_", " ") != "optic disc":
        return told[1], {}, ()
    note = (
        "its name says that it is a cube around the optic disc; scans are expected around the fovea, so keep "
        "it apart from those in a training"
    )
    return told[1], {"placement": ON_DISC}, (note,)
