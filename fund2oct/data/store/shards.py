"""The files behind a data set: which ones a path names, and one of them, open."""

from __future__ import annotations

import errno
import glob
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

import fund2oct
from fund2oct.data.store.checksum import keys_digest
from fund2oct.data.store.layout import EyeInfo, check_compression, own, read_info, read_text
from fund2oct.eye import SCHEMA_VERSION, DataError
from fund2oct.file_kinds import HDF5, kind_of, why_not_a_file

FORMAT = "fund2oct"
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
"""What h5py raises where it meets bytes that make no sense."""
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of a disk that takes no locks."""

EyePaths: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file, a folder of ``.h5`` files, a pattern such as ``data/*.h5``, or several of these."""

_INFOS_KEPT = 256


def plain_paths(path: EyePaths) -> str | list[str]:
    """Paths as text, as configurations and checkpoints hold them.

    Example:
        >>> plain_paths([Path("a.h5"), "b.h5"])
        ['a.h5', 'b.h5']
    """
    return os.fspath(path) if isinstance(path, (str, os.PathLike)) else [os.fspath(part) for part in path]


def find_shards(path: EyePaths) -> tuple[Path, ...]:
    """The files that a path names, sorted within a folder or a pattern.

    Raises:
        DataError: if a folder or a pattern names none. That a file is there is not looked at.
    """
    if not isinstance(path, (str, os.PathLike)):
        return tuple(shard for part in path for shard in find_shards(part))
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("[!.]*.h5"))
        if not found:
            raise DataError(f"{path}: expected files of eyes (.h5) in this folder, found none")
        return tuple(found)
    if not path.exists() and glob.has_magic(str(path)):
        found = sorted(map(Path, glob.glob(str(path))))
        if not found:
            raise DataError(f"{path}: no file matches this pattern")
        return tuple(found)
    return (path,)


class Shard:
    """One file of eyes, opened at the first use in each process.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._file: h5py.File | None = None
        self._pid = 0
        self._keys: tuple[str, ...] | None = None
        self._infos: OrderedDict[str, EyeInfo] = OrderedDict()
        self._last: tuple[str, h5py.Group] | None = None

    @property
    def file(self) -> h5py.File:
        """The open file."""
        if self._file is None or self._pid != os.getpid():
            self._forget()
            self._file, self._pid = open_checked(self.path), os.getpid()
        return self._file

    @property
    def compression(self) -> str:
        """How the file's arrays are compressed."""
        return read_text(self.file.attrs.get("compression")) or "none"

    @property
    def listed(self) -> tuple[str, ...]:
        """Names of the eyes that are found, sorted; :attr:`keys` says whether they are all."""
        try:
            return tuple(sorted(self.file["eyes"]))
        except DAMAGE as error:
            raise error if isinstance(error, DataError) else damaged(self.path, error) from error

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the eyes, sorted, and verified against the file's digest of them."""
        file = self.file
        if self._keys is None:
            keys = self.listed
            if read_text(file.attrs.get("keys_digest")) != keys_digest(keys):
                raise DataError(
                    f"{self.path}: its list of eyes does not agree with its digest, the file is damaged; "
                    "make it again"
                )
            self._keys = keys
        return self._keys

    def group(self, key: str) -> h5py.Group:
        """The group of an eye; it is kept for the next array of the same eye."""
        file = self.file  # a fork's is the one that it opens, and it has no last group yet
        last = self._last
        if last is None or last[0] != key:
            group = own(file["eyes"], key)
            if not isinstance(group, h5py.Group):
                raise DataError("there is no eye of that key")
            last = self._last = key, group
        return last[1]

    def info(self, key: str) -> EyeInfo:
        """All of an eye but its arrays, verified."""
        self.file  # noqa: B018  # a fork's are those of the file that it opens
        if key in self._infos:
            self._infos.move_to_end(key)
            return self._infos[key]
        group = self.group(key)
        info = read_info(group, key)
        self._infos[key] = info
        if len(self._infos) > _INFOS_KEPT:
            self._infos.popitem(last=False)
        return info

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._forget()


def damaged(path: Path, error: BaseException) -> DataError:
    """The error of a file that HDF5 cannot make sense of."""
    return DataError(f"{path}: cannot be read as HDF5, it is damaged or something else ({_reason(error)})")


def open_to_read(path: Path) -> h5py.File:
    """Open an HDF5 file to read; without a lock where its disk takes none, as some network disks.

    A file of eyes appears under its name when it is whole, so that none is written while it is read.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return h5py.File(path, "r", locking=False)


def open_checked(path: Path) -> h5py.File:
    """Open a file of eyes to read.

    Raises:
        DataError: if there is none, or it is something else, or of another version.
    """
    if reason := why_not_a_file(path):
        absent = f"; `fund2oct simulate {path} --eyes 600` makes one of simulated eyes"
        raise DataError(f"{path}: {reason}{absent if not os.path.lexists(path) else ''}")
    kind = kind_of(path)
    if kind and not kind.startswith(HDF5):
        raise DataError(f"{path}: cannot be read as HDF5, it is {kind}; expected a file of eyes (.h5)")
    try:
        file = open_to_read(path)
    except BlockingIOError as error:
        raise DataError(f"{path}: is open in another program, which writes it; wait, or close it") from error
    except DAMAGE as error:
        raise damaged(path, error) from error
    try:
        _check_format(path, file)
    except DataError:
        file.close()
        raise
    except DAMAGE as error:
        file.close()
        raise damaged(path, error) from error
    return file


def why_not_of_eyes(path: Path) -> str:
    """Tell why an HDF5 file may not make room for a new file of eyes.

    One of another version, or with damaged eyes, is to be made again; what another program wrote is not ours.

    Args:
        path: the file.

    Returns:
        Words that an error can put behind the path; empty where its root says that fund2oct made it.

    Example:
        >>> why_not_of_eyes(Path("eyes.h5"))
        ''
        >>> h5py.File("network.h5", "w").close()  # as another program writes it
        >>> why_not_of_eyes(Path("network.h5"))
        'is an HDF5 file that fund2oct did not make'
    """
    try:
        with open_to_read(path) as file:
            found = read_text(file.attrs.get("format"))
    except DAMAGE as error:
        return (
            f"cannot be read as HDF5 ({_reason(error)}), so that nothing says that fund2oct made it; delete "
            "it yourself if it is yours"
        )
    return "" if found == FORMAT else "is an HDF5 file that fund2oct did not make"


def _check_format(path: Path, file: h5py.File) -> None:
    found = read_text(file.attrs.get("format"))
    try:
        holds_eyes = isinstance(own(file, "eyes"), h5py.Group)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if found != FORMAT or not holds_eyes:
        raise DataError(f"{path}: expected an HDF5 file of format {FORMAT!r}, found {found!r}")
    version = file.attrs.get("schema_version")
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise DataError(f"{path}: schema_version: expected a number of at least 1, found {version!r}")
    if version != SCHEMA_VERSION:
        mend = "upgrade fund2oct" if version > SCHEMA_VERSION else "make it again"
        raise DataError(
            f"{path}: has schema version {version}, and fund2oct {fund2oct.__version__} reads "
            f"{SCHEMA_VERSION}; {mend}"
        )
    try:
        check_compression(read_text(file.attrs.get("compression")) or "none")  # loads what it needs
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
