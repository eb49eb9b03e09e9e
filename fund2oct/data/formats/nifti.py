"""Volumes in NIfTI, through nibabel."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from fund2oct.data.formats.by_library import by_library
from fund2oct.eye import Array, DataError, stated_origin
from fund2oct.levels import Levels

_MM = {"mm": 1.0, "micron": 1e-3, "meter": 1e3, "unknown": 1.0}


def read_nifti(
    path: Path,
) -> tuple[Array, Levels | None, tuple[float, float, float] | None, tuple[str, ...], str]:
    """Read a volume.

    Args:
        path: ``.nii`` or ``.nii.gz`` of one grey volume.

    Returns:
        The numbers, scaled by the file's slope, three axes in the order of the file; black and white
        where the file states them (``cal_min`` and ``cal_max``); the millimetres between neighbours
        along each axis, NaN for that of slices which a file of fund2oct leaves open, None where the file
        states no unit and 1 throughout, or nothing; notes; and its origin, see
        ``fund2oct.eye.stated_origin``.

    Raises:
        ImportError: if nibabel is not installed.
        DataError: if it cannot be read, or is no single grey volume.
    """
    try:
        import nibabel
    except ImportError:
        raise ImportError('NIfTI needs nibabel: pip install "fund2oct[nifti]"') from None
    with by_library(path, "a volume"):
        image: Any = nibabel.load(path)
        header = image.header
        values = np.asanyarray(image.dataobj)
        low, high = float(header["cal_min"]), float(header["cal_max"])
        zooms = [float(zoom) for zoom in header.get_zooms()[:3]]
        unit = header.get_xyzt_units()[0]
        directions = nibabel.aff2axcodes(image.affine)
        described = header["descrip"].tobytes().decode("latin-1")
    if values.dtype.names:
        raise DataError(f"{path}: expected a grey volume, found one of colours; save it in grey")
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    levels = (low, high) if low < high else None
    spacing = None
    unstated = unit == "unknown" and zooms == [1, 1, 1]
    if len(zooms) == 3 and all(zoom > 0 for zoom in zooms) and not unstated:
        a, b, c = (zoom * _MM[unit] for zoom in zooms)
        # This library's own files of slices that are not parallel state 1 mm, for NIfTI wants a distance.
        spacing = (a, b, math.nan if "by fund2oct" in described and not _is_placed(header) else c)
    return values, levels, spacing, _direction_notes(image, directions), stated_origin(described)


def _is_placed(header: Any) -> bool:
    """Whether a file says where in the patient its voxels lie."""
    return bool(int(header["sform_code"]) or int(header["qform_code"]))


def _direction_notes(image: Any, codes: tuple[str | None, ...]) -> tuple[str, ...]:
    """What to say of an affine that does more than what every program writes: R, A and S."""
    if not _is_placed(image.header):
        return ()
    off_axis = np.abs(image.affine[:3, :3]) > 1e-3 * np.abs(image.affine[:3, :3]).max()
    if tuple(codes) == ("R", "A", "S") and off_axis.sum() == 3:
        return ()
    listed = ", ".join(str(code) for code in codes)
    turned = "" if off_axis.sum() == 3 else " and are turned"
    return (
        f"its affine says that its axes run to {listed} of the patient{turned}; its voxels were taken in the "
        "order of the file, as displayed; --axes and --flip take them otherwise",
    )
