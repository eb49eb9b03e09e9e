"""Memory that pictures are read into, and a bounded cache of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fund2oct.eye import Array

_SHARED = Path("/dev/shm")


def empty_bytes(shape: tuple[int, ...], shared: bool) -> Tensor:
    """A uint8 tensor of nothing in particular; what other processes see too, if ``shared``."""
    if not shared:
        return torch.empty(shape, dtype=torch.uint8)
    # As torch's own collate does it: a worker hands its batch over without copying it once more.
    storage = torch.UntypedStorage._new_shared(max(prod(shape), 1))
    return torch.empty(0, dtype=torch.uint8).set_(storage)[: prod(shape)].view(shape)


class PictureCache:
    """Keep the pictures of the first eyes that fit, for all workers of a loader together.

    Args:
        sizes: bytes of each eye's pictures.
        limit_mb: how many megabytes to keep at most.
        shared: whether other processes are to see it.

    Raises:
        ValueError: if it is to be shared and the machine's shared memory is too small for it.
    """

    def __init__(self, sizes: Array, limit_mb: float, shared: bool) -> None:
        ends = np.cumsum(sizes, dtype=np.int64)
        n_kept = int(np.searchsorted(ends, limit_mb * 2**20, side="right"))
        self.n_bytes = int(ends[n_kept - 1]) if n_kept else 0
        if shared and _SHARED.is_dir() and self.n_bytes > (free := shutil.disk_usage(_SHARED).free):
            raise ValueError(
                f"cache_mb: {self.n_bytes / 2**20:.0f} MB are wanted, and {_SHARED} has {free / 2**20:.0f} "
                "MB free; lower cache_mb, read with num_workers=0, or give the container more shared memory"
            )
        self._ends = ends[:n_kept].copy()
        self._bytes = empty_bytes((self.n_bytes,), shared)
        self._known = empty_bytes((n_kept,), shared).zero_()
        self._written: list[int] = []

    def load(self, number: int, pictures: Iterable[Array]) -> bool:
        """Fill the pictures of an eye; false where it is not here."""
        # What this process wrote is shown to the others only now, a batch later: a lock was passed in
        # between, so that no processor shows the mark before the bytes.
        while self._written:
            self._known[self._written.pop()] = 1
        if number >= len(self._ends) or not self._known[number]:
            return False
        for picture, kept in zip(pictures, self._parts(number, pictures), strict=True):
            np.copyto(picture, kept)
        return True

    def keep(self, number: int, pictures: Iterable[Array]) -> None:
        """Keep the pictures of an eye, if it is one of the first that fit."""
        if number < len(self._ends):
            for picture, kept in zip(pictures, self._parts(number, pictures), strict=True):
                np.copyto(kept, picture)
            self._written.append(number)

    def _parts(self, number: int, pictures: Iterable[Array]) -> list[Array]:
        start = int(self._ends[number - 1]) if number else 0
        parts = []
        for picture in pictures:
            parts.append(self._bytes[start : start + picture.nbytes].numpy().reshape(picture.shape))
            start += picture.nbytes
        return parts
