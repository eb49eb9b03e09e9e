"""Models and data of one's own: what is known of an eye, what a batch lacks, and loaders of photos alone."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny_models import TINY_PIX2VOL, quick_trainer
from torch import nn
from torch.utils.data import DataLoader, Subset

from fund2oct.data import EyeReader, FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.loading.split import SeenEyes
from fund2oct.losses import l1_loss
from fund2oct.models import Pix2Vol, SurfaceModel, VolumeModel, VoxelGAN, load_model
from fund2oct.models.batch import check_batch
from fund2oct.models.pretraining import MaskedPairs, MaskedPhotos, MaskedVolumes
from fund2oct.models.task import TASK_KEY
from fund2oct.networks.voxels.generator import VolumeGenerator
from fund2oct.phantom import simulate_eye
from fund2oct.retina import PoseModel

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


class Numbered(FundusOCTDataset):
    """Eyes that are named by their numbers, of which a loader makes a tensor."""

    def __getitem__(self, item):
        return super().__getitem__(item) | {"key": item}


@pytest.mark.parametrize(
    "make", [lambda: VoxelGAN(SHAPE, channels=(8, 8), weights={"l1": 1.0}), lambda: surfaces()]
)
def test_numbers_as_keys_are_refused_before_the_first_step(make, tiny_eyes):
    with pytest.raises(
        ValueError, match=r"batch: key: expected a list of texts, .*, found Tensor; .* str\(number\)"
    ):
        trainer(max_steps=1, limit_val_batches=0).fit(make(), DataLoader(Numbered(tiny_eyes), batch_size=2))


def test_keys_are_a_list_of_texts():
    check_batch({"key": ("a", "b")}, ["key"])
    for keys, found in ((["a", 3], "int"), ("ab", "str")):
        with pytest.raises(ValueError, match=f"batch: key: .*, found {found};"):
            check_batch({"key": keys}, ["key"])


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


# --- which eyes were seen -------------------------------------------------------------------------


class Loaders(pl.LightningDataModule):
    """Loaders of one's own, which do not tell of their eyes themselves."""

    def __init__(self, train, val):
        super().__init__()
        self.train, self.val = train, val

    def train_dataloader(self):
        return DataLoader(self.train, 2)

    def val_dataloader(self):
        return DataLoader(self.val, 2)


def keys_of(path):
    with EyeReader(path) as reader:
        return reader.keys


def surfaces():
    return SurfaceModel(SHAPE, encoder="own", surface_width=8)


def test_the_eyes_of_each_training_on_loaders_are_remembered(tiny_eyes, tmp_path):
    keys = keys_of(tiny_eyes)
    first, val, second = (FundusOCTDataset(tiny_eyes, part) for part in (keys[:8], keys[8:12], keys[12:]))
    model, made = surfaces(), trainer(max_steps=1, limit_val_batches=1)
    made.fit(model, DataLoader(first, 2), [DataLoader(val, 2)])
    made.save_checkpoint(tmp_path / "first.ckpt")
    seen = load_model(tmp_path / "first.ckpt").task.seen
    assert {part: [name.key for name in names] for part, names in seen.parts.items()} == {
        "train": [*keys[:8]], "val": [*keys[8:12]], "test": []
    }  # fmt: skip
    for again in (load_model(tmp_path / "first.ckpt"), model):
        made = trainer(max_steps=1, limit_val_batches=0)
        made.fit(again, DataLoader(second, 2))
        made.save_checkpoint(tmp_path / "second.ckpt")
        task = load_model(tmp_path / "second.ckpt").task
        assert [name.key for name in task.seen.parts["train"]] == [*keys[12:]]
        assert task.seen.parts["val"] == () and [one.parts for one in task.seen.before] == [seen.parts]
        torch.testing.assert_close(task.poses.mean_um, PoseModel.fit(second.poses()).mean_um)
    told_less = DataLoader(Subset(second, range(4)), 2)
    loaded = load_model(tmp_path / "first.ckpt")
    with pytest.warns(UserWarning, match="a Subset, lacks shape, .* keeps the task of its earlier training"):
        trainer(max_steps=1, limit_val_batches=0).fit(loaded, told_less)
    assert loaded.task.seen.parts == seen.parts


