"""What a sample holds of an eye beside its pictures: places, pose, surfaces and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.preparing.surfaces import resample_ascans
from fund2oct.data.store.reader import EyeReader
from fund2oct.eye import DataError


@dataclass(frozen=True, eq=False)
class EyeValues:
    """Reads the values of eyes.

    Args:
        reader: their file.
        index: the eyes.
        shape: ``(S, Z, X)`` of the volumes of a batch; ``S`` is 0 where it has none.
        on_photo: whether the batch has photos, on which A-scans have their places.
        optional: names of further maps of A-scans that each eye has.
    """

    reader: EyeReader
    index: EyeIndex
    shape: tuple[int, int, int]
    on_photo: bool
    optional: Sequence[str]

    def of_eye(self, number: int) -> dict[str, Any]:
        """All of an eye, as a sample holds it before it is augmented."""
        index = self.index
        sample: dict[str, Any] = {}
        n_slices, n_depth, n_ascans = self.shape
        if n_slices:
            _, scan = index.lines(number, n_slices)
            if self.on_photo:
                sample["grid"] = index.grid(number, scan, n_ascans)
            sample["pose_um"] = self.pose_um(number)
            rows = index.shape(number, "volume")[1]
            sample["spacing_z_mm"] = torch.tensor(float(index.spacings_mm[number, 1]) * rows / n_depth)
            sample["surfaces_um"] = self._maps(number, "surfaces_um")
            sample["surface_confidence"] = self._maps(number, "surface_confidence")[0]
            sample["spacing_x_mm"] = torch.tensor(fmean(scan.length_mm) / n_ascans)
            sample |= {name: self._maps(number, name) for name in self.optional}
        told = {"key": index.keys, "patient": index.patients, "laterality": index.lateralities}
        told |= {"diagnosis": index.diagnoses, "metadata": index.metadata}
        return sample | {name: column[number] for name, column in told.items()}

    def pose_um(self, number: int) -> Tensor:
        """Pose of the slices of an eye, in micrometres, shape ``(S, 7)``.

        Raises:
            DataError: if it is not known.
        """
        stored = np.empty(self.index.shape(number, "pose_um"), np.float32)
        key = self.index.keys[number]
        self.reader.read_into(key, "pose_um", stored)
        if not np.isfinite(stored).all():
            raise DataError(f"{self.reader.where(key)}: pose_um: expected finite micrometres, found NaN")
        slices, _ = self.index.lines(number, self.shape[0])
        return torch.from_numpy(stored if slices is None else stored[list(slices)])

    def _maps(self, number: int, name: str) -> Tensor:
        """Values at the A-scans of the batch, shape ``(n, S, X)``."""
        stored = np.empty(self.index.shape(number, name), np.float32)
        self.reader.read_into(self.index.keys[number], name, stored)
        slices, _ = self.index.lines(number, self.shape[0])
        maps = torch.from_numpy(stored.reshape(-1, *stored.shape[-2:]))
        return resample_ascans(maps if slices is None else maps[:, list(slices)], self.shape[2])
