"""Volumes as they lie on disk: TIFF, NIfTI, NumPy, or a folder of pictures."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from fund2oct.data.formats.by_library import by_library
from fund2oct.data.formats.images import picture_origin, read_slices
from fund2oct.data.formats.naming import laterality_of, natural_order, plain_name
from fund2oct.data.formats.nifti import read_nifti
from fund2oct.data.formats.tiff import read_tiff
from fund2oct.eye import Array, DataError, some_of
from fund2oct.levels import Levels

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
TIFF, _NUMPY, _NIFTI = (".tif", ".tiff"), (".npy", ".npz"), (".nii", ".nii.gz")
STACKS = TIFF + _NUMPY + _NIFTI
SCANNERS = (".vol", ".e2e", ".fda", ".img", ".dcm")
"""Files of scanners, which are no stacks: `formats.scanners` reads them."""

_ENDINGS = (".ome.tif", ".ome.tiff", *STACKS, *PICTURES, *SCANNERS)
_SINGLE = "single B-scans are a row each of a table, the picture as its volume (fund2oct import table)"
Spacing = tuple[float, float, float]
StackPath = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Stack:
    """A volume as read, its axes in order.

    Args:
        volume: numbers as they lie in the file, shape ``(S, Z, X)``.
        files: the files that it was read from.
        spacing_mm: distance of neighbouring slices, rows and A-scans ``(s, z, x)``, NaN for what the file
            does not tell; None where it tells none of them.
        levels: the numbers that are black and white; None where the file does not tell them.
        notes: what is worth knowing of the file.
        origin: how the source of an eye begins whose file says that it was not scanned, else empty.

    Example:
        >>> stack = Stack(np.zeros((5, 64, 80), np.uint16), (Path("eye7.tif"),), levels=(0, 4095))
        >>> stack.volume.shape, stack.spacing_mm
        ((5, 64, 80), None)
    """

    volume: Array
    files: tuple[Path, ...]
    spacing_mm: Spacing | None = None
    levels: Levels | None = None
    notes: tuple[str, ...] = ()
    origin: str = ""


def volume_name(name: str) -> str:
    """What a volume is called: its file without the ending, or its folder. Other dots belong to the name.

    Args:
        name: the name of the file or folder, without the folders above it.

    Returns:
        The name.

    Example:
        >>> volume_name("p12_OD.nii.gz"), volume_name("1.2.840.1")
        ('p12_OD', '1.2.840.1')
    """
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def stack_files(path: StackPath) -> list[Path]:
    """List the files that hold a volume.

    Args:
        path: a file; a folder, of which every picture counts, without a folder of pictures beside them; a
            pattern such as ``"eye7/*.png"``; or a sequence of files, which stay in their order.

    Returns:
        The files; of a folder or a pattern in natural order, in which 2 comes before 10; of several folders
        those of the first one first.

    Raises:
        DataError: if there are none, the folder cannot be read, or a folder of pictures lies beside pictures.

    Example:
        >>> for number in (10, 2, 1):
        ...     Path(f"slice_{number}.png").touch()
        >>> [file.name for file in stack_files("slice_*.png")]
        ['slice_1.png', 'slice_2.png', 'slice_10.png']
    """
    if not isinstance(path, (str, os.PathLike)):
        return [Path(file) for file in path]
    path = Path(path)
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            found, wanted = _pictures_in(path), f"pictures ({', '.join(PICTURES)})"
        elif glob.has_magic(str(path)):
            found, wanted = [Path(name) for name in glob.glob(str(path))], "files"
        else:
            raise DataError(f"{path}: no such file or folder")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    # What is hidden, such as the ._1.png of a Mac, is no slice.
    found = [file for file in found if not file.name.startswith(".")]
    if not found:
        raise DataError(f"{path}: expected {wanted}, found none")
    return sorted(found, key=natural_order)


def read_stack(path: StackPath, axes: str | None = None, flip: str = "") -> Stack:
    """Read a volume, its numbers as they are.

    Args:
        path: a multi-page TIFF, ``.nii``, ``.nii.gz``, ``.npy``, ``.npz`` of one array, a folder of
            pictures, or a pattern as in ``eye7/*.png``, whose pictures are slices in natural order, or
            the pictures themselves in their order.
        axes: order of the axes in the file, such as ``"szx"``; None takes x, z, s for NIfTI, as
            :func:`~fund2oct.export.export_eye` writes it, and s, z, x for the others. Of pictures the first
            axis is their number, the others are rows and columns.
        flip: letters of the axes that run the other way in the file: ``"z"`` for frames that stand on
            their heads.

    Returns:
        The volume, its axes in the order ``(S, Z, X)``, with what its file tells of it. A note says where
        pictures of a folder or a pattern are not named as slices of one volume, or listed ones lie in several
        folders.

    Raises:
        DataError: if it cannot be read, is no volume, or its pictures are of both eyes, or a slice is there
            twice.

    Example:
        >>> np.save("eye7.npy", np.zeros((80, 64, 5)))  # A-scans, rows, slices
        >>> read_stack("eye7.npy", axes="xzs").volume.shape
        (5, 64, 80)
    """
    if axes is not None and sorted(axes) != ["s", "x", "z"]:
        raise DataError(f"axes: expected an order of s, z and x such as szx, found {axes!r}")
    if set(flip) - set("szx"):
        raise DataError(f"flip: expected letters of s, z and x, found {flip!r}")
    files = stack_files(path)
    first = files[0].name.lower()
    if len(files) > 1 or first.endswith(PICTURES):
        _check_one_eye(files)
        stack = _pictures(files, axes or "szx")
        is_listed = not isinstance(path, (str, os.PathLike))  # somebody has said that they belong together
        notes = _folder_notes(files) if is_listed else _stranger_notes(files)
        stack = replace(stack, notes=(*stack.notes, *notes))
    else:
        stack = _file(files[0], axes or ("xzs" if first.endswith(_NIFTI) else "szx"))
    turned = np.flip(stack.volume, tuple("szx".index(letter) for letter in set(flip)))
    return replace(stack, volume=turned)


def _pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder; refuse one that may be an eye's photo beside the folder of its slices."""
    there = [path for path in folder.iterdir() if not path.name.startswith(".")]
    found = [path for path in there if path.suffix.lower() in PICTURES + TIFF]
    others = [path for path in there if path.suffix.lower() not in PICTURES + TIFF]
    folders = sorted(path.name for path in others if _shows_pictures(path))
    if found and folders:
        pictures = some_of(sorted(path.name for path in found))
        raise DataError(
            f"{folder}: expected slices, found pictures ({pictures}) beside folders of pictures "
            f"({some_of(folders)}), as where a photo lies beside its slices; give the folder of the slices "
            "alone, or name it, or a pattern, as the volume in a table (fund2oct import table), or move the "
            "rest away"
        )
    return found


def _shows_pictures(path: Path) -> bool:
    """Whether it is a folder with pictures in it, as far as it can be read."""
    with suppress(OSError):
        return any(
            file.suffix.lower() in PICTURES + TIFF and not file.name.startswith(".") and file.is_file()
            for file in path.iterdir()
        )
    return False


def _file(file: Path, axes: str) -> Stack:
    levels, told, origin = None, None, ""
    notes: tuple[str, ...] = ()
    if file.name.lower().endswith(TIFF):
        values, levels, told, origin = read_tiff(file)
    elif file.name.lower().endswith(_NUMPY):
        values = _numpy(file)
    elif file.name.lower().endswith(_NIFTI):
        values, levels, told, notes, origin = read_nifti(file)
    else:
        of_scanner = file.suffix.lower() in SCANNERS
        where = "; fund2oct import vendor reads it, and import table beside a photo" if of_scanner else ""
        raise DataError(f"{file}: expected {', '.join(STACKS)} or a folder of pictures{where}")
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "buif":
        raise DataError(
            f"{file}: expected numbers of three axes ({axes}), found {values.dtype} {values.shape}"
        )
    order = [axes.index(letter) for letter in "szx"]
    spacing = None
    if told is not None and np.isfinite(told).any():
        s, z, x = (told[place] for place in order)
        spacing = (s, z, x)
    return Stack(values.transpose(order), (file,), spacing, levels, notes, origin)


def _pictures(files: list[Path], axes: str) -> Stack:
    """Slices with one black and one white: the numbers stay as they are until all are there."""
    bscans: list[Array] = []
    levels: Levels | None = None
    # A folder may hold thousands of single B-scans: it ends at the first that differs.
    for file, (bscan, stated) in zip(files, read_slices(files), strict=True):
        if bscans and bscan.shape != bscans[0].shape:
            raise DataError(
                f"{file}: expected {bscans[0].shape} pixels as in {files[0].name}, found {bscan.shape}; "
                f"{_SINGLE}"
            )
        bscans.append(bscan)
        levels = stated
    volume = np.stack(bscans).transpose([axes.index(letter) for letter in "szx"])
    origin = max(picture_origin(file) for file in files)  # one that was not scanned tells it of all
    return Stack(volume, tuple(files), None, levels, _gap_notes(files), origin)


def _check_one_eye(files: list[Path]) -> None:
    """Refuse pictures that are no slices of one volume by their names: right and left eyes, a slice twice."""
    seen: dict[str, Path] = {}
    sides: dict[str, Path] = {}
    for file in files:
        other = seen.setdefault(plain_name(str(file.with_suffix(""))), file)
        if other is not file:
            raise DataError(f"{file}: expected each slice once, found {other.name} too; keep one of them")
        if side := laterality_of(file.stem) or laterality_of(file.parent.name):
            sides.setdefault(side, file)
    if len(sides) > 1:
        right, left = sides["OD"], sides["OS"]
        raise DataError(
            f"{right.parent}: expected slices of one eye, found {right.name} of a right and {left.name} of a "
            "left one; put the slices of each eye into a folder of its own, or list them in a table"
        )


def _counted(files: list[Path]) -> list[int]:
    """The numbers that count slices, sorted; none where the names differ in more than such a number."""
    names = [re.split(r"(\d+)", str(file.with_suffix("")).lower()) for file in files]
    if len({tuple(name[::2]) for name in names}) > 1:
        return []
    fields = [sorted(map(int, field)) for field in zip(*(name[1::2] for name in names), strict=True)]
    counting = [field for field in fields if len(set(field)) == len(files)]
    return counting[-1] if counting else []


def _gap_notes(files: list[Path]) -> tuple[str, ...]:
    """What to say of a few numbers that are missing between the first and the last slice."""
    numbers = _counted(files)
    if not numbers or not 0 < _n_missing(numbers) < len(numbers):
        return ()
    missing = ", ".join(str(n) for n in sorted(set(range(numbers[0], numbers[-1])) - set(numbers)))
    return (f"slices are numbered {numbers[0]} to {numbers[-1]} without {missing}",)


def _stranger_notes(files: list[Path]) -> tuple[str, ...]:
    """What to say of pictures that were found together, but not named as slices of one volume."""
    numbers = _counted(files)
    evenly = len({b - a for a, b in pairwise(numbers)}) == 1 and len(files) > 2  # each tenth slice, say
    if len(files) == 1 or (numbers and (_n_missing(numbers) < len(numbers) or evenly)):
        return ()
    # Notes are stored beside the eye, names of files are not.
    return (
        f"its {len(files)} pictures are not named as slices of one volume; if they are of several eyes, put "
        f"those of each into a folder of its own; {_SINGLE}",
    )


def _folder_notes(files: list[Path]) -> tuple[str, ...]:
    """What to say of pictures that somebody lists as one volume, but that may be of several visits."""
    n_folders = len({file.parent for file in files})
    if n_folders < 2:
        return ()
    return (
        f"its {len(files)} pictures lie in {n_folders} folders; if these are visits of the eye, give each "
        "visit a key of its own",
    )


def _n_missing(numbers: list[int]) -> int:
    return numbers[-1] - numbers[0] + 1 - len(numbers)


def _numpy(file: Path) -> Array:
    with by_library(file, "an array of numbers"):
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(loaded.files) != 1 and "volume" not in loaded.files:
                raise DataError(
                    f"{file}: expected one array, or one named 'volume', found {', '.join(loaded.files)}; "
                    "save the volume alone as .npy"
                )
            return np.asarray(loaded["volume" if "volume" in loaded.files else loaded.files[0]])
