"""A training that goes on from a checkpoint: with the data, and in the steps, that it began with."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from fund2oct.data import FundusOCTDataModule
from fund2oct.data.loading.split import SeenEyes
from fund2oct.data.preparing.preparation import Preparation
from fund2oct.geometry import RadialScan
from fund2oct.geometry.patterns import CurveScan
from fund2oct.models import SurfaceModel
from fund2oct.models.task import TASK_KEY, Task
from fund2oct.models.training.going_on import check_same_data
from fund2oct.retina import PoseModel

SHAPE = (6, 32, 48)


def fit(path, n_steps, conditions=("laterality=OD",), batch_size=2, goes_on_from=None, **data):
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_steps=n_steps, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
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
        model = SimpleNamespace(task=None, masks=(), photos_px=0, hparams={"encoder_px": None})
        check_same_data({TASK_KEY: {}, "hyper_parameters": {"encoder_px": there}}, None, model)

    compare(None)
    with pytest.raises(ValueError, match=r"\(model\.init_args\.encoder_px: 448, here None\)"):
        compare(448)
