"""Whether photos are augmented as they are to be, and still fit their volumes then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.models.batch import NEEDED
from fund2oct.models.training.optimisation import datasets_of
from fund2oct.networks.noise import NoiseSource


def check_no_maps(trainer: pl.Trainer) -> None:
    """Refuse maps of the training photos for a model that does not read the grid, which moves with them.

    Raises:
        ValueError: if there are any.
    """
    train = getattr(getattr(trainer, "datamodule", None), "train_dataset", None)
    if getattr(datasets_of(trainer)[0] if train is None else train, "photo_maps", 0):
        raise ValueError(
            "photo_maps: this model does not read where its A-scans lie on the photo; maps move the photo "
            "and change these places alone, so that photo and volume no longer fit; set "
            "data.init_args.photo_maps=0"
        )


@torch.no_grad()
def warn_of_unread_grid(model: Any, batch: Any) -> None:
    """Say that a model does not read the grid, which alone tells where maps have moved the training photos.

    Its average draws a batch as it is, with another grid, and with other photos. A network that does not read
    the photo yet, as one whose last weights begin at 0, tells nothing.

    Args:
        model: the model, in a training.
        batch: of the training.
    """
    loaded = getattr(model.trainer.train_dataloader, "dataset", None)
    train = getattr(getattr(model.trainer, "datamodule", None), "train_dataset", loaded)
    if not getattr(train, "photo_maps", 0) or not model.draws_volumes:
        return
    if model.generator_class is not nn.Module:  # it is known to read the grid
        return
    if not isinstance(batch, Mapping) or any(name not in batch for name in NEEDED):
        return  # of data and a step of the user's own
    drawn = []
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        # A network of the user's own may draw random numbers of its own: the training's stay as they were.
        with torch.random.fork_rng(devices), model.trainer.precision_plugin.forward_context():
            changes = {"grid": batch["grid"] / 2}, {"fundus": batch["fundus"].flip(-1)}
            for other in ({"key": batch["key"]}, *changes):
                noise = NoiseSource.of_keys(batch["key"], model.seed, model.device)
                given = model.prepare({**batch, **other})
                drawn.append(model.generate(model.generator_ema, given, noise).aligned)
    except Exception:  # what is wrong with batch or network the step says, or the validation
        return
    same, of_another_grid, of_another_photo = drawn
    if torch.equal(same, of_another_grid) and not torch.equal(same, of_another_photo):
        rank_zero_warn(
            f"photo_maps: what {type(model).__name__} draws does not depend on where the A-scans lie on the "
            "photo; maps move the photo and change these places alone, so that photo and volume no longer "
            "fit; set data.init_args.photo_maps=0 and, in the class, reads_grid = False; or have its "
            "generator read the grid, as fund2oct.networks.lift.sample_lines does"
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
