"""Checksums of what is on disk: of each slice of an array, of an eye, and of the list of eyes.

A slice has its own checksum, so that a single slice is verified without reading the others.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from fund2oct.eye import Array

PICTURES = ("fundus", "lesion_fundus", "localizer")
"""Arrays that are read as a whole; the others are read, and summed, by index of their first axis."""


def blocks_of(name: str, array: Array) -> Sequence[Array]:
    """The parts of an array that have a checksum each: the whole picture, or each slice.

    Args:
        name: name of the array in :data:`fund2oct.eye.ARRAYS`.
        array: contiguous.
    """
    return [array] if name in PICTURES else list(array)


def checksums(name: str, array: Array) -> list[int]:
    """CRC-32 of each block of an array."""
    return [zlib.crc32(np.ascontiguousarray(block).data) for block in blocks_of(name, array)]


def eye_digest(key: str, record: bytes) -> str:
    """SHA-256 of an eye: its name, and the record of its values and of its arrays' checksums."""
    return hashlib.sha256(key.encode(errors="surrogateescape") + b"\n" + record).hexdigest()


def keys_digest(keys: Iterable[str]) -> str:
    """SHA-256 of the names of a file's eyes: none is lost, and none added, unseen."""
    return hashlib.sha256("\n".join(sorted(keys)).encode(errors="surrogateescape")).hexdigest()
