"""A training that goes on from a checkpoint: with the data, and in the steps, that it began with."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from tiny_models import TINY_PIX2VOL, quick_trainer
from torch import optim

from fund2oct.data import FundusOCTDataModule
from fund2oct.data.loading.split import SeenEyes
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.geometry import RadialScan
from fund2oct.geometry.patterns import CurveScan
from fund2oct.models import Pix2Vol, SurfaceModel
from fund2oct.models.task import TASK_KEY, Task
from fund2oct.models.training.going_on import check_same_data
from fund2oct.retina import PoseModel

SHAPE = (6, 32, 48)


def fit(path, n_steps, conditions=("laterality=OD",), batch_size=2, goes_on_from=None, **data):
    trainer = quick_trainer(max_steps=n_steps, limit_val_batches=0)
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, conditions=conditions)
    eyes = FundusOCTDataModule(str(path), batch_size=batch_size, **data)
    trainer.fit(model, datamodule=eyes, ckpt_path=goes_on_from)
    return trainer


@pytest.fixture(scope="module")
def checkpoint(tiny_eyes, tmp_path_factory):
    path = tmp_path_factory.mktemp("begun") / "begun.ckpt"
    fit(tiny_eyes, 1).save_checkpoint(path)
    return path


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"even_light": True}, "data.init_args.even_light: False, here True"),
        ({"even_levels": True}, "data.init_args.even_levels: False, here True"),
        ({"fundus_px": 32}, "data.init_args.fundus_px: 48, here 32"),
        (
            {"conditions": ["laterality=OS"]},
            "model.init_args.conditions: ['laterality=OD'], here ['laterality=OS']",
        ),
    ],
)
def test_a_training_goes_on_with_its_own_data_alone(other, message, checkpoint, tiny_eyes):
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(tiny_eyes, 2, goes_on_from=checkpoint, **other)


def test_a_training_goes_on_in_steps_of_as_many_eyes(checkpoint, tiny_eyes, tmp_path):
    about = torch.load(checkpoint, weights_only=True)
    assert about[TASK_KEY].pop("eyes_of_a_step") == [1, 2]
    assert fit(tiny_eyes, 2, goes_on_from=checkpoint).global_step == 2
    with pytest.raises(ValueError, match=r"took 2 eyes a step .*, this one would take 3 \(1 x 3\)"):
        fit(tiny_eyes, 2, batch_size=3, goes_on_from=checkpoint)
    torch.save(about, tmp_path / "older.ckpt")  # which does not say it
    assert fit(tiny_eyes, 2, batch_size=3, goes_on_from=tmp_path / "older.ckpt").global_step == 2


def test_what_is_not_known_or_only_rounded_is_no_difference():
    task = Task(
        scan=RadialScan(),
        spacing_mm=(math.nan, 0.024, 0.0786),
        fundus_px=128,
        poses=PoseModel.fit(torch.zeros(2, 6, 3)),
        preparation=Preparation(photo_px=256),
        seen=SeenEyes.of_keys(train=["eye"]),
    )

    def compare(**changes):
        model = SimpleNamespace(task=replace(task, **changes), masks=("vessels", "disc"), photos_px=128)
        about = {TASK_KEY: {}, "hyper_parameters": {"masks": masks}}
        check_same_data(about, task, model)

    masks = ["vessels", "disc"]
    compare(preparation=Preparation(), scan=CurveScan.of(task.scan))
    compare(spacing_mm=(0.1, 0.024 * (1 + 1e-9), 0.0786))
    for changes, message in (
        ({"preparation": Preparation(photo_px=128)}, "width of the photos in the file: 256, here 128"),
        ({"spacing_mm": (math.nan, 0.03, 0.0786)}, "distance of rows in mm: 0.024, here 0.03"),
        ({"scan": RadialScan(length_mm=6.0)}, "lines of the scan: 6, here 6 elsewhere on the retina"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(**changes)
    masks = ["disc", "vessels"]
    with pytest.raises(ValueError, match=r"model\.init_args\.masks: \['disc', 'vessels'\], here"):
        compare()


def test_a_training_goes_on_at_the_scale_that_its_encoder_sees():
    def compare(there):
        generator = SimpleNamespace(encoder=SimpleNamespace(usual_px=192))
        hparams = {"encoder_px": None}
        model = SimpleNamespace(task=None, masks=(), photos_px=0, hparams=hparams, generator=generator)
        check_same_data({TASK_KEY: {}, "hyper_parameters": {"encoder_px": there}}, None, model)

    compare(None)
    compare(192)
    with pytest.raises(ValueError, match=r"\(model\.init_args\.encoder_px: 448, here 192\)"):
        compare(448)


class Rates(pl.Callback):
    """Rates and betas of all groups of weights, at each step."""

    def __init__(self):
        self.rates, self.betas = [], []

    def on_train_batch_start(self, trainer, *_):
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self.rates.append([group["lr"] for group in groups])
        self.betas.append([tuple(group.get("betas", ())) for group in groups])


def fit_rates(model, path, n_steps, goes_on_from=None, of=4):
    """The rates in the steps of a training of four that is stopped after some, and its trainer."""

    class Stopping(Rates):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step >= n_steps

    seen = Stopping()
    trainer = quick_trainer(max_steps=of, limit_val_batches=0, callbacks=[seen])
    data = FundusOCTDataModule(str(path), batch_size=2)
    trainer.fit(model, datamodule=data, ckpt_path=goes_on_from)
    return seen, trainer


def test_the_rates_that_are_given_on_going_on_hold(tiny_eyes, tmp_path, caplog):
    def model(**rates):
        return Pix2Vol(SHAPE, adversaries_from=0.5, decay_from=0.0, **TINY_PIX2VOL, **rates)

    fit_rates(model(), tiny_eyes, 1)[1].save_checkpoint(tmp_path / "begun.ckpt")
    # Anatomy, texture, pre-trained; discriminators. The first part is half of the training.
    same, _ = fit_rates(model(), tiny_eyes, 2, tmp_path / "begun.ckpt")
    assert same.rates == [pytest.approx([0.75e-3, 1e-3, 0.5e-4, 1e-3])] and "other rates" not in caplog.text
    other = {
        "learning_rate": 2e-4, "discriminator_learning_rate": 4e-4, "betas": (0.3, 0.9),
        "anatomy_learning_rate": 6e-4, "encoder_learning_rate": 8e-4, "anatomy_betas": (0.8, 0.95),
    }  # fmt: skip
    with caplog.at_level("INFO"):
        found, _ = fit_rates(model(**other), tiny_eyes, 4, tmp_path / "begun.ckpt")
    expected = [3e-4, 2e-4, 4e-4, 4e-4], [0, 2e-4, 0, 4e-4], [0, 1e-4, 0, 2e-4]
    assert found.rates == [pytest.approx(rates) for rates in expected]
    assert found.betas == 3 * [[(0.8, 0.95), (0.3, 0.9), (0.8, 0.95), (0.3, 0.9)]]
    assert "learning rate 0.001, now 0.0002" in caplog.text and "betas (0.9, 0.99), now (0.8" in caplog.text


def test_a_rate_of_the_first_part_holds_in_all_its_later_steps(tiny_eyes, tmp_path):
    def model(**rates):
        return SurfaceModel(SHAPE, encoder="own", surface_width=8, decay_from=0.0, **rates)

    fit_rates(model(learning_rate=0.0), tiny_eyes, 1)[1].save_checkpoint(tmp_path / "begun.ckpt")
    found, trainer = fit_rates(model(learning_rate=4e-4), tiny_eyes, 3, tmp_path / "begun.ckpt")
    assert [rates[0] for rates in found.rates] == pytest.approx([3e-4, 2e-4])
    trainer.save_checkpoint(tmp_path / "further.ckpt")  # which knows the new rate alone
    found, _ = fit_rates(model(learning_rate=8e-4), tiny_eyes, 4, tmp_path / "further.ckpt")
    assert [rates[0] for rates in found.rates] == pytest.approx([2e-4])


class Own(SurfaceModel):
    """Optimisers of one's own: plain, with a schedule that builds on its last rate, and with a cycle."""

    kind = "plain"

    def configure_optimizers(self):
        optimizer = optim.Adam(self.generator.parameters(), self.learning_rate, self.betas)
        if self.kind == "plain":
            return optimizer
        if self.kind == "falling":
            schedule = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        elif self.kind == "plateau":
            return [optimizer], [optim.lr_scheduler.ReduceLROnPlateau(optimizer)]
        else:
            schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, 4)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        "falling",
        pytest.param("plateau", marks=pytest.mark.slow),
        pytest.param("cycle", marks=pytest.mark.slow),
    ],
)
def test_schedules_of_ones_own_go_on_where_they_were(kind, tiny_eyes, tmp_path, recwarn):
    def model(rate):
        model = Own(SHAPE, encoder="own", surface_width=8, learning_rate=rate)
        model.kind = kind
        return model

    whole, _ = fit_rates(model(1e-3), tiny_eyes, 4)
    fit_rates(model(1e-3), tiny_eyes, 2)[1].save_checkpoint(tmp_path / "begun.ckpt")
    same, _ = fit_rates(model(1e-3), tiny_eyes, 4, tmp_path / "begun.ckpt")
    assert same.rates == whole.rates[2:] and same.betas == whole.betas[2:]
    said = "goes on at the learning rate of its checkpoint"
    assert not any(said in str(one.message) for one in recwarn)
    other, _ = fit_rates(model(2e-3), tiny_eyes, 4, tmp_path / "begun.ckpt")
    if kind == "plain":
        assert other.rates == [[2e-3], [2e-3]]
    else:
        assert other.rates == whole.rates[2:]
        assert any(said in str(one.message) for one in recwarn)


def test_a_training_goes_on_with_the_weights_that_it_optimised(tiny_eyes, tmp_path):
    class Partly(SurfaceModel):
        def __init__(self, shape, fine_tune=False, **options):
            super().__init__(shape, encoder="own", surface_width=8, **options)

        def build_generator(self):
            made = super().build_generator()
            made.encoder.requires_grad_(bool(self.hparams["fine_tune"]))
            return made

    fit_rates(Partly(SHAPE, fine_tune=True), tiny_eyes, 1)[1].save_checkpoint(tmp_path / "begun.ckpt")
    assert fit_rates(Partly(SHAPE, fine_tune=True), tiny_eyes, 2, tmp_path / "begun.ckpt")[0].rates
    refused = Partly(SHAPE)
    refused.on_train_batch_start = lambda *_: pytest.fail("a step was taken")
    with pytest.raises(
        ValueError, match=r"optimised other weights .*\(fine_tune=True \(here False\): groups of"
    ):
        fit_rates(refused, tiny_eyes, 2, tmp_path / "begun.ckpt")
