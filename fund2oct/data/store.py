"""One HDF5 file of eyes: written whole or not at all, read lazily in each process.

The file holds a group ``/eyes/<key>`` for each eye, with a dataset for each array and an attribute
for each plain value of :class:`~fund2oct.data.schema.Eye`; its root names the format and the version
of the schema.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import h5py
import numpy as np

import fund2oct
from fund2oct.data.schema import ARRAYS, SCHEMA_VERSION, Array, DataError, Eye, problems, validate
from fund2oct.geometry import Placement, ScanPattern

FORMAT = "fund2oct"
T = TypeVar("T")

_TEXTS = ("patient", "laterality", "diagnosis", "source", "sha256")


@dataclass(frozen=True)
class EyeInfo:
    """What is known of an eye without reading its arrays."""

    key: str
    patient: str
    laterality: str
    diagnosis: str
    arrays: dict[str, tuple[int, ...]]
    scan: ScanPattern | None
    placement: Placement
    spacing_mm: tuple[float, float, float]


class EyeWriter:
    """Write eyes to a file that appears under its name only once it is complete.

    Example::

        with EyeWriter("eyes.h5") as writer:
            writer.add(eye)

    Args:
        path: the file to make.
        overwrite: whether a file of that name may be replaced.

    Raises:
        DataError: if the file exists and ``overwrite`` is false, or if no eye was added.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        self.path = Path(path)
        self.n_eyes = 0
        if self.path.exists() and not overwrite:
            raise DataError(f"{self.path}: exists; choose another name, or allow it to be overwritten")
        if not self.path.parent.is_dir():
            raise DataError(f"{self.path}: its folder does not exist; make {self.path.parent} first")
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")

    def __enter__(self) -> EyeWriter:
        self._file = h5py.File(self._partial, "w")
        self._file.attrs["format"] = FORMAT
        self._file.attrs["schema_version"] = SCHEMA_VERSION
        self._file.attrs["created_with"] = f"fund2oct {fund2oct.__version__}"
        self._file.create_group("eyes")
        return self

    def add(self, eye: Eye) -> None:
        """Validate and write an eye.

        Raises:
            DataError: if the eye has a problem, or its key is in the file already.
        """
        write_eye(self._file, eye)
        self.n_eyes += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if error is None and not self.n_eyes:
                raise DataError(f"{self.path}: not written, because there is no eye to put in it")
            if error is None:
                os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)


class EyeReader:
    """Read the eyes of a file.

    The file is opened at the first use in each process: a reader may be pickled, and may be used
    after a fork.

    Args:
        path: a file written by :class:`EyeWriter`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._pid = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the eyes, sorted."""
        return tuple(sorted(self._open()["eyes"]))

    def read(self, key: str, skip: Collection[str] = ()) -> Eye:
        """Read an eye, but for the optional arrays named in ``skip``.

        Raises:
            DataError: if the file, or the eye, cannot be used.
        """
        with self._naming(key):
            eye = read_eye(self._open(), key, skip)
            if found := problems(eye):
                raise DataError("; ".join(found))
            return eye

    def info(self, key: str) -> EyeInfo:
        """Read the plain values of an eye and the shapes of its arrays."""
        with self._naming(key):
            group = _group(self._open(), key)
            arrays = {name: tuple(group[name].shape) for name in ARRAYS if name in group}
            return EyeInfo(
                key,
                _text(group, "patient"),
                _text(group, "laterality"),
                _text(group, "diagnosis"),
                arrays,
                _scan(group),
                _placement(group, "placement"),
                _spacing(group),
            )

    def array(self, key: str, name: str) -> Array | None:
        """Read one array of an eye; None where it has none of that name."""
        with self._naming(key):
            return _array(_group(self._open(), key), name)

    def read_into(self, key: str, name: str, out: Array, slices: Sequence[int] | None = None) -> None:
        """Read one array of an eye, or some of its slices, into a contiguous buffer.

        Args:
            key: the eye.
            name: the array.
            out: where to; of the stored type, and of the shape of what is read.
            slices: positions along the array's first axis, in any order; None reads all.

        Raises:
            DataError: if the eye has no such array, or it does not fit, or it cannot be read.
        """
        with self._naming(key):
            group = _group(self._open(), key)
            if name not in group:
                raise DataError(f"has no {name}")
            stored = group[name]
            shape = stored.shape if slices is None else (len(slices), *stored.shape[1:])
            if (out.shape, out.dtype) != (shape, stored.dtype):
                raise DataError(
                    f"{name}: expected {out.dtype} {out.shape}, found {stored.dtype} {shape}; "
                    "the file was changed while it was in use"
                )
            if slices is None:
                stored.read_direct(out)
            else:
                for row, number in enumerate(slices):
                    stored.read_direct(out, np.s_[number], np.s_[row])

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def __enter__(self) -> EyeReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_file": None, "_pid": 0}

    def _open(self) -> h5py.File:
        if self._file is None or self._pid != os.getpid():
            self._file, self._pid = _open_checked(self.path), os.getpid()
        return self._file

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        self._open()  # its own errors are about the file, not about the eye
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.path}: eye {key!r}: {error}") from error
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{self.path}: eye {key!r}: cannot be read, the file is damaged; make it again ({error})"
            ) from error


