"""What a model draws for an eye, wherever it is asked: in validation, evaluation and prediction."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from tiny_models import quick_trainer

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.evaluation.answers.controls import model_answers
from fund2oct.evaluation.checkpoints import HeldOutEyes
from fund2oct.models import load_model
from fund2oct.models.predicting.generate import generate
from fund2oct.networks.noise import NoiseSource

ROUNDED = {"atol": 1e-4, "rtol": 0}
"""How far batches of other sizes may differ: a fortieth of a grey level."""


def held_out(path, batch_size):
    datamodule = FundusOCTDataModule(str(path), batch_size=batch_size, val_fraction=0.4, test_fraction=0.4)
    datamodule.setup()
    return datamodule


def validated(model, datamodule):
    """Volumes by key."""
    found = {}

    class Record(pl.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, batch, *_):
            found.update(zip(batch["key"], outputs["volume"], strict=True))

    trainer = quick_trainer(callbacks=[Record()])
    trainer.validate(model, datamodule=datamodule, verbose=False)
    return found


def test_validation_draws_the_same_for_an_eye_in_any_batch(tiny_checkpoint, tiny_eyes):
    one, other = (validated(load_model(tiny_checkpoint), held_out(tiny_eyes, size)) for size in (1, 3))
    assert set(one) == set(other) and len(one) > 3
    for key, volume in one.items():
        torch.testing.assert_close(other[key], volume, **ROUNDED)


def test_evaluation_shows_the_eye_that_it_measured(tiny_checkpoint, tiny_eyes):
    eyes = HeldOutEyes(held_out(tiny_eyes, 3), torch.device("cpu"))
    with torch.inference_mode():
        for answer in model_answers({"model": load_model(tiny_checkpoint)}, eyes.photo_of_another, seed=5):
            for batch in eyes.batches():
                for key, volume in zip(batch["key"], answer.give(batch).volume, strict=True):
                    again = answer.give(eyes.batch(key)).volume[0]
                    torch.testing.assert_close(again, volume, **ROUNDED)


def test_drawn_surfaces_do_not_follow_from_the_drawn_pose(tiny_checkpoint, tiny_eyes, monkeypatch):
    model = load_model(tiny_checkpoint)
    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(reader.keys[0])
    numbers = []
    sample = model.task.poses.sample

    def noted(n_eyes, rng):
        numbers.append(torch.randn(16, generator=rng.clone_state()))
        return sample(n_eyes, rng)

    monkeypatch.setattr(type(model.task.poses), "sample", lambda self, n_eyes, rng: noted(n_eyes, rng))
    generate(model, eye.fundus, eye.scan, eye.placement, "a", draw=True)
    assert not torch.isin(NoiseSource.of_keys(["a"]).randn((1, 16)), numbers[0]).any()


def test_prediction_goes_by_the_key_not_by_the_files_ending(tiny_checkpoint, tiny_eyes, tmp_path):
    model = load_model(tiny_checkpoint)
    with EyeReader(tiny_eyes) as reader:
        eye = reader.read(reader.keys[0])
    for name in ("same.png", "same.tif", "other.png"):
        Image.fromarray(eye.fundus.repeat(4, 0).repeat(4, 1)).save(tmp_path / name)
    same, again, other = (
        model.predict(tmp_path / name, eye.placement) for name in ("same.png", "same.tif", "other.png")
    )
    assert np.array_equal(same.volume, again.volume) and np.array_equal(same.pose_um, again.pose_um)
    assert not np.array_equal(same.volume, other.volume) and not np.array_equal(same.pose_um, other.pose_um)
    expected, pose_um = generate(model, same.fundus, same.scan, same.placement, "same")
    assert np.array_equal(same.volume, expected) and pose_um == pytest.approx(same.pose_um)
