"""What a user may ask of Lightning: optimisers, schedules, ends, loaders and calls of other kinds."""

import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from tiny_models import quick_trainer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from fund2oct.data import FundusOCTDataModule, FundusOCTDataset
from fund2oct.models import VoxelGAN, load_model

SHAPE = (6, 32, 48)
L1 = {"l1": 1.0}


def tiny(cls=VoxelGAN, **options):
    return cls(SHAPE, **({"channels": (8, 8), "bscan_width": 8, "n_layers": 2} | options))


def trainer(**options):
    return quick_trainer(**({"max_steps": 2, "limit_val_batches": 0} | options))


def fit(model, path, batch_size=2, **options):
    made = trainer(**options)
    made.fit(model, datamodule=FundusOCTDataModule(str(path), batch_size=batch_size))
    return made


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before, module):
    return [name for name, value in module.state_dict().items() if not torch.equal(before[name], value)]


@pytest.mark.parametrize("rate", [-0.01, float("nan")])
def test_a_rate_that_goes_uphill_is_refused(rate, tiny_eyes):
    with pytest.raises(ValueError, match=f"learning rates: expected 0 or more, found {rate:g}"):
        fit(tiny(learning_rate=rate), tiny_eyes)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("gradient_clip", -1.0), ("ema_decay", 1.0), ("ema_decay", -0.1), ("decay_from", 1.5)],
)
def test_numbers_out_of_their_range_are_refused(name, wrong):
    for value in (wrong, math.nan):
        with pytest.raises(ValueError, match=f"{name}: expected .*, found {value}"):
            tiny(**{name: value})
    assert tiny(gradient_clip=0, ema_decay=0, decay_from=0).decay_from == 0


def test_a_gradient_is_clipped_at_its_own_size_under_a_scaler(tiny_eyes):
    left = []

    class Watching(VoxelGAN):
        def backward_of(self, side, losses, network):
            super().backward_of(side, losses, network)
            gradients = [one.grad for one in network.parameters() if one.grad is not None]
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            scale = 1.0 if scaler is None else scaler.get_scale()
            left.append(float(torch.stack([one.norm() for one in gradients]).norm()) / scale)

    for scaled in (False, True):
        scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
        plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)] if scaled else []
        pl.seed_everything(0, verbose=False)
        model = tiny(Watching, weights={"l1": 100.0}, gradient_clip=1e-2)
        fit(model, tiny_eyes, plugins=plugins, max_steps=1)
    # Clipped to 0.01, which would be less than a hundredth of that if the scaled gradient were clipped.
    assert left == pytest.approx([1e-2, 1e-2], rel=0.05)


class OneForAll(VoxelGAN):
    def configure_optimizers(self):
        return torch.optim.Adam([*self.generator.parameters(), *self.discriminators.parameters()])


class Two(VoxelGAN):
    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters()) for part in (self.generator, self.discriminators)]


class GeneratorsAlone(VoxelGAN):
    def configure_optimizers(self):
        return torch.optim.Adam(self.generator.parameters())


class Three(VoxelGAN):
    def configure_optimizers(self):
        parts = self.generator.encoder, self.generator.decoder, self.discriminators
        return [torch.optim.Adam(part.parameters()) for part in parts]


class Scheduled(VoxelGAN):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.generator.parameters(), 1.0)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
        return [optimizer], [{"scheduler": schedule, **self.rhythm}]


class Plateau(VoxelGAN):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.generator.parameters(), 1.0)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.1, patience=0, threshold=9.0, threshold_mode="abs"
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}


@pytest.mark.parametrize("kind", [OneForAll, Two])
def test_one_optimiser_or_two_without_schedules(kind, tiny_eyes):
    model = tiny(kind)
    model.configure_model()
    model.configure_training()
    before = weights(model.generator), weights(model.discriminators)
    assert fit(model, tiny_eyes).global_step == 2
    assert moved(before[0], model.generator) and moved(before[1], model.discriminators)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (GeneratorsAlone, "the last optimiser holds no weight of the discriminators"),
        (Three, "expected one or two optimisers, found 3"),
    ],
)
def test_what_an_optimiser_would_leave_untrained_is_refused(kind, message, tiny_eyes):
    with pytest.raises(ValueError, match=message):
        fit(tiny(kind), tiny_eyes)


def test_a_training_that_logs_nothing_goes_on(tiny_eyes):
    assert fit(tiny(weights=L1), tiny_eyes, log_every_n_steps=0).global_step == 2


@pytest.mark.parametrize(
    ("rhythm", "rate"),
    [({}, 0.1), ({"interval": "step"}, 1e-4), ({"interval": "step", "frequency": 2}, 1e-2)],
)
def test_a_schedule_is_stepped_at_its_own_interval(rhythm, rate, tiny_eyes):
    model = tiny(Scheduled, weights=L1)
    model.rhythm = rhythm
    fit(model, tiny_eyes, max_steps=-1, max_epochs=1, limit_train_batches=4)
    assert model.optimizers().param_groups[0]["lr"] == pytest.approx(rate)


