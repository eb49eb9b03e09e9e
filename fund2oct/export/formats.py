"""The formats, in one table, and the one way in which any of them is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fund2oct.by_path import names_among
from fund2oct.export.etdrs_fields import save_fields, save_predicted_fields
from fund2oct.export.film import save_gif, save_mp4
from fund2oct.export.meshes import save_ply, save_vtk
from fund2oct.export.origin import is_generated
from fund2oct.export.replacing import check_room, put, refuse_existing
from fund2oct.export.volumes import save_hdf5, save_nifti, save_png, save_tiff
from fund2oct.eye import DataError, Eye

if TYPE_CHECKING:
    # Lightning takes seconds to import.
    from fund2oct.models.thickness import ThicknessMap


@dataclass(frozen=True)
class Format:
    """A format to which eyes are exported.

    Args:
        ending: ending of the file; ``/`` for a folder of files.
        save: a function that writes an eye to a path that does not exist yet.
        extra: extra of this library that the format needs, as in ``pip install "fund2oct[nifti]"``; empty for
            none.
        save_predicted: a function that writes an eye with the map of its predicted thickness; None if the
            format does not hold the map.
        beside: endings of further files, which lie beside the first one where the eye has what they hold.

    Example:
        >>> FORMATS["nifti"].ending, FORMATS["nifti"].extra
        ('.nii.gz', 'nifti')
    """

    ending: str
    save: Callable[[Eye, Path], None]
    extra: str = ""
    save_predicted: Callable[[Eye, ThicknessMap, Path], None] | None = None
    beside: tuple[str, ...] = ()

    def path(self, folder: Path, name: str) -> Path:
        """The file or folder that is written for a name."""
        return folder / f"{name}{self.ending.rstrip('/')}"

    def names(self, name: str) -> list[str]:
        """The names of all files and folders that may be written for a name, the main one first."""
        return [f"{name}{ending.rstrip('/')}" for ending in (self.ending, *self.beside)]


def _save_dicom(eye: Eye, path: Path) -> None:
    from fund2oct.export.dicom import save_dicom

    save_dicom(eye, path)


FORMATS: dict[str, Format] = {
    "hdf5": Format(".h5", save_hdf5),
    "nifti": Format(".nii.gz", save_nifti, "nifti"),
    "tiff": Format(".ome.tif", save_tiff),
    "dicom": Format(".dcm", _save_dicom, "dicom", beside=(".photo.dcm",)),
    "png": Format("/", save_png),
    "gif": Format(".gif", save_gif),
    "mp4": Format(".mp4", save_mp4, "film"),
    "ply": Format("_ply/", save_ply),
    "vtk": Format("_vtk/", save_vtk),
    "csv": Format(".etdrs.csv", save_fields, save_predicted=save_predicted_fields),
}
"""By the name that ``--format`` takes."""


def known_formats(given: str | Iterable[str]) -> list[str]:
    """The names of one or several formats of :data:`FORMATS`.

    Raises:
        ValueError: if one is no name of a format.

    Example:
        >>> known_formats("nifti")
        ['nifti']
        >>> known_formats(["nifti", "jpeg"])
        Traceback (most recent call last):
            ...
        ValueError: format 'jpeg': expected one of csv, dicom, gif, hdf5, mp4, nifti, ply, png, tiff, vtk
    """
    return names_among(given, sorted(FORMATS), "format")


def export_eye(
    eye: Eye,
    folder: str | os.PathLike[str],
    name: str,
    format: str,
    overwrite: bool = False,
    thickness: ThicknessMap | None = None,
) -> Path:
    """Write an eye in a format. The files appear complete or not at all.

    Args:
        eye: an eye with a volume.
        folder: the folder, made where it is not there.
        name: name of the file, without its ending and without a folder.
        format: name of the format, see :data:`FORMATS`.
        overwrite: True to replace the files of an earlier export with that name; others never are.
        thickness: map of the thickness that a model predicted for the eye; None if there is none.

    Returns:
        The file, or the folder of a format of several files.

    Raises:
        ValueError: if the format is unknown, or the name is empty or has a separator of folders.
        DataError: if the eye does not have what the format holds, or the file exists and may not be replaced.
        ImportError: if the format needs a package that is not installed.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> export_eye(eye, ".", "eye1", "tiff").name
        'eye1.ome.tif'
    """
    known_formats(format)
    if name in ("", "..") or Path(name).name != name:
        raise ValueError(
            f"name {name!r}: expected the name of a file, without {os.sep}; name its folder by folder"
        )
    chosen, folder = FORMATS[format], Path(folder)
    if eye.volume is None:
        raise DataError(f"eye {eye.key!r}: has a photo alone; {format} needs a volume")
    if not overwrite:
        refuse_existing(chosen.path(folder, name))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
        path = chosen.path(Path(scratch), name)
        try:
            if thickness is not None and chosen.save_predicted is not None:
                chosen.save_predicted(eye, thickness, path)
            else:
                chosen.save(eye, path)
        except ModuleNotFoundError as error:
            raise ImportError(
                f'{format} needs {error.name}: pip install "fund2oct[{chosen.extra}]"'
            ) from None
        made = sorted(Path(scratch).iterdir())
        for path in made:
            check_room(path, folder / path.name, eye.key, is_generated(eye), overwrite)
        for path in made:
            put(path, folder / path.name)
    return chosen.path(folder, name)
