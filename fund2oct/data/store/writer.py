"""Files of eyes, written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType

import h5py

import fund2oct
from fund2oct.data.store.checksum import keys_digest
from fund2oct.data.store.layout import LIBVER, Compression, check_compression, text_attribute, write_eye
from fund2oct.data.store.shards import FORMAT, why_not_of_eyes
from fund2oct.eye import ARRAYS, SCHEMA_VERSION, DataError, Eye
from fund2oct.file_kinds import HDF5
from fund2oct.outputs import check_files

_ROOM_TO_END = 1 << 16
_NOT_ALLOCATED = (errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a file system that takes no room in advance, as older NFS and many mounts of FUSE.

There the C library reads each block in place of it, which a file that is open to be written alone refuses.
"""


class EyeWriter:
    """Write eyes to a file that appears under its name only once it is complete.

    Args:
        path: the file to make, and its folder where there is none.
        overwrite: whether a file of eyes of that name may be replaced; another one never is.
        compression: ``"none"``, the fastest to read; ``"gzip"``, which any program reads; or ``"zstd"``,
            which is faster and needs hdf5plugin.

    Raises:
        DataError: if the file exists and may not be replaced, if no eye was added, or if the disk is
            full.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> from fund2oct.phantom import simulate_eye
        >>> with EyeWriter("mine.h5") as writer:
        ...     writer.add(simulate_eye(0, 0))
        >>> EyeReader("mine.h5").keys
        ('sim-0000000-OD',)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        compression: Compression = "none",
    ) -> None:
        self.path = Path(path)
        self.compression = compression
        self.n_eyes = 0
        check_compression(compression)
        check_files([self.path], overwrite, kind=HDF5 if overwrite else "", why_not=why_not_of_eyes)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")

    def __enter__(self) -> EyeWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = begin_file(self._partial, self.compression)
        return self

    def add(self, eye: Eye) -> None:
        """Validate and write an eye.

        Raises:
            DataError: if the eye has a problem, or its key is in the file already.
            OSError: if the disk is full; the end of the ``with`` block turns it into a DataError.
        """
        reserve(self._file, self._partial, bytes_of(eye))
        write_eye(self._file, eye, self.compression)
        self.n_eyes += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self.n_eyes:
                raise DataError(f"{self.path}: not written, because there is no eye to put in it")
            if error is None:
                finish_file(self._file, self._partial, self.path)
            elif is_disk_full(error):
                raise DataError(f"{self.path}: not written, the disk is full; make room") from error
        except OSError as full:
            if is_disk_full(full):
                raise DataError(f"{self.path}: not written, the disk is full; make room") from full
            raise
        finally:
            abandon_file(self._file, self._partial)


def begin_file(partial: Path, compression: Compression) -> h5py.File:
    """Make a file of no eyes yet."""
    file = h5py.File(partial, "w", libver=LIBVER)
    try:
        reserve(file, partial, 0)
        write_root(file, compression)
    except BaseException:
        abandon_file(file, partial)
        raise
    return file


def write_root(file: h5py.File, compression: Compression) -> None:
    """Write what comes before the eyes."""
    file.attrs["format"] = text_attribute(FORMAT)
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["created_with"] = text_attribute(f"fund2oct {fund2oct.__version__}")
    file.attrs["compression"] = text_attribute(compression)
    file.create_group("eyes")


def reserve(file: h5py.File, partial: Path, n_bytes: int) -> None:
    """Take room on the disk for what is written next.

    HDF5 ends in a crash where it cannot write what it holds, so that it must never meet a full disk.

    Args:
        file: open to write.
        partial: the file's name while it is written.
        n_bytes: the most that the next eye takes; room for the end of the file is taken as well.

    Raises:
        OSError: if the disk is full.
    """
    start, length = file.id.get_filesize(), n_bytes + _ROOM_TO_END
    if _allocated(partial, start, length):
        return
    if shutil.disk_usage(partial.parent).free < length:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial))


def _allocated(partial: Path, start: int, length: int) -> bool:
    """Take room behind what is written; false where the system, or the file system, cannot."""
    if not hasattr(os, "posix_fallocate"):
        return False
    handle = os.open(partial, os.O_WRONLY)
    try:
        os.posix_fallocate(handle, start, length)
    except OSError as error:
        if error.errno not in _NOT_ALLOCATED:
            raise
        return False
    finally:
        os.close(handle)
    return True


def bytes_of(eye: Eye) -> int:
    """The most that an eye takes on the disk: arrays that do not compress, and a record of all slices."""
    arrays = [array for name in ARRAYS if (array := getattr(eye, name)) is not None]
    return sum(array.nbytes + array.nbytes // 64 + 256 * len(array) for array in arrays) + _ROOM_TO_END


def finish_file(file: h5py.File, partial: Path, path: Path) -> None:
    """Write what comes after the eyes, and give the file its name once it is on the disk.

    Raises:
        OSError: if it cannot be written.
    """
    file.attrs["keys_digest"] = text_attribute(keys_digest(file["eyes"]))
    file.flush()
    size = file.id.get_filesize()
    file.close()
    os.truncate(partial, size)  # of the room that was taken, and not needed
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)


def abandon_file(file: h5py.File, partial: Path) -> None:
    """Close and delete a file, unless it was finished."""
    if file:
        file.close()
    partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk.

    Windows opens no folders, and waits only for a file that is open to be written.
    """
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the share of it that one may use, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