def test_a_plateau_is_found_by_what_validation_measured(tiny_eyes):
    model = tiny(Plateau, weights=L1)
    options = {"max_steps": -1, "max_epochs": 2, "limit_train_batches": 1, "limit_val_batches": 1}
    options |= {"num_sanity_val_steps": 0, "batch_size": 1}  # to measure an eye takes longest
    fit(model, tiny_eyes, **options)
    assert model.optimizers().param_groups[0]["lr"] == pytest.approx(0.1)  # never better by a factor of 10
    model = tiny(Plateau, weights=L1)
    model.monitored = "val/aligned/l2"
    with pytest.raises(
        ValueError, match=r"monitored: expected one of val/aligned/l1, .*found 'val/aligned/l2'"
    ):
        fit(model, tiny_eyes, **options)


def test_validate_then_fit_then_test(tiny_eyes, tmp_path):
    model = tiny()
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=1)
    options = {"max_steps": -1, "max_epochs": 1, "limit_train_batches": 1, "num_sanity_val_steps": 0}
    one = trainer(limit_val_batches=1, limit_test_batches=1, **options)
    (before,) = one.validate(model, datamodule=data, verbose=False)
    one.fit(model, datamodule=data)
    assert one.global_step == 1
    (tested,) = one.test(model, datamodule=data, verbose=False)
    assert {name.replace("test/", "val/") for name in tested} == set(before)
    assert all(name.startswith("test/") for name in tested) and math.isfinite(tested["test/aligned/l1"])


