"""How an eye lies in an HDF5 file: a group with a dataset for each array, and a record of the rest.

The record is one attribute, a JSON object of the eye's plain values and of the type, shape and
checksums of its arrays; a second attribute is the digest of key and record. Every byte of an eye is
so covered by a checksum. Text has a fixed length, because HDF5 keeps text of variable length where
it has no checksum of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import h5py
import numpy as np

from fund2oct.data.store.checksum import PICTURES, checksums, eye_digest
from fund2oct.eye import ARRAYS, Array, DataError, Eye, Plain, validate
from fund2oct.geometry import Placement, ScanPattern

Compression = Literal["none", "gzip", "zstd"]
LIBVER = ("v110", "v110")
"""The oldest HDF5 format whose own structures all have a checksum, and which HDF5 1.10 reads."""

_TEXTS = ("patient", "laterality", "diagnosis", "source", "sha256")
_PLACEMENTS = ("placement", "localizer_placement")
_PLAIN = ("metadata", "history")
_WORTH_COMPRESSING = 4096


@dataclass(frozen=True)
class StoredArray:
    """What a file says of one of an eye's arrays, so that the array can be read and verified.

    Args:
        dtype: name of its type, ``"uint8"`` or ``"float32"``.
        shape: its shape, which of a volume is ``(S, Z, X)``.
        crc32: checksums of its bytes: one for a picture, and one for each slice of a volume, so that slices
            can be read and verified alone.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     volume = reader.info("sim3-0000000-OD").stored["volume"]
        >>> volume.dtype, volume.shape, len(volume.crc32)
        ('uint8', (6, 32, 48), 6)
    """

    dtype: str
    shape: tuple[int, ...]
    crc32: tuple[int, ...]


@dataclass(frozen=True)
class EyeInfo:
    """All that is known of an eye without reading its arrays.

    Args:
        key: name of the eye.
        fields: what is not an array, by the names of the arguments of :class:`~fund2oct.eye.Eye`.
        stored: what the file says of each array, by the array's name.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     info = reader.info("sim3-0000000-OD")
        >>> info.laterality, info.diagnosis, info.arrays["volume"]
        ('OD', 'SRF', (6, 32, 48))
    """

    key: str
    fields: dict[str, Any]
    stored: dict[str, StoredArray]

    @property
    def patient(self) -> str:
        """Name of the patient."""
        return str(self.fields["patient"])

    @property
    def laterality(self) -> str:
        """``"OD"``, ``"OS"`` or empty."""
        return str(self.fields["laterality"])

    @property
    def diagnosis(self) -> str:
        """Free text, empty where unknown."""
        return str(self.fields["diagnosis"])

    @property
    def scan(self) -> ScanPattern | None:
        """The lines of the scan; None without a volume."""
        scan: ScanPattern | None = self.fields["scan"]
        return scan

    @property
    def history(self) -> dict[str, Plain]:
        """What the importer did to make the eye."""
        return dict(self.fields["history"])

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names of the masks of the photo, in their order."""
        return tuple(self.fields["mask_names"])

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array that the eye has."""
        return {name: stored.shape for name, stored in self.stored.items()}

    @property
    def photo_digest(self) -> str:
        """What tells photos apart, the SHA-256 of the file or else the checksum of the pixels."""
        stored = self.stored.get("fundus")
        crc32 = "" if stored is None else f"crc32:{stored.crc32[0]:08x}"
        return str(self.fields["sha256"]) or crc32

    def eye(self, arrays: Mapping[str, Array | None]) -> Eye:
        """The eye, with its arrays; names of masks that are not among these are left out."""
        fields = self.fields if "masks" in arrays else self.fields | {"mask_names": ()}
        return Eye(key=self.key, **(fields | dict(arrays)))


def check_compression(compression: str) -> None:
    """Load what a compression needs.

    Raises:
        DataError: if the compression is unknown, or its package is missing.
    """
    if compression not in get_args(Compression):
        raise DataError(f"compression: expected one of {get_args(Compression)}, found {compression!r}")
    if compression == "zstd":
        _zstd()


def text_attribute(text: str) -> Any:
    """A text as an attribute of fixed length in UTF-8."""
    encoded = text.encode()
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(len(encoded), 1)))


def read_text(value: Any) -> str | None:
    """The text of an attribute, whatever its kind; None where there is none."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if value is None else str(value)


