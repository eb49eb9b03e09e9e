"""Photos of some eyes beside volumes of others, to train on before pairs are used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader

from fund2oct.data.loading.loader import StartMethod
from fund2oct.data.loading.split import SeenEyes
from fund2oct.data.modules.datamodule import FundusOCTDataModule

_VOLUMES_SEED = 7919
"""Added to the seed of the volumes. With one seed, photos and volumes of one file would come in one order, as
true pairs: a model would learn from pairs what it is said to learn without them."""


class UnpairedDataModule(pl.LightningDataModule):
    """Photos without volumes beside volumes without photos.

    A training batch is ``{"photos": ..., "volumes": ...}``, each a batch of
    :class:`~fund2oct.data.loading.dataset.FundusOCTDataset` with that content. An epoch ends with the side
    that has fewer batches; the next one draws others of the larger side. Validation and test go through the
    photos first (``dataloader_idx`` 0), then through the volumes (1).

    Args:
        photos: arguments of :class:`~fund2oct.data.modules.datamodule.FundusOCTDataModule`, ``path`` among
            them; every eye with a photo is taken, paired or not.
        volumes: the same for the volumes.
        batch_size: photos, and volumes, in a batch of each process.
        num_workers: processes that read ahead, for each side.
        seed: decides the orders of the training eyes and their augmentation, those of photos and volumes
            independently of each other.
        on_corrupt: see :class:`~fund2oct.data.modules.datamodule.FundusOCTDataModule`.
        start_method: how the processes are started, as there.
        split_seed: decides which patients are in which part, for both sides.

    Raises:
        ValueError: if an argument is unknown or out of its range.

    Example:
        >>> data = UnpairedDataModule({"path": "eyes.h5"}, {"path": "eyes.h5"}, batch_size=2)
        >>> data.setup()
        >>> batch, *_ = next(iter(data.train_dataloader()))
        >>> batch["photos"]["fundus"].shape, batch["volumes"]["volume"].shape
        (torch.Size([2, 3, 48, 48]), torch.Size([2, 1, 6, 32, 48]))
    """

    content = "unpaired"

    def __init__(
        self,
        photos: dict[str, Any],
        volumes: dict[str, Any],
        batch_size: int = 4,
        num_workers: int = 0,
        seed: int = 0,
        on_corrupt: Literal["raise", "skip"] = "raise",
        start_method: StartMethod | None = None,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        common: dict[str, Any] = {
            "batch_size": batch_size,
            "num_workers": num_workers,
            "seed": seed,
            "on_corrupt": on_corrupt,
            "start_method": start_method,
            "split_seed": split_seed,
        }
        self.photos = _side("photos", common, photos)
        self.volumes = _side("volumes", {**common, "seed": seed + _VOLUMES_SEED}, volumes)

    def prepare_data(self) -> None:
        """Fail early, and on one process, where a file cannot be used."""
        for side in self._sides:
            side.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Split the eyes of both sides, and check each."""
        for side in self._sides:
            side.setup(stage)

    def seen(self) -> SeenEyes:
        """Which eyes are trained on, validated on and kept for the test: those of the photos.

        The volumes' are among those that the weights have seen before, so that no later test has them.
        """
        return replace(self.photos.seen(), before=(self.volumes.seen(),))

    def train_dataloader(self) -> CombinedLoader:
        """Augmented photos and volumes."""
        loaders = {"photos": self.photos.train_dataloader(), "volumes": self.volumes.train_dataloader()}
        return CombinedLoader(loaders, "min_size")

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Every photo and every volume that is held back to validate, once."""
        return [side.val_dataloader() for side in self._sides]

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Every photo and every volume that is held back to test, once."""
        return [side.test_dataloader() for side in self._sides]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make the batches that models see of the bytes that the loaders passed on."""
        if isinstance(batch, dict) and batch.keys() == {"photos", "volumes"}:
            return {
                name: getattr(self, name).on_after_batch_transfer(part, dataloader_idx)
                for name, part in batch.items()
            }
        return self._sides[dataloader_idx].on_after_batch_transfer(batch, dataloader_idx)

    @property
    def _sides(self) -> tuple[FundusOCTDataModule, FundusOCTDataModule]:
        for side in (self.photos, self.volumes):
            side.trainer = self.trainer
        return self.photos, self.volumes


def _side(content: Literal["photos", "volumes"], common: dict[str, Any], given: dict[str, Any]) -> Any:
    try:
        return FundusOCTDataModule(**(common | given), content=content)
    except TypeError as error:
        reason = str(error).replace("FundusOCTDataModule.__init__()", "").strip()
        raise ValueError(f"{content}: expected arguments of FundusOCTDataModule, {reason}") from None
