"""A volume's voxels as files that other programs open: NIfTI, OME-TIFF, PNG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fund2oct.data.store.writer import EyeWriter
from fund2oct.export.origin import statement_on
from fund2oct.eye import Array, Eye
from fund2oct.file_kinds import MADE_HERE
from fund2oct.geometry import LineScan, Placement, ScanPattern
from fund2oct.geometry.patterns import ascan_spacing_mm

_REGULAR_MM = 0.02
_NO_SPACING_MM = 1.0
"""Distance that a NIfTI file states for slices that are not parallel: it has to state one."""


def save_hdf5(eye: Eye, path: Path) -> None:
    """Write all that is known of the eye in this library's own schema.

    Args:
        eye: an eye with a volume.
        path: the file to write.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_hdf5(eye, Path("export.h5"))
        >>> EyeReader("export.h5").keys == (eye.key,)
        True
    """
    with EyeWriter(path) as writer:
        writer.add(eye)


def save_nifti(eye: Eye, path: Path) -> None:
    """Write the voxels with the axes ``(X, Z, S)``, in space where the slices are parallel.

    World coordinates are millimetres around the fovea towards the patient's right, front and top, as
    NIfTI has them; :func:`raster_affine` says how they follow from the scan. A star has no such place:
    both codes of its header are 0 (unknown), and the distance of its slices is stated as 1 mm.

    Args:
        eye: an eye with a volume.
        path: the file to write.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_nifti(eye, Path("eye.nii.gz"))
        >>> import nibabel
        >>> nibabel.load("eye.nii.gz").shape  # A-scans, rows and slices
        (48, 32, 6)
    """
    import nibabel

    assert eye.volume is not None and eye.scan is not None
    voxels = np.ascontiguousarray(eye.volume.transpose(2, 1, 0))
    affine = raster_affine(eye.scan, eye.volume.shape, eye.spacing_mm, eye.placement.rotation_deg)
    image: Any = nibabel.Nifti1Image(voxels, affine)
    if affine is None:
        _, z_mm, x_mm = eye.spacing_mm
        image.header.set_zooms((x_mm, z_mm, _NO_SPACING_MM))
    else:
        image.set_qform(affine, code="scanner")
        image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = statement_on(eye)[:79].encode()
    nibabel.save(image, path)


def raster_affine(
    scan: ScanPattern,
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    rotation_deg: float = 0.0,
) -> Array | None:
    r"""Affine matrix from voxel indices to the position in the patient, for a raster scan.

    The photo is seen by who stands before the patient: its right is the patient's left, whichever the
    eye. A voxel ``(x, z, s)`` at :math:`(p_x, p_y)` around the fovea, as displayed, has the world
    coordinates :math:`(-p_x, -(z + \tfrac12) \Delta z, -p_y)`, right, anterior and superior.

    Args:
        scan: lines of the scan.
        shape: shape ``(S, Z, X)`` of the volume.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)`` in millimetres; that of
            slices is used for a single slice only.
        rotation_deg: turn of the scan on the photo, as its :class:`~fund2oct.geometry.Placement` has it.

    Returns:
        Affine of shape ``(4, 4)`` from voxel indices ``(x, z, s)`` to millimetres; None where the lines are
        not parallel and evenly spaced, to 0.02 mm.

    References:
        The coordinate system of NIfTI-1, https://nifti.nimh.nih.gov/nifti-1, method 3.

    Example:
        >>> from fund2oct.geometry import RasterScan
        >>> affine = raster_affine(RasterScan(5, 6.0, 4.0), (5, 10, 60), (1.0, 0.2, 0.1))
        >>> affine.diagonal().round(3).tolist()
        [-0.1, -0.2, -1.0, 1.0]
    """
    if not isinstance(scan, LineScan):
        return None
    n_slices, _, n_ascans = shape
    s_mm, z_mm, _ = spacing_mm
    lines = torch.tensor(scan.lines, dtype=torch.float64)
    ends = Placement(rotation_deg=rotation_deg).turned(lines).numpy()
    along = (ends[0, 1] - ends[0, 0]) / n_ascans
    if n_slices > 1:
        across = (ends[-1] - ends[0]).mean(0) / (n_slices - 1)
    else:
        turned = np.array([-along[1], along[0]]) / np.hypot(*along)
        across = turned * (s_mm if math.isfinite(s_mm) else _NO_SPACING_MM)
    expected = ends[:1] + np.arange(n_slices)[:, None, None] * across
    flat = abs(along[0] * across[1] - along[1] * across[0]) < 1e-9
    if flat or np.abs(expected - ends).max() > _REGULAR_MM:
        return None
    first = ends[0, 0] + along / 2
    affine = np.eye(4)
    affine[[0, 2], 0] = -along
    affine[1, 1] = -z_mm
    affine[[0, 2], 2] = -across
    affine[:3, 3] = -first[0], -z_mm / 2, -first[1]
    return affine


def save_tiff(eye: Eye, path: Path) -> None:
    """Write an OME-TIFF, a page a B-scan, with the size of a voxel in millimetres.

    The axes ``ZYX`` of the file are the slice, the depth and the A-scan; the size along Z is left out
    where slices are not parallel.

    Args:
        eye: an eye with a volume.
        path: the file to write.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_tiff(eye, Path("eye.ome.tif"))
        >>> tifffile.imread("eye.ome.tif").shape
        (6, 32, 48)
    """
    assert eye.volume is not None
    sizes = dict(zip("ZYX", eye.spacing_mm, strict=True))
    metadata: dict[str, Any] = {"axes": "ZYX", "Name": eye.key, "Description": statement_on(eye)}
    for axis, size_mm in sizes.items():
        if math.isfinite(size_mm):
            metadata |= {f"PhysicalSize{axis}": size_mm, f"PhysicalSize{axis}Unit": "mm"}
    tifffile.imwrite(
        path, eye.volume, ome=True, photometric="minisblack", metadata=metadata, software=MADE_HERE
    )


def save_png(eye: Eye, folder: Path) -> None:
    """Write a picture a slice, ``NAME_000.png`` on, with the pixels' size where programs look for it.

    Args:
        eye: an eye with a volume.
        folder: the folder to make, with a file for each slice.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_png(eye, Path("slices"))
        >>> sorted(path.name for path in Path("slices").iterdir())[0]
        'slices_000.png'
    """
    assert eye.volume is not None and eye.scan is not None
    folder.mkdir()
    _, z_mm, mean_mm = eye.spacing_mm
    mark = PngInfo()
    mark.add_text("Software", MADE_HERE)
    mark.add_text("Description", statement_on(eye))
    for number, x_mm in enumerate(ascan_spacing_mm(mean_mm, eye.scan.length_mm)):
        path = folder / f"{folder.name}_{number:03d}.png"
        Image.fromarray(eye.volume[number]).save(path, dpi=(25.4 / x_mm, 25.4 / z_mm), pnginfo=mark)
