"""Volumes as they lie on disk: TIFF, NIfTI, NumPy, or a folder of pictures."""

from __future__ import annotations

import glob
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from fund2oct.data.formats.images import read_grey, to_eight_bits
from fund2oct.data.formats.naming import natural_order
from fund2oct.eye import Array, DataError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_TIFF, _NUMPY, _NIFTI = (".tif", ".tiff"), (".npy", ".npz"), (".nii", ".nii.gz")
STACKS = _TIFF + _NUMPY + _NIFTI
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Stack:
    """A volume as read: uint8 ``(S, Z, X)``, with its files and, where they tell it, its spacing."""

    volume: Array
    files: tuple[Path, ...]
    spacing_mm: Spacing | None = None


def stack_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a volume: itself, the pictures of a folder, or those that a pattern finds.

    Raises:
        DataError: if there are none.
    """
    path = Path(path)
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in PICTURES + _TIFF]
        wanted = f"pictures ({', '.join(PICTURES)})"
    elif glob.has_magic(str(path)):
        found, wanted = [Path(name) for name in glob.glob(str(path))], "files"
    else:
        if not path.is_file():
            raise DataError(f"{path}: no such file or folder")
        return [path]
    if not found:
        raise DataError(f"{path}: expected {wanted}, found none")
    return sorted(found, key=natural_order)


def read_stack(path: str | os.PathLike[str], axes: str = "szx") -> Stack:
    """Read a volume.

    Args:
        path: a multi-page TIFF, ``.nii``, ``.nii.gz``, ``.npy``, ``.npz`` of one array, a folder of
            pictures, or a pattern as in ``eye7/*.png``; pictures are slices in natural order.
        axes: order of the axes in a TIFF or NumPy file. A NIfTI file has the axes x, z, s as
            :func:`~fund2oct.export.save_eye` writes it, if not told otherwise by another order than
            the default.

    Raises:
        DataError: if it cannot be read, or is no volume.
    """
    if sorted(axes) != ["s", "x", "z"]:
        raise DataError(f"axes: expected an order of s, z and x such as szx, found {axes!r}")
    files = stack_files(path)
    first = files[0].name.lower()
    if len(files) > 1 or first.endswith(PICTURES):
        return Stack(_pictures(files), tuple(files))
    spacing = None
    try:
        if first.endswith(_TIFF):
            values = tifffile.imread(files[0])
        elif first.endswith(_NUMPY):
            values = _numpy(files[0])
        elif first.endswith(_NIFTI):
            axes = "xzs" if axes == "szx" else axes
            values, spacing = _nifti(files[0], axes)
        else:
            raise DataError(f"{files[0]}: expected {', '.join(STACKS)} or a folder of pictures")
    except (DataError, ImportError):
        raise
    # A damaged file makes its library raise whatever it stumbles over.
    except Exception as error:
        raise DataError(f"{files[0]}: cannot be read as a volume, it is damaged or none ({error})") from error
    values = np.asarray(values)
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "buif":
        raise DataError(
            f"{files[0]}: expected numbers of three axes ({axes}), found {values.dtype} {values.shape}"
        )
    ordered = values.transpose([axes.index(letter) for letter in "szx"])
    return Stack(to_eight_bits(ordered), tuple(files), spacing)


def _pictures(files: list[Path]) -> Array:
    bscans = [read_grey(file) for file in files]
    for file, bscan in zip(files, bscans, strict=True):
        if bscan.shape != bscans[0].shape:
            raise DataError(
                f"{file}: expected {bscans[0].shape} pixels as in {files[0].name}, found {bscan.shape}"
            )
    return np.stack(bscans)


def _numpy(file: Path) -> Array:
    try:
        loaded = np.load(file, allow_pickle=False)
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read as an array of numbers ({error})") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1 and "volume" not in loaded.files:
            raise DataError(f"{file}: expected one array, or one named 'volume', found {loaded.files}")
        return loaded["volume" if "volume" in loaded.files else loaded.files[0]]


def _nifti(file: Path, axes: str) -> tuple[Array, Spacing | None]:
    try:
        import nibabel
    except ImportError:
        raise ImportError('NIfTI needs nibabel: pip install "fund2oct[nifti]"') from None
    image: Any = nibabel.load(file)
    values = np.asanyarray(image.dataobj)
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    if len(zooms) < 3 or not all(zoom > 0 for zoom in zooms):
        return values, None
    s, z, x = (zooms[axes.index(letter)] for letter in "szx")
    return values, (s, z, x)
