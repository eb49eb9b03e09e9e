"""Photos of a training that are to be augmented are, or it is refused."""

import pytest
from tiny_models import quick_trainer
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler

from fund2oct.data import FundusOCTDataset
from fund2oct.data.loading.order import Draw
from fund2oct.data.loading.sampler import TrainSampler
from fund2oct.models import VoxelGAN

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
