"""Eyes of a file as training samples."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from fund2oct.data.augment import FundusPhotometry
from fund2oct.data.schema import Array, DataError, Eye
from fund2oct.data.store import EyeInfo, EyeReader
from fund2oct.data.symmetry import Symmetries, allowed_symmetries, move_sample
from fund2oct.geometry import ScanPattern

T = TypeVar("T")

_UNUSED = ("lesions", "lesion_fundus", "outer_um")


@dataclass(frozen=True)
class Draw:
    """An eye to augment: its index, and the epoch that the augmentation is drawn for."""

    index: int
    epoch: int


class FundusOCTDataset(Dataset[dict[str, Any]]):
    r"""Pairs of photo and volume.

    A plain index gives an eye as it is. A :class:`Draw` gives it augmented, by a draw that depends on
    nothing but the seed, the epoch and the eye's key: not on the order, the number of workers, or what
    was drawn before.

    A sample holds ``fundus`` :math:`(3, H, H)` and ``volume`` :math:`(1, S, Z, X)` in [0, 1]; ``grid``
    :math:`(S, X, 2)`, the A-scans' positions on the photo in grid units; ``pose_um`` :math:`(S, 3)`;
    ``spacing_z_mm``; ``key``, ``laterality`` and ``diagnosis``; and, where each eye has them, ``second``
    :math:`(1, S, Z, X)` and ``boundaries_um`` :math:`(n, S, X)`.

    Args:
        path: a file written by :class:`~fund2oct.data.store.EyeWriter`.
        keys: eyes to use; each needs a volume and its pose. None uses all.
        symmetries: exact paired symmetries to draw from.
        photometric: strength of the photo's change of light and colour, in [0, 1].
        fundus_px: width to resize photos to; None leaves them, and they must agree.
        volume_shape: ``(S, Z, X)`` to resize volumes to along Z and X; None leaves them, and they must
            agree.
        seed: of the augmentation.

    Raises:
        DataError: if the file, or one of the eyes, cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        keys: Iterable[str] | None = None,
        *,
        symmetries: Symmetries = "none",
        photometric: float = 0.0,
        fundus_px: int | None = None,
        volume_shape: tuple[int, int, int] | None = None,
        seed: int = 0,
    ) -> None:
        self.symmetries: Symmetries = symmetries
        self.photometry = FundusPhotometry(photometric)
        self.seed = seed
        self._reader = EyeReader(path)
        with self._reader:  # the process that trains may never read: leave it no open file to share
            self.keys = self._reader.keys if keys is None else tuple(keys)
            infos = [self._reader.info(key) for key in self.keys]
        if not infos:
            raise DataError(f"{path}: expected at least one eye, found none")
        for info in infos:
            self._check_complete(info)
        self.shape = self._common_shape(infos, volume_shape)
        self.fundus_px = self._common_fundus_px(infos, fundus_px)
        self.scan: ScanPattern = infos[0].scan  # type: ignore[assignment]  # a volume has one
        self._optional = [
            name for name in ("second", "boundaries_um") if all(name in info.arrays for info in infos)
        ]
        allowed_symmetries(self.scan, symmetries)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, item: int | Draw) -> dict[str, Any]:
        index = item.index if isinstance(item, Draw) else item
        eye = self._reader.read(self.keys[index], skip=_UNUSED)
        if not isinstance(item, Draw):
            return self._sample(eye, _known(eye.fundus))
        rng = np.random.default_rng([self.seed, item.epoch, zlib.crc32(eye.key.encode())])
        choices = allowed_symmetries(_known(eye.scan), self.symmetries)
        choice = int(rng.integers(len(choices)))
        sample = self._sample(eye, self.photometry(_known(eye.fundus), seed=int(rng.integers(2**31))))
        # The identity comes first; going through a resampling of the photo would be wasted.
        return move_sample(sample, choices[choice]) if choice else sample

    def poses(self) -> Tensor:
        """Poses of all eyes as stored, in micrometres, shape ``(N, S, 3)``."""
        with self._reader:
            return torch.stack([torch.from_numpy(self._reader.array(key, "pose_um")) for key in self.keys])

    def _sample(self, eye: Eye, fundus: Array) -> dict[str, Any]:
        volume = _known(eye.volume)
        _, n_depth, n_ascans = self.shape
        photo = _to_float(fundus).permute(2, 0, 1)
        sample = {
            "fundus": _resize(photo, (self.fundus_px, self.fundus_px)),
            "volume": _resize(_to_float(volume)[None], (n_depth, n_ascans)),
            "grid": eye.placement.to_grid(_known(eye.scan).coordinates(n_ascans)),
            "pose_um": torch.from_numpy(_known(eye.pose_um)),
            "spacing_z_mm": torch.tensor(eye.spacing_mm[1] * volume.shape[1] / n_depth),
            "key": eye.key,
            "laterality": eye.laterality,
            "diagnosis": eye.diagnosis,
        }
        if "second" in self._optional:
            sample["second"] = _resize(_to_float(_known(eye.second))[None], (n_depth, n_ascans))
        if "boundaries_um" in self._optional:
            depths = torch.from_numpy(_known(eye.boundaries_um))
            sample["boundaries_um"] = (
                depths if depths.shape[-1] == n_ascans else F.interpolate(depths, n_ascans, mode="linear")
            )
        return sample

    def _check_complete(self, info: EyeInfo) -> None:
        where = f"{self._reader.path}: eye {info.key!r}"
        if "fundus" not in info.arrays or "volume" not in info.arrays or info.scan is None:
            raise DataError(f"{where}: has no photo and volume with its scan; leave it out of the keys")
        if "pose_um" not in info.arrays:
            raise DataError(
                f"{where}: has no pose; import it again, or store that of fund2oct.retina.estimate_pose"
            )

    def _common_shape(
        self, infos: list[EyeInfo], wanted: tuple[int, int, int] | None
    ) -> tuple[int, int, int]:
        s, z, x = infos[0].arrays["volume"] if wanted is None else wanted
        for info in infos:
            found = info.arrays["volume"]
            if found[0] != s or (wanted is None and found != (s, z, x)):
                raise DataError(
                    f"{self._reader.path}: eye {info.key!r}: expected a volume {(s, z, x)}, found {found}; "
                    "volume_shape resizes along Z and X, but the number of slices must agree"
                )
        return s, z, x

    def _common_fundus_px(self, infos: list[EyeInfo], wanted: int | None) -> int:
        px = infos[0].arrays["fundus"][0]
        for info in infos:
            if wanted is None and info.arrays["fundus"][0] != px:
                raise DataError(
                    f"{self._reader.path}: eye {info.key!r}: expected a photo {px} pixels wide, found "
                    f"{info.arrays['fundus'][0]}; set fundus_px to resize them all"
                )
        return px if wanted is None else wanted


def _to_float(image: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).float() / 255


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size:
        return images
    # B-scans, or colours, are the channels: each is resized by itself.
    batch = images if images.ndim == 4 else images[None]
    resized = F.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.view(*images.shape[:-2], *size)


def _known(value: T | None) -> T:
    if value is None:
        raise RuntimeError("an eye lacks what it had when the dataset was made: its file was changed")
    return value
