"""Eyes of a file, split by patient, for training, validation and test."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from fund2oct.data.dataset import FundusOCTDataset
from fund2oct.data.sampler import EvaluationSampler, TrainSampler, even_batch_size
from fund2oct.data.schema import DataError
from fund2oct.data.split import split_patients
from fund2oct.data.store import EyeReader
from fund2oct.data.symmetry import Symmetries
from fund2oct.geometry import ScanPattern


class FundusOCTDataModule(pl.LightningDataModule):
    """Photos and volumes of one file, split by a hash of the patient.

    Eyes without a photo or without a volume are left out. Only the training eyes are augmented. With
    fewer than three patients nothing can be held back, and each part holds every eye: good to try a run,
    not to judge it.

    Args:
        path: a file written by ``fund2oct simulate`` or ``fund2oct import``.
        batch_size: eyes in a batch of each process.
        num_workers: processes that read ahead; the batches do not depend on it.
        val_fraction: expected share of the patients to validate on.
        test_fraction: expected share of the patients to test on; 0 keeps none back.
        seed: of the split, the order and the augmentation.
        symmetries: exact paired symmetries to draw from: ``"all"``, the ``"flips"`` or ``"none"``.
        photometric: strength of the change of the photo's light and colour, in [0, 1].
        fundus_px: width to resize photos to; None keeps the stored one.
        volume_shape: ``(S, Z, X)`` to resize volumes to along Z and X; None keeps the stored one.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        path: str,
        batch_size: int = 4,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        symmetries: Symmetries = "flips",
        photometric: float = 0.3,
        fundus_px: int | None = None,
        volume_shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0 or seed < 0:
            raise ValueError(
                "batch_size, num_workers, seed: expected at least 1, 0 and 0, "
                f"found {batch_size}, {num_workers} and {seed}"
            )
        self.path = path
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.seed = seed
        self.symmetries: Symmetries = symmetries
        self.photometric = photometric
        self.size: dict[str, Any] = {"fundus_px": fundus_px, "volume_shape": volume_shape}

    def prepare_data(self) -> None:
        """Fail early, and on one process, where the file cannot be used."""
        _ = self._keys

    def setup(self, stage: str | None = None) -> None:
        """Split the eyes and check each; calling it again changes nothing."""
        n_eyes = [len(self._keys[part]) for part in ("train", "val", "test")]
        _ = self.train_dataset, self.val_dataset
        rank_zero_info(
            f"{self.path}: {n_eyes[0]} eyes to train, {n_eyes[1]} to validate, {n_eyes[2]} to test"
        )

    @cached_property
    def train_dataset(self) -> FundusOCTDataset:
        """The eyes to train on."""
        return self._dataset("train", symmetries=self.symmetries, photometric=self.photometric)

    @cached_property
    def val_dataset(self) -> FundusOCTDataset:
        """The eyes to validate on."""
        return self._dataset("val")

    @cached_property
    def test_dataset(self) -> FundusOCTDataset:
        """The eyes to test on."""
        return self._dataset("test")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(S, Z, X)`` of a volume in a batch."""
        return self.train_dataset.shape

    @property
    def fundus_px(self) -> int:
        """Width of a photo in a batch."""
        return self.train_dataset.fundus_px

    @property
    def scan(self) -> ScanPattern:
        """Pattern of the scan's lines."""
        return self.train_dataset.scan

    def train_poses(self) -> Tensor:
        """Poses of the training eyes, in micrometres, shape ``(N, S, 3)``."""
        return self.train_dataset.poses()

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented training eyes in a new order each epoch; a last smaller batch is left out."""
        dataset = self.train_dataset
        sampler = TrainSampler(dataset, self.seed, *self._process)
        return self._loader(
            dataset, sampler=sampler, batch_size=self.batch_size, drop_last=len(sampler) >= self.batch_size
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation eye once, as it is."""
        return self._evaluation_loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test eye once, as it is."""
        return self._evaluation_loader(self.test_dataset)

    @cached_property
    def _keys(self) -> dict[str, list[str]]:
        with EyeReader(self.path) as reader:
            infos = [reader.info(key) for key in reader.keys]
        pairs = [info for info in infos if {"fundus", "volume"} <= info.arrays.keys()]
        if len(pairs) < len(infos):
            rank_zero_info(
                f"{self.path}: {len(infos) - len(pairs)} eyes without a photo or a volume are left out"
            )
        if not pairs:
            raise DataError(
                f"{self.path}: expected eyes with a photo and a volume, found none in {len(infos)}"
            )
        patients = {info.patient for info in pairs}
        if len(patients) < 3:
            rank_zero_warn(
                f"{self.path}: expected at least 3 patients to split, found {len(patients)}: training, "
                "validation and test hold the same eyes, so their scores say nothing about other eyes"
            )
        split = split_patients(patients, self.val_fraction, self.test_fraction, self.seed)
        return {
            part: [info.key for info in pairs if info.patient in chosen]
            for part, chosen in split._asdict().items()
        }

    def _dataset(
        self, part: Literal["train", "val", "test"], symmetries: Symmetries = "none", photometric: float = 0.0
    ) -> FundusOCTDataset:
        keys = self._keys[part]
        if not keys:
            raise DataError(f"{self.path}: there are no eyes to {part}; raise {part}_fraction")
        return FundusOCTDataset(
            self.path, keys, symmetries=symmetries, photometric=photometric, seed=self.seed, **self.size
        )

    @property
    def _process(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _evaluation_loader(self, dataset: FundusOCTDataset) -> DataLoader[Any]:
        rank, world_size = self._process
        batch_size = even_batch_size(len(dataset), world_size, self.batch_size)
        return self._loader(
            dataset, sampler=EvaluationSampler(dataset, rank, world_size), batch_size=batch_size
        )

    def _loader(self, dataset: FundusOCTDataset, **kwargs: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own generator: how eyes are loaded must not shift the random numbers of a model.
            generator=torch.Generator().manual_seed(self.seed),
            **kwargs,
        )