def write_eye(file: h5py.File, eye: Eye) -> None:
    """Write an eye into an open file; :class:`EyeWriter` is the safe way to make one."""
    validate(eye)
    if eye.key in file["eyes"]:
        raise DataError(f"eye {eye.key!r}: there is an eye of that key already; keys are unique in a file")
    group = file["eyes"].create_group(eye.key)
    for name in ARRAYS:
        array = getattr(eye, name)
        if array is not None:
            # A checksum needs chunks. Speckle does not compress, and raw reads are the fastest.
            group.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)
    for name in _TEXTS:
        group.attrs[name] = getattr(eye, name)
    group.attrs["spacing_mm"] = np.asarray(eye.spacing_mm, dtype=np.float64)
    group.attrs["placement"] = json.dumps(eye.placement.to_dict())
    group.attrs["localizer_placement"] = json.dumps(eye.localizer_placement.to_dict())
    group.attrs["metadata"] = json.dumps(eye.metadata)
    group.attrs["history"] = json.dumps(eye.history)
    if eye.scan is not None:
        group.attrs["scan"] = json.dumps(eye.scan.to_dict())


def read_eye(file: h5py.File, key: str, skip: Collection[str] = ()) -> Eye:
    """Read an eye from an open file without validating it; :class:`EyeReader` does both."""
    group = _group(file, key)
    values: dict[str, Any] = {name: _text(group, name) for name in _TEXTS}
    values |= {name: _array(group, name) for name in ARRAYS if name not in skip}
    return Eye(
        key=key,
        scan=_scan(group),
        placement=_placement(group, "placement"),
        localizer_placement=_placement(group, "localizer_placement"),
        spacing_mm=_spacing(group),
        metadata=_parsed(group, "metadata", json.loads) if "metadata" in group.attrs else {},
        history=_parsed(group, "history", json.loads) if "history" in group.attrs else {},
        **values,
    )


def _open_checked(path: Path) -> h5py.File:
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; `fund2oct simulate {path} --eyes 800` makes one of simulated eyes"
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as HDF5, it is damaged or something else ({error})"
        ) from error
    try:
        _check_format(path, file)
    except DataError:
        file.close()
        raise
    return file


def _check_format(path: Path, file: h5py.File) -> None:
    found = file.attrs.get("format")
    if str(found) != FORMAT or not isinstance(file.get("eyes"), h5py.Group):
        raise DataError(f"{path}: expected an HDF5 file of format {FORMAT!r}, found {found!r}")
    version = file.attrs.get("schema_version")
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise DataError(f"{path}: schema_version: expected a number of at least 1, found {version!r}")
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{path}: has schema version {version}, and fund2oct {fund2oct.__version__} reads up to "
            f"{SCHEMA_VERSION}; upgrade fund2oct"
        )


def _group(file: h5py.File, key: str) -> h5py.Group:
    group = file["eyes"].get(key)
    if not isinstance(group, h5py.Group):
        raise DataError("there is no eye of that key")
    return group


def _array(group: h5py.Group, name: str) -> Array | None:
    try:
        stored = group[name]
    except KeyError:
        return None
    return stored[()]


def _attribute(group: h5py.Group, name: str) -> Any:
    try:
        return group.attrs[name]
    except KeyError as error:
        raise DataError(f"attribute {name!r} is missing") from error


def _text(group: h5py.Group, name: str) -> str:
    return str(_attribute(group, name))


def _scan(group: h5py.Group) -> ScanPattern | None:
    if "scan" not in group.attrs:
        return None
    return _parsed(group, "scan", lambda text: ScanPattern.from_dict(json.loads(text)))


def _placement(group: h5py.Group, name: str) -> Placement:
    if name == "localizer_placement" and name not in group.attrs:
        return Placement()
    return _parsed(group, name, lambda text: Placement.from_dict(json.loads(text)))


def _spacing(group: h5py.Group) -> tuple[float, float, float]:
    def parse(lengths: Any) -> tuple[float, float, float]:
        s, z, x = (float(length) for length in lengths)
        return s, z, x

    return _parsed(group, "spacing_mm", parse)


def _parsed(group: h5py.Group, name: str, parse: Callable[[Any], T]) -> T:
    value = _attribute(group, name)
    try:
        return parse(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"attribute {name!r} makes no sense: {value!r} ({error})") from error
