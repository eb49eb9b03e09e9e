"""A model that cannot tell photos unlike those of its training says so: its silence means nothing."""

import warnings
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tiny_models import quick_trainer
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import VoxelGAN, load_model
from fund2oct.models.uncertainty import familiar
from fund2oct.models.uncertainty.familiar import FamiliarPhotos, photo_features, unknown_note
from fund2oct.networks.lift import sample_lines
from fund2oct.phantom import simulate_eye
from fund2oct.run.predicting.predict import predict
from fund2oct.run.publishing.card import model_card
from fund2oct.run.publishing.record import RunRecord

CANNOT = "the model cannot tell photos unlike those of its training: .* means nothing"


@pytest.fixture
def knowing(tiny_checkpoint):
    model = load_model(tiny_checkpoint)
    with torch.no_grad():
        width = photo_features(model.generator_ema.module.encoder(torch.rand(1, 3, 48, 48))).shape[1]
    model.task = replace(model.task, photos=FamiliarPhotos.fit(10 * torch.randn(80, width)))
    return model


def test_predict_says_it_once(tiny_checkpoint, tmp_path):
    for number in range(2):
        Image.fromarray(simulate_eye(0, number).fundus).save(tmp_path / f"eye{number}.png")
    with pytest.warns(UserWarning, match=CANNOT) as said:
        predict(tiny_checkpoint, tmp_path, tmp_path / "out", figure_formats=[])
    assert sum("cannot tell" in str(one.message) for one in said) == 1
    with pytest.warns(UserWarning, match=CANNOT):
        load_model(tiny_checkpoint).predict(tmp_path / "eye0.png")


def test_a_model_that_can_tell_says_nothing(knowing):
    assert unknown_note(knowing) == ""
    with warnings.catch_warnings(action="error"):
        knowing.predict(simulate_eye(0, 0).fundus)


def test_the_card_says_it(tiny_checkpoint, knowing):
    about = dict.fromkeys(("licence", "provenance", "fund2oct", "numbers", "check"), "")
    about |= {"n_weights": 1, "packages": [], "parts": [], "with_encoder": False}
    record = RunRecord(tiny_checkpoint, {}, {}, None)
    for model, told in ((load_model(tiny_checkpoint), True), (knowing, False)):
        card = " ".join(model_card("m", model, record, about, None).split())
        assert ("The model cannot tell photos unlike those of its training" in card) == told
    card = model_card("my model", knowing, record, about, None)
    assert "fund2oct predict 'my model' PHOTO.jpg" in card and 'load_model("my model")' in card


class Drawing(nn.Module):
    """A generator without an encoder of photos."""

    def __init__(self):
        super().__init__()
        self.draw = nn.Conv2d(3, 32, 3, padding=1)

    def forward(self, fundus, grid, spacing_z_mm, n_depth, rng=None):
        return sample_lines(self.draw(fundus), grid).sigmoid().transpose(1, 2).unsqueeze(1)


class OneMap(nn.Conv2d):
    """An encoder that returns its only map, and not a list of it."""

    channels = (3,)


class DrawingOfOne(Drawing):
    def __init__(self):
        super().__init__()
        self.encoder = OneMap(3, 3, 3, padding=1)

    def forward(self, fundus, *given, rng=None):
        return super().forward(self.encoder(fundus), *given, rng=rng)


class WithoutEncoder(VoxelGAN):
    def build_generator(self):
        return Drawing()


class WithOneMap(VoxelGAN):
    def build_generator(self):
        return DrawingOfOne()


@pytest.mark.parametrize(("kind", "can_tell"), [(WithoutEncoder, False), (WithOneMap, True)])
def test_a_generator_of_ones_own_is_saved_whatever_its_encoder(
    kind, can_tell, tiny_eyes, tmp_path, monkeypatch
):
    monkeypatch.setattr(familiar, "_LEAST", 6)
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(
        kind((6, 32, 48), weights={"l1": 1.0}), datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    )
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    model = load_model(tmp_path / "own.ckpt", kind)
    assert (model.task.photos is not None) == can_tell
    found = familiar.photo_distance(model, simulate_eye(0, 0).fundus)
    assert (found is not None and found > 0) == can_tell
