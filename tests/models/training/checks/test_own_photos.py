"""Photos of a training that are to be augmented are, and what does not read where they moved is told."""

import warnings

import pytest
from tiny_models import quick_trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler

from fund2oct.data import FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.loading.order import Draw
from fund2oct.data.loading.sampler import TrainSampler
from fund2oct.losses import l1_loss
from fund2oct.models import VolumeModel, VoxelGAN
from fund2oct.networks.voxels.generator import VolumeGenerator

SHAPE = (6, 32, 48)


def fit(loader):
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(VoxelGAN(SHAPE, channels=(8, 8), weights={"l1": 1.0}), loader)
    return trainer


def darker(pictures, rng):
    return {"fundus": pictures["fundus"] // 2}


GIVEN = [{"symmetries": "all"}, {"photometric": 0.3}, {"photo_maps": 0.5}, {"transform": darker}]


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: next(iter(given)))
def test_what_a_loader_does_not_ask_for_is_refused(given, tiny_eyes):
    train, (name,) = FundusOCTDataset(tiny_eyes, **given), given
    for loader, sampler in (
        (DataLoader(train, 2, shuffle=True), "RandomSampler"),
        (
            DataLoader(train, batch_sampler=BatchSampler(SequentialSampler(train), 2, False)),
            "SequentialSampler",
        ),
    ):
        message = rf"^{name}: expected .* found one with a {sampler}, .* sampler=.*TrainSampler\(dataset\)"
        with pytest.raises(ValueError, match=message):
            fit(loader)
    assert fit(DataLoader(train, 2, sampler=TrainSampler(train))).global_step == 1


def test_a_dataset_that_augments_nothing_needs_no_draws(tiny_eyes):
    assert fit(DataLoader(FundusOCTDataset(tiny_eyes), 2, shuffle=True)).global_step == 1


class Draws(Sampler):
    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return iter(self.dataset.order.draws(0)[:2])

    def __len__(self):
        return 2


class Batches(Draws):
    def __iter__(self):
        yield self.dataset.order.draws(0)[:2]

    def __len__(self):
        return 1


class Drawing(FundusOCTDataset):
    """Makes a draw of each number."""

    def __getitem__(self, item):
        return super().__getitem__(Draw(item, epoch=0))


def test_draws_of_ones_own_are_taken(tiny_eyes):
    train = FundusOCTDataset(tiny_eyes, photo_maps=0.5)
    for loader in (
        DataLoader(train, 2, sampler=Draws(train)),
        DataLoader(train, batch_sampler=Batches(train)),
        DataLoader(train, batch_sampler=BatchSampler(TrainSampler(train), 2, False)),
        DataLoader(Drawing(tiny_eyes, photo_maps=0.5), 2),
    ):
        assert fit(loader).global_step == 1


class Flat(nn.Module):
    """A network from 2D to 3D that does not ask where the A-scans lie."""

    def __init__(self):
        super().__init__()
        self.draw = nn.Conv2d(3, 32, 3, padding=1)

    def forward(self, fundus, grid, spacing_z_mm, n_depth, rng=None):
        drawn = F.adaptive_avg_pool2d(self.draw(fundus), tuple(grid.shape[1:3]))
        return drawn.sigmoid().transpose(1, 2).unsqueeze(1)


class Reading(VolumeModel):
    def build_generator(self):
        return VolumeGenerator(*self.shape[:2], channels=(8, 8))

    def losses(self, batch, fake):
        return {"l1": l1_loss(fake.aligned, batch["aligned"])}


class NotReading(Reading):
    def build_generator(self):
        return Flat()


class Zeros(Reading):
    """It draws the same of any photo before it has learned: whether it reads the grid is not to be seen."""

    def build_generator(self):
        made = Flat()
        nn.init.zeros_(made.draw.weight)
        nn.init.zeros_(made.draw.bias)
        return made


class CalledOtherwise(NotReading):
    """With a network, a step and measures of its own, of which nothing here knows how they call it."""

    def build_generator(self):
        return nn.Conv2d(3, 1, 1)

    def training_step(self, batch, batch_idx):
        self.step_generator({"level": self.generator(batch["fundus"]).mean().square()})


def test_a_network_that_is_called_otherwise_is_trained(tiny_eyes):
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, photo_maps=0.5)
    trainer.fit(CalledOtherwise(SHAPE), datamodule=data)
    assert trainer.global_step == 1


class KnownNotToRead(VoxelGAN):
    reads_grid = False


def test_a_class_that_says_so_is_refused_maps(tiny_eyes):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, photo_maps=0.5)
    with pytest.raises(ValueError, match="photo_maps: this model does not read where its A-scans lie"):
        quick_trainer(max_steps=1).fit(KnownNotToRead(SHAPE, channels=(8, 8)), datamodule=data)


@pytest.mark.parametrize(
    ("kind", "photo_maps", "is_told"),
    [(NotReading, 0.5, True), (NotReading, 0.0, False), (Reading, 0.5, False), (Zeros, 0.5, False)],
)
def test_a_network_that_does_not_read_where_photos_moved_is_told_once(kind, photo_maps, is_told, tiny_eyes):
    trainer = quick_trainer(max_steps=2, limit_val_batches=0)
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, photo_maps=photo_maps)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(kind(SHAPE), datamodule=data)
    said = [
        str(one.message) for one in told if "does not depend on where the A-scans lie" in str(one.message)
    ]
    assert len(said) == is_told and all("photo_maps: what NotReading draws" in one for one in said)
    assert trainer.global_step == 2