def write_eye(file: h5py.File, eye: Eye, compression: Compression = "none") -> None:
    """Write an eye into an open file; :class:`~fund2oct.data.store.reader.EyeWriter` is the safe way.

    Raises:
        DataError: if the eye has a problem, or its key is in the file already.
    """
    validate(eye)
    if eye.key in file["eyes"]:
        raise DataError(f"eye {eye.key!r}: there is an eye of that key already; keys are unique in a file")
    group = file["eyes"].create_group(eye.key)
    stored = {}
    for name in ARRAYS:
        array = getattr(eye, name)
        if array is not None:
            array = np.ascontiguousarray(array)
            stored[name] = {
                "dtype": str(array.dtype),
                "shape": list(array.shape),
                "crc32": checksums(name, array),
            }
            group.create_dataset(name, data=array, **_filters(name, array, compression))
    record = json.dumps(_plain_fields(eye) | {"arrays": stored}, allow_nan=False).encode()
    group.attrs["record"] = np.bytes_(record)
    group.attrs["digest"] = np.bytes_(eye_digest(eye.key, record).encode())


def read_info(group: h5py.Group, key: str) -> EyeInfo:
    """Read all of an eye but its arrays, verified against its digest.

    Raises:
        DataError: if it is damaged or incomplete.
    """
    text, digest = _raw_attribute(group, "record"), _raw_attribute(group, "digest")
    if eye_digest(key, text).encode() != digest:
        raise DataError("its record does not agree with its digest, the file is damaged; make it again")
    try:
        return _parse(key, json.loads(text), len(group))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"its record makes no sense: {type(error).__name__}: {error}") from error


def own(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """What lies in a group under a name; what a file says of another file is refused, and never opened.

    Returns:
        A group or an array; None where there is nothing of that name.

    Raises:
        DataError: if the name is a link, or the array's bytes lie elsewhere.
    """
    # By h5py's lower level, which takes a third of the time: five arrays of each eye are asked for.
    place, encoded = group.id, name.encode(errors="surrogateescape")
    if not place.links.exists(encoded):
        return None
    node = h5py.h5o.open(place, encoded) if place.links.get_info(encoded).type == h5py.h5l.TYPE_HARD else None
    if isinstance(node, h5py.h5g.GroupID):
        return h5py.Group(node)
    if isinstance(node, h5py.h5d.DatasetID):
        made = node.get_create_plist()
        if made.get_layout() != h5py.h5d.VIRTUAL and not made.get_external_count():
            return h5py.Dataset(node)
    raise DataError(f"{name}: lies in another file, and a file of eyes holds all of its own; refused")


def read_into(
    group: h5py.Group, name: str, stored: StoredArray, out: Array, slices: Sequence[int] | None = None
) -> None:
    """Read an array, or some of its slices in this order, into a buffer, and verify it.

    Args:
        group: the eye's place in the file.
        name: name of the array.
        stored: what the record says of it.
        out: contiguous, of the type and shape of what is read.
        slices: indices along the first axis; None reads all.

    Raises:
        DataError: if the array is not what the record says.
    """
    dataset = own(group, name)
    if dataset is None:
        raise DataError(f"{name}: expected an array, found none, the file is damaged; make it again")
    if not isinstance(dataset, h5py.Dataset) or dataset.id.dtype != stored.dtype:
        raise DataError(f"{name}: expected {stored.dtype}, found {getattr(dataset, 'dtype', 'no array')}")
    if dataset.id.shape != stored.shape:
        raise DataError(f"{name}: expected the shape {stored.shape}, found {dataset.shape}")
    if slices is None:
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, out)
    else:
        breaks = [place for place, (a, b) in enumerate(pairwise(slices), 1) if b != a + 1]
        for start, stop in pairwise([0, *breaks, len(slices)]):
            first = slices[start] if start < stop else 0
            dataset.read_direct(out, np.s_[first : first + stop - start], np.s_[start:stop])
    wanted = stored.crc32 if slices is None else [stored.crc32[number] for number in slices]
    if (found := checksums(name, out)) != list(wanted):
        numbers = range(len(found)) if slices is None else slices
        bad = [str(n) for n, a, b in zip(numbers, found, wanted, strict=True) if a != b]
        where = "" if name in PICTURES else f" of slices {', '.join(bad)}"
        raise DataError(f"{name}: the checksum{where} is wrong, the file is damaged; make it again")


