"""Models and data of one's own: what is known of an eye, what a batch lacks, and loaders of photos alone."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny_models import TINY_PIX2VOL, quick_trainer
from torch import nn
from torch.utils.data import DataLoader

from fund2oct.data import EyeReader, FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.loading.split import SeenEyes
from fund2oct.losses import l1_loss
from fund2oct.models import Pix2Vol, SurfaceModel, VolumeModel, load_model
from fund2oct.models.pretraining import MaskedPairs, MaskedPhotos, MaskedVolumes
from fund2oct.models.task import TASK_KEY
from fund2oct.networks.voxels.generator import VolumeGenerator
from fund2oct.phantom import simulate_eye

SHAPE = (6, 32, 48)


def trainer(**options):
    return quick_trainer(num_sanity_val_steps=0, **options)


# --- what is known of an eye ----------------------------------------------------------------------


class Brightened(VolumeGenerator):
    """Volumes that are brighter where the first scalar is larger."""

    def __init__(self, n_scalars):
        super().__init__(*SHAPE[:2], channels=(8, 8))
        self.level = nn.Linear(n_scalars, 1)
        nn.init.constant_(self.level.weight, 1.0)

    def forward(self, *given, rng=None, known=None):
        level = self.level(known.conditions.nan_to_num()).sigmoid()
        return level.view(-1, 1, 1, 1, 1) * super().forward(*given, rng=rng)


class Told(VolumeModel):
    def __init__(self, shape: tuple[int, int, int], conditions=(), **options):
        super().__init__(shape, **options)
        self.tell_networks(conditions, (), None)
        self.withheld = []

    def build_generator(self):
        return Brightened(self.n_known[0])

    def losses(self, batch, fake):
        return {"l1": l1_loss(fake.aligned, batch["aligned"])}

    def known(self, batch, withhold=False):
        self.withheld.append(withhold)
        return super().known(batch, withhold)


def test_a_model_of_ones_own_is_told_in_training_and_in_use(tiny_eyes, tmp_path):
    model = Told(SHAPE, conditions=["laterality=OD"])
    made = trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    made.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    assert model.withheld == [True, True, False]  # what is missing is learned in training
    made.save_checkpoint(tmp_path / "told.ckpt")
    loaded, photo = load_model(tmp_path / "told.ckpt", Told), simulate_eye(0, 0).fundus
    right, left = (loaded.predict(photo, metadata={"laterality": side}).volume for side in ("OD", "OS"))
    assert right.shape == SHAPE and right.astype(float).mean() > left.astype(float).mean()
    assert not np.array_equal(right, left)


# --- what a batch lacks ---------------------------------------------------------------------------


class WithoutSurfaces(FundusOCTDataset):
    def __getitem__(self, item):
        return {name: value for name, value in super().__getitem__(item).items() if name != "surfaces_um"}


MASKED = {"tissue_width": 16, "bscan_width": 8, "cells": (4, 6)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pix2Vol(SHAPE, **TINY_PIX2VOL),
        lambda: SurfaceModel(SHAPE, encoder="own", surface_width=8),
        lambda: MaskedVolumes(SHAPE, **MASKED),
        lambda: MaskedPairs(SHAPE, "own", **MASKED),
    ],
)
def test_surfaces_that_a_batch_lacks_are_named(make, tiny_eyes):
    message = r"missing: surfaces_um \(depths of ILM, .* shape \(B, 4, S, X\).*\. fund2oct\.data\.FundusOCT"
    with pytest.raises(ValueError, match=message):
        trainer(max_steps=1, limit_val_batches=0).fit(
            make(), DataLoader(WithoutSurfaces(tiny_eyes), batch_size=2)
        )


def test_a_model_that_is_told_more_needs_the_keys(tiny_eyes):
    class WithoutKeys(FundusOCTDataset):
        def __getitem__(self, item):
            return {name: value for name, value in super().__getitem__(item).items() if name != "key"}

    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, masks=["lesion"])
    loader = DataLoader(WithoutKeys(tiny_eyes, masks=["lesion"]), batch_size=2)
    with pytest.raises(ValueError, match="missing: key"):
        trainer(max_steps=1, limit_val_batches=0).fit(model, loader)


@pytest.mark.parametrize("spacing_mm", [(float("nan"), 0.06, float("nan")), (float("nan"), 0.0, 0.1)])
def test_rows_and_ascans_have_a_distance(spacing_mm, tiny_eyes):
    class Unspaced(FundusOCTDataset):
        pass

    Unspaced.spacing_mm = property(lambda self: spacing_mm)
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8)
    with pytest.raises(
        ValueError, match=r"spacing_mm: expected the distances of slices .* the last two positive"
    ):
        trainer(max_steps=1, limit_val_batches=0).fit(model, DataLoader(Unspaced(tiny_eyes), batch_size=2))


# --- photos alone ---------------------------------------------------------------------------------


class Photos(pl.LightningDataModule):
    def __init__(self, train, val):
        super().__init__()
        self.train, self.val = train, val

    def train_dataloader(self):
        return DataLoader(self.train, 2)

    def val_dataloader(self):
        return DataLoader(self.val, 2)


@pytest.mark.parametrize("is_datamodule", [False, True])
def test_a_pretraining_remembers_the_photos_of_loaders(is_datamodule, tiny_eyes, tmp_path):
    with EyeReader(tiny_eyes) as reader:
        keys = reader.keys
    train, val = (FundusOCTDataset(tiny_eyes, part, content="photos") for part in (keys[4:], keys[:4]))
    given = {"train_dataloaders": DataLoader(train, 2), "val_dataloaders": DataLoader(val, 2)}
    made = trainer(max_steps=1, limit_val_batches=1)
    made.fit(MaskedPhotos("own"), **({"datamodule": Photos(train, val)} if is_datamodule else given))
    made.save_checkpoint(tmp_path / "photos.ckpt")
    about = torch.load(tmp_path / "photos.ckpt", weights_only=True)[TASK_KEY]
    seen = SeenEyes.from_dict(about["seen"])
    assert {part: len(names) for part, names in seen.parts.items()} == {"train": 20, "val": 4, "test": 0}
    assert about["task"] is None and about["fundus_px"] == 48