class Watch(pl.Callback):
    """Whether the adversaries had joined, and the rate, in each batch; ends the training after some."""

    def __init__(self, n_batches=4):
        self.n_batches, self.joined, self.rates = n_batches, [], []

    def on_train_batch_start(self, trainer, module, *_):
        self.joined.append(module.adversaries_joined)
        self.rates.append(module.optimizers()[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, module, *_):
        trainer.should_stop = len(self.joined) >= self.n_batches


def test_a_training_without_an_end_keeps_its_rates_and_has_its_adversaries_from_the_start(tiny_eyes):
    watch = Watch(2)
    with pytest.warns(UserWarning, match="no known end: its rates stay constant"):
        fit(tiny(), tiny_eyes, max_steps=-1, max_epochs=-1, callbacks=[watch])
    assert watch.joined == [True, True] and watch.rates == [1e-3, 1e-3]
    with pytest.raises(ValueError, match=r"adversaries_from: .* 0.5 of a training whose end is not known"):
        fit(tiny(adversaries_from=0.5), tiny_eyes, max_steps=-1, max_epochs=-1)


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_adversaries_that_would_never_join_are_refused(share, tiny_eyes):
    with pytest.raises(ValueError, match=rf"adversaries_from: expected a share in \[0, 1\), found {share}"):
        fit(tiny(adversaries_from=share), tiny_eyes)


def test_shares_are_of_the_steps_where_these_are_given(tiny_eyes):
    watch = Watch()
    fit(tiny(adversaries_from=0.5), tiny_eyes, max_epochs=-1, max_steps=4, callbacks=[watch])
    assert watch.joined == [False, False, True, True]
    assert watch.rates == pytest.approx([1e-3, 1e-3, 1e-3, 0.5e-3])


def test_shares_are_of_the_time_where_that_is_given(tiny_eyes, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(
        "pytorch_lightning.callbacks.Timer.time_elapsed", lambda self, stage="train": 6.0 * next(clock)
    )
    watch = Watch(99)
    options = {"max_steps": -1, "max_epochs": None, "max_time": "00:00:01:00"}
    fit(tiny(adversaries_from=0.5), tiny_eyes, callbacks=[watch], **options)
    assert watch.joined[0] is False and watch.joined[-1] is True
    assert watch.rates[0] == 1e-3 and watch.rates[-1] < 1e-3


class Stream(IterableDataset):
    """Batches without a length, of a file."""

    def __init__(self, path):
        self.data = FundusOCTDataset(path)
        self.shape, self.fundus_px, self.scan = self.data.shape, self.data.fundus_px, self.data.scan
        self.spacing_mm, self.poses, self.seen = self.data.spacing_mm, self.data.poses, self.data.seen

    def __iter__(self):
        numbers = torch.utils.data.Subset(self.data, range(4))
        return iter(DataLoader(numbers, batch_size=2))


def test_loaders_without_a_length(tiny_eyes):
    loader = DataLoader(Stream(tiny_eyes), batch_size=None)  # two batches
    watch, model = Watch(9), tiny(adversaries_from=0.5, weights=L1 | {"adversarial": 1.0})
    made = trainer(max_steps=-1, max_epochs=2, callbacks=[watch])
    made.fit(model, loader)
    assert made.global_step == 4 and model.task.fundus_px == 48
    # Whole epochs are counted; the first batch of an epoch is still the last one's.
    assert watch.joined[:2] == [False, False] and watch.joined[3]
    watch = Watch(9)
    trainer(max_steps=4, callbacks=[watch]).fit(tiny(adversaries_from=0.5), loader)
    assert watch.joined == [False, False, True, True]
    needed = r"a loader without a length needs max_steps or max_time\), or set adversaries_from: 0$"
    with pytest.raises(ValueError, match=needed):
        trainer(max_steps=-1, max_epochs=1).fit(tiny(adversaries_from=0.5), loader)


def test_a_plain_loader_makes_a_model_that_can_be_used(tiny_eyes, tmp_path):
    model, made = tiny(weights=L1), trainer(max_steps=1)
    made.fit(model, DataLoader(FundusOCTDataset(tiny_eyes), batch_size=2))
    made.save_checkpoint(tmp_path / "model.ckpt")
    task = load_model(tmp_path / "model.ckpt").task
    assert task.spacing_mm[1:] == pytest.approx(model.task.spacing_mm[1:])
    assert len(task.seen.parts["train"]) == 24 and task.scan == FundusOCTDataset(tiny_eyes).scan


class Bare(torch.utils.data.Dataset):
    scan, shape = None, SHAPE

    def __init__(self, path, left_out=()):
        self.data, self.left_out = FundusOCTDataset(path), left_out

    def __len__(self):
        return 2

    def __getitem__(self, number):
        return {name: value for name, value in self.data[number].items() if name not in self.left_out}


def test_what_data_do_not_offer_is_named(tiny_eyes):
    with pytest.raises(ValueError, match=r"a Bare; missing: fundus_px, spacing_mm, poses, seen\."):
        trainer().fit(tiny(), DataLoader(Bare(tiny_eyes)))
    model = tiny(weights=L1)
    model.task = "given by the user"
    with pytest.raises(ValueError, match=r"batch: expected fundus, .*; missing: pose_um, key"):
        trainer().fit(model, DataLoader(Bare(tiny_eyes, ("pose_um", "key"))))


@pytest.mark.parametrize("lift", ["repeat", "channels"])
def test_maps_of_the_photo_need_a_model_that_reads_the_grid(lift, tiny_eyes):
    maps = FundusOCTDataModule(str(tiny_eyes), batch_size=2, photo_maps=0.5)
    loader = DataLoader(FundusOCTDataset(tiny_eyes, photo_maps=0.5), batch_size=2)
    for given in ({"datamodule": maps}, {"train_dataloaders": loader}):
        with pytest.raises(ValueError, match=r"photo_maps: .*set data\.init_args\.photo_maps=0"):
            trainer().fit(tiny(lift=lift, weights=L1), **given)
    made = trainer(max_steps=1)
    made.fit(tiny(weights=L1), datamodule=maps)
    assert made.global_step == 1


def test_adversaries_join_at_once_where_there_is_nothing_else_to_learn(tiny_eyes):
    watch = Watch(9)
    with pytest.warns(UserWarning, match="nothing to learn before the adversaries join: they join now"):
        fit(tiny(adversaries_from=0.5, weights={"adversarial": 1.0}), tiny_eyes, callbacks=[watch])
    assert watch.joined == [False, True]


class PartlyFrozen(VoxelGAN):
    """A discriminator of which the first layer rests, and with it a batch normalisation."""

    def build_discriminators(self):
        found = super().build_discriminators()
        found["bscan"].scales[0][0].requires_grad_(False)
        found["norm"] = nn.BatchNorm3d(1).requires_grad_(False)
        return found

    def generator_losses(self, batch, fake):
        self.discriminators["norm"](fake.volume)
        kept = nn.ModuleDict({"bscan": self.discriminators["bscan"]})
        return {"fooled": -kept["bscan"](fake.volume, batch["lines"])[0].logits.mean()}

    def discriminator_losses(self, batch, fake):
        return {"bscan": self.discriminators["bscan"](fake.volume, batch["lines"])[0].logits.mean()}


class FrozenLater(VoxelGAN):
    def on_train_start(self):
        self.discriminators["bscan"].scales[0][0].requires_grad_(False)


@pytest.mark.parametrize("kind", [PartlyFrozen, FrozenLater])
def test_frozen_parts_of_a_discriminator_stay_frozen(kind, tiny_eyes):
    model = tiny(kind)
    model.configure_model()
    model.configure_training()
    before = weights(model.discriminators)
    fit(model, tiny_eyes)
    changed = moved(before, model.discriminators)
    assert changed and not [name for name in changed if name.startswith("norm")]
    assert not [name for name in changed if "scales.0.0" in name and "weight.0._" not in name]
    assert not any(weight.requires_grad for weight in model.discriminators["bscan"].scales[0][0].parameters())
