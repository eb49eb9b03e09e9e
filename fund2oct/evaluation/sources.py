"""Sources of volumes to compare: files of eyes, folders of slices, submissions."""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from fund2oct.data.formats.folders import files_below
from fund2oct.data.formats.images import read_slices
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.data.store.reader import EyeReader
from fund2oct.evaluation.protocol import ASSUMED_SCAN
from fund2oct.eye import Array, DataError, Eye
from fund2oct.geometry import ScanPattern
from fund2oct.levels import find_levels, to_bytes

PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
"""Endings of the slices of a folder."""
_EYES = (".h5", ".hdf5")
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Scan:
    """The volume of an eye, and its record if the source has one.

    Args:
        volume: B-scans, uint8, shape ``(S, Z, X)``.
        eye: the record of the eye; None for slices in a folder or zip.

    Example:
        >>> Scan(np.zeros((6, 320, 448), np.uint8)).scan.n_slices  # of slices the challenge's scan is assumed
        6
    """

    volume: Array
    eye: Eye | None = None

    @property
    def scan(self) -> ScanPattern:
        """Lines of the scan; those of the challenge if the source does not tell."""
        return ASSUMED_SCAN if self.eye is None or self.eye.scan is None else self.eye.scan


class VolumeSource(Protocol):
    """Form of a source: volumes by the name of their eye.

    Attributes:
        name: name of the source in messages.
        keys: names of the eyes.
    """

    name: str
    keys: tuple[str, ...]

    def read(self, key: str) -> Scan:
        """Read the volume of an eye; a :class:`~fund2oct.data.DataError` says why it cannot be read."""


class EyeFiles:
    """Eyes of one or more HDF5 files, those with a volume.

    Args:
        paths: files that :class:`fund2oct.data.EyeWriter` or ``fund2oct predict`` wrote.
        name: name of the source in messages.

    Raises:
        DataError: if a file cannot be used, two hold an eye of one name, or none holds a volume.

    Example:
        >>> eyes = EyeFiles([Path("eyes.h5")], name="test eyes")
        >>> eyes.read(eyes.keys[0]).volume.shape
        (6, 32, 48)
    """

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self.name = name
        self.paths = [str(path) for path in paths]
        self._readers: dict[str, EyeReader] = {}
        for path in paths:
            with EyeReader(path) as reader:
                for key in reader.keys:
                    if "volume" not in reader.info(key).arrays:
                        continue
                    if key in self._readers:
                        raise DataError(
                            f"{path}: eye {key!r}: is in {self._readers[key].path} too; keep one of them"
                        )
                    self._readers[key] = reader
        if not self._readers:
            raise DataError(f"{name}: expected eyes with a volume, found none")
        self.keys = tuple(sorted(self._readers))

    def read(self, key: str) -> Scan:
        """Read an eye."""
        # Closed again: there may be more files than a process may have open, and some are to be deleted.
        with self._readers[key] as reader:
            eye = reader.read(key)
        assert eye.volume is not None
        return Scan(eye.volume, eye)


class PreparedEyes:
    """Some eyes of files, prepared as those that a model was trained on.

    Args:
        files: the eyes.
        keys: of those to take.
        preparation: the model's.
    """

    def __init__(self, files: EyeFiles, keys: Sequence[str], preparation: Preparation) -> None:
        self.name = files.name
        self.keys = tuple(keys)
        self._files, self._preparation = files, preparation

    def read(self, key: str) -> Scan:
        """Read an eye and prepare it."""
        eye = self._files.read(key).eye
        assert eye is not None
        eye = self._preparation.eye(eye)
        assert eye.volume is not None
        return Scan(eye.volume, eye)


class SliceFiles:
    """Slices as pictures ``<eye>/<eye>_0.jpg`` to ``_5``, with a folder for each eye, in a folder or a zip.

    Args:
        path: the folder or the zip.
        n_slices: number of pictures of each eye, numbered from 0.
        adapt: a function of each picture, uint8 ``(rows, columns)``, that returns the B-scan; None takes the
            picture as it is.

    Raises:
        DataError: if there are no such pictures, an eye has too few or too many, or a folder cannot be
            read.

    Example:
        >>> from PIL import Image
        >>> Path("slices/eye1").mkdir(parents=True)
        >>> for number in range(6):
        ...     Image.new("L", (448, 320)).save(f"slices/eye1/eye1_{number}.png")
        >>> SliceFiles(Path("slices")).read("eye1").volume.shape
        (6, 320, 448)
    """

    def __init__(self, path: Path, n_slices: int = 6, adapt: Callable[[Array], Array] | None = None) -> None:
        self.name = str(path)
        self._path = path
        self._adapt = adapt
        self._slices = _by_eye(path, _names(path), n_slices)
        self.keys = tuple(sorted(self._slices))

    def read(self, key: str) -> Scan:
        """Read the pictures of an eye, which have to be of one size."""
        names = self._slices[key]
        with _on_disk(self._path, names) as folder:
            try:
                bscans = _read_bscans([folder / name for name in names])
            except DataError as error:
                raise DataError(str(error).replace(str(folder), str(self._path))) from None
        if self._adapt is not None:
            bscans = [self._adapt(bscan) for bscan in bscans]
        for name, bscan in zip(names, bscans, strict=True):
            if bscan.shape != bscans[0].shape:
                raise DataError(
                    f"{self._path}/{name}: expected {_size(bscans[0])}, the size of the eye's first slice, "
                    f"found {_size(bscan)}"
                )
        return Scan(np.stack(bscans))


