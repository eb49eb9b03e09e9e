"""Files of schema version 1: an attribute for each plain value, and HDF5's own checksum of each array."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import h5py

from fund2oct.data.store.layout import Record, StoredArray
from fund2oct.eye import ARRAYS, DataError
from fund2oct.geometry import Placement, ScanPattern

T = TypeVar("T")

_TEXTS = ("patient", "laterality", "diagnosis", "source", "sha256")


def read_record_v1(group: h5py.Group, key: str) -> Record:
    """Read all of an eye but its arrays.

    Raises:
        DataError: if an attribute is missing or makes no sense.
    """
    fields: dict[str, Any] = {name: str(_attribute(group, name)) for name in _TEXTS}
    fields["spacing_mm"] = _parsed(group, "spacing_mm", _three)
    fields["placement"] = _parsed(group, "placement", lambda text: Placement.from_dict(json.loads(text)))
    if "scan" in group.attrs:
        fields["scan"] = _parsed(group, "scan", lambda text: ScanPattern.from_dict(json.loads(text)))
    arrays = {
        name: StoredArray(str(group[name].dtype), tuple(group[name].shape), None)
        for name in ARRAYS
        if name in group
    }
    return Record(key, fields, arrays)


def _attribute(group: h5py.Group, name: str) -> Any:
    try:
        return group.attrs[name]
    except KeyError as error:
        raise DataError(f"attribute {name!r} is missing") from error


def _parsed(group: h5py.Group, name: str, parse: Callable[[Any], T]) -> T:
    value = _attribute(group, name)
    try:
        return parse(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"attribute {name!r} makes no sense: {value!r} ({error})") from error


def _three(lengths: Any) -> tuple[float, float, float]:
    s, z, x = (float(length) for length in lengths)
    return s, z, x
