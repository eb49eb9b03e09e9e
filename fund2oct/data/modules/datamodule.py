"""Eyes of files, split by patient, for training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from fund2oct.by_path import listed
from fund2oct.data.augmenting.own import Transform, load_transform
from fund2oct.data.augmenting.symmetry import Symmetries
from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.data.loading.finish import Finish, RawBatch
from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.loader import EyeLoader, StartMethod, as_they_are
from fund2oct.data.loading.order import Balance, check_mixture, mixed_order
from fund2oct.data.loading.regularity import Content, irregularities, leaks, parts_of, usable_eyes
from fund2oct.data.loading.sampler import EvaluationSampler, TrainSampler, even_batch_size
from fund2oct.data.loading.sizes import common_sizes
from fund2oct.data.loading.skipped import leave_out, note_skipped
from fund2oct.data.loading.split import PARTS, Part, SeenEyes, of_many_patients
from fund2oct.data.masks.networks import vessels_of
from fund2oct.data.masks.stored import check_held, check_wanted, held_told
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.data.store.reader import EyeReader
from fund2oct.data.store.shards import plain_paths
from fund2oct.eye import DataError, Plain
from fund2oct.geometry import ScanPattern


class FundusOCTDataModule(pl.LightningDataModule):
    """Photos and volumes of one or several files, split by a hash of the patient.

    Eyes that lack a photo, a volume or slices are left out and counted. Training eyes alone are augmented.
    With fewer than three patients each part holds every eye: good to try a run, not to judge it.

    In a trainer, a loader passes bytes on, which become the batch of
    :class:`~fund2oct.data.loading.dataset.FundusOCTDataset` on the device
    (:meth:`on_after_batch_transfer`). Elsewhere it gives that batch itself.

    Args:
        path: a file of ``fund2oct simulate`` or ``fund2oct import``, a folder or a glob of them, or a list.
        batch_size: eyes in a batch of each process.
        num_workers: processes that read ahead; the batches do not depend on it.
        val_fraction: expected share of the patients to validate on.
        test_fraction: expected share of the patients to test on; 0 keeps none back.
        seed: decides the order of the training eyes and how they are augmented. It changes neither the split
            nor the weights that a model begins with.
        symmetries: exact paired symmetries to draw from: ``"all"``, the ``"flips"`` or ``"none"``.
        photometric: strength of the change of the photo's light and colour, in [0, 1].
        photo_maps: strength in [0, 1] of turns (up to 30 degrees), shifts, zooms and bends of the photo, with
            which A-scans' places move, see :meth:`~fund2oct.data.augmenting.photo_map.PhotoMap.draw`.
        transform: an augmentation of your own, or its import path; only of training eyes, see
            :func:`~fund2oct.data.augmenting.own.apply_transform`.
        fundus_px: width to resize photos to; None keeps the stored one, which all parts must share.
        volume_shape: ``(S, Z, X)`` to resize volumes to along Z and X; None keeps the stored one, likewise.
            Of an eye with more slices evenly spaced ones are taken, and one with fewer is left out.
        weights: share of each entry of ``path`` in an epoch, in any unit; None shows each eye once.
        balance: ``"diagnosis"`` shows each diagnosis equally often in training, see
            :func:`~fund2oct.data.loading.order.mixed_order`; None leaves them as frequent as they are.
        content: ``"pairs"`` of photo and volume, or all ``"photos"`` or all ``"volumes"``.
        even_light: whether to even out the illumination of photos, where the importer has not.
        even_levels: whether to bring volumes of different scanners to like intensities, likewise.
        vessel_network: a network that draws a photo's vessels, which join the batch as ``vessels``, see
            :func:`~fund2oct.data.masks.networks.load_mask_network`.
        masks: names of masks of the photo that the file holds, which join the batch under their names, see
            :class:`~fund2oct.data.loading.dataset.FundusOCTDataset`; one eye at least must have each.
        on_corrupt: whether a damaged eye stops a training, or is replaced by the next readable one of
            the epoch, named and counted; one whose record is damaged is in no part then. In an evaluation
            it always raises, and so does one that ``split`` names to validate or to test on.
        start_method: how workers are started, ``"fork"``, ``"spawn"`` or ``"forkserver"``; None: as usual.
        drop_last: whether to leave out a last smaller training batch, unless it is the only one. If not, each
            eye is seen exactly once an epoch, by a group of processes in batches of another size if need be.
        split_seed: decides which patients are in which part, together with the two fractions alone.
        split: keys of the eyes of each part, ``"train"``, ``"val"`` and ``"test"``, in place of a split by
            patient; a part may be empty. Patients in two parts are warned of.
        n_validation_eyes: eyes to validate on at most, the same each time, of as many patients as can be.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> data = FundusOCTDataModule("eyes.h5", batch_size=2)
        >>> data.setup()
        >>> data.n_eyes_of("train"), next(iter(data.train_dataloader()))["volume"].shape
        (18, torch.Size([2, 1, 6, 32, 48]))
    """

    def __init__(
        self,
        path: str | list[str] | Path | list[str | Path],
        batch_size: int = 4,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        symmetries: Symmetries = "flips",
        photometric: float = 0.3,
        photo_maps: float = 0.0,
        transform: str | Transform | None = None,
        fundus_px: int | None = None,
        volume_shape: tuple[int, int, int] | None = None,
        weights: list[float] | None = None,
        balance: Balance | None = None,
        content: Content = "pairs",
        even_light: bool = False,
        even_levels: bool = False,
        vessel_network: str | None = None,
        masks: Sequence[str] = (),
        on_corrupt: Literal["raise", "skip"] = "raise",
        start_method: StartMethod | None = None,
        drop_last: bool = True,
        split_seed: int = 0,
        split: dict[str, list[str]] | None = None,
        n_validation_eyes: int = 200,
    ) -> None:
        super().__init__()
        if min(batch_size, n_validation_eyes) < 1 or num_workers < 0 or seed < 0:
            raise ValueError(
                "batch_size, n_validation_eyes, num_workers, seed: expected at least 1, 1, 0 and 0, "
                f"found {batch_size}, {n_validation_eyes}, {num_workers} and {seed}"
            )
        self.path = plain_paths(path)
        self._name = self.path if isinstance(self.path, str) else ", ".join(self.path)
        check_mixture(self.path, weights, balance)
        self.batch_size, self.num_workers = batch_size, num_workers
        self._fractions = val_fraction, test_fraction
        self.seed, self.split_seed, self.split = seed, split_seed, split
        self.weights = weights
        self.balance: Balance | None = balance
        self.content: Content = content
        self.on_corrupt: Literal["raise", "skip"] = on_corrupt
        self.start_method: StartMethod | None = start_method
        self.drop_last, self.n_validation_eyes = drop_last, n_validation_eyes
        self.vessel_network, self.masks = vessel_network, tuple(listed(masks))
        check_wanted(self.masks, content, {"vessels"} if vessel_network else set())
        self.corrupt: dict[str, str] = {}
        """Why each eye that was skipped could not be read, by key, as far as this process met it."""
        self._on_error = partial(leave_out, self.corrupt, split) if on_corrupt == "skip" else None
        self._augmentation: dict[str, Any] = {
            "symmetries": symmetries,
            "photometric": photometric,
            "photo_maps": photo_maps,
            "transform": load_transform(transform),
        }
        self._wanted_sizes = fundus_px, volume_shape
        self._options: dict[str, Any] = {
            "content": content,
            "even_light": even_light,
            "even_levels": even_levels,
            "masks": self.masks,
            "seed": seed,
        }

    def prepare_data(self) -> None:
        """Fail early, and on one process, where the file cannot be used."""
        _ = self._common_sizes

    def setup(self, stage: str | None = None) -> None:
        """Split the eyes and check each; calling it again changes nothing."""
        n_train, n_val, n_test = (len(self._parts[part]) for part in PARTS)
        if self.split is None:
            _ = self.train_dataset, self.val_dataset
        for warning in irregularities(self._some_dataset):
            rank_zero_warn(f"{self._name}: {warning}")
        of = f" on {self.n_validation_eyes} of {n_val}" if self.n_validation_eyes < n_val else f" {n_val}"
        validate = f", to validate{of}" if n_val else ""  # an evaluation has no such part
        masks = held_told(self._parts["train"].masks, self.masks)
        rank_zero_info(f"{self._name}: {n_train} eyes to train{validate}, {n_test} to test{masks}")

    @cached_property
    def train_dataset(self) -> FundusOCTDataset:
        """The eyes to train on."""
        dataset = self._dataset("train", **self._augmentation, on_corrupt=self.on_corrupt)
        if self.weights is not None or self.balance is not None:
            eyes = self._parts["train"]
            dataset.order = mixed_order(eyes, self.path, self.weights, self.balance, self.seed)
        return dataset

    @cached_property
    def val_dataset(self) -> FundusOCTDataset:
        """The eyes to validate on, at most ``n_validation_eyes``."""
        return self._dataset("val", self.n_validation_eyes)

    @cached_property
    def test_dataset(self) -> FundusOCTDataset:
        """The eyes to test on."""
        return self._dataset("test")

    def some_test_eyes(self, most: int) -> FundusOCTDataset:
        """At most so many of the eyes to test on, the same each time, of as many patients as can be."""
        return self._dataset("test", most)

    def n_eyes_of(self, part: Part) -> int:
        """Eyes of a part."""
        return len(self._parts[part])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(S, Z, X)`` of a volume in a batch."""
        return self._some_dataset.shape

    @property
    def fundus_px(self) -> int:
        """Width of a photo in a batch."""
        return self._some_dataset.fundus_px

    @property
    def scan(self) -> ScanPattern:
        """Pattern of the scan's lines; of several, that of most eyes."""
        return self._some_dataset.scan

    def seen(self) -> SeenEyes:
        """Which eyes are trained on, validated on and kept for the test, as a checkpoint stores it."""
        with EyeReader(self.path) as reader:
            digest = reader.digest(self._on_error)
        val, test = self._fractions
        drawn = f"split_seed {self.split_seed}, val_fraction {val:g}, test_fraction {test:g}"
        split = drawn if self.split is None else "parts as they were given"
        return SeenEyes(self._name, digest, split, {part: tuple(self._parts[part].names()) for part in PARTS})

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring slices, rows and A-scans of the training eyes."""
        return self.train_dataset.spacing_mm

    @property
    def preparation(self) -> Preparation:
        """What was done to all training photos and volumes."""
        return self.train_dataset.preparation

    @property
    def simulated(self) -> bool:
        """Whether any of the training eyes was simulated."""
        return self.train_dataset.simulated

    @property
    def real(self) -> bool:
        """Whether any eye, of whatever part, was not simulated."""
        return not all(eyes.simulated.all() for eyes in self._parts.values())

    def poses(self) -> Tensor:
        """Poses of the training eyes, in micrometres, shape ``(N, S, 7)``."""
        return self.train_dataset.poses()

    def metadata(self) -> list[dict[str, Plain]]:
        """What is known of each training eye beside its pictures, by name."""
        return self.train_dataset.metadata()

    def metadata_of_others(self) -> dict[str, dict[str, Plain]]:
        """The same of each eye to validate or to test on, by its key."""
        return self._parts["val"].known_by_key() | self._parts["test"].known_by_key()

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented training eyes in a new order each epoch."""
        dataset = self.train_dataset
        rank, world_size = self._process
        drop_last = self.drop_last and len(dataset) >= self.batch_size * world_size
        sampler = TrainSampler(dataset, rank, world_size, even=drop_last)
        sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        even = self.batch_size if drop_last else even_batch_size(len(dataset), world_size, self.batch_size)
        return self._loader(dataset, sampler, even, done=self._batches_done, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation eye once, as it is."""
        return self._evaluation_loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test eye once, as it is."""
        return self._evaluation_loader(self.test_dataset)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make the batch that models see of the bytes that a loader passed on."""
        if not isinstance(batch, RawBatch):
            return batch
        note_skipped(batch.skipped, self.corrupt, self.trainer)
        return self._finish(batch)

    @cached_property
    def _finish(self) -> Finish:
        return Finish(self.fundus_px, self.shape[1:], vessels_of(self.vessel_network), self.masks)

    @cached_property
    def _parts(self) -> dict[Part, EyeIndex]:
        with EyeReader(self.path) as reader:
            index = EyeIndex.read(reader, on_error=self._on_error)
            keys = reader.keys
        usable, notes = usable_eyes(index, self.content, self._wanted_sizes[1], self._name)
        for note in notes:
            rank_zero_info(note)
        index = index.subset(np.flatnonzero(usable))
        check_held(index.masks, self.masks, self._name)
        parts = parts_of(index, keys, self._name, self.split, self._fractions, self.split_seed)
        for leak in leaks(parts):
            rank_zero_warn(f"{self._name}: {leak}")
        return parts

    @cached_property
    def _common_sizes(self) -> dict[str, Any]:
        return common_sizes(self._parts, self.content, *self._wanted_sizes, EyeReader(self.path).where)

    @property
    def _some_dataset(self) -> FundusOCTDataset:
        """The training eyes; where there are none, those of another part."""
        if len(self._parts["train"]):
            return self.train_dataset
        return self.test_dataset if len(self._parts["test"]) else self.val_dataset

    def _dataset(self, part: Part, most: int | None = None, **options: Any) -> FundusOCTDataset:
        eyes = self._parts[part]
        if not len(eyes):
            how = f"raise {part}_fraction" if self.split is None else "split names none that can be used"
            raise DataError(f"{self._name}: there are no eyes to {part}; {how}")
        eyes = eyes.subset(of_many_patients(eyes.patients, most or len(eyes)))
        return FundusOCTDataset(self.path, eyes, **options, **self._options, **self._common_sizes)

    @property
    def _process(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _batches_done(self) -> int:
        # 0 where an epoch begins; outside of a training the count of the last one is still there.
        if self.trainer is None or not self.trainer.training:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _evaluation_loader(self, dataset: FundusOCTDataset) -> DataLoader[Any]:
        batch_size = even_batch_size(len(dataset), self._process[1], self.batch_size)
        return self._loader(dataset, EvaluationSampler(dataset, *self._process), batch_size)

    def _loader(self, dataset: FundusOCTDataset, sampler: Any, batch_size: int, **options: Any) -> EyeLoader:
        in_trainer = self.trainer is not None and self.trainer.state.status == TrainerStatus.RUNNING
        return EyeLoader(
            dataset,
            sampler,
            batch_size,
            collate=as_they_are if in_trainer else self._finish,
            num_workers=self.num_workers,
            start_method=self.start_method,
            seed=self.seed,
            **options,
        )