@pytest.mark.parametrize("is_datamodule", [False, True])
def test_a_training_on_loaders_goes_on_with_its_own_eyes_alone(is_datamodule, tiny_eyes, tmp_path):
    keys = keys_of(tiny_eyes)

    def fit(model, part, goes_on_from=None, **options):
        sets = [FundusOCTDataset(tiny_eyes, one, **options) for one in (part, keys[:4])]
        made = trainer(max_steps=1 if goes_on_from is None else 2, limit_val_batches=1)
        if is_datamodule:
            made.fit(model, datamodule=Loaders(*sets), ckpt_path=goes_on_from)
        else:
            made.fit(model, *(DataLoader(one, 2) for one in sets), ckpt_path=goes_on_from)
        return made

    path = tmp_path / "begun.ckpt"
    fit(surfaces(), keys[4:]).save_checkpoint(path)
    seen, other = load_model(path).task.seen, surfaces()
    fit(other, keys[4:12])  # what it has learned and seen there is replaced
    for model in (surfaces(), other):
        assert fit(model, keys[4:], path).global_step == 2
        assert model.task.seen == seen and len(seen.parts["val"]) == 4
    with pytest.raises(
        ValueError, match=rf"another split .*not in the same part of both: {keys[4]}; resume with the same"
    ):
        fit(surfaces(), keys[5:], path)
    with pytest.raises(ValueError, match=r"\(data\.init_args\.even_light: False, here True\)"):
        fit(surfaces(), keys[4:], path, even_light=True)


def test_loaders_to_train_on_alone(tiny_eyes, tmp_path):
    """A loaded model, and a training that goes on, may be given no loader to validate on."""
    train, val = (
        FundusOCTDataset(tiny_eyes, keys) for keys in (keys_of(tiny_eyes)[4:], keys_of(tiny_eyes)[:4])
    )
    begun = trainer(max_steps=1, limit_val_batches=1)
    begun.fit(surfaces(), DataLoader(train, 2), DataLoader(val, 2))
    path = tmp_path / "begun.ckpt"
    begun.save_checkpoint(path)
    loaded, resumed = load_model(path), surfaces()
    trainer(max_steps=1).fit(loaded, DataLoader(train, 2))
    trainer(max_steps=2).fit(resumed, DataLoader(train, 2), ckpt_path=path)
    assert resumed.global_step == 2
    for model in (loaded, resumed):
        assert [name.key for name in model.task.seen.parts["train"]] == [*train.keys]


# --- photos alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_datamodule", [False, True])
def test_a_pretraining_remembers_the_photos_of_loaders(is_datamodule, tiny_eyes, tmp_path):
    keys, path = keys_of(tiny_eyes), tmp_path / "photos.ckpt"

    def fit(train, goes_on_from=None):
        sets = [FundusOCTDataset(tiny_eyes, part, content="photos") for part in (train, keys[:4])]
        names = "train_dataloaders", "val_dataloaders"
        given = {name: DataLoader(one, 2) for name, one in zip(names, sets, strict=True)}
        made = trainer(max_steps=1 if goes_on_from is None else 2, limit_val_batches=1)
        given = {"datamodule": Loaders(*sets)} if is_datamodule else given
        made.fit(MaskedPhotos("own"), **given, ckpt_path=goes_on_from)
        return made

    fit(keys[4:]).save_checkpoint(path)
    about = torch.load(path, weights_only=True)[TASK_KEY]
    seen = SeenEyes.from_dict(about["seen"])
    assert {part: len(names) for part, names in seen.parts.items()} == {"train": 20, "val": 4, "test": 0}
    assert about["task"] is None and about["fundus_px"] == 48
    again = fit(keys[4:], path)
    assert again.global_step == 2 and again.lightning_module.seen_eyes == seen
    with pytest.raises(ValueError, match=f"another split .*in the same part of both: {keys[4]}; resume"):
        fit(keys[5:], path)
