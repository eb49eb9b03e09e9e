"""Whether photos are augmented as they are to be, and still fit their volumes then."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import BatchSampler, DataLoader

from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.models.training.optimisation import datasets_of


def check_no_maps(trainer: pl.Trainer) -> None:
    """Refuse maps of the training photos for a model that does not read the grid, which moves with them.

    Raises:
        ValueError: if there are any.
    """
    train = getattr(getattr(trainer, "datamodule", None), "train_dataset", None)
    if getattr(datasets_of(trainer)[0] if train is None else train, "photo_maps", 0):
        raise ValueError(
            "photo_maps: this model does not read where its A-scans lie on the photo; maps move the photo "
            "and tell only that, so that photo and volume no longer fit; set data.init_args.photo_maps=0"
        )


def check_augmented(trainer: pl.Trainer) -> None:
    """Refuse a training dataset that is to augment its eyes, in a loader that asks for them as they are.

    Raises:
        ValueError: if the loader has a sampler of torch, which gives numbers of eyes, not draws.
    """
    loader = trainer.train_dataloader
    dataset: Any = getattr(loader, "dataset", None)
    if not isinstance(loader, DataLoader) or not isinstance(dataset, FundusOCTDataset):
        return
    if type(dataset).__getitem__ is not FundusOCTDataset.__getitem__:  # which may make draws of numbers
        return
    if trainer.overfit_batches:  # type: ignore[attr-defined]  # Lightning puts an order of its own there
        return
    asks: Any = loader.batch_sampler
    if asks is None or type(asks) is BatchSampler:
        asks = (loader if asks is None else asks).sampler
    wanted = {
        "symmetries": dataset.symmetries != "none",
        "photometric": dataset.photometry.strength > 0,
        "photo_maps": dataset.photo_maps > 0,
        "transform": dataset.transform is not None,
    }
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    if names and type(asks).__module__.startswith("torch."):
        raise ValueError(
            f"{', '.join(names)}: expected a training loader that asks for draws of eyes, found one with a "
            f"{type(asks).__name__}, which asks for them by their numbers and gets them as they are; give it "
            "sampler=fund2oct.data.loading.sampler.TrainSampler(dataset) in place of shuffle=True, or set "
            "none of these in the dataset"
        )
