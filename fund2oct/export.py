"""Volumes as files that other programs open."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tifffile

from fund2oct.data import EyeWriter
from fund2oct.eye import Eye

FORMATS = {"hdf5": ".h5", "tiff": ".tif", "nifti": ".nii.gz"}


def save_eye(eye: Eye, folder: Path, name: str, format: str) -> Path:
    """Write an eye's volume, replacing a file of that name.

    ``hdf5`` is this library's own schema with photo, scan and pose; ``tiff`` is a stack of the
    B-scans, one page a slice; ``nifti`` has the axes (X, Z, S) and the spacing in millimetres, where
    slices that are not parallel are given a spacing of 1.

    Args:
        eye: with a volume.
        folder: an existing folder.
        name: of the file, without its ending.
        format: a key of :data:`FORMATS`.

    Returns:
        The file.

    Raises:
        ValueError: if the format is unknown or the eye has no volume.
        ImportError: if ``nifti`` is asked for without nibabel.
    """
    if format not in FORMATS or eye.volume is None:
        raise ValueError(
            f"eye {eye.key!r}: expected a volume and a format of {sorted(FORMATS)}, found {format!r}"
        )
    path = folder / f"{name}{FORMATS[format]}"
    if format == "hdf5":
        with EyeWriter(path, overwrite=True) as writer:
            writer.add(eye)
    elif format == "tiff":
        tifffile.imwrite(path, eye.volume, photometric="minisblack", metadata={"axes": "ZYX"})
    else:
        _save_nifti(eye, path)
    return path


def _save_nifti(eye: Eye, path: Path) -> None:
    try:
        import nibabel
    except ImportError:
        raise ImportError('NIfTI needs nibabel: pip install "fund2oct[nifti]"') from None
    assert eye.volume is not None
    s, z, x = (size if math.isfinite(size) else 1.0 for size in eye.spacing_mm)
    image = nibabel.Nifti1Image(np.ascontiguousarray(eye.volume.transpose(2, 1, 0)), np.diag([x, z, s, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
