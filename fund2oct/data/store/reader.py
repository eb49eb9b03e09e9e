"""Files of eyes, read lazily in each process.

A file holds a group ``/eyes/<key>`` for each eye, see :mod:`fund2oct.data.store.layout`; its root names the
format and the version of the schema, and has a digest of the keys. Several files are read as one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fund2oct.data.store.checksum import PICTURES
from fund2oct.data.store.layout import EyeInfo, StoredArray, read_into, read_text
from fund2oct.data.store.shards import DAMAGE, EyePaths, Shard, find_shards
from fund2oct.data.store.writer import EyeWriter
from fund2oct.eye import Array, DataError, Eye, problems

__all__ = ["EyeInfo", "EyeReader", "EyeWriter"]

MOST_OPEN = 100
"""Files that a reader has open at once; a process may commonly have 1024, on some systems 256."""


class EyeReader:
    """Read the eyes of a file, or of several as one data set.

    Files are opened at the first use in each process: a reader may be pickled, and may be used after
    a fork. Whatever is read is verified against its checksums.

    Args:
        path: a file written by :class:`EyeWriter`, a folder of such files, a pattern such as
            ``data/*.h5``, or a sequence of these.

    Example:
        >>> with EyeReader("eyes.h5") as reader:
        ...     print(len(reader.keys), reader.read(reader.keys[0]))
        24 Eye('sim3-0000000-OD', OD, fundus 48 px, volume (6, 32, 48))
    """

    def __init__(self, path: EyePaths) -> None:
        self._given = path
        self._shards: list[Shard] | None = None
        self._places: dict[str, Shard] | None = None
        self._used: dict[Shard, None] = {}

    @property
    def path(self) -> Path:
        """The file, folder or pattern; of a sequence, the first."""
        given = self._given
        while not isinstance(given, (str, os.PathLike)):
            if not given:
                raise DataError("expected at least one file of eyes, found an empty list")
            given = given[0]
        return Path(given)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(shard.path for shard in self._all())

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the eyes, sorted.

        Raises:
            DataError: if a file cannot be used, or two of them have an eye of the same name.
        """
        return tuple(sorted(self._index()))

    def path_of(self, key: str) -> Path:
        """The file that holds an eye."""
        return self._shard(key).path

    def where(self, key: str) -> str:
        """The file and the eye, as messages name them."""
        return f"{self.path_of(key)}: eye {key!r}"

    def read(self, key: str, skip: Collection[str] = ()) -> Eye:
        """Read an eye, but for the optional arrays named in ``skip``.

        Raises:
            DataError: if the file, or the eye, cannot be used.
        """
        shard = self._shard(key)
        with _naming(shard, key):
            info, group = shard.info(key), shard.group(key)
            eye = info.eye(
                {name: _read(group, name, stored) for name, stored in info.stored.items() if name not in skip}
            )
            if found := problems(eye):
                raise DataError("; ".join(found))
            return eye

    def info(self, key: str) -> EyeInfo:
        """Read all of an eye but its arrays."""
        shard = self._shard(key)
        with _naming(shard, key):
            return shard.info(key)

    def notes(self, key: str) -> list[str]:
        """What the importer noted on an eye."""
        shard = self._shard(key)
        with _naming(shard, key):
            return [str(note) for note in json.loads(read_text(shard.group(key).attrs.get("notes")) or "[]")]

    def array(self, key: str, name: str) -> Array | None:
        """Read one array of an eye; None where it has none of that name."""
        stored = self.info(key).stored.get(name)
        if stored is None:
            return None
        shard = self._shard(key)
        with _naming(shard, key):
            return _read(shard.group(key), name, stored)

    def read_into(self, key: str, name: str, out: Array, slices: Sequence[int] | None = None) -> None:
        """Read an array straight into a buffer that is there already.

        Args:
            key: name of the eye.
            name: name of the array, such as ``"volume"``.
            out: contiguous and writable, of the array's type; its shape is the array's, but for as many
                slices as are asked for.
            slices: indices along the first axis, in the wanted order; None reads all.

        Raises:
            DataError: if the file, or the eye, cannot be used, or has no such array.
            ValueError: if the buffer does not fit, or there are no such slices.
        """
        stored = self.info(key).stored.get(name)
        shard = self._shard(key)
        if stored is None:
            raise DataError(f"{shard.path}: eye {key!r}: has no {name}")
        _check_buffer(name, stored, out, slices)
        with _naming(shard, key):
            read_into(shard.group(key), name, stored, out, slices)

    def digest(self, on_error: Callable[[str, DataError], None] | None = None) -> str:
        """SHA-256 of the digests of all eyes: tells whether two data sets hold the very same eyes.

        Args:
            on_error: called with the key and the error of an eye that cannot be read, whose digest is then
                taken as empty: the whole is that of no data set in which the eye is sound. Without it the
                error is raised.

        Raises:
            DataError: if a file cannot be used, or an eye cannot be read.
        """
        whole = hashlib.sha256()
        for key in self.keys:
            shard, digest = self._shard(key), ""
            try:
                with _naming(shard, key):
                    digest = read_text(shard.group(key).attrs.get("digest")) or ""
            except DataError as error:
                if on_error is None:
                    raise
                on_error(key, error)
            whole.update(f"{key}\n{digest}\n".encode(errors="surrogateescape"))
        return whole.hexdigest()

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        for shard in self._shards or ():
            shard.close()
        self._places = None
        self._used.clear()

    def __enter__(self) -> EyeReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given, "_shards": None, "_places": None, "_used": {}}

    def _all(self) -> list[Shard]:
        if self._shards is None:
            self._shards = [Shard(path) for path in find_shards(self._given)]
            if not self._shards:
                raise DataError("expected at least one file of eyes, found an empty list")
        return self._shards

    def _shard(self, key: str) -> Shard:
        shards = self._all()
        if len(shards) == 1:
            shards[0].file  # noqa: B018  # its own errors are about the file, not about the eye
            return shards[0]
        shard = self._index().get(key)
        if shard is None:
            raise DataError(f"{self.path}: eye {key!r}: there is no eye of that key in {len(shards)} files")
        self._note_use(shard)
        return shard

    def _note_use(self, shard: Shard) -> None:
        """Keep some files open, those of the last uses."""
        self._used.pop(shard, None)
        self._used[shard] = None
        if len(self._used) > MOST_OPEN:
            oldest = next(iter(self._used))
            del self._used[oldest]
            oldest.close()

    def _index(self) -> dict[str, Shard]:
        if self._places is None:
            places: dict[str, Shard] = {}
            for shard in self._all():
                self._note_use(shard)
                for key in shard.keys:
                    if key in places:
                        raise DataError(
                            f"eye {key!r} is in {places[key].path} and in {shard.path}; "
                            "keys are unique in a data set, leave out one of the two files"
                        )
                    places[key] = shard
            self._places = places
        return self._places


def _read(group: h5py.Group, name: str, stored: StoredArray) -> Array:
    out = np.empty(stored.shape, stored.dtype)
    read_into(group, name, stored, out)
    return out


def _check_buffer(name: str, stored: StoredArray, out: Array, slices: Sequence[int] | None) -> None:
    if slices is not None and name in PICTURES:
        raise ValueError(f"{name}: a picture has no slices, expected None, found {slices}")
    if slices is not None and not all(0 <= number < stored.shape[0] for number in slices):
        raise ValueError(f"{name}: expected slices from 0 to {stored.shape[0] - 1}, found {list(slices)}")
    shape = stored.shape if slices is None else (len(slices), *stored.shape[1:])
    if out.shape != shape or out.dtype != stored.dtype:
        raise ValueError(f"{name}: expected a buffer {stored.dtype} {shape}, found {out.dtype} {out.shape}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"{name}: expected a contiguous, writable buffer, found another")


@contextmanager
def _naming(shard: Shard, key: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{shard.path}: eye {key!r}: {error}") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{shard.path}: eye {key!r}: cannot be read, the file is damaged; make it again ({reason})"
        ) from error