def open_source(
    path: str | Path, n_slices: int = 6, adapt: Callable[[Array], Array] | None = None
) -> VolumeSource:
    """Open a file, folder or zip with volumes.

    Args:
        path: an HDF5 file of eyes, a folder of such files, or a folder or zip of slices, see
            :class:`SliceFiles`.
        n_slices: number of slices of each eye in a folder or zip of slices.
        adapt: a function of each picture of a folder or zip, see :class:`SliceFiles`.

    Returns:
        The volumes.

    Raises:
        DataError: if it is none of these, or cannot be read.

    Example:
        >>> source = open_source("eyes.h5")
        >>> source.read(source.keys[0]).volume.shape
        (6, 32, 48)
    """
    path = Path(path)
    if path.is_dir():
        if files := sorted(file for file in path.glob("[!.]*") if file.suffix.lower() in _EYES):
            return EyeFiles(files, str(path))
        if (path / "train.csv").is_file() or (path / "train" / "train.csv").is_file():
            raise DataError(
                f"{path}: is the challenge's folder; import it first: fund2oct import aptos {path} eyes.h5"
            )
        return SliceFiles(path, n_slices, adapt)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    if path.suffix.lower() in _EYES:
        return EyeFiles([path], str(path))
    if path.suffix.lower() == ".zip":
        return SliceFiles(path, n_slices, adapt)
    raise DataError(
        f"{path}: expected an HDF5 file of eyes (.h5), a folder of slices, or a .zip of such a folder"
    )


def _names(path: Path) -> list[str]:
    """Files in a folder or zip, relative to it."""
    if path.is_dir():
        files, closed = files_below(path)
        for folder, reason in closed:
            if not _is_hidden(PurePosixPath(folder.relative_to(path))):
                raise DataError(f"{folder}: {reason}")
        return [file.relative_to(path).as_posix() for file in files]
    try:
        with zipfile.ZipFile(path) as archive:
            return [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: cannot be read as a zip, it is damaged or none ({error})") from None


def _by_eye(path: Path, names: Iterable[str], n_slices: int) -> dict[str, list[str]]:
    """Names of each eye's slices in their order; whatever is no picture is passed over."""
    found: dict[PurePosixPath, dict[int, str]] = defaultdict(dict)
    for name in map(PurePosixPath, sorted(names)):
        if _is_hidden(name) or name.suffix.lower() not in PICTURES:
            continue
        eye = name.parent.name
        number = re.fullmatch(re.escape(eye) + r"_(\d+)", name.stem) if eye else None
        if number is None:
            raise DataError(
                f"{path}: {name}: expected slices named as EYE/EYE_0{name.suffix}, a folder an eye"
            )
        slices = found[name.parent]
        if int(number[1]) in slices:
            raise DataError(f"{path}: {name}: slice {int(number[1])} is there twice; keep one of them")
        slices[int(number[1])] = str(name)
    if not found:
        raise DataError(f"{path}: expected slices named as EYE/EYE_0.jpg, a folder an eye, found no pictures")
    eyes: dict[str, list[str]] = {}
    for folder, slices in found.items():
        _check_numbers(f"{path}: eye {folder.name!r}", slices, n_slices)
        if folder.name in eyes:
            raise DataError(f"{path}: eye {folder.name!r}: is there twice, in {folder} too; keep one of them")
        eyes[folder.name] = [slices[number] for number in range(n_slices)]
    return eyes


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.parts)


def _check_numbers(where: str, found: Collection[int], n_slices: int) -> None:
    missing = sorted(set(range(n_slices)) - set(found))
    beyond = sorted(set(found) - set(range(n_slices)))
    counts = {"no": missing, "also": beyond}
    words = [f"{word} {', '.join(f'_{n}' for n in numbers)}" for word, numbers in counts.items() if numbers]
    if words:
        raise DataError(
            f"{where}: expected {n_slices} slices, _0 to _{n_slices - 1}, found {' and '.join(words)}"
        )


@contextmanager
def _on_disk(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """The folder itself, or one that holds the named members of a zip for a while."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                try:
                    # `extract` keeps a name from leaving the folder.
                    archive.extract(name, folder)
                except _DAMAGED as error:
                    raise DataError(f"{path}/{name}: cannot be unpacked, it is damaged ({error})") from None
        yield Path(folder)


def _read_bscans(paths: Sequence[Path]) -> list[Array]:
    """Slices as bytes, all by one black and white."""
    bscans, stated = zip(*read_slices(paths), strict=True)
    for path, bscan in zip(paths, bscans, strict=True):
        # NaN would pass for black.
        if bscan.dtype.kind == "f" and not np.isfinite(bscan).all():
            raise DataError(f"{path}: expected finite intensities, found NaN or infinity")
    try:
        levels = stated[0] or find_levels(np.concatenate([bscan.ravel() for bscan in bscans]))
    except DataError as error:
        raise DataError(f"{paths[0]} and the eye's other slices: {error}; save them with 8 bits") from error
    return [to_bytes(bscan, levels) for bscan in bscans]


def _size(image: Array) -> str:
    return f"{image.shape[1]} x {image.shape[0]} (width x height)"