def _filters(name: str, array: Array, compression: Compression) -> dict[str, Any]:
    # Speckle hardly compresses, and contiguous reads are the fastest; else a chunk a slice suits
    # reads of a slice and of them all.
    if compression == "none" or array.nbytes < _WORTH_COMPRESSING:
        return {}
    options: dict[str, Any] = {
        "chunks": array.shape if name in PICTURES else (1, *array.shape[1:]),
        "shuffle": array.itemsize > 1,
    }
    return options | ({"compression": "gzip", "compression_opts": 4} if compression == "gzip" else _zstd())


def _zstd() -> dict[str, Any]:
    try:
        import hdf5plugin
    except ImportError:
        raise DataError('zstd needs hdf5plugin: pip install "fund2oct[zstd]"') from None
    return dict(hdf5plugin.Zstd(clevel=3))


def _plain_fields(eye: Eye) -> dict[str, Any]:
    return {
        **{name: getattr(eye, name) for name in (*_TEXTS, *_PLAIN)},
        **{name: getattr(eye, name).to_dict() for name in _PLACEMENTS},
        "scan": None if eye.scan is None else eye.scan.to_dict(),
        # JSON has no NaN.
        "spacing_mm": [None if math.isnan(length) else float(length) for length in eye.spacing_mm],
        **({"mask_names": list(eye.mask_names)} if eye.mask_names else {}),
    }


def _parse(key: str, values: dict[str, Any], n_arrays: int) -> EyeInfo:
    fields: dict[str, Any] = {name: values[name] for name in (*_TEXTS, *_PLAIN)}
    fields |= {name: Placement.from_dict(values[name]) for name in _PLACEMENTS}
    fields["scan"] = None if values["scan"] is None else ScanPattern.from_dict(values["scan"])
    s, z, x = (math.nan if length is None else float(length) for length in values["spacing_mm"])
    fields["spacing_mm"] = (s, z, x)
    fields["mask_names"] = tuple(values.get("mask_names", ()))
    arrays = {
        name: StoredArray(entry["dtype"], tuple(entry["shape"]), tuple(entry["crc32"]))
        for name, entry in values["arrays"].items()
    }
    if unknown := set(arrays) - set(ARRAYS):
        raise DataError(f"has arrays that fund2oct does not know: {', '.join(sorted(unknown))}")
    if n_arrays != len(arrays):
        raise DataError(
            f"expected {len(arrays)} arrays, found {n_arrays}, the file is damaged; make it again"
        )
    return EyeInfo(key, fields, arrays)


def _raw_attribute(group: h5py.Group, name: str) -> bytes:
    """An attribute of fixed length; several times as fast as h5py's own reading of any kind."""
    encoded = name.encode()
    if not h5py.h5a.exists(group.id, encoded):
        raise DataError(f"attribute {name!r} is missing, the file is damaged; make it again")
    attribute = h5py.h5a.open(group.id, encoded)
    if attribute.shape != () or attribute.dtype.kind != "S":
        raise DataError(f"attribute {name!r}: expected text of fixed length, found {attribute.dtype}")
    value = np.empty((), attribute.dtype)
    attribute.read(value)
    return bytes(value[()])
